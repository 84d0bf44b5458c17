// Package screen captures the desktop with github.com/kbinani/screenshot: slow
// and without a cursor, but it works on many systems. It is the fallback where
// no faster source does.
package screen

import (
	"context"
	"errors"
	"fmt"
	"image"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kbinani/screenshot"

	"deskwhep/capture"
)

// Options say how the screen is captured.
type Options struct {
	FPS float64 // how often the screen is looked at

	// Check, if not nil, is asked at Open and once a second whether the display
	// can be captured: the library captures a display of another depth than 24
	// or 32 as garbage, without an error.
	Check func(context.Context) error
}

// answer is how long a capture may take before the display counts as lost.
const answer = 5 * time.Second

// turn serialises the library, whose connections share global maps. Capacity 1.
var turn = make(chan struct{}, 1)

// Source captures all displays as one picture.
type Source struct {
	every   time.Duration
	check   func(context.Context) error
	refresh chan struct{}
	closed  chan struct{}
	close   sync.Once
	size    atomic.Pointer[image.Point]
	pool    sync.Pool

	// Owned by Next.
	next    time.Time
	checked time.Time
	last    *capture.Frame // retained, to compare with
}

// Open looks for a display and captures nothing yet. It fails with
// capture.ErrNoDisplay when there is none.
func Open(ctx context.Context, o Options) (*Source, error) {
	s := &Source{
		every:   time.Duration(float64(time.Second) / o.FPS),
		check:   o.Check,
		refresh: make(chan struct{}, 1),
		closed:  make(chan struct{}),
	}
	s.size.Store(&image.Point{})
	s.pool.New = func() any {
		return capture.NewFrame(func(f *capture.Frame) { f.Pix = nil; s.pool.Put(f) })
	}
	if err := s.verify(ctx); err != nil {
		return nil, err
	}
	if _, err := s.ask(ctx, func() (*image.RGBA, error) { _, err := bounds(); return nil, err }); err != nil {
		return nil, err
	}
	return s, nil
}

// Next implements capture.Source: it looks at the screen at each interval until
// it has changed.
func (s *Source) Next(ctx context.Context) (*capture.Frame, error) {
	for {
		asked, err := s.wait(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.verify(ctx); err != nil {
			return nil, err
		}
		begun := time.Now()
		img, err := s.ask(ctx, grab)
		if err != nil {
			return nil, err
		}
		f := s.pool.Get().(*capture.Frame)
		f.Pix, f.Stride, f.Size, f.Format = img.Pix, img.Stride, img.Rect.Size(), capture.RGBX
		f.Captured, f.Painted = begun, time.Time{}
		f.Damage = capture.Diff(s.last, f)
		f.Lend()
		if f.Damage.Empty() && !asked {
			f.Release()
			continue
		}
		s.size.Store(&f.Size)
		if s.last != nil {
			s.last.Release()
		}
		s.last = f
		f.Retain()
		return f, nil
	}
}

// wait waits for the next look at the screen, and reports whether it was asked
// for by Refresh.
func (s *Source) wait(ctx context.Context) (asked bool, err error) {
	due := time.NewTimer(time.Until(s.next))
	defer due.Stop()
	select {
	case <-due.C:
	case <-s.refresh:
		asked = true
	case <-s.closed:
		return false, capture.ErrClosed
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	s.next = time.Now().Add(s.every)
	return asked, nil
}

func (s *Source) verify(ctx context.Context) error {
	if s.check == nil || time.Since(s.checked) < time.Second {
		return nil
	}
	s.checked = time.Now()
	return s.check(ctx)
}

// ask calls the library, one call at a time in the process. A call that does
// not return keeps its turn, so that later ones fail instead of piling up.
func (s *Source) ask(ctx context.Context, call func() (*image.RGBA, error)) (*image.RGBA, error) {
	late := time.NewTimer(answer)
	defer late.Stop()
	select {
	case turn <- struct{}{}:
	case <-late.C:
		return nil, fmt.Errorf("an earlier capture has not returned for %v: %w", answer, capture.ErrLost)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	type result struct {
		img *image.RGBA
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-turn }()
		img, err := call()
		done <- result{img, err}
	}()
	select {
	case r := <-done:
		return r.img, r.err
	case <-late.C:
		return nil, fmt.Errorf("the display has not answered for %v: %w", answer, capture.ErrLost)
	case <-s.closed:
		return nil, capture.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func grab() (*image.RGBA, error) {
	area, err := bounds()
	if err != nil {
		return nil, err
	}
	img, err := screenshot.CaptureRect(area)
	switch {
	case errors.Is(err, screenshot.ErrUnsupported):
		return nil, fmt.Errorf("capture the screen: %w", capture.ErrUnsupported)
	case err != nil:
		return nil, fmt.Errorf("capture the screen: %w: %w", capture.ErrLost, err)
	case img.Rect.Size() != area.Size():
		return nil, fmt.Errorf("capture the screen: got %v of %v: %w", img.Rect.Size(), area.Size(), capture.ErrLost)
	}
	return img, nil
}

// bounds is the rectangle around all displays.
func bounds() (area image.Rectangle, err error) {
	for i := range screenshot.NumActiveDisplays() {
		area = area.Union(screenshot.GetDisplayBounds(i))
	}
	if area.Empty() {
		return area, fmt.Errorf("find the displays: %w", capture.ErrNoDisplay)
	}
	return area, nil
}

// Refresh implements capture.Source.
func (s *Source) Refresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

// Info implements capture.Source.
func (s *Source) Info() capture.Info {
	return capture.Info{Backend: "screen", Target: "desktop", Size: *s.size.Load(), Scale: 1,
		Cursor: capture.CursorHidden, Notice: "this way of capturing does not show the mouse cursor"}
}

// Close implements capture.Source.
func (s *Source) Close() error {
	s.close.Do(func() { close(s.closed) })
	return nil
}
