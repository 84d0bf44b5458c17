package encode

import (
	"bytes"
	"context"
	"errors"
	"image"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// screen is a feed of which the test paints the frames.
type screen chan capture.Update

func (s screen) Close() {}
func (s screen) Next(ctx context.Context) (capture.Update, error) {
	select {
	case u := <-s:
		return u, nil
	case <-ctx.Done():
		return capture.Update{}, ctx.Err()
	}
}

// paint makes the screen differ from before, by damage.
func (s screen) paint(damage capture.Damage) { s.paintSize(image.Pt(64, 32), damage) }

func (s screen) paintSize(size image.Point, damage capture.Damage) {
	f := capture.NewFrame(func(*capture.Frame) {})
	f.Size, f.Stride, f.Format, f.Captured = size, 4*size.X, capture.BGRX, time.Now()
	f.Pix = make([]byte, f.Stride*size.Y)
	f.Lend()
	s <- capture.Update{Frame: f, Damage: damage}
}

// coder is an encoder that tells what it was asked for.
type coder struct {
	encoded func(key bool) ([]byte, error)
	calls   atomic.Int32
	look    func(*yuv.Picture)
	passes  int // until a picture is sharp
	refined int // since the last change
	closed  atomic.Bool
}

func (c *coder) Encode(p *yuv.Picture, _ *capture.Damage, key bool, _ time.Time) ([]byte, bool, error) {
	c.calls.Add(1)
	c.refined = 0
	if c.look != nil {
		c.look(p)
	}
	data, err := []byte{1}, error(nil)
	if c.encoded != nil {
		data, err = c.encoded(key)
	}
	return data, key, err
}
func (c *coder) Refine(p *yuv.Picture, _ int, _ time.Time) ([]byte, bool, error) {
	c.calls.Add(1)
	data, err := []byte{1}, error(nil)
	if c.encoded != nil {
		data, err = c.encoded(false)
	}
	c.refined++
	return data, c.refined < c.passes, err
}
func (c *coder) SetBitrate(int) error { return nil }
func (c *coder) Close() error         { c.closed.Store(true); return nil }

// story runs a hub on a fake screen in a bubble of its own time, and ends it.
func story(t *testing.T, tell func(t *testing.T, h *Hub, s screen, c *coder)) {
	c := &coder{}
	storyWith(t, c, func(t *testing.T, h *Hub, s screen) { tell(t, h, s, c) })
}

func storyWith(t *testing.T, e Encoder, tell func(t *testing.T, h *Hub, s screen)) {
	synctest.Test(t, func(t *testing.T) {
		s := make(screen, 100)
		h := NewHub(HubConfig{
			Watch: func() Tap { return s },
			Open:  func() (Encoder, Packetizer, error) { return e, &VP8Packetizer{}, nil },
			FPS:   30, Bitrate: 4e6,
			Log: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		tell(t, h, s)
		cancel()
		<-ended
	})
}

func next(t *testing.T, v *Viewer) *Unit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	u, err := v.Next(ctx)
	if err != nil {
		t.Fatalf("next unit: %v", err)
	}
	return u
}

func TestNobodyWatches(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		s.paint(capture.Everywhere())
		time.Sleep(time.Hour)
		synctest.Wait()
		if c.calls.Load() != 0 || len(s) != 1 {
			t.Fatalf("%d pictures encoded, %d frames left; want 0 and 1", c.calls.Load(), len(s))
		}

		v := h.Join()
		if u := next(t, v); !u.Key || u.Seq != 1 {
			t.Fatalf("the first unit is %d, key %v", u.Seq, u.Key)
		}
		v.Close()
		s.paint(capture.Everywhere())
		s.paint(capture.Everywhere())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c.closed.Load() || c.calls.Load() != 1 {
			t.Fatalf("in the linger: closed %v, %d calls; want an idle encoder", c.closed.Load(), c.calls.Load())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !c.closed.Load() || h.Status().Running {
			t.Fatal("after the linger the encoder still runs")
		}

		v = h.Join()
		if u := next(t, v); !u.Key || u.Seq != 2 {
			t.Fatalf("the first unit of the second session is %d, key %v", u.Seq, u.Key)
		}
	})
}

func TestStillScreen(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		c.passes = 3
		v := h.Join()
		s.paint(capture.Everywhere())
		last := next(t, v)
		start := time.Now()
		expect := func(at time.Duration, key bool) {
			t.Helper()
			u := next(t, v)
			if time.Since(start) != at || u.Key != key {
				t.Fatalf("a unit at %v, key %v; want %v, %v", time.Since(start), u.Key, at, key)
			}
			if !u.Captured.After(last.Captured) {
				t.Fatalf("captured %v, not after %v", u.Captured, last.Captured)
			}
			last = u
		}
		for i := range c.passes {
			expect(time.Duration(i+1)*refineEvery, false)
			s.paint(capture.Damage{}) // an unchanged frame
		}
		expect(1300*time.Millisecond, false)
		expect(2300*time.Millisecond, false)

		time.Sleep(50 * time.Millisecond)
		h.RequestKeyframe("pli") // a still screen is no excuse
		expect(2350*time.Millisecond, true)
		expect(2450*time.Millisecond, false)
		s.paint(capture.Everywhere()) // ends the passes, which then begin anew
		expect(2450*time.Millisecond, false)
		for i := range c.passes {
			expect(2550*time.Millisecond+time.Duration(i)*refineEvery, false)
		}
		expect(3750*time.Millisecond, false)
	})
}

// TestTimeIsCaptureTime repeats pictures as key frames at any moment while new
// ones are on their way, some of which take longer than they should.
func TestTimeIsCaptureTime(t *testing.T) {
	rnd, slow := rand.New(rand.NewPCG(5, 5)), rand.New(rand.NewPCG(6, 6)) // of the screen, and of the encoder
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		mark := func(p *yuv.Picture) [2]byte { return [2]byte{p.Y[0], p.Y[63]} }
		c.passes = 3
		var shown [2]byte // in the picture that is encoded
		c.look = func(p *yuv.Picture) { shown = mark(p) }
		c.encoded = func(key bool) ([]byte, error) {
			time.Sleep(time.Duration(slow.IntN(25)) * time.Millisecond)
			return shown[:], nil
		}
		v := h.Join()
		var captured sync.Map // times, by mark
		over := make(chan struct{})
		go func() {
			for i := range 200 {
				time.Sleep(time.Duration(1+rnd.IntN(250)) * time.Millisecond)
				if i%3 == 0 {
					h.RequestKeyframe("pli")
				}
				f := capture.NewFrame(func(*capture.Frame) {})
				f.Size, f.Stride, f.Format, f.Captured = image.Pt(64, 32), 256, capture.BGRX, time.Now()
				f.Pix = bytes.Repeat(append(bytes.Repeat([]byte{byte(i << 4)}, 128), bytes.Repeat([]byte{byte(i) &^ 15}, 128)...), 32)
				f.Lend()
				var p yuv.Picture
				all := capture.Everywhere()
				yuv.Convert(&p, f, &all)
				captured.Store(mark(&p), f.Captured)
				time.Sleep(time.Duration(rnd.IntN(int(onTheWay))))
				select {
				case late := <-s:
					late.Frame.Release()
				default:
				}
				s <- capture.Update{Frame: f, Damage: capture.Everywhere()}
			}
			close(over)
		}()
		var last *Unit
		var was [2]byte
		fresh, repeated := 0, 0
		for {
			select {
			case <-over:
				if fresh < 150 || repeated < 50 {
					t.Fatalf("%d new pictures, %d repeated ones: this proves little", fresh, repeated)
				}
				return
			case u := <-v.queue:
				is := [2]byte(u.Payloads[0][len(u.Payloads[0])-2:])
				if last != nil && !u.Captured.After(last.Captured) {
					t.Fatalf("unit %d: captured %v before the one before", u.Seq, last.Captured.Sub(u.Captured))
				}
				if last == nil || is != was {
					at, _ := captured.Load(is)
					if d := u.Captured.Sub(at.(time.Time)); d != 0 {
						t.Fatalf("unit %d has a new picture, and a time %v after its capture", u.Seq, d)
					}
					fresh++
				} else {
					repeated++
				}
				last, was = u, is
			}
		}
	})
}

func TestStormOfRequests(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		v := h.Join()
		s.paint(capture.Everywhere())
		next(t, v)
		start := time.Now()
		for range 99 { // until 1.98 s
			h.RequestKeyframe("pli")
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		var keys []time.Duration
		for len(v.queue) > 0 {
			if u := next(t, v); u.Key {
				keys = append(keys, u.Captured.Sub(start))
			}
		}
		if len(keys) != 4 || keys[3] != 2*time.Second-onTheWay {
			t.Fatalf("keys at %v, want one each 500 ms, and one for the last request", keys)
		}
		if got := h.Status().KeyReasons; got["pli"] != 99 || got["join"] != 1 {
			t.Fatalf("reasons %v", got)
		}
	})
}

func TestLateViewers(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		a := h.Join()
		s.paint(capture.Everywhere())
		first := next(t, a)
		s.paint(capture.Everywhere())
		next(t, a)

		b := h.Join() // begins with what there is
		if u := next(t, b); u != first {
			t.Fatalf("began with unit %d", u.Seq)
		}
		if u := next(t, b); u.Seq != 2 {
			t.Fatalf("went on with unit %d", u.Seq)
		}

		for range backlogUnits {
			s.paint(capture.Everywhere())
			next(t, a)
			next(t, b)
		}
		d, e := h.Join(), h.Join() // that is too long ago; their key is due after 500 ms
		s.paint(capture.Everywhere())
		ud, ue := next(t, d), next(t, e)
		if !ud.Key || ud != ue || ud == first {
			t.Fatalf("units %d and %d, want one new key frame for both", ud.Seq, ue.Seq)
		}
		if h.Status().Keys != 2 {
			t.Fatalf("%d key frames, want 2", h.Status().Keys)
		}
	})
}

func TestTwentyViewersJoinWithinASecond(t *testing.T) {
	for _, moving := range []bool{false, true} {
		story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
			c.encoded = func(key bool) ([]byte, error) {
				if key {
					return make([]byte, 50_000), nil
				}
				return make([]byte, 5_000), nil
			}
			s.paint(capture.Everywhere())
			for i := range 60 {
				if moving {
					s.paint(capture.Everywhere())
				}
				time.Sleep(time.Second / 60)
				if i%3 != 0 {
					continue
				}
				v := h.Join()
				go func() {
					for first := true; ; first = false {
						u, err := v.Next(t.Context())
						if err != nil {
							return
						}
						if first && !u.Key {
							t.Error("a viewer did not begin with a key frame")
						}
					}
				}()
			}
			time.Sleep(time.Second)
			if keys := h.Status().Keys; keys > 3 {
				t.Errorf("moving %v: %d key frames for twenty viewers", moving, keys)
			}
		})
	}
}

func TestStalledViewer(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		good, stalled := h.Join(), h.Join()
		s.paint(capture.Everywhere())
		last := next(t, good)
		for range 30 * 60 {
			time.Sleep(time.Second / 30)
			s.paint(capture.Everywhere())
			u := next(t, good)
			if u.Seq != last.Seq+1 {
				t.Fatalf("unit %d follows %d", u.Seq, last.Seq)
			}
			last = u
		}
		if keys := h.Status().Keys; keys != 1 {
			t.Fatalf("a viewer that does not read cost %d key frames", keys-1)
		}

		for len(stalled.queue) > 0 {
			next(t, stalled)
		}
		back := next(t, stalled)
		if !back.Key {
			t.Fatal("after a gap the viewer got something else than a key frame")
		}
		s.paint(capture.Everywhere())
		if u := next(t, stalled); u.Seq != back.Seq+1 {
			t.Fatalf("unit %d follows %d", u.Seq, back.Seq)
		}
	})
}

func TestSlowViewerCostsTheOthersLittle(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		good, slow := h.Join(), h.Join()
		s.paint(capture.Everywhere())
		next(t, good)
		for i := range 30 * 20 {
			time.Sleep(time.Second / 30)
			s.paint(capture.Everywhere())
			for next(t, good); len(good.queue) > 0; {
				next(t, good)
			}
			slow.RequestKeyframe("pli")
			if i%3 == 0 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
				slow.Next(ctx)
				cancel()
			}
		}
		if keys := h.Status().Keys; keys < 3 || keys > 11 {
			t.Fatalf("%d key frames in 20 s, want at most one in 2 s and some", keys)
		}
	})
}

func TestBrokenEncoder(t *testing.T) {
	broken := errors.New("broken")
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		v := h.Join()
		s.paint(capture.Everywhere())
		next(t, v)
		failures := 2
		c.encoded = func(bool) ([]byte, error) {
			if failures--; failures >= 0 {
				return nil, broken
			}
			return []byte{1}, nil
		}
		s.paint(capture.Everywhere())
		if u := next(t, v); !u.Key {
			t.Fatal("a new encoder must begin with a key frame")
		}

		failures = 3
		s.paint(capture.Everywhere())
		if _, err := v.Next(t.Context()); !errors.Is(err, broken) {
			t.Fatalf("after three failures viewers get %v", err)
		}
		if _, err := h.Join().Next(t.Context()); !errors.Is(err, broken) {
			t.Fatalf("who joins later gets %v", err)
		}
	})
}

func TestDroppedPictureComesLater(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		v := h.Join()
		s.paint(capture.Everywhere())
		next(t, v)
		drops := 3
		c.encoded = func(bool) ([]byte, error) {
			if drops--; drops >= 0 {
				return nil, nil
			}
			return []byte{1}, nil
		}
		start := time.Now()
		s.paint(capture.Everywhere())
		if next(t, v); time.Since(start) != 3*(time.Second/30) {
			t.Fatalf("the picture came after %v", time.Since(start))
		}
		if c.calls.Load() != 5 || h.Status().Dropped != 3 {
			t.Fatalf("%d calls, %d dropped", c.calls.Load(), h.Status().Dropped)
		}
	})
}

func TestLostScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubConfig{
			Watch: func() Tap { return lostScreen{} },
			Open:  func() (Encoder, Packetizer, error) { return &coder{}, &VP8Packetizer{}, nil },
			FPS:   30, Bitrate: 4e6,
			Log: slog.New(slog.DiscardHandler),
		})
		v := h.Join()
		if err := h.Run(t.Context()); !errors.Is(err, capture.ErrLost) {
			t.Fatalf("Run: %v", err)
		}
		if _, err := v.Next(t.Context()); !errors.Is(err, capture.ErrLost) {
			t.Fatalf("Next: %v", err)
		}
	})
}

type lostScreen struct{}

func (lostScreen) Close() {}
func (lostScreen) Next(context.Context) (capture.Update, error) {
	return capture.Update{}, capture.ErrLost
}
