package capture

import (
	"context"
	"errors"
	"image"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// painted is a source that lends a frame for each call of paint, and fails when
// told to.
type painted struct {
	frames  chan image.Rectangle
	fails   chan error
	refresh chan struct{}
	closed  chan struct{}
	size    image.Point
	lent    atomic.Int32
}

func newPainted() *painted {
	return &painted{frames: make(chan image.Rectangle, 100), fails: make(chan error, 1), refresh: make(chan struct{}, 1),
		closed: make(chan struct{}), size: image.Pt(100, 100)}
}

func (p *painted) Next(ctx context.Context) (*Frame, error) {
	f := NewFrame(func(*Frame) { p.lent.Add(-1) })
	f.Size, f.Pix, f.Stride, f.Format = p.size, make([]byte, 400*p.size.Y), 4*p.size.X, BGRX
	select {
	case r := <-p.frames:
		f.Damage.Add(r)
	case <-p.refresh:
	case err := <-p.fails:
		return nil, err
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f.Captured = time.Now()
	f.Lend()
	p.lent.Add(1)
	return f, nil
}

func (p *painted) Refresh() {
	select {
	case p.refresh <- struct{}{}:
	default:
	}
}

func (p *painted) Info() Info   { return Info{Backend: "painted", Size: p.size} }
func (p *painted) Close() error { close(p.closed); return nil }

// stage is a feed with the sources that it has opened.
type stage struct {
	*Feed
	opened chan *painted
	cards  chan *painted
	reason func() string
	broken atomic.Pointer[error]
}

// paced is a painted source that keeps a pace by itself.
type paced struct {
	*painted
	notBefore time.Time
}

func (p *paced) Next(ctx context.Context) (*Frame, error) {
	time.Sleep(time.Until(p.notBefore))
	return p.painted.Next(ctx)
}

func (p *paced) Pace(notBefore time.Time) { p.notBefore = notBefore }

func startFeed(t *testing.T) *stage { return startFeedOf(t, func(p *painted) Source { return p }) }

// startFeedOf makes each source of a painted one.
func startFeedOf(t *testing.T, of func(*painted) Source) *stage {
	s := &stage{opened: make(chan *painted, 10), cards: make(chan *painted, 10)}
	s.Feed = NewFeed(FeedConfig{
		Open: func(context.Context) (Source, error) {
			if err := s.broken.Load(); err != nil {
				return nil, *err
			}
			p := newPainted()
			p.frames <- image.Rect(0, 0, 1, 1)
			s.opened <- p
			return of(p), nil
		},
		Card: func(_ image.Point, reason func() string) Source {
			s.reason = reason
			p := newPainted()
			p.size = image.Pt(50, 50)
			p.frames <- image.Rect(0, 0, 1, 1)
			s.cards <- p
			return p
		},
		FPS: 10, Linger: time.Minute, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func next(t *testing.T, tap *Tap) Update {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // of the bubble's clock
	defer cancel()
	u, err := tap.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestSlowWatcher sees the newest frame with the damage of all that it missed;
// the replaced frames have gone back.
func TestSlowWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startFeed(t)
		tap := s.Watch()
		defer tap.Close()
		u := next(t, tap)
		if !u.Damage.Full() {
			t.Error("the first update is not the whole picture")
		}
		u.Frame.Release()
		src := <-s.opened
		for i := range 5 {
			src.frames <- image.Rect(10*i, 0, 10*i+5, 5)
			time.Sleep(time.Second)
			synctest.Wait()
			if n := src.lent.Load(); n != 1 {
				t.Errorf("%d frames are lent while nobody takes them", n)
			}
		}
		u = next(t, tap)
		defer u.Frame.Release()
		if got := u.Damage.Bounds(u.Frame.Size); got != image.Rect(0, 0, 45, 5) {
			t.Errorf("damage %v", got)
		}
	})
}

// TestLateWatcher joins a screen that stands still and gets the whole picture at
// once; the first watcher is not bothered.
func TestLateWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startFeed(t)
		first := s.Watch()
		defer first.Close()
		next(t, first).Frame.Release()
		time.Sleep(time.Hour / 2)
		late := s.Watch()
		defer late.Close()
		u := next(t, late)
		u.Frame.Release()
		if !u.Damage.Full() {
			t.Error("the late watcher does not get the whole picture")
		}
		synctest.Wait()
		if u, ok := first.take(); ok {
			t.Errorf("the first watcher got %v", u.Damage)
		}
		if len(s.opened) != 1 {
			t.Errorf("%d sources", len(s.opened))
		}
	})
}

// TestNobodyWatches: the source lives for the linger and not longer, and comes
// again with the next watcher.
func TestNobodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startFeed(t)
		synctest.Wait()
		if len(s.opened) != 0 {
			t.Error("a source was opened for nobody")
		}
		tap := s.Watch()
		next(t, tap).Frame.Release()
		src := <-s.opened
		tap.Close()
		time.Sleep(30 * time.Second)
		again := s.Watch()
		next(t, again).Frame.Release()
		if len(s.opened) != 0 {
			t.Error("the source did not outlive a short break")
		}
		again.Close()
		time.Sleep(2 * time.Minute)
		select {
		case <-src.closed:
		default:
			t.Error("the source is open though nobody watches")
		}
		if src.lent.Load() != 0 {
			t.Error("a frame was not given back")
		}
		third := s.Watch()
		defer third.Close()
		next(t, third).Frame.Release()
		if len(s.opened) != 1 {
			t.Error("no new source for a new watcher")
		}
	})
}

// TestDisplayIsLost: the watcher sees the card with the reason, and the screen
// again, whole, when it is back.
func TestDisplayIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startFeed(t)
		tap := s.Watch()
		defer tap.Close()
		next(t, tap).Frame.Release()
		src := <-s.opened
		gone := errors.New("somebody pulled the plug")
		s.broken.Store(&gone)
		src.fails <- ErrLost
		u := next(t, tap)
		u.Frame.Release()
		if u.Frame.Size != image.Pt(50, 50) || !u.Damage.Full() {
			t.Errorf("no card but %v", u.Frame.Size)
		}
		time.Sleep(20 * time.Second)
		if got := s.reason(); got != gone.Error() {
			t.Errorf("the card says %q", got)
		}
		s.broken.Store(nil)
		u = next(t, tap)
		u.Frame.Release()
		if u.Frame.Size != image.Pt(100, 100) || !u.Damage.Full() {
			t.Errorf("the screen is not back: %v", u.Frame.Size)
		}
		card := <-s.cards
		select {
		case <-card.closed:
		default:
			t.Error("the card is still painted")
		}
		if s.Status().Trouble != "" {
			t.Errorf("trouble: %s", s.Status().Trouble)
		}
	})
}

// TestFeedIsPaced: a screen that changes all the time gives frames at the rate,
// whoever keeps the pace.
func TestFeedIsPaced(t *testing.T) {
	t.Run("the feed", func(t *testing.T) { testPace(t, func(p *painted) Source { return p }) })
	t.Run("the source", func(t *testing.T) { testPace(t, func(p *painted) Source { return &paced{painted: p} }) })
}

func testPace(t *testing.T, of func(*painted) Source) {
	synctest.Test(t, func(t *testing.T) {
		s := startFeedOf(t, of)
		tap := s.Watch()
		defer tap.Close()
		next(t, tap).Frame.Release()
		src := <-s.opened
		ctx, cancel := context.WithCancel(t.Context())
		painting := make(chan struct{})
		go func() {
			defer close(painting)
			for ctx.Err() == nil {
				select {
				case src.frames <- image.Rect(0, 0, 5, 5):
				case <-ctx.Done():
				}
			}
		}()
		begun := time.Now()
		const n = 100
		for range n {
			next(t, tap).Frame.Release()
		}
		if rate := n / time.Since(begun).Seconds(); rate < 9.5 || rate > 10.5 {
			t.Errorf("%.1f frames per second, asked for 10", rate)
		}
		cancel()
		<-painting
	})
}

// slow is a source of content at a steady rate that takes long to read.
type slow struct {
	*painted
	every, takes time.Duration
	began        time.Time
	seen         int
}

func (s *slow) Next(context.Context) (*Frame, error) {
	n := int(time.Since(s.began) / s.every)
	if n == s.seen {
		n++
		time.Sleep(time.Until(s.began.Add(time.Duration(n) * s.every)))
	}
	s.seen = n
	f := NewFrame(func(*Frame) {})
	f.Size, f.Damage, f.Painted = s.size, Everywhere(), s.began.Add(time.Duration(n)*s.every)
	time.Sleep(s.takes)
	f.Captured = time.Now()
	f.Lend()
	return f, nil
}

// TestSlowSource reads content of the feed's rate: the time that reading takes
// does not add to the pause between two frames, so that none waits and none is
// lost.
func TestSlowSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &slow{painted: newPainted(), every: time.Second / 10, takes: time.Second / 25, began: time.Now()}
		feed := NewFeed(FeedConfig{FPS: 10, Log: slog.New(slog.DiscardHandler), Open: func(context.Context) (Source, error) { return src, nil }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- feed.Run(ctx) }()
		tap := feed.Watch()
		defer func() { tap.Close(); cancel(); <-done }()
		var last time.Time
		for i := range 50 {
			u := next(t, tap)
			painted := u.Frame.Painted
			u.Frame.Release()
			if age := time.Since(painted); i > 1 && age > src.takes {
				t.Fatalf("frame %d is %v old", i, age)
			}
			if i > 0 && painted != last.Add(src.every) {
				t.Fatalf("frame %d is %v after the one before", i, painted.Sub(last))
			}
			last = painted
		}
	})
}
