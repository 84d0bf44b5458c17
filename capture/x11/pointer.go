package x11

import (
	"errors"
	"image"

	"deskwhep/capture"
)

// pointer is what is known of the mouse pointer. The server draws it into no
// picture that it hands out.
type pointer struct {
	moved bool // or changed its shape, since the frame before
	stale bool // the shape is not the newest
	at    image.Point
	shape shape

	// In the newest frame.
	drawn  image.Rectangle
	serial uint32
}

// shape is a picture of the pointer: blue, green, red, alpha, premultiplied.
type shape struct {
	serial    uint32
	size, hot image.Point
	pix       []byte
}

// subscribePointer asks for events of motion and of shapes.
func (s *Source) subscribePointer() {
	c := s.conn
	s.pointer.shape, s.pointer.stale = arrow(), true
	if c.ext[extFixes].opcode == 0 {
		s.pointer.stale = false
		s.info.Notice = "The X server does not tell the pointer's shape (no XFIXES): an arrow is drawn."
	} else {
		const displayCursorNotify = 1
		c.fixes(fixesSelectCursorInput, c.root, displayCursorNotify)
	}
	if x := c.ext[extInput]; x.opcode != 0 {
		// A raw event tells of devices, but not of programs that set the
		// pointer; the plain one of both, unless a window below takes it.
		const allMasterDevices, motion, rawMotion = 1, 6, 17
		c.put(x.opcode, xiSelectEvents, c.root, pair(1, 0), pair(allMasterDevices, 1), 1<<motion|1<<rawMotion)
	}
}

// asked are the numbers of the requests about the pointer; 0: not asked.
type asked struct{ place, shape uint16 }

func (s *Source) askPointer() (a asked) {
	if s.opt.Cursor != capture.CursorEmbedded {
		return a
	}
	from := s.conn.root
	if s.opt.Target.Window != 0 {
		from = s.opt.Target.Window
	}
	s.pointer.moved = false
	a.place = s.conn.put(opQueryPointer, 0, from)
	if s.pointer.stale {
		s.pointer.stale = false
		a.shape = s.conn.fixes(fixesGetCursorImage)
	}
	return a
}

// readPointer takes the answers. A server refuses the shape of a client that
// has gone; the last one known stays.
func (s *Source) readPointer(a asked) error {
	if s.opt.Cursor != capture.CursorEmbedded {
		return nil
	}
	p := &s.pointer
	m, err := s.conn.reply(a.place)
	var refused *xerror
	switch {
	case err == nil:
		at := image.Pt(int(int16(le.Uint16(m[20:]))), int(int16(le.Uint16(m[22:]))))
		if p.at = at.Sub(s.origin); m[1] == 0 { // on another screen
			p.at = image.Pt(-1<<15, -1<<15)
		}
	case !errors.As(err, &refused): // refused: the window is gone, of which there is an event
		return err
	}
	if a.shape == 0 {
		return nil
	}
	m, err = s.conn.reply(a.shape)
	switch {
	case isX(err, badCursor):
		p.shape = shape{}
	case errors.As(err, &refused):
	case err != nil:
		return err
	default:
		p.shape.read(m)
	}
	return nil
}

// read takes GetCursorImage's reply.
func (c *shape) read(m []byte) {
	size := image.Pt(int(le.Uint16(m[12:])), int(le.Uint16(m[14:])))
	if n := 4 * size.X * size.Y; len(m) >= 32+n {
		c.size, c.hot = size, image.Pt(int(le.Uint16(m[16:])), int(le.Uint16(m[18:])))
		c.serial = le.Uint32(m[20:])
		c.pix = append(c.pix[:0], m[32:32+n]...)
	}
}

// rect is where the pointer lies in a frame of that size; empty if outside.
func (p *pointer) rect(size image.Point) image.Rectangle {
	at := p.at.Sub(p.shape.hot)
	return image.Rectangle{at, at.Add(p.shape.size)}.Intersect(image.Rectangle{Max: size})
}

// addDamage adds where the pointer was and where it is, if that differs.
func (p *pointer) addDamage(d *capture.Damage, size image.Point) {
	if now := p.rect(size); now != p.drawn || p.serial != p.shape.serial && !now.Empty() {
		d.Add(p.drawn)
		d.Add(now)
	}
}

// draw blends the pointer over the pixels, and tells where.
func (p *pointer) draw(pix []byte, stride int, size image.Point) image.Rectangle {
	r := p.rect(size)
	from := p.at.Sub(p.shape.hot)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		src := p.shape.pix[4*((y-from.Y)*p.shape.size.X+r.Min.X-from.X):][:4*r.Dx()]
		dst := pix[y*stride+4*r.Min.X:][:4*r.Dx()]
		for i := 0; i < len(src); i += 4 {
			under := 255 - int(src[i+3])
			for j := range 3 {
				dst[i+j] = byte(min(255, int(src[i+j])+(int(dst[i+j])*under+127)/255))
			}
		}
	}
	p.drawn, p.serial = r, p.shape.serial
	return r
}

// arrow is drawn while the server has not told a shape: white with a black edge.
func arrow() shape {
	const w, h = 12, 18
	s := shape{size: image.Pt(w, h), pix: make([]byte, 4*w*h)}
	for y := range h {
		width := min(y+1, w, max(0, h-y+2)) // a triangle that ends in its lower third
		for x := range width {
			at := s.pix[4*(y*w+x):]
			at[3] = 255
			if x > 0 && x < width-1 && y < h-4 {
				at[0], at[1], at[2] = 255, 255, 255
			}
		}
	}
	return s
}
