package interceptors

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// holes is a stream of 100 packets of 1000 bytes a second whose viewer asks for
// what it misses.
type holes struct {
	*lines
	*Retransmission
	lost int // key frames owed
	next uint16
}

func startHoles(t *testing.T, path float64) *holes {
	h := &holes{}
	h.Retransmission = NewRetransmission(RetransmissionConfig{
		RTT: func() time.Duration { return 20 * time.Millisecond }, Lost: func(uint32) { h.lost++ },
		Path: func() float64 { return path }, Waiting: func() {},
	})
	h.lines = bind(t, stream(true), h.Retransmission)
	h.Keyframe(mediaSSRC)
	h.run(t, 200)
	return h
}

func (h *holes) run(t *testing.T, n int) {
	for range n {
		h.send(t, h.next, 1, 1000)
		h.next++
		time.Sleep(10 * time.Millisecond)
	}
	h.written = nil
}

// ask asks for n packets from a number on, as a player does in one message, and
// gives what is repaired.
func (h *holes) ask(t *testing.T, from uint16, n int) []uint16 {
	var seqs []uint16
	for i := range n {
		seqs = append(seqs, from+uint16(i))
	}
	h.nack(t, seqs...)
	h.Repair(mediaSSRC, func(int) bool { return true })
	return h.repairs()
}

func (h *holes) forGood() bool { _, forGood := h.Misses(mediaSSRC); return forGood }

// What is missed for good is a matter of one request for a key frame, and of
// nothing else until that one is sent.
func TestMissedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name    string
			path    float64 // bits per second; zero: it is not narrow
			n       int     // packets that are asked for
			gone    bool    // long after they were sent
			forGood bool
		}{
			{"few", 0, 20, false, false},
			{"less than a second's worth", 0, 120, false, false},
			{"more than that", 0, 140, false, true},
			{"less than the path carries in a second", 4e5, 45, false, false},
			{"more than that", 4e5, 60, false, true},
			{"not kept", 0, 1, true, true},
		} {
			h := startHoles(t, c.path)
			from := h.next - 150
			if c.gone {
				h.run(t, historySize)
			}
			got := h.ask(t, from, c.n)
			if h.forGood() != c.forGood || h.lost > 0 != c.forGood || c.forGood != (len(got) == 0) {
				t.Fatalf("%s: for good is %v, %d key frames are owed, %d packets were repaired: %+v", c.name, h.forGood(), h.lost, len(got), h.Stats())
			}
			if !c.forGood {
				continue
			}
			for range 3 {
				h.run(t, 10)
				if got := h.ask(t, h.next-1, 1); len(got) > 0 || h.RepeatKeyframe(mediaSSRC) || h.lost != 1 {
					t.Errorf("%s: before the key frame %v were repaired, %d key frames are owed", c.name, got, h.lost)
				}
			}
			h.Keyframe(mediaSSRC)
			if !h.forGood() {
				t.Errorf("%s: a key frame that has not begun helps", c.name)
			}
			h.run(t, 1)
			h.ask(t, from, c.n)
			if got := h.ask(t, h.next-1, 1); h.forGood() || h.lost != 1 || !slices.Equal(got, []uint16{h.next - 1}) {
				t.Errorf("%s: after the key frame %v were repaired, %d key frames are owed", c.name, got, h.lost)
			}
		}
	})
}

// What nothing refers to is not missed for good.
func TestSparePicturesMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, gone := range []bool{false, true} {
			h := startHoles(t, 0)
			from := h.next
			for range 150 {
				h.Spare(mediaSSRC)
				h.run(t, 1)
			}
			h.run(t, 1)
			if gone {
				h.run(t, historySize)
			}
			if h.ask(t, from, 150); h.forGood() || h.lost > 0 {
				t.Errorf("gone %v: a key frame is owed for pictures that nothing refers to", gone)
			}
			if h.ask(t, from, 151); h.forGood() != gone {
				t.Errorf("gone %v: for good is %v with one more packet", gone, h.forGood())
			}
		}
	})
}
