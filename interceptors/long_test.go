package interceptors

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A stream without a key frame for minutes is repaired as before.
func TestRepairLongAfterKeyframe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRetransmission(RetransmissionConfig{})
		l := bind(t, stream(true), r)
		r.Keyframe(mediaSSRC)
		for from := 0; from < 5*halfNumbers; from += 1000 {
			l.send(t, uint16(from), 1000, 10)
			l.written = nil
			seq := uint16(from + 990)
			l.nack(t, seq)
			if got := l.repairs(); !slices.Equal(got, []uint16{seq}) {
				t.Fatalf("%d packets after a key frame a NACK of %d was answered by %v", from+990, seq, got)
			}
			time.Sleep(time.Second)
		}
	})
}

// A message costs what its bytes tell, not what they claim.
func TestFeedbackOfManyThousandPackets(t *testing.T) {
	b := []byte{0, 0, 255, 255, 0, 0, 0, 0}
	for range 9 {
		b = append(b, 0x1f, 0xff) // 8191 packets that did not arrive
	}
	for _, first := range []uint16{0, 100, 8000, 8191, 0xf000} {
		want := first
		for seq, at := range arrivals(b).since(first) {
			if seq != want || at != -1 {
				t.Fatalf("packet %d at %v, want %d", seq, at, want)
			}
			want++
		}
		if n := want - first; n != flightSize {
			t.Errorf("from %d on: %d packets", first, n)
		}
	}
}

// A big frame takes no repairs from a viewer that loses the same packet twice.
func TestSecondRepairAfterBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRetransmission(RetransmissionConfig{RTT: func() time.Duration { return 20 * time.Millisecond }})
		l := bind(t, stream(true), r)
		time.Sleep(time.Second)
		l.send(t, 0, 10, 1000)
		l.nack(t, 5)
		time.Sleep(30 * time.Millisecond)
		l.nack(t, 4)
		l.send(t, 10, 100, 1000) // a key frame
		time.Sleep(5 * time.Millisecond)
		l.written = nil
		l.nack(t, 5)
		if got := l.repairs(); !slices.Equal(got, []uint16{5}) {
			t.Errorf("a second repair after a big frame: %v, %+v", got, r.Stats())
		}
	})
}

// Repairs leave three quarters of a narrow path to the stream.
func TestRepairsOfNarrowPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const path = 80_000 // bits per second
		r := NewRetransmission(RetransmissionConfig{
			RTT: func() time.Duration { return time.Millisecond }, Path: func() float64 { return path },
		})
		l := bind(t, stream(true), r)
		for n := range uint16(1000) { // 10 s, 100 packets a second, each asked for again
			l.send(t, n, 1, 1000)
			l.nack(t, n)
			time.Sleep(10 * time.Millisecond)
		}
		s := r.Stats()
		if most := uint64(path / 8 / 4 * 11); s.Bytes > most+repairFloor || s.Bytes < most/2 {
			t.Errorf("%d bytes of repairs in 10 s", s.Bytes)
		}
	})
}

// Repairs that wait leave in order, as their owner lets them, and only until a
// key frame begins. Of a narrow path they may take all.
func TestRepairsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const path = 80_000 // bits per second
		told := 0
		r := NewRetransmission(RetransmissionConfig{
			RTT: func() time.Duration { return time.Millisecond }, Path: func() float64 { return path },
			Waiting: func() { told++ }, Sent: func() { t.Error("Sent is called beside Waiting") },
		})
		l := bind(t, stream(true), r)
		l.send(t, 0, 20, 100)
		l.written = nil
		free := func(int) bool { return true }
		misses := func() bool { repairs, _ := r.Misses(mediaSSRC); return repairs }
		if misses() || r.Repair(mediaSSRC, free) {
			t.Error("repairs wait that nobody asked for")
		}
		l.nack(t, 7, 8, 9)
		l.nack(t, 3, 8) // 8 waits already
		if len(l.written) != 0 || told != 2 || !misses() {
			t.Fatalf("%d were sent without Repair; Waiting was called %d times", len(l.written), told)
		}
		left := 250
		more := r.Repair(mediaSSRC, func(bytes int) bool { left -= bytes; return left >= 0 })
		if got := l.repairs(); !more || !slices.Equal(got, []uint16{7, 8}) {
			t.Errorf("as many as fit into 250 bytes: %v", got)
		}
		more = r.Repair(mediaSSRC, free)
		if got := l.repairs(); more || misses() || !slices.Equal(got, []uint16{9, 3}) {
			t.Errorf("and then: %v", got)
		}
		l.nack(t, 10, 11)
		r.Keyframe(mediaSSRC)
		l.send(t, 20, 2, 100)
		l.written = nil
		if r.Repair(mediaSSRC, free); len(l.written) != 0 {
			t.Errorf("what is older than a key frame was repaired: %v", l.repairs())
		}
		for n := uint16(22); n < 1022; n++ { // 10 s, 100 packets a second, each asked for again
			l.send(t, n, 1, 1000)
			l.nack(t, n)
			r.Repair(mediaSSRC, free)
			time.Sleep(10 * time.Millisecond)
		}
		if s := r.Stats(); s.Bytes > path/8*11+repairFloor || s.Bytes < path/8*9 {
			t.Errorf("%d bytes of repairs in 10 s", s.Bytes)
		}
	})
}
