package interceptors

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

func marshal(t testing.TB, packets ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// lines are a connection of one stream: what an interceptor writes comes out of
// written, and feed makes it read RTCP.
type lines struct {
	interceptor.RTPWriter
	written []rtp.Packet
	reports []rtcp.Packet
	rtcp    interceptor.RTCPReader
	next    []byte
}

const (
	mediaSSRC = 1111
	rtxSSRC   = 2222
	mediaType = 96
	rtxType   = 97
)

func stream(rtx bool, extensions ...string) *interceptor.StreamInfo {
	info := &interceptor.StreamInfo{SSRC: mediaSSRC, PayloadType: mediaType, ClockRate: 90000, RTCPFeedback: []interceptor.RTCPFeedback{{Type: "nack"}}}
	if rtx {
		info.SSRCRetransmission, info.PayloadTypeRetransmission = rtxSSRC, rtxType
	}
	for i, uri := range extensions {
		info.RTPHeaderExtensions = append(info.RTPHeaderExtensions, interceptor.RTPHeaderExtension{URI: uri, ID: i + 1})
	}
	return info
}

func bind(t testing.TB, info *interceptor.StreamInfo, factories ...interceptor.Factory) *lines {
	t.Helper()
	l := &lines{}
	registry := &interceptor.Registry{}
	for _, f := range factories {
		registry.Add(f)
	}
	chain, err := registry.Build("")
	if err != nil {
		t.Fatal(err)
	}
	l.rtcp = chain.BindRTCPReader(interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		return copy(b, l.next), a, nil
	}))
	chain.BindRTCPWriter(interceptor.RTCPWriterFunc(func(p []rtcp.Packet, _ interceptor.Attributes) (int, error) {
		l.reports = append(l.reports, p...)
		return 0, nil
	}))
	l.RTPWriter = chain.BindLocalStream(info, interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		l.written = append(l.written, *(&rtp.Packet{Header: *h, Payload: payload}).Clone())
		return len(payload), nil
	}))
	return l
}

func (l *lines) feed(t testing.TB, b []byte) {
	t.Helper()
	l.next = b
	if _, _, err := l.rtcp.Read(make([]byte, 1500), nil); err != nil {
		t.Fatal(err)
	}
}

func TestControls(t *testing.T) {
	var seen []uint8
	look := func(b []byte) []uint8 {
		seen = nil
		for c := range compound(b).all {
			seen = append(seen, c.kind)
		}
		return seen
	}
	pli := &rtcp.PictureLossIndication{MediaSSRC: mediaSSRC}
	good := marshal(t, &rtcp.ReceiverReport{}, pli)
	if got := look(good); !slices.Equal(got, []uint8{201, 206}) {
		t.Errorf("a compound of two gave %v", got)
	}
	if got := look(append(slices.Clone(good), 0x80, 201, 0, 9, 1)); !slices.Equal(got, []uint8{201, 206}) {
		t.Errorf("with a cut packet behind, a compound of two gave %v", got)
	}
	if got := look([]byte{0, 1, 2, 3, 4, 5, 6, 7}); len(got) != 0 {
		t.Errorf("no RTCP gave %v", got)
	}
}

func TestNacked(t *testing.T) {
	pairs := rtcp.NackPairsFromSequenceNumbers([]uint16{65530, 65534, 65535, 0, 5, 6, 400})
	b := marshal(t, &rtcp.TransportLayerNack{MediaSSRC: mediaSSRC, Nacks: pairs})
	got := slices.Collect(nack(b[12:]).most)
	if want := []uint16{65530, 65534, 65535, 0, 5, 6, 400}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := slices.Collect(nack(bytes.Repeat([]byte{0, 0, 255, 255}, 300)).most); len(got) != historySize {
		t.Errorf("a NACK of 5100 packets gave %d", len(got))
	}
}

// TestArrivals compares with what another implementation writes.
func TestArrivals(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 1 + random.IntN(300)
		base := uint16(random.Uint32())
		want := make([]time.Duration, n) // -1: missing
		f := &rtcp.TransportLayerCC{MediaSSRC: mediaSSRC, BaseSequenceNumber: base, PacketStatusCount: uint16(n), ReferenceTime: 77}
		at := int64(0)
		symbols := make([]uint16, n)
		run := random.IntN(2) == 0 // favours run length chunks
		for i := range want {
			if run && i > 0 && random.IntN(20) > 0 {
				symbols[i] = symbols[i-1]
			} else {
				symbols[i] = uint16(random.IntN(3))
			}
			want[i] = -1
			delta := int64(0)
			switch symbols[i] {
			case 1:
				delta = int64(random.IntN(256))
			case 2:
				delta = 256 + int64(random.IntN(2000))
			}
			if symbols[i] > 0 {
				at += delta
				want[i] = time.Duration(at) * 250 * time.Microsecond
				f.RecvDeltas = append(f.RecvDeltas, &rtcp.RecvDelta{Type: symbols[i], Delta: delta * 250})
			}
		}
		for i := 0; i < n; {
			same := i
			for same < n && symbols[same] == symbols[i] {
				same++
			}
			if same-i > 7 {
				f.PacketChunks = append(f.PacketChunks, &rtcp.RunLengthChunk{PacketStatusSymbol: symbols[i], RunLength: uint16(same - i)})
				i = same
				continue
			}
			list := make([]uint16, 7)
			copy(list, symbols[i:])
			f.PacketChunks = append(f.PacketChunks, &rtcp.StatusVectorChunk{Type: 1, SymbolSize: 1, SymbolList: list})
			i += 7
		}
		f.Header = rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: uint16(f.MarshalSize()/4 - 1), Padding: int(f.Len()) != f.MarshalSize()}
		b := marshal(t, f)
		i := 0
		for seq, at := range arrivals(b[12:]).since(base) {
			if i == n || seq != base+uint16(i) || at != want[i] {
				t.Fatalf("packet %d of %d is %d at %v", i, n, seq, at)
			}
			i++
		}
		if i != n {
			t.Fatalf("%d of %d packets", i, n)
		}
		for cut := range b[12:] { // no panic, no endless loop
			if cut >= 8 {
				for range arrivals(b[12 : 12+cut]).since(base) {
				}
			}
		}
	}
}

// reading makes a chain read what take is given.
func reading(chain interceptor.Interceptor) (take func(b []byte)) {
	var next []byte
	reader := chain.BindRTCPReader(interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		return copy(b, next), a, nil
	}))
	buf := make([]byte, 1<<16)
	return func(b []byte) {
		next = b
		_, _, _ = reader.Read(buf, nil)
	}
}

// Padding (RFC 3550, 6.4.1) is no entry of a NACK.
func TestPadding(t *testing.T) {
	b := marshal(t, &rtcp.TransportLayerNack{MediaSSRC: mediaSSRC, Nacks: []rtcp.NackPair{{PacketID: 9}}})
	b[0] |= 0x20
	b[3]++
	l := bind(t, stream(true), NewRetransmission(RetransmissionConfig{}))
	l.send(t, 0, 20, 10)
	l.written = nil
	l.feed(t, append(b, 0, 0, 0, 4))
	if got := l.repairs(); !slices.Equal(got, []uint16{9}) {
		t.Errorf("a padded NACK of 9 was answered by %v", got)
	}
	for size := range 256 { // more than there is
		l.feed(t, []byte{0xa1, 205, 0, 3, 0, 0, 0, 0, 0, 0, 4, 87, 0, 9, 0, uint8(size)})
	}
}

func FuzzControl(f *testing.F) {
	f.Add(marshal(f, &rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: mediaSSRC}}}, &rtcp.PictureLossIndication{MediaSSRC: mediaSSRC}))
	f.Add(marshal(f, &rtcp.TransportLayerNack{MediaSSRC: mediaSSRC, Nacks: []rtcp.NackPair{{PacketID: 3, LostPackets: 5}}}))
	f.Add(marshal(f, &rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: mediaSSRC, SequenceNumber: 3}}}))
	f.Add([]byte{0x8f, 205, 0, 5, 0, 0, 0, 0, 0, 0, 4, 87, 0, 0, 0, 2, 0, 0, 1, 0, 0x20, 2, 1, 1})
	v := New(Config{Keyframe: func(string) {}, RTPTime: func(time.Time, uint32) uint32 { return 0 }})
	chain, err := v.Registry().Build("")
	if err != nil {
		f.Fatal(err)
	}
	w := chain.BindLocalStream(stream(true, TransportCCURI), interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		return len(payload), nil
	}))
	for i := range 50 {
		_, _ = w.Write(&rtp.Header{Version: 2, SSRC: mediaSSRC, SequenceNumber: uint16(i)}, make([]byte, 100), nil)
	}
	take := reading(chain)
	f.Fuzz(func(t *testing.T, b []byte) { take(b) })
}

// A TWCC feedback, a report and a NACK come many times a second from each
// viewer.
func BenchmarkFeedback(b *testing.B) {
	v := New(Config{Keyframe: func(string) {}, RTPTime: func(time.Time, uint32) uint32 { return 0 }})
	chain, err := v.Registry().Build("")
	if err != nil {
		b.Fatal(err)
	}
	w := chain.BindLocalStream(stream(true, TransportCCURI), interceptor.RTPWriterFunc(func(_ *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		return len(payload), nil
	}))
	for i := range 60 {
		_, _ = w.Write(&rtp.Header{Version: 2, SSRC: mediaSSRC, SequenceNumber: uint16(i)}, make([]byte, 100), nil)
	}
	f := &rtcp.TransportLayerCC{MediaSSRC: mediaSSRC, PacketStatusCount: 60, PacketChunks: []rtcp.PacketStatusChunk{&rtcp.RunLengthChunk{PacketStatusSymbol: 1, RunLength: 60}}}
	for range 60 {
		f.RecvDeltas = append(f.RecvDeltas, &rtcp.RecvDelta{Type: 1, Delta: 250})
	}
	f.Header = rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: uint16(f.MarshalSize()/4 - 1), Padding: int(f.Len()) != f.MarshalSize()}
	message := marshal(b, &rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: mediaSSRC}}}, f)
	take := reading(chain)
	b.ReportAllocs()
	for b.Loop() {
		take(message)
	}
}
