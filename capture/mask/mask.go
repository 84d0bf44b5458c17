// Package mask hides parts of a screen: it paints rectangles over what another
// source captures, before anything else sees the pixels.
package mask

import (
	"context"
	"fmt"
	"image"
	"strconv"
	"strings"
	"sync"
	"time"

	"deskwhep/capture"
)

// Parse reads X,Y,W,H in pixels of the picture.
func Parse(s string) (image.Rectangle, error) {
	var at [4]int
	fields := strings.Split(s, ",")
	if len(fields) != len(at) {
		return image.Rectangle{}, fmt.Errorf("%q is not of the form X,Y,W,H", s)
	}
	for i, f := range fields {
		n, err := strconv.ParseInt(strings.TrimSpace(f), 10, 32)
		if err != nil || n < 0 || n > 1<<20 {
			return image.Rectangle{}, fmt.Errorf("%q is not four numbers of pixels", s)
		}
		at[i] = int(n)
	}
	if at[2] == 0 || at[3] == 0 {
		return image.Rectangle{}, fmt.Errorf("%q hides nothing", s)
	}
	return image.Rect(at[0], at[1], at[0]+at[2], at[1]+at[3]), nil
}

// buffers is how many frames may be lent at once.
const buffers = 3

// source copies what has changed into frames of its own, as the other source's
// are not to be written to.
type source struct {
	inner  capture.Source
	hidden []image.Rectangle
	all    [buffers]*buffer
	free   chan *buffer // never closed
	closed chan struct{}
	end    sync.Once
}

// buffer is one frame of ours. Its fields but frame are Next's.
type buffer struct {
	frame *capture.Frame
	stale capture.Damage // what its pixels do not show yet
}

// paced is a source that keeps a pace as its inner source does.
type paced struct {
	*source
	inner capture.Paced
}

// Pace implements capture.Paced.
func (p *paced) Pace(notBefore time.Time) { p.inner.Pace(notBefore) }

// New hides rectangles of what inner captures, in pixels of its frames. The
// source owns inner; it is a capture.Paced if inner is one.
func New(inner capture.Source, hidden []image.Rectangle) capture.Source {
	s := &source{inner: inner, hidden: hidden, free: make(chan *buffer, buffers), closed: make(chan struct{})}
	for i := range s.all {
		b := &buffer{stale: capture.Everywhere()}
		b.frame = capture.NewFrame(func(*capture.Frame) { s.free <- b })
		s.all[i] = b
		s.free <- b
	}
	if p, ok := inner.(capture.Paced); ok {
		return &paced{s, p}
	}
	return s
}

// Next implements capture.Source.
func (s *source) Next(ctx context.Context) (*capture.Frame, error) {
	var b *buffer
	select {
	case b = <-s.free:
	case <-s.closed:
		return nil, capture.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f, err := s.inner.Next(ctx)
	if err != nil {
		s.free <- b
		return nil, err
	}
	defer f.Release()
	for _, other := range s.all {
		other.stale.Union(&f.Damage)
	}
	out := b.frame
	if out.Size != f.Size || out.Format != f.Format {
		out.Size, out.Format, out.Stride = f.Size, f.Format, 4*f.Size.X
		out.Pix = make([]byte, out.Stride*out.Size.Y)
		b.stale = capture.Everywhere()
	}
	for _, r := range b.stale.Rects(out.Size) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			copy(out.Pix[y*out.Stride+4*r.Min.X:y*out.Stride+4*r.Max.X], f.Pix[y*f.Stride+4*r.Min.X:])
		}
	}
	b.stale.Clear()
	for _, r := range s.hidden {
		r = r.Intersect(image.Rectangle{Max: out.Size})
		for y := r.Min.Y; y < r.Max.Y; y++ {
			clear(out.Pix[y*out.Stride+4*r.Min.X : y*out.Stride+4*r.Max.X])
		}
	}
	out.Damage, out.Painted, out.Captured = f.Damage, f.Painted, f.Captured
	out.Lend()
	return out, nil
}

// Refresh implements capture.Source.
func (s *source) Refresh() { s.inner.Refresh() }

// Info implements capture.Source.
func (s *source) Info() capture.Info { return s.inner.Info() }

// Close implements capture.Source.
func (s *source) Close() error {
	s.end.Do(func() { close(s.closed) })
	return s.inner.Close()
}
