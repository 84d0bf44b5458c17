package vpx

// A screen full of new text takes more bytes to become sharp than there are in
// the second that a viewer waits for it. What shows letters comes first, from the
// top down: the luma alone, then colours that are near, then all that is left.

// step is what is done to the blocks of a picture that stands still: those that
// were coded with a higher quantizer are coded with this one.
type step struct {
	quantizer int
	luma      bool    // the colours stay as they are
	cost      float64 // bytes that a unit of its work takes; zero: there is room for all of it
}

// stepsVP9 are luma that the eye takes for sharp, colours that it takes for right,
// and what needs no more.
func stepsVP9() []step {
	return []step{{quantizer: 11, luma: true}, {quantizer: 24}, {quantizer: 6}}
}

const (
	dense   = 2.0                // the cost where all is text
	colours = 0.3                // what colours take beside luma
	band    = superblock / block // rows of blocks that libvpx codes together
)

// work is what s is to do for block i, in levels of the quantizer.
func (a *activity) work(s *step, i int) float64 {
	w := float64(max(min(int(a.coarse[i]), highest)-s.quantizer, 0))
	if !s.luma {
		w += colours * float64(max(min(int(a.pale[i]), highest)-s.quantizer, 0))
	}
	return w
}

// left is what s is to do for all blocks.
func (a *activity) left(s *step) (work float64) {
	for i := range a.coarse {
		work += a.work(s, i)
	}
	return work
}

// refine returns the active blocks of the next picture, like choose, and which
// step makes how much work of it: the last one if there is room for all that is
// left, else as much as there is room for of the first that is not done, but one
// band at least. room is in bytes.
func (a *activity) refine(steps []step, room float64) (active []uint8, s *step, work float64) {
	s = &steps[len(steps)-1]
	if a.left(s)*s.cost > room {
		for i := range steps {
			if s = &steps[i]; a.left(s) > 0 {
				break
			}
		}
	}
	clear(a.marks)
	a.active = 0
	for top := 0; top < a.size.Y; top += band {
		first, end := top*a.size.X, min(top+band, a.size.Y)*a.size.X
		more := 0.0
		for i := first; i < end; i++ {
			more += a.work(s, i)
		}
		if work > 0 && (work+more)*s.cost > room {
			break
		}
		work += more
		for i := first; i < end; i++ {
			if a.work(s, i) > 0 {
				a.marks[i] = 1
				a.active++
			}
		}
	}
	return a.chosen(), s, work
}
