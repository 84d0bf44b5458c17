package x11

import (
	"fmt"
	"image"
	"time"

	"deskwhep/capture"
)

// subscribe asks for the events that a capture needs: of sizes, of damage, and
// of the pointer if it is drawn. It comes before any question about sizes, so
// that no change is missed.
func (s *Source) subscribe() error {
	c := s.conn
	from := c.root
	const eventMask, redirectAutomatic, screenChange, crtcChange = 1 << 11, 0, 1, 2
	if w := s.opt.Target.Window; w != 0 {
		if c.ext[extComposite].opcode == 0 {
			return fmt.Errorf("capture a window: the X server has no Composite extension: %w", capture.ErrUnsupported)
		}
		from = w
		c.put(c.ext[extComposite].opcode, compositeRedirectWindow, w, redirectAutomatic)
	} else if c.ext[extRandr].opcode != 0 {
		c.randr(randrSelectInput, c.root, screenChange|crtcChange)
	}
	// Also for the root: a made-up monitor (xrandr --setmonitor) is told of by
	// nothing else.
	c.put(opChangeWindowAttributes, 0, from, eventMask, structureNotify)
	if c.ext[extDamage].opcode != 0 && c.ext[extFixes].opcode != 0 {
		s.damage = c.id()
		c.damage(damageCreate, s.damage, from, damageBoundingBox)
		s.news, s.scratch = c.createRegion(), c.createRegion()
		s.info.DamageEvents = true
	}
	if s.opt.Cursor == capture.CursorEmbedded {
		s.subscribePointer()
	}
	err := c.check()
	if s.opt.Target.Window != 0 && isX(err, badWindow, badDrawable) {
		return fmt.Errorf("window %#x: %w: %w", s.opt.Target.Window, capture.ErrGone, err)
	}
	return err
}

// unsubscribeDamage lets pictures be compared from now on.
func (s *Source) unsubscribeDamage() {
	c := s.conn
	c.damage(damageDestroy, s.damage)
	if s.gc != 0 {
		c.fixes(fixesSetGCClipRegion, s.gc, 0, 0)
	}
	s.damage = 0
}

// event takes one event; the slice is not kept.
func (s *Source) event(m []byte) {
	c := s.conn
	is := func(ext int, code byte) bool { return c.ext[ext].opcode != 0 && m[0]&0x7f == c.ext[ext].event+code }
	const damageNotify, screenChangeNotify, randrNotify, cursorNotify = 0, 0, 1, 1
	switch {
	case m[0]&0x7f == evGeneric:
		s.pointer.moved = true // nothing else is asked for
	case is(extDamage, damageNotify):
		s.damageEvent(m)
	case is(extFixes, cursorNotify):
		s.pointer.moved, s.pointer.stale = true, true
	case is(extRandr, screenChangeNotify), is(extRandr, randrNotify):
		s.changed = time.Now()
	default:
		s.structureEvent(m)
	}
}

// damageEvent takes a DamageNotify.
func (s *Source) damageEvent(m []byte) {
	if s.damage == 0 || int16(le.Uint16(m[2:])-s.subtracted) < 0 {
		return // captured already
	}
	box := rectangle(m[16:]).Sub(s.origin).Intersect(image.Rectangle{Max: s.size})
	if box.Empty() {
		return // outside; damage inside makes the box grow, of which there is an event
	}
	s.box = s.box.Union(box)
	if s.damaged {
		return
	}
	s.damaged = true
	now := time.Now()
	late, since := s.clock.read(le.Uint32(m[12:]), now)
	if s.painted = now; s.conn.local {
		s.painted = now.Add(-late)
	}
	s.settling.painted(since)
}

// serverClock compares the server's milliseconds with our time. The two run
// alike only on one machine.
type serverClock struct {
	stamp uint32
	now   time.Time
	late  time.Duration
}

// read is how much later an event arrived than the promptest did, to the
// millisecond, and how long after the event before it was made. Events wait in
// the socket while Next is not called.
func (k *serverClock) read(stamp uint32, now time.Time) (late, since time.Duration) {
	since = time.Duration(stamp-k.stamp) * time.Millisecond
	if !k.now.IsZero() {
		k.late = max(0, k.late+now.Sub(k.now)-since)
	}
	k.stamp, k.now = stamp, now
	return max(0, k.late-time.Millisecond), since
}

// structureEvent takes events of the core protocol about the root or window.
func (s *Source) structureEvent(m []byte) {
	window := s.opt.Target.Window
	about := le.Uint32(m[8:])
	switch code := m[0] & 0x7f; {
	case window == 0:
		if code == evConfigureNotify && about == s.conn.root {
			s.changed = time.Now()
		}
	case about != window:
	case code == evConfigureNotify:
		size := image.Pt(int(le.Uint16(m[20:])), int(le.Uint16(m[22:])))
		if border := int(le.Uint16(m[24:])); size != s.outer || border != s.at.X {
			s.outer = size
			s.changed = time.Now()
		}
	case code == evMapNotify:
		s.unmapped = false
		s.changed = time.Now()
	case code == evUnmapNotify:
		s.unmapped = true
	case code == evDestroyNotify:
		s.gone = true
	}
}

// configure finds out where the target is now, and makes what depends on it.
// Everything is damaged after it. A window that is not shown keeps its last
// picture.
func (s *Source) configure() error {
	first := s.drawable == 0
	s.changed = time.Time{}
	at, name, err := s.locate()
	if err != nil {
		if !first && isX(err, badMatch) {
			s.unmapped = true
			return nil
		}
		return err
	}
	again := at.size != s.size || at.depth != s.depth
	if s.place = at; again {
		if err := s.retireBuffers(); err != nil {
			return err
		}
		if err := s.makeBuffers(); err != nil {
			return err
		}
	}
	for _, b := range s.buffers {
		b.missing = capture.Everywhere()
		if b.region != 0 {
			s.conn.setRegion(b.region, image.Rectangle{s.origin, s.origin.Add(s.size)})
		}
	}
	s.whole = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.Size, s.info.Target = s.size, name
	return nil
}

// locate finds the target, and its name for people.
func (s *Source) locate() (p place, name string, err error) {
	c := s.conn
	t := s.opt.Target
	if t.Window != 0 {
		p, err = s.locateWindow()
		return p, fmt.Sprintf("window %#x", t.Window), err
	}
	m, err := c.reply(c.put(opGetGeometry, 0, c.root))
	if err != nil {
		return p, "", err
	}
	c.size = image.Pt(int(le.Uint16(m[16:])), int(le.Uint16(m[18:])))
	bounds, screen := image.Rectangle{Max: c.size}, image.Rectangle{Max: c.size}
	name = "desktop"
	switch {
	case t.Monitor != "":
		list, err := c.monitors()
		if err != nil {
			return p, "", err
		}
		m, err := find(list, t.Monitor)
		if err != nil {
			return p, "", err
		}
		bounds, name = m.Bounds.Intersect(screen), "monitor "+m.Name
	case t.Region != image.Rectangle{}:
		if s.drawable == 0 && !t.Region.In(screen) {
			return p, "", fmt.Errorf("%v does not lie on the screen of %dx%d pixels: %w", t, c.size.X, c.size.Y, capture.ErrUnsupported)
		}
		bounds, name = t.Region.Intersect(screen), t.String()
	}
	if bounds.Empty() {
		return p, "", fmt.Errorf("%v is no longer on the screen: %w", t, capture.ErrGone)
	}
	return place{drawable: c.root, at: bounds.Min, origin: bounds.Min, size: bounds.Size(), depth: c.depth}, name, nil
}

// locateWindow names the window's picture anew: after a change of size the old
// one keeps answering with the old pixels. The error is BadMatch if the window
// is not shown.
func (s *Source) locateWindow() (p place, err error) {
	c := s.conn
	w := s.opt.Target.Window
	defer func() {
		if isX(err, badWindow, badDrawable) {
			err = fmt.Errorf("window %#x: %w: %w", w, capture.ErrGone, err)
		}
	}()
	m, err := c.reply(c.put(opGetWindowAttributes, 0, w))
	if err != nil {
		return p, err
	}
	const inputOnly, viewable = 2, 2
	if le.Uint16(m[12:]) == inputOnly {
		return p, fmt.Errorf("window %#x has no picture, it is for input only: %w", w, capture.ErrUnsupported)
	}
	if m[26] != viewable && s.drawable == 0 {
		return p, fmt.Errorf("window %#x is not shown, there is nothing to capture yet: %w", w, capture.ErrGone)
	}
	if m, err = c.reply(c.put(opGetGeometry, 0, w)); err != nil {
		return p, err
	}
	if p.depth = m[1]; p.depth != 24 && p.depth != 32 {
		return p, fmt.Errorf("window %#x has a depth of %d bits, only 24 and 32 can be captured: %w", w, p.depth, capture.ErrUnsupported)
	}
	border := int(le.Uint16(m[20:]))
	p.at = image.Pt(border, border) // the border is part of the picture
	p.drawable = c.id()
	c.put(c.ext[extComposite].opcode, compositeNameWindowPixmap, w, p.drawable)
	if err := c.check(); err != nil {
		c.idFree = append(c.idFree, p.drawable)
		return p, err
	}
	if s.drawable != 0 {
		c.put(opFreePixmap, 0, s.drawable)
		c.idFree = append(c.idFree, s.drawable)
	}
	if m, err = c.reply(c.put(opGetGeometry, 0, p.drawable)); err != nil {
		return p, err
	}
	s.outer = image.Pt(int(le.Uint16(m[16:])), int(le.Uint16(m[18:]))).Sub(p.at.Mul(2))
	p.size = s.outer
	return p, nil
}
