package vpx

import (
	"image"

	"deskwhep/capture"
)

const (
	block      = 16 // pixels, the unit of libvpx's active map
	superblock = 64 // pixels, in which it codes VP9
)

// activity chooses the blocks that the encoder works on: those that have
// changed, and those that are not yet sharp when there may be bits to spare for
// them. All others stay as they are, which costs neither bits nor time.
type activity struct {
	size   image.Point // of the picture, in blocks
	age    []uint8     // of each block: pictures since it changed, or since its last round of passes
	coarse []uint8     // of each block: the quantizer that it was last coded with; unsharp if it has changed
	pale   []uint8     // the same of its colours, which may be worse
	marks  []uint8     // of each block: 1 if active
	active int         // how many are
	again  bool        // the picture of the last choice was dropped, or spare
}

// passes are the ages at which an unsharp block is coded again while other
// parts of the screen change; then the round begins anew.
const passes = 1<<4 | 1<<8 | 1<<15 | 1<<27

const (
	round   = 28
	sharp   = 14 // the quantizer up to which a block is not worth another pass while others change
	unsharp = 255
)

func newActivity(size image.Point) *activity {
	b := image.Pt((size.X+block-1)/block, (size.Y+block-1)/block)
	a := &activity{size: b, age: make([]uint8, b.X*b.Y), coarse: make([]uint8, b.X*b.Y), pale: make([]uint8, b.X*b.Y), marks: make([]uint8, b.X*b.Y)}
	a.touch(image.Rectangle{Max: size})
	return a
}

// touch makes the blocks in r, which is in pixels, new.
func (a *activity) touch(r image.Rectangle) {
	for y := r.Min.Y / block; y <= (r.Max.Y-1)/block; y++ {
		row := y * a.size.X
		for i := row + r.Min.X/block; i <= row+(r.Max.X-1)/block; i++ {
			a.age[i], a.coarse[i], a.pale[i] = 0, unsharp, unsharp
		}
	}
}

// choose returns the active blocks of the next picture, row by row and valid
// until the next call, or nil if all of them are: what has changed, and what
// was coded with a quantizer above sharp, now and then.
func (a *activity) choose(size image.Point, damage *capture.Damage, key bool) []uint8 {
	if !a.again {
		for i, age := range a.age {
			if age++; age == round {
				age = 0
			}
			a.age[i] = age
		}
	}
	for _, r := range damage.Rects(size) {
		a.touch(r)
	}
	if key {
		a.touch(image.Rectangle{Max: size})
	}
	clear(a.marks)
	a.active = 0
	for i, c := range a.coarse {
		if c == unsharp || c > sharp && passes>>a.age[i]&1 != 0 {
			a.marks[i] = 1
			a.active++
		}
	}
	return a.chosen()
}

// chosen is the choice.
func (a *activity) chosen() []uint8 {
	if a.active == len(a.marks) {
		return nil
	}
	return a.marks
}

// coded notes that the picture of the last choice was coded, its colours too
// unless luma is set.
func (a *activity) coded(quantizer int, luma bool) {
	for i, active := range a.marks {
		if active == 0 {
			continue
		}
		a.coarse[i] = min(a.coarse[i], uint8(quantizer))
		if !luma {
			a.pale[i] = min(a.pale[i], uint8(quantizer))
		}
	}
}
