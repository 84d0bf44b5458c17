//go:build !noopenh264

package openh264

// #include "scroll.h"
import "C"

import (
	"bytes"
	"image"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// scroll finds what moves up or down, and shows the library where it comes from.
//
// The library looks for where a block comes from pixel by pixel, beginning where
// its neighbours and the last picture's blocks came from, for as long as each
// step looks better. Lines of text that have moved by a line look better where
// they were than half a line from there: not one block finds its way, all are
// coded anew, and a terminal takes ten times the bytes. One block that knows the
// way is enough, as those to the right and below, and those of the next picture,
// try it as well. So a few blocks in a row are given other content for one
// picture: what is some pixels further down in the last picture than where the
// block to their left came from, until the next one has moved as far as all that
// scrolls.
type scroll struct {
	last  []byte // the luma of the last picture, as it was coded
	size  image.Point
	area  image.Rectangle // of it that is known though it has just changed
	stale image.Rectangle // that is not
	by    int             // how many pixels further down in it that picture's blocks were found; 0: nothing known
	moved image.Rectangle // blocks with other content
	saved []byte          // what they should have had
}

const (
	block    = C.dw_block
	farthest = C.dw_farthest
	near     = 8       // pixels that the library finds by itself
	small    = 1 << 16 // pixels that are soon copied
)

// lead gives blocks of p other content if much has moved, and as it did not in
// the last picture. Somebody must call coded when p is, with the same damage.
func (s *scroll) lead(p *yuv.Picture, damage *capture.Damage, key bool) {
	s.moved = image.Rectangle{}
	if key || s.other(p) {
		s.by = 0
		return
	}
	area := corner(damage, p.Size)
	known := s.by
	s.by = 0
	if area == s.area || !area.Overlaps(s.stale) {
		s.by = s.found(p, area)
	}
	if s.by == 0 || max(s.by-known, known-s.by) <= near {
		return
	}
	w := C.dw_scroll{
		stride: C.int(p.StrideY), width: C.int(p.Size.X), height: C.int(p.Size.Y),
		left: C.int(area.Min.X), top: C.int(area.Min.Y), by: C.int(s.by), known: C.int(known),
	}
	n := int(C.dw_scroll_way(&w, (*C.uint8_t)(&p.Y[0]), (*C.uint8_t)(&s.last[0])))
	if n == 0 {
		s.by = 0
		return
	}
	s.moved = image.Rect(0, 0, n*block, block).Add(image.Pt(int(w.x), int(w.y)))
	s.saved = s.saved[:0]
	for y := s.moved.Min.Y; y < s.moved.Max.Y; y++ {
		for i, from := range w.way[:n] {
			at := p.Y[y*p.StrideY+s.moved.Min.X+i*block:][:block]
			s.saved = append(s.saved, at...)
			copy(at, s.last[(y+int(from))*p.StrideY+s.moved.Min.X+i*block:])
		}
	}
}

// coded gives p its content back, and keeps what is needed for the next picture.
func (s *scroll) coded(p *yuv.Picture, damage *capture.Damage) {
	if s.other(p) {
		*s = scroll{last: bytes.Clone(p.Y), size: p.Size}
		return
	}
	s.area = corner(damage, p.Size)
	for _, r := range damage.Rects(p.Size) {
		if r.Dx()*r.Dy() > small {
			s.stale = s.stale.Union(r)
			r = r.Intersect(s.area)
		}
		s.keep(p, r)
	}
	s.keep(p, s.moved)
	for y := s.moved.Min.Y; y < s.moved.Max.Y; y++ {
		copy(p.Y[y*p.StrideY+s.moved.Min.X:], s.saved[(y-s.moved.Min.Y)*s.moved.Dx():][:s.moved.Dx()])
	}
}

// paused notes that p was coded again, which has not changed.
func (s *scroll) paused(p *yuv.Picture) {
	s.keep(p, s.moved)
	s.keep(p, s.stale)
	s.by, s.area, s.stale, s.moved = 0, image.Rectangle{}, image.Rectangle{}, image.Rectangle{}
}

// corner is the top left part of what has changed, in which a way is looked for.
func corner(damage *capture.Damage, size image.Point) image.Rectangle {
	b := damage.Bounds(size)
	return b.Intersect(image.Rectangle{b.Min, b.Min.Add(image.Pt(24*block, 12*block))})
}

// other tells whether p is not like the last picture in size.
func (s *scroll) other(p *yuv.Picture) bool { return p.Size != s.size || len(p.Y) != len(s.last) }

func (s *scroll) keep(p *yuv.Picture, r image.Rectangle) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		copy(s.last[y*p.StrideY+r.Min.X:y*p.StrideY+r.Max.X], p.Y[y*p.StrideY+r.Min.X:])
	}
}

// found is how many pixels further down in the last picture what is in area now
// was; 0 if it has not moved like that.
func (s *scroll) found(p *yuv.Picture, area image.Rectangle) int {
	const columns, samples, width = 8, 4, 16
	if area.Dx() < columns*width || area.Dy() < 4*block {
		return 0
	}
	for i := range columns {
		now, then := p.Y[area.Min.X+area.Dx()*i/columns:], s.last[area.Min.X+area.Dx()*i/columns:]
		same := func(y, by int) bool {
			return bytes.Equal(now[y*p.StrideY:][:width], then[(y+by)*p.StrideY:][:width])
		}
		for j := range samples {
			y := area.Min.Y + area.Dy()*(2*j+1)/(2*samples)
			for y < area.Max.Y && same(y, 0) {
				y++
			}
			for by := max(-farthest, area.Min.Y-y); by <= min(farthest, area.Max.Y-1-y); by++ {
				if y < area.Max.Y && same(y, by) && s.most(area, by, same) {
					return by
				}
			}
		}
	}
	return 0
}

// most tells whether most of area's lines that could have moved by so many
// pixels are the same there.
func (*scroll) most(area image.Rectangle, by int, same func(y, by int) bool) bool {
	n, all := 0, area.Dy()-max(by, -by)
	for y := max(area.Min.Y, area.Min.Y-by); y < min(area.Max.Y, area.Max.Y-by); y++ {
		if same(y, by) {
			n++
		}
	}
	return n > all*9/10
}
