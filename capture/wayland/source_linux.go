package wayland

import (
	"context"
	"fmt"
	"image"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"deskwhep/capture"
	"deskwhep/capture/socket"
)

const nBuffers = 3

// Source captures an output. It implements capture.Source.
type Source struct {
	// Static after Open.
	conn    *conn
	opt     Options
	shm     uint32
	manager uint32
	output  *output

	turn sync.Mutex // Next's; Close takes it to let Next end

	// Owned by Next.
	flight   flight
	layout   layout
	buffers  [nBuffers]*buffer
	newest   *buffer // what the newest frame lies in; nil if there is none of this layout
	failures int
	retry    time.Time

	refresh atomic.Bool

	mu      sync.Mutex // guards what follows, and loans and retired of each buffer
	info    capture.Info
	starved bool // Next waits for a buffer
}

var _ capture.Source = (*Source)(nil)

// flight is a frame that was asked of the compositor; object 0: none is.
type flight struct {
	object  uint32
	offer   layout
	offered bool // all that a buffer must be is known
	into    *buffer
	flip    bool
	damage  capture.Damage
	painted time.Time
	ready   bool
	failed  bool
}

// layout is what the compositor demands of a buffer.
type layout struct {
	format        uint32
	width, height int
	stride        int
}

// Open connects to a compositor. The errors wrap capture.ErrNoDisplay,
// ErrPermission, ErrUnsupported, ErrGone (no such output) or ErrLost.
func Open(ctx context.Context, o Options) (*Source, error) {
	if o.Cursor != capture.CursorEmbedded {
		o.Cursor = capture.CursorHidden
	}
	c, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	c.Watch(ctx)
	s := &Source{conn: c, opt: o}
	if err := s.start(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("capture Wayland: %w", err)
	}
	c.Watch(context.Background())
	return s, nil
}

func (s *Source) start(ctx context.Context) error {
	r, err := discover(ctx, s.conn)
	if err != nil {
		return err
	}
	shm, haveShm := r.find("wl_shm")
	manager, haveManager := r.find("zwlr_screencopy_manager_v1")
	if !haveManager || !haveShm || manager.version < 3 { // 3: buffer_done
		return fmt.Errorf("the compositor does not offer zwlr_screencopy_manager_v1 version 3 with wl_shm (GNOME, KDE and Weston do not): "+
			"use a wlroots compositor such as sway or labwc, or an X11 session with --source x11: %w", capture.ErrUnsupported)
	}
	if s.output, err = r.choose(s.opt.Output); err != nil {
		return err
	}
	s.shm = s.conn.bind(r.id, shm, 1)
	s.manager = s.conn.bind(r.id, manager, 3)
	s.conn.event = func(object uint32, op uint16, args []byte) {
		switch {
		case object == s.flight.object:
			s.flight.event(op, args)
		case object == r.id || object == s.output.id:
			r.event(object, op, args)
		}
	}
	s.info = capture.Info{Backend: "wayland", Target: "output " + s.output.Name, Size: s.output.Size,
		Scale: s.output.Scale, DamageEvents: true, Cursor: s.opt.Cursor}
	if s.output.rotated {
		s.info.Notice = "The output is rotated; the picture is not."
	}
	return nil
}

// Next implements capture.Source. The compositor answers when the output has
// changed; a still one costs nothing.
func (s *Source) Next(ctx context.Context) (*capture.Frame, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.conn.Watch(ctx)
	for {
		err := ctx.Err()
		var f *capture.Frame
		if err == nil {
			f, err = s.step()
		}
		if s.conn.Closed() {
			if f != nil {
				f.Release()
			}
			err = capture.ErrClosed
		}
		if err != nil && err != socket.ErrWoken {
			return nil, fmt.Errorf("capture Wayland output %s: %w", s.output.Name, err)
		}
		if f != nil && err == nil {
			return f, nil
		}
	}
}

// step brings the frame in flight one step further, which may end it.
func (s *Source) step() (*capture.Frame, error) {
	c, f := s.conn, &s.flight
	switch now := time.Now(); {
	case s.output.gone:
		return nil, fmt.Errorf("it was removed: %w", capture.ErrGone)
	case s.refresh.Load() && s.newest != nil:
		s.refresh.Store(false)
		return s.again(), nil
	case now.Before(s.retry):
		return nil, c.wait(s.retry)
	case f.object == 0:
		*f = flight{object: c.id()}
		overlay := uint32(0)
		if s.opt.Cursor == capture.CursorEmbedded {
			overlay = 1
		}
		c.put(s.manager, managerCaptureOutput, f.object, overlay, s.output.id)
	case f.failed:
		return nil, s.fail(now)
	case f.ready:
		return s.land(), nil
	case f.offered && f.into == nil:
		return nil, s.copyInto(f)
	}
	return nil, c.wait(time.Time{})
}

// copyInto gives the frame in flight a buffer, as soon as one is there.
func (s *Source) copyInto(f *flight) error {
	if f.offer != s.layout {
		s.retireBuffers()
		if err := s.makeBuffers(f.offer); err != nil {
			return err
		}
	}
	if f.into = s.idle(); f.into == nil {
		return s.conn.wait(time.Time{})
	}
	copy := uint16(frameCopyWithDamage)
	if s.newest == nil {
		copy = frameCopy // now, and not when something changes
	}
	s.conn.put(f.object, copy, f.into.object)
	return nil
}

// land ends the flight and lends its frame.
func (s *Source) land() *capture.Frame {
	f := &s.flight
	s.conn.put(f.object, frameDestroy)
	frame := f.into.frame
	frame.Captured, frame.Painted, frame.Damage = time.Now(), f.painted, f.damage
	if s.newest == nil || s.failures > 0 { // a failed frame took its damage with it
		frame.Damage = capture.Everywhere()
	}
	if f.flip {
		flip(frame.Pix, frame.Stride)
	}
	s.newest, s.failures = f.into, 0
	f.object = 0
	s.refresh.Store(false)
	s.lend(s.newest)
	return frame
}

// again lends the newest frame once more: until the compositor tells of a
// change it is the screen.
func (s *Source) again() *capture.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.newest
	f := s.newFrame(b) // the buffer's own may be lent still
	f.Pix, f.Captured = b.frame.Pix, b.frame.Captured
	b.loans++
	f.Lend()
	return f
}

// fail gives a frame up that the compositor could not make, as while an output
// changes its mode, and tries again soon, but not for ever.
func (s *Source) fail(now time.Time) error {
	s.conn.put(s.flight.object, frameDestroy)
	s.flight.object = 0
	s.retry = now.Add(100 * time.Millisecond)
	if s.failures++; s.failures > 20 {
		return fmt.Errorf("the compositor makes no pictures of it any more: %w", capture.ErrGone)
	}
	return nil
}

// event takes an event of the frame in flight.
func (f *flight) event(op uint16, args []byte) {
	word := func(i int) uint32 {
		if len(args) < 4*i+4 {
			return 0
		}
		return ne.Uint32(args[4*i:])
	}
	switch op {
	case evFrameBuffer:
		f.offer = layout{word(0), int(word(1)), int(word(2)), int(word(3))}
	case evFrameBufferDone:
		f.offered = true
	case evFrameFlags:
		const yInvert = 1
		f.flip = word(0)&yInvert != 0
	case evFrameDamage:
		at := image.Pt(int(word(0)), int(word(1)))
		f.damage.Add(image.Rectangle{at, at.Add(image.Pt(int(word(2)), int(word(3))))})
	case evFrameReady:
		f.ready = true
		stamp := time.Duration(uint64(word(0))<<32|uint64(word(1)))*time.Second + time.Duration(word(2))
		var now unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
			if age := time.Duration(now.Nano()) - stamp; age >= 0 && age < time.Second {
				f.painted = time.Now().Add(-age)
			}
		}
	case evFrameFailed:
		f.failed = true
	}
}

// flip turns a picture of rows upside down.
func flip(pix []byte, stride int) {
	row := make([]byte, stride)
	for top, bottom := 0, len(pix)-stride; top < bottom; top, bottom = top+stride, bottom-stride {
		copy(row, pix[top:])
		copy(pix[top:top+stride], pix[bottom:bottom+stride])
		copy(pix[bottom:], row)
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

// Close implements capture.Source.
func (s *Source) Close() error {
	s.conn.HangUp()
	s.turn.Lock()
	defer s.turn.Unlock()
	s.conn.Close()
	s.retireBuffers()
	return nil
}

// global is what a compositor offers.
type global struct {
	name    uint32
	iface   string
	version uint32
}

// output is a global of that kind.
type output struct {
	Output
	id, name uint32
	rotated  bool
	gone     bool
}

// registry is what the compositor offers, kept up to date.
type registry struct {
	id      uint32
	globals []global
	outputs []*output
	synced  uint32 // the callback that came last
}

// discover asks for all globals, and what the outputs are.
func discover(ctx context.Context, c *conn) (*registry, error) {
	r := &registry{id: c.id()}
	c.event = r.event
	c.put(display, displayGetRegistry, r.id)
	if err := r.sync(ctx, c); err != nil {
		return nil, err
	}
	for _, g := range r.globals {
		if g.iface == "wl_output" {
			o := &output{id: c.bind(r.id, g, 4), name: g.name}
			o.Name, o.Scale = fmt.Sprintf("output-%d", len(r.outputs)), 1
			r.outputs = append(r.outputs, o)
		}
	}
	return r, r.sync(ctx, c)
}

// sync waits until the compositor has answered all so far.
func (r *registry) sync(ctx context.Context, c *conn) error {
	callback := c.id()
	c.put(display, displaySync, callback)
	for r.synced != callback {
		err := c.wait(time.Time{})
		if err == socket.ErrWoken {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *registry) event(object uint32, op uint16, args []byte) {
	if object == r.id {
		switch {
		case op == evRegistryGlobal && len(args) >= 12:
			iface := text(args[4:])
			r.globals = append(r.globals, global{ne.Uint32(args), iface, ne.Uint32(args[len(args)-4:])})
		case op == evRegistryGlobalRemove && len(args) >= 4:
			for _, o := range r.outputs {
				o.gone = o.gone || o.name == ne.Uint32(args)
			}
		}
		return
	}
	for _, o := range r.outputs {
		if o.id == object {
			o.event(op, args)
			return
		}
	}
	r.synced = object
}

func (o *output) event(op uint16, args []byte) {
	switch {
	case op == evOutputGeometry && len(args) >= 4:
		o.rotated = ne.Uint32(args[len(args)-4:]) != 0
	case op == evOutputMode && len(args) >= 16 && ne.Uint32(args)&1 != 0: // the current one
		o.Size = image.Pt(int(ne.Uint32(args[4:])), int(ne.Uint32(args[8:])))
		o.Refresh = float64(ne.Uint32(args[12:])) / 1000
	case op == evOutputScale && len(args) >= 4:
		o.Scale = float64(ne.Uint32(args))
	case op == evOutputName:
		o.Name = text(args)
	}
}

func (r *registry) find(iface string) (global, bool) {
	for _, g := range r.globals {
		if g.iface == iface {
			return g, true
		}
	}
	return global{}, false
}

// choose finds an output by its name, or else by its number.
func (r *registry) choose(name string) (*output, error) {
	var names []string
	for _, o := range r.outputs {
		if name == "" || o.Name == name {
			return o, nil
		}
		names = append(names, o.Name)
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(r.outputs) {
		return r.outputs[n], nil
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the compositor has no output: %w", capture.ErrGone)
	}
	return nil, fmt.Errorf("no output %q, there is %s: %w", name, strings.Join(names, ", "), capture.ErrGone)
}

// Outputs lists a compositor's outputs.
func Outputs(ctx context.Context, o Options) ([]Output, error) {
	c, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.Watch(ctx)
	r, err := discover(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("outputs of Wayland: %w", err)
	}
	list := make([]Output, len(r.outputs))
	for i, o := range r.outputs {
		list[i] = o.Output
	}
	return list, nil
}
