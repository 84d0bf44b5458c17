package x11

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"slices"

	"deskwhep/capture"
)

// grab fills b with the screen's pixels, all or those that were painted since b
// was filled, and adds to the frame's damage what the server reports painted
// since the frame before.
func (s *Source) grab(b *buffer, all bool) (err error) {
	if s.way == wayPixmap {
		err = s.copyArea(b, all)
	} else {
		err = s.getImages(b, all)
	}
	if err != nil {
		return err
	}
	b.blended = image.Rectangle{}
	return s.conn.takeFailed()
}

// copyArea grabs in one round trip.
func (s *Source) copyArea(b *buffer, all bool) error {
	c := s.conn
	var painted uint16
	if s.damage != 0 {
		s.subtracted = c.damage(damageSubtract, s.damage, 0, s.news)
		for _, o := range s.buffers {
			c.addRegion(o.region, s.news)
		}
		clip := uint32(0)
		if !all {
			clip = b.region
			if !b.blended.Empty() {
				c.setRegion(s.scratch, b.blended.Add(s.origin))
				c.addRegion(b.region, s.scratch)
			}
		}
		c.fixes(fixesSetGCClipRegion, s.gc, clip, pair(-s.origin.X, -s.origin.Y))
	}
	c.put(opCopyArea, 0, s.drawable, b.pixmap, s.gc, pair(s.at.X, s.at.Y), 0, pair(s.size.X, s.size.Y))
	if s.damage != 0 {
		c.fixes(fixesSetRegion, b.region)
		painted = c.fixes(fixesFetchRegion, s.news)
	} else if s.opt.Cursor != capture.CursorEmbedded {
		return c.sync()
	}
	pointer := s.askPointer()
	if s.damage != 0 {
		m, err := c.reply(painted)
		if err != nil {
			return err
		}
		addRects(&b.frame.Damage, m, s.origin, s.size)
	}
	return s.readPointer(pointer)
}

// getImages grabs in two round trips: what was painted, then the pixels.
func (s *Source) getImages(b *buffer, all bool) error {
	c := s.conn
	if s.damage != 0 {
		s.subtracted = c.damage(damageSubtract, s.damage, 0, s.news)
		m, err := c.reply(c.fixes(fixesFetchRegion, s.news))
		if err != nil {
			return err
		}
		addRects(&b.frame.Damage, m, s.origin, s.size)
		for _, o := range s.buffers {
			o.missing.Union(&b.frame.Damage)
		}
	}
	b.missing.Add(b.blended)
	if all {
		b.missing = capture.Everywhere()
	}
	want := b.missing.Rects(s.size)
	if s.way == wayBands {
		want = bands(want, s.size.X)
	}
	pointer := s.askPointer()
	seq := s.askImages(b, want)
	err := s.readPointer(pointer)
	if e := s.readImages(b, want, seq); e != nil {
		return e
	}
	if err == nil {
		b.missing.Clear()
	}
	return err
}

// askImages asks for rectangles; it returns the number of the first request.
func (s *Source) askImages(b *buffer, want []image.Rectangle) uint16 {
	c := s.conn
	first := c.seq + 1
	for _, r := range want {
		from := r.Add(s.at)
		if s.way == wayBands {
			c.shm(shmGetImage, s.drawable, pair(from.Min.X, from.Min.Y), pair(from.Dx(), from.Dy()),
				allPlanes, zPixmap, b.segment, uint32(r.Min.Y*b.frame.Stride))
		} else {
			c.put(opGetImage, zPixmap, s.drawable, pair(from.Min.X, from.Min.Y), pair(from.Dx(), from.Dy()), allPlanes)
		}
	}
	return first
}

// readImages takes all the answers, also after one is a refusal.
func (s *Source) readImages(b *buffer, want []image.Rectangle, seq uint16) (err error) {
	for i, r := range want {
		if e := s.readImage(b, r, seq+uint16(i)); e != nil {
			if _, refused := e.(*xerror); !refused {
				return e
			}
			err = e
		}
	}
	return err
}

// readImage takes the reply to the request for a rectangle.
func (s *Source) readImage(b *buffer, r image.Rectangle, seq uint16) error {
	c := s.conn
	if s.way == wayBands {
		_, err := c.reply(seq)
		return err
	}
	m, err := c.replyHead(seq)
	if err != nil {
		return err
	}
	row := 4 * r.Dx()
	if n := uint64(le.Uint32(m[4:])) * 4; n != uint64(row*r.Dy()) {
		return fmt.Errorf("X server: an image of %d bytes for %v: %w", n, r, capture.ErrLost)
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		at := y*b.frame.Stride + 4*r.Min.X
		if err := c.readFull(b.frame.Pix[at : at+row]); err != nil {
			return err
		}
	}
	return nil
}

// bands widens rectangles to whole rows, in place: an image of whole rows lies
// in memory as the frame does. No two overlap.
func bands(rects []image.Rectangle, width int) []image.Rectangle {
	slices.SortFunc(rects, func(a, b image.Rectangle) int { return cmp.Compare(a.Min.Y, b.Min.Y) })
	out := rects[:0]
	for _, r := range rects {
		if n := len(out); n > 0 && r.Min.Y <= out[n-1].Max.Y {
			out[n-1].Max.Y = max(out[n-1].Max.Y, r.Max.Y)
			continue
		}
		out = append(out, image.Rect(0, r.Min.Y, width, r.Max.Y))
	}
	return out
}

// inspect reads some of the rows, other ones each time, and reports whether they
// differ from the newest frame though no damage told so. What it reads into b
// are pixels that b would get anyway.
func (s *Source) inspect(b *buffer) (differs bool, err error) {
	c := s.conn
	const phases = 4
	strips := s.strips[:0]
	for y := s.phase * tile; y < s.size.Y; y += phases * tile {
		strips = append(strips, image.Rect(0, y, s.size.X, min(y+tile, s.size.Y)))
	}
	s.strips, s.phase = strips, (s.phase+1)%phases
	if s.way == wayPixmap {
		c.fixes(fixesSetGCClipRegion, s.gc, 0, 0)
		for _, r := range strips {
			from := r.Min.Add(s.at)
			c.put(opCopyArea, 0, s.drawable, b.pixmap, s.gc, pair(from.X, from.Y), pair(r.Min.X, r.Min.Y), pair(r.Dx(), r.Dy()))
		}
		err = c.check()
	} else {
		err = s.readImages(b, strips, s.askImages(b, strips))
	}
	if err == nil {
		s.subtracted = c.seq // no event of before is still to come; the numbers wrap around
	}
	if s.damaged || s.gone || !s.changed.IsZero() { // something told of it
		if _, refused := err.(*xerror); refused {
			err = nil
		}
		return false, err
	}
	for _, r := range strips {
		differs = differs || !same(b, s.last, r, b.frame.Stride)
	}
	if err == nil {
		s.trust.checked(differs)
	}
	return differs, err
}

// tile is the side of the squares in which pictures are compared, in pixels.
const tile = 64

// compare adds the tiles in which two buffers differ, but for what lies under
// the pointer that was drawn into the older.
func compare(d *capture.Damage, newer, older *buffer) {
	size, stride := newer.frame.Size, newer.frame.Stride
	for y := 0; y < size.Y; y += tile {
		row := image.Rect(0, y, size.X, min(y+tile, size.Y))
		if same(newer, older, row, stride) {
			continue
		}
		var run image.Rectangle
		for x := 0; x < size.X; x += tile {
			t := image.Rect(x, y, min(x+tile, size.X), row.Max.Y)
			if same(newer, older, t, stride) {
				d.Add(run)
				run = image.Rectangle{}
			} else {
				run = run.Union(t)
			}
		}
		d.Add(run)
	}
}

// same compares the pixels of r.
func same(newer, older *buffer, r image.Rectangle, stride int) bool {
	skip := older.blended
	for y := r.Min.Y; y < r.Max.Y; y++ {
		parts := [...]image.Rectangle{r, {}}
		if skip.Min.Y <= y && y < skip.Max.Y {
			parts[0].Max.X = min(r.Max.X, skip.Min.X)
			parts[1] = r
			parts[1].Min.X = max(r.Min.X, skip.Max.X)
		}
		for _, p := range parts {
			from, to := y*stride+4*p.Min.X, y*stride+4*p.Max.X
			if from < to && !bytes.Equal(newer.frame.Pix[from:to], older.frame.Pix[from:to]) {
				return false
			}
		}
	}
	return true
}
