// Package card is the test card: a source that needs no display. It moves, tells
// the time to people and to machines, and says why it is shown.
package card

import (
	"context"
	"image"
	"sync/atomic"
	"time"

	"deskwhep/capture"
)

// DefaultSize is the card's size when none is asked for.
var DefaultSize = image.Pt(1280, 720)

// Options say how the card looks.
type Options struct {
	Size   image.Point   // pixels; zero for DefaultSize
	FPS    float64       // frames per second; zero for 30
	Reason func() string // why it is shown; asked at each frame
}

// buffers is how many frames may be lent at once.
const buffers = 3

// Card is a capture.Source.
type Card struct {
	size    image.Point
	every   time.Duration
	reason  func() string
	free    chan *canvas // capacity buffers, never closed
	closed  chan struct{}
	ended   atomic.Bool
	refresh chan struct{}

	// Owned by Next.
	next    time.Time
	count   uint16
	painter painter
}

// New makes a card.
func New(o Options) *Card {
	if o.Size == (image.Point{}) {
		o.Size = DefaultSize
	}
	if o.FPS == 0 {
		o.FPS = 30
	}
	c := &Card{
		size:    o.Size,
		every:   time.Duration(float64(time.Second) / o.FPS),
		reason:  o.Reason,
		free:    make(chan *canvas, buffers),
		closed:  make(chan struct{}),
		refresh: make(chan struct{}, 1),
		painter: newPainter(o.Size),
	}
	for range buffers {
		c.free <- newCanvas(o.Size, c.free)
	}
	return c
}

// Next implements capture.Source: a new picture each interval.
func (c *Card) Next(ctx context.Context) (*capture.Frame, error) {
	due := time.NewTimer(time.Until(c.next))
	defer due.Stop()
	select {
	case <-due.C:
	case <-c.refresh:
	case <-c.closed:
		return nil, capture.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.ended.Load() {
		return nil, capture.ErrClosed
	}
	select {
	case cv := <-c.free:
		now := time.Now()
		c.next = now.Add(c.every)
		c.count++
		return c.painter.paint(cv, now, c.count, c.reason()), nil
	case <-c.closed:
		return nil, capture.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Refresh implements capture.Source.
func (c *Card) Refresh() {
	select {
	case c.refresh <- struct{}{}:
	default:
	}
}

// Info implements capture.Source.
func (c *Card) Info() capture.Info {
	return capture.Info{Backend: "card", Target: "test card", Size: c.size, Scale: 1,
		DamageEvents: true, Cursor: capture.CursorHidden}
}

// Close implements capture.Source.
func (c *Card) Close() error {
	if !c.ended.Swap(true) {
		close(c.closed)
	}
	return nil
}
