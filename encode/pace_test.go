package encode

import (
	"sync/atomic"
	"testing"
	"time"

	"deskwhep/capture"
)

// move paints a new frame every 1/30 s; as a feed, it keeps only the newest.
func (s screen) move(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / 30) {
		select {
		case u := <-s:
			u.Frame.Release()
		default:
		}
		s.paint(capture.Everywhere())
	}
}

func TestEncoderThatDoesNotHoldTheRate(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		const frame = 2 * 4_000_000 / 8 / 30 // twice too much
		c.encoded = func(bool) ([]byte, error) { return make([]byte, frame), nil }
		v := h.Join()
		done := make(chan struct{})
		go func() { defer close(done); holdTo(t, v, 4_000_000) }()
		s.move(20 * time.Second)
		v.Close()
		<-done
		if total := h.Status().Bytes; total < 20*4_000_000/8*9/10 {
			t.Fatalf("only %d bytes left in 20 s", total)
		}
	})
}

func TestEncoderThatIsTooSlow(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		var takes atomic.Int64
		takes.Store(int64(30 * time.Millisecond))
		c.encoded = func(bool) ([]byte, error) { time.Sleep(time.Duration(takes.Load())); return []byte{1}, nil }
		v := h.Join()
		s.move(5 * time.Second)
		if i := h.Status().Interval; i != time.Second/30*3/2 {
			t.Fatalf("a picture each %v", i)
		}
		before := h.Status().Units
		s.move(time.Second)
		if n := h.Status().Units - before; n < 18 || n > 21 {
			t.Fatalf("%d pictures in a second", n)
		}
		takes.Store(int64(5 * time.Millisecond))
		s.move(7 * time.Second)
		if i := h.Status().Interval; i != time.Second/30 {
			t.Fatalf("a picture each %v", i)
		}
		v.Close()
	})
}

func TestPauseGivesNoBurst(t *testing.T) {
	const interval = time.Second / 30
	for _, c := range []struct {
		elapsed time.Duration
		moving  bool
		want    time.Duration
	}{
		{interval, true, interval},
		{0, true, interval / 2},
		{time.Hour, true, 4 * interval},
		{400 * time.Millisecond, false, 400 * time.Millisecond},
		{time.Hour, false, time.Second},
	} {
		if got := pace(c.elapsed, interval, c.moving); got != c.want {
			t.Errorf("pace(%v, moving %v) = %v, want %v", c.elapsed, c.moving, got, c.want)
		}
	}
}
