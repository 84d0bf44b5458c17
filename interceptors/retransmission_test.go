package interceptors

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// send writes packets from a sequence number on, each with its number as
// payload and with the extensions of a real stream.
func (l *lines) send(t testing.TB, from uint16, n, size int, extensions ...[]byte) {
	t.Helper()
	h := &rtp.Header{Version: 2, SSRC: mediaSSRC, PayloadType: mediaType}
	for i, e := range extensions {
		if err := h.SetExtension(uint8(i+1), e); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		h.SequenceNumber = from + uint16(i)
		h.Timestamp = uint32(h.SequenceNumber) * 3000
		h.Marker = i%2 == 1
		payload := make([]byte, size)
		binary.BigEndian.PutUint16(payload, h.SequenceNumber)
		if _, err := l.Write(h, payload, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *lines) nack(t testing.TB, seqs ...uint16) {
	t.Helper()
	l.feed(t, marshal(t, &rtcp.TransportLayerNack{MediaSSRC: mediaSSRC, Nacks: rtcp.NackPairsFromSequenceNumbers(seqs)}))
}

// repairs takes the packets written since the last call, by the number of the
// original.
func (l *lines) repairs() (seqs []uint16) {
	for _, p := range l.written {
		if p.SSRC == rtxSSRC {
			seqs = append(seqs, binary.BigEndian.Uint16(p.Payload))
		} else {
			seqs = append(seqs, p.SequenceNumber)
		}
	}
	l.written = nil
	return seqs
}

func TestRepairByRTX(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := NewTransport(1e6)
		l := bind(t, stream(true, TransportCCURI, MidURI, AbsCaptureTimeURI), transport, NewRetransmission(RetransmissionConfig{}))
		l.send(t, 65530, 20, 100, make([]byte, 2), []byte("0"), make([]byte, 8))
		originals := slices.Clone(l.written)
		l.written = nil
		l.nack(t, 65533, 2)
		if len(l.written) != 2 {
			t.Fatalf("a NACK of two packets was answered by %d", len(l.written))
		}
		for i, p := range l.written {
			original := originals[[]int{3, 8}[i]]
			if p.SSRC != rtxSSRC || p.PayloadType != rtxType || p.Timestamp != original.Timestamp || p.Marker != original.Marker ||
				binary.BigEndian.Uint16(p.Payload) != original.SequenceNumber || !bytes.Equal(p.Payload[2:], original.Payload) {
				t.Errorf("the repair of %v is %v", original.Header, p.Header)
			}
			if string(p.GetExtension(2)) != "0" || p.GetExtension(3) != nil {
				t.Errorf("the repair has the extensions %v", p.GetExtensionIDs())
			}
		}
		if l.written[1].SequenceNumber != l.written[0].SequenceNumber+1 {
			t.Error("repairs are not numbered one by one")
		}
		// The transport-wide numbers go on over both streams.
		for i, p := range append(originals, l.written...) {
			if got := binary.BigEndian.Uint16(p.GetExtension(1)); got != uint16(i) {
				t.Fatalf("packet %d has the transport-wide number %d", i, got)
			}
		}
	})
}

// Two messages under one number would give away the key of the encryption.
func TestNoTwoMessagesUnderOneNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rtx := range []bool{true, false} {
			extensions := []string{MidURI}
			if rtx {
				extensions = append(extensions, TransportCCURI)
			}
			l := bind(t, stream(rtx, extensions...), NewTransport(1e6), NewRetransmission(RetransmissionConfig{}))
			values := [][]byte{[]byte("0"), make([]byte, 2)}
			l.send(t, 0, 50, 100, values[:len(extensions)]...)
			for range 5 {
				l.nack(t, 10, 20, 30)
				time.Sleep(time.Second)
			}
			if len(l.written) != 50+15 {
				t.Fatalf("rtx %v: %d packets", rtx, len(l.written))
			}
			type number struct {
				ssrc uint32
				seq  uint16
			}
			seen := map[number][]byte{}
			for _, p := range l.written {
				b, err := p.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				n := number{p.SSRC, p.SequenceNumber}
				if before, twice := seen[n]; twice && !bytes.Equal(before, b) {
					t.Fatalf("rtx %v: two messages have the number %v", rtx, n)
				}
				seen[n] = b
			}
		}
	})
}

func TestOncePerRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt = 40 * time.Millisecond
		l := bind(t, stream(true), NewRetransmission(RetransmissionConfig{RTT: func() time.Duration { return rtt }}))
		l.send(t, 0, 10, 100)
		l.written = nil
		for range 10 {
			l.nack(t, 5)
			time.Sleep(4 * time.Millisecond)
		}
		if got := l.repairs(); !slices.Equal(got, []uint16{5}) {
			t.Errorf("within a round trip %v were repaired", got)
		}
		time.Sleep(rtt)
		l.nack(t, 5)
		if got := l.repairs(); !slices.Equal(got, []uint16{5}) {
			t.Errorf("after a round trip %v were repaired", got)
		}
	})
}

func TestNackFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRetransmission(RetransmissionConfig{RTT: func() time.Duration { return time.Nanosecond }})
		l := bind(t, stream(true), r)
		all := make([]uint16, historySize)
		for i := range all {
			all[i] = uint16(i)
		}
		l.send(t, 0, historySize, 1000) // at once, as a first frame may be
		l.written = nil
		const seconds = 20
		for range seconds * 100 {
			l.nack(t, all...)
			time.Sleep(10 * time.Millisecond)
		}
		bytes := 0
		for _, p := range l.written {
			bytes += len(p.Payload)
		}
		// 1 Mbit/s, and once what may be saved up: a quarter of what was sent in
		// the first moment.
		if most := (seconds+1)*repairFloor + historySize*1000/repairShare; bytes > int(most) {
			t.Errorf("a flood of NACKs made %d bytes in %d s", bytes, seconds)
		}
		if s := r.Stats(); s.Refused == 0 || s.Nacked != seconds*100*historySize {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := 0
		r := NewRetransmission(RetransmissionConfig{Lost: func(uint32) { lost++ }})
		l := bind(t, stream(true), r)
		l.nack(t, 5) // nothing has been sent
		l.send(t, 0, historySize+100, 100)
		l.written = nil
		l.nack(t, historySize+500) // not sent yet
		if lost != 0 {
			t.Fatal("a packet that was never sent is called lost")
		}
		l.nack(t, 50, 60)
		if lost != 1 || len(l.repairs()) != 0 {
			t.Errorf("a NACK of packets that are gone made %d calls", lost)
		}
		// Some players go on to ask for what has been repaired.
		l.nack(t, historySize)
		l.send(t, historySize+100, historySize+100, 100)
		if l.nack(t, historySize); lost != 1 {
			t.Error("a packet that was repaired is called lost")
		}
		r.Keyframe(mediaSSRC)
		l.send(t, 2*historySize+200, 10, 100)
		l.written = nil
		l.nack(t, 50, 2*historySize+50, 2*historySize+205)
		if got := l.repairs(); lost != 1 || !slices.Equal(got, []uint16{2*historySize + 205}) {
			t.Errorf("after a key frame %v were repaired, %d lost", got, lost)
		}
	})
}

// Without RTX, packets that differ each time cannot be sent again.
func TestPlainRepairOfNumberedPackets(t *testing.T) {
	lost := 0
	l := bind(t, stream(false, TransportCCURI), NewTransport(1e6), NewRetransmission(RetransmissionConfig{Lost: func(uint32) { lost++ }}))
	l.send(t, 0, 10, 100, make([]byte, 2))
	l.written = nil
	l.nack(t, 5)
	if got := l.repairs(); len(got) != 0 || lost != 1 {
		t.Errorf("%v were repaired", got)
	}
}

// A request that crosses a key frame on its way is no reason for another one.
func TestRequestRightAfterKeyframe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		v := New(Config{Keyframe: func(reason string) { asked = append(asked, reason) }, RTPTime: func(time.Time, uint32) uint32 { return 0 }})
		l := bind(t, stream(true), v.transport, v.retransmission, v.reports, Keyframes(v.request))
		pli := marshal(t, &rtcp.PictureLossIndication{MediaSSRC: mediaSSRC})
		l.feed(t, pli)
		if !slices.Equal(asked, []string{"pli"}) {
			t.Fatalf("without a key frame the encoder got %v", asked)
		}
		l.send(t, 0, 4, 100)
		l.written = nil
		v.Keyframe(mediaSSRC)
		h := &rtp.Header{Version: 2, SSRC: mediaSSRC, PayloadType: mediaType, Timestamp: 99}
		for i := range 6 {
			h.SequenceNumber = 4 + uint16(i)
			h.Marker = i >= 4
			if i == 5 {
				h.Timestamp++ // the next picture
			}
			if i == 2 { // the key frame is on its way
				l.feed(t, pli)
			}
			_, _ = l.Write(h, make([]byte, 50), nil)
		}
		if len(l.written) != 6 {
			t.Errorf("%d packets instead of 6 were sent", len(l.written))
		}
		l.written = nil
		for range 5 {
			l.feed(t, pli)
			time.Sleep(time.Millisecond)
		}
		if got := l.repairs(); len(asked) != 1 || !slices.Equal(got, []uint16{4, 5, 6, 7, 8}) {
			t.Errorf("right after a key frame %v were sent, and the encoder got %v", got, asked)
		}
		time.Sleep(time.Second)
		l.feed(t, pli)
		if len(asked) != 2 || len(l.written) != 0 {
			t.Errorf("a second later the encoder got %v", asked)
		}
	})
}

func TestFIR(t *testing.T) {
	asked := 0
	l := bind(t, stream(true), Keyframes(func(uint32, string) { asked++ }))
	fir := func(ssrc uint32, number uint8) {
		l.feed(t, marshal(t, &rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: 5, SequenceNumber: number}, {SSRC: ssrc, SequenceNumber: number}}}))
	}
	fir(mediaSSRC, 7)
	fir(mediaSSRC, 7) // the same once more
	fir(rtxSSRC, 8)
	if asked != 1 {
		t.Errorf("%d requests, not 1", asked)
	}
	if fir(mediaSSRC, 8); asked != 2 {
		t.Errorf("%d requests, not 2", asked)
	}
}
