// Package capture turns a screen into a paced feed of raw frames of which only
// the newest waits.
//
// A [Source] reads one screen. A [Feed] owns a source, paces it, and hands each
// frame to everybody who watches; who is too slow sees the newest frame and the
// damage of all those that it missed. Sources live in sub-packages, one for a
// protocol: x11, wayland, screen (portable) and card (the test card).
package capture

import (
	"context"
	"errors"
	"image"
	"sync/atomic"
	"time"
)

// PixelFormat is the order of the four bytes of a pixel in memory.
type PixelFormat uint8

const (
	// BGRX is blue, green, red and a byte without meaning (0 under X11).
	BGRX PixelFormat = iota + 1
	// RGBX is red, green, blue and a byte without meaning.
	RGBX
)

// Frame is one whole picture of a screen, lent by its source: Pix and the Frame
// itself are the source's again after the last Release. Nobody but the source
// writes to it.
type Frame struct {
	Pix    []byte
	Stride int         // bytes from one row to the next; at least 4*Size.X
	Size   image.Point // physical pixels
	Format PixelFormat

	// Damage is what may differ from the frame that the source lent before.
	// The first frame of a source and the first of a new size are damaged
	// everywhere.
	Damage Damage

	Painted  time.Time // when the first damage in it was reported; zero if unknown
	Captured time.Time // when the pixels were read, with the monotonic reading

	refs    atomic.Int32
	recycle func(*Frame)
}

// NewFrame makes a frame for a source's pool. recycle is called, on whichever
// goroutine releases last, each time a lent frame has come back.
func NewFrame(recycle func(*Frame)) *Frame { return &Frame{recycle: recycle} }

// Lend begins a loan with one reference. The source calls it just before it
// hands the frame out.
func (f *Frame) Lend() { f.refs.Store(1) }

// Retain adds a reference: one more Release is due. Any goroutine.
func (f *Frame) Retain() { f.refs.Add(1) }

// Release gives a reference back; the last one gives the frame back to its
// source. Any goroutine, exactly once for Lend and for each Retain.
func (f *Frame) Release() {
	switch n := f.refs.Add(-1); {
	case n == 0:
		f.recycle(f)
	case n < 0:
		panic("capture: frame released twice")
	}
}

// Source reads one screen. Next, Refresh and Close may be called from different
// goroutines, but only one goroutine calls Next.
type Source interface {
	// Next waits until the screen differs from the last frame and lends the
	// newest picture. While all the source's buffers are lent it waits, and
	// damage adds up: there is no queue of frames. A new screen size is no
	// error: the next frame has it. The error wraps one of this package's
	// sentinels where one fits; after an error only Close may be called.
	Next(ctx context.Context) (*Frame, error)

	// Refresh makes the next Next return at once, even if nothing changed; the
	// frame's damage is what did change, which may be nothing.
	Refresh()

	// Info tells what is captured, and how, at this moment.
	Info() Info

	// Close wakes Next with ErrClosed and ends the source. Frames that are
	// still lent stay readable until they are released.
	Close() error
}

// Paced is a Source that keeps a pace by itself: it waits for damage and for the
// time at once, which costs half of a sleep and a wait.
type Paced interface {
	Source

	// Pace lets the next capture begin at notBefore at the earliest, one for
	// Refresh too. It is for the goroutine that calls Next.
	Pace(notBefore time.Time)
}

// CursorMode says what becomes of the pointer's picture.
type CursorMode string

const (
	CursorEmbedded CursorMode = "embedded" // drawn into the frames
	CursorHidden   CursorMode = "hidden"   // not in the frames
)

// Info describes a source.
type Info struct {
	Backend      string      // "x11", "screen", "wayland", "card"
	Target       string      // what is captured, in a person's words
	Size         image.Point // physical pixels of the last frame
	Scale        float64     // the desktop's scale hint; 1 if unknown; frames are never resized by it
	DamageEvents bool        // the system reports what changed; otherwise frames are compared
	Cursor       CursorMode
	Notice       string // what a viewer should know, such as a missing cursor; may be empty
}

// Errors of sources; test with errors.Is. Each is wrapped with the backend's
// own text.
var (
	ErrClosed      = errors.New("the source is closed")
	ErrNoDisplay   = errors.New("no display")
	ErrUnsupported = errors.New("not supported here")
	ErrPermission  = errors.New("no permission to capture the screen")
	ErrLost        = errors.New("the display is gone")
	ErrGone        = errors.New("the window or monitor is gone")
)
