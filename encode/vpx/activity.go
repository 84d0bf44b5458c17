package vpx

import (
	"image"

	"deskwhep/capture"
)

const block = 16 // pixels, the unit of libvpx's active map

// activity chooses the blocks that the encoder works on. A block that has
// changed is coded at once, and again a few times with more bits to spare until
// it is as sharp as it gets; all others may stay as they are.
type activity struct {
	size  image.Point // of the picture, in blocks
	age   []uint8     // of each block, in pictures since it changed, up to settled
	marks []uint8     // of each block: 1 if active
	again bool        // the last choice came to nothing
}

// passes are the ages at which a block is coded. While other parts of the
// screen change, a picture is a frame interval; otherwise each picture is the
// next pass.
var passes = [...]uint8{0, 4, 8, 15, 27}

const settled = 28

// nextPass holds for each age the age of the next pass.
var nextPass = func() (next [settled + 1]uint8) {
	for age := range next {
		next[age] = settled
		for i := len(passes) - 1; i >= 0 && int(passes[i]) > age; i-- {
			next[age] = passes[i]
		}
	}
	return next
}()

func newActivity(size image.Point) *activity {
	b := image.Pt((size.X+block-1)/block, (size.Y+block-1)/block)
	a := &activity{size: b, age: make([]uint8, b.X*b.Y), marks: make([]uint8, b.X*b.Y)}
	a.touchAll()
	return a
}

// touchAll makes all blocks new.
func (a *activity) touchAll() { clear(a.age) }

func (a *activity) touch(r image.Rectangle) {
	for y := r.Min.Y / block; y <= (r.Max.Y-1)/block; y++ {
		clear(a.age[y*a.size.X:][r.Min.X/block : (r.Max.X-1)/block+1])
	}
}

// choose returns the active blocks of the next picture, row by row and valid
// until the next call. A picture that was dropped is chosen again, with the
// damage since.
func (a *activity) choose(size image.Point, damage *capture.Damage, key bool) []uint8 {
	switch {
	case a.again:
	case damage.Empty():
		for i, age := range a.age {
			a.age[i] = nextPass[age]
		}
	default:
		for i, age := range a.age {
			a.age[i] = min(age+1, settled)
		}
	}
	if key {
		a.touchAll()
	}
	for _, r := range damage.Rects(size) {
		a.touch(r)
	}
	for i, age := range a.age {
		a.marks[i] = isPass[age]
	}
	return a.marks
}

// isPass is 1 for the ages that are passes.
var isPass = func() (is [settled + 1]uint8) {
	for _, age := range passes {
		is[age] = 1
	}
	return is
}()
