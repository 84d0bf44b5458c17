// Package x11 captures an X11 display: damage-driven, through memory shared
// with the server, one round trip for a frame.
//
// The server tells what was painted (DAMAGE), and copies only that into pixmaps
// in shared memory (MIT-SHM), each of which keeps its own account of what it has
// not yet seen (XFIXES regions). What a server lacks is done without: images
// into shared memory, images through the socket, comparing whole pictures.
package x11

import (
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"deskwhep/capture"
)

// Options tell Open what to capture, and how.
type Options struct {
	Display    string             // [host]:number, such as :0
	Xauthority string             // file with the display's cookie; empty: connect without
	Target     Target             // the zero value is the whole desktop
	Cursor     capture.CursorMode // embedded, else hidden
	MaxFPS     float64            // how often a server without DAMAGE is polled; 0 is 30
	Settle     time.Duration      // how long large damage that comes in pieces may settle; 0 is 2 ms, negative not at all
	Verify     time.Duration      // how often a quarter of the picture is checked against a local screen; 0 is 1 s, negative never
}

const (
	debounce = 100 * time.Millisecond // a change of size comes as a burst of events, with sizes in between
	nBuffers = 3
)

// way is how pixels come into memory.
type way byte

const (
	wayPixmap way = iota // CopyArea into shared pixmaps, clipped to what changed
	wayBands             // images of whole rows, in place, into shared memory
	wayImages            // images of rectangles through the socket
)

// Source captures a display. It implements capture.Source.
type Source struct {
	// Static after Open.
	conn     *conn
	opt      Options
	way      way
	sharing  sharing
	interval time.Duration

	turn sync.Mutex // Next's; Close takes it to let Next end

	// Owned by Next.
	place
	gc         uint32
	damage     uint32 // 0: none, pictures are compared
	news       uint32 // region: what the last subtraction gave
	scratch    uint32 // region
	subtracted uint16 // number of a request: events of damage from before it tell what is captured already
	buffers    [nBuffers]*buffer
	last       *buffer // what the newest frame lies in; nil if there is none of this size
	pointer    pointer
	gone       bool        // the window was destroyed
	unmapped   bool        // the window is not shown
	outer      image.Point // the window's size, as told last
	changed    time.Time   // last event about sizes; zero if all are known
	whole      bool        // the next frame is damaged everywhere
	damaged    bool        // there is damage to capture
	box        image.Rectangle
	painted    time.Time // of the first damage
	clock      serverClock
	settling   settling
	notBefore  time.Time // when the next capture may begin
	poll       time.Time // when to look next, without damage events
	verify     time.Time // when to check next
	trust      trust
	phase      int // which rows the next check reads
	strips     []image.Rectangle

	refresh atomic.Bool

	mu      sync.Mutex // guards what follows, and lent and retired of each buffer
	info    capture.Info
	starved bool // Next waits for a buffer
}

var _ capture.Paced = (*Source)(nil)

// place is where the pixels of a frame are.
type place struct {
	drawable uint32      // to copy from
	at       image.Point // the frame's origin in drawable
	origin   image.Point // the frame's origin in the coordinates of damage and pointer
	size     image.Point
	depth    byte
}

// Open connects to a display. The errors wrap capture.ErrNoDisplay,
// ErrPermission, ErrUnsupported, ErrGone (no such window or monitor) or ErrLost.
func Open(ctx context.Context, o Options) (*Source, error) {
	if o.MaxFPS <= 0 {
		o.MaxFPS = 30
	}
	if o.Settle == 0 {
		o.Settle = 2 * time.Millisecond
	}
	if o.Verify == 0 {
		o.Verify = time.Second
	}
	if o.Cursor != capture.CursorEmbedded {
		o.Cursor = capture.CursorHidden
	}
	c, err := connect(ctx, o.Display, o.Xauthority)
	if err != nil {
		return nil, err
	}
	s := &Source{conn: c, opt: o, interval: time.Duration(float64(time.Second) / o.MaxFPS), settling: settling{rest: o.Settle}}
	c.event = s.event
	if err := s.start(); err != nil {
		s.Close()
		if errors.Is(err, errStopped) {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("display %q: %w", o.Display, err)
	}
	c.Watch(context.Background())
	return s, nil
}

func (s *Source) start() (err error) {
	c := s.conn
	if c.odd != "" {
		return fmt.Errorf("%w: %s; start the X server with depth 24", capture.ErrUnsupported, c.odd)
	}
	if s.sharing, err = c.probeSharing(); err != nil {
		return err
	}
	switch {
	case s.sharing == shareNothing:
		s.way = wayImages
	case !c.ext[extShm].pixmaps:
		s.way = wayBands
	}
	s.info = capture.Info{Backend: "x11", Target: s.opt.Target.String(), Cursor: s.opt.Cursor}
	if s.info.Scale, err = c.scale(); err != nil {
		return err
	}
	list, err := c.monitors()
	if err != nil {
		return err
	}
	for _, m := range list {
		if strings.HasPrefix(m.Name, "XWAYLAND") && s.opt.Target.Window == 0 {
			s.info.Notice = "This display is Xwayland: windows of Wayland programs are not seen, and often none at all. Capture the Wayland compositor instead."
		}
	}
	if err := s.subscribe(); err != nil {
		return err
	}
	if s.opt.Verify > 0 && c.local {
		s.verify = time.Now().Add(s.opt.Verify)
	}
	return s.configure()
}

// Next implements capture.Source. It waits on the server's socket, so that a
// still desktop costs nothing but the check every Options.Verify. After the end
// of ctx the source can still be used, unless the server did not answer either.
func (s *Source) Next(ctx context.Context) (*capture.Frame, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.conn.Watch(ctx)
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("capture display %q: %w", s.opt.Display, err)
		}
		f, err := s.step()
		if s.conn.Closed() {
			if f != nil {
				f.Release()
			}
			return nil, fmt.Errorf("capture display %q: %w", s.opt.Display, capture.ErrClosed)
		}
		if f != nil {
			return f, nil
		}
		if err == errStopped {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("capture display %q: %w", s.opt.Display, err)
		}
	}
}

// step does what is due, which may give a frame, or waits for something to do.
func (s *Source) step() (*capture.Frame, error) {
	now := time.Now()
	switch {
	case s.gone:
		return nil, fmt.Errorf("window %#x was closed: %w", s.opt.Target.Window, capture.ErrGone)
	case !s.changed.IsZero() && now.Before(s.changed.Add(debounce)):
		return nil, s.conn.wait(s.changed.Add(debounce))
	case !s.changed.IsZero():
		return nil, s.configure()
	}
	early := now.Before(s.notBefore)
	asked := s.refresh.Load() && !early
	events := s.damage != 0
	check := events && !s.verify.IsZero() && !now.Before(s.verify)
	painted := false
	switch {
	case s.whole || asked:
		check = false
	case events && (s.damaged || s.pointer.moved) && !early:
		check, painted = false, s.damaged
	case !events && !now.Before(s.poll):
	case check && !s.unmapped:
		s.verify = now.Add(s.opt.Verify)
	default:
		return nil, s.conn.wait(s.deadline())
	}
	b := s.idle(check || !events)
	switch {
	case b == nil && check: // another time
		return nil, nil
	case b == nil:
		return nil, s.conn.wait(time.Time{})
	case check:
		if differs, err := s.inspect(b); err != nil || !differs {
			return nil, err
		}
		if s.trust.lost() {
			s.distrust()
		}
	case !events:
		s.poll = now.Add(s.interval)
	case painted:
		large := 16*s.box.Dx()*s.box.Dy() > s.size.X*s.size.Y
		if wait := s.settling.wait(large, now.Sub(s.painted)); wait > 0 {
			time.Sleep(wait)
		}
	}
	return s.take(b, check, asked)
}

// deadline is until when there is nothing to do without an event.
func (s *Source) deadline() time.Time {
	switch {
	case s.damage == 0:
		return s.poll
	case s.damaged || s.pointer.moved || s.refresh.Load():
		return s.notBefore
	case s.unmapped:
		return time.Time{}
	}
	return s.verify
}

// take captures into b and lends it if it differs from the frame before, or if
// a frame was asked for in any case. doubted: all pixels are read and compared,
// whatever damage tells.
func (s *Source) take(b *buffer, doubted, asked bool) (*capture.Frame, error) {
	d := &b.frame.Damage
	d.Clear()
	b.frame.Painted = s.painted
	s.damaged, s.box, s.painted = false, image.Rectangle{}, time.Time{}
	all := s.whole || doubted || s.damage == 0
	err := s.grab(b, all)
	if !s.changed.IsZero() || s.gone { // the pixels may be of the size before
		var refused *xerror
		if errors.As(err, &refused) {
			err = nil
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	b.frame.Captured = time.Now()
	if s.whole {
		*d = capture.Everywhere()
	} else if all {
		compare(d, b, s.last)
	}
	if s.opt.Cursor == capture.CursorEmbedded {
		s.pointer.addDamage(d, s.size)
	}
	if d.Empty() && !asked {
		s.notBefore = b.frame.Captured.Add(s.interval * 8 / 10)
		return nil, nil
	}
	if s.opt.Cursor == capture.CursorEmbedded {
		b.blended = s.pointer.draw(b.frame.Pix, b.frame.Stride, s.size)
	}
	s.refresh.Store(false)
	s.whole = false
	s.last = b
	s.lend(b)
	return b.frame, nil
}

// distrust ends to rely on DAMAGE.
func (s *Source) distrust() {
	s.unsubscribeDamage()
	s.poll = time.Time{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.DamageEvents = false
	s.info.Notice = "The X server does not report all that is painted (a compositor may be in the way): whole pictures are compared instead, which costs more."
}

// Pace implements capture.Paced.
func (s *Source) Pace(notBefore time.Time) {
	s.notBefore = notBefore
	if s.poll.Before(notBefore) {
		s.poll = notBefore
	}
}

// Refresh implements capture.Source.
func (s *Source) Refresh() {
	s.refresh.Store(true)
	s.conn.Wake()
}

// Info implements capture.Source.
func (s *Source) Info() capture.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Close implements capture.Source. The server frees what is its own when the
// connection ends.
func (s *Source) Close() error {
	s.conn.HangUp()
	s.turn.Lock()
	defer s.turn.Unlock()
	s.conn.Close()
	return s.dropBuffers()
}
