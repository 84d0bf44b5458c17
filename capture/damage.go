package capture

import "image"

// MaxRects bounds the rectangles of one Damage; more are merged.
const MaxRects = 32

// Damage is a set of pixels that may have changed, as at most MaxRects
// rectangles in frame pixels. The zero value is no damage. It is a value:
// copying it copies it all, and nothing in it allocates.
type Damage struct {
	rects [MaxRects]image.Rectangle
	n     int
	full  bool
}

// Everywhere is the damage of a whole frame, whatever its size.
func Everywhere() Damage { return Damage{full: true} }

// Full reports whether the whole frame is damaged, whatever its size.
func (d *Damage) Full() bool { return d.full }

// Empty reports whether nothing is damaged.
func (d *Damage) Empty() bool { return d.n == 0 && !d.full }

// Clear forgets all damage.
func (d *Damage) Clear() { d.n, d.full = 0, false }

// Rects are the damaged rectangles of a frame of the given size, clipped to it.
// The slice is d's own and valid until d is changed. Rectangles may overlap.
func (d *Damage) Rects(size image.Point) []image.Rectangle {
	frame := image.Rectangle{Max: size}
	if d.full {
		d.rects[0] = frame
		return d.rects[:1]
	}
	kept := 0
	for _, r := range d.rects[:d.n] {
		if r = r.Intersect(frame); !r.Empty() {
			d.rects[kept] = r
			kept++
		}
	}
	d.n = kept
	return d.rects[:kept]
}

// Add adds a rectangle.
func (d *Damage) Add(r image.Rectangle) {
	if d.full || r.Empty() {
		return
	}
	for i := 0; i < d.n; i++ {
		if r.In(d.rects[i]) {
			return
		}
	}
	if d.n < MaxRects {
		d.rects[d.n] = r
		d.n++
		return
	}
	best, cost := 0, int(^uint(0)>>1)
	for i := range d.rects {
		if c := area(d.rects[i].Union(r)) - area(d.rects[i]); c < cost {
			best, cost = i, c
		}
	}
	d.rects[best] = d.rects[best].Union(r)
}

// Union adds all of o's damage.
func (d *Damage) Union(o *Damage) {
	if o.full {
		*d = Everywhere()
	}
	for _, r := range o.rects[:o.n] {
		d.Add(r)
	}
}

// Bounds is the smallest rectangle that holds all damage of a frame of the
// given size.
func (d *Damage) Bounds(size image.Point) (b image.Rectangle) {
	for _, r := range d.Rects(size) {
		b = b.Union(r)
	}
	return b
}

func area(r image.Rectangle) int { return r.Dx() * r.Dy() }
