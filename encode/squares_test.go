package encode

import (
	"image"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// TestSquaresChangePlaces counts in binary with black and white squares: those
// that change places cancel each other out in all sums over a block, and must
// be coded all the same.
func TestSquaresChangePlaces(t *testing.T) {
	const digits = 12
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		for _, square := range []int{8, 16, 32} {
			e, r := open(6e6)
			p := grey(image.Pt(640, 160))
			at := time.Now()
			for n := range 90 {
				var damage capture.Damage
				for i := range digits {
					luma := byte(16)
					if 3*n>>i&1 == 1 {
						luma = 235
					}
					cell := image.Rect(0, 0, square, square).Add(image.Pt((digits-1-i)*square, 64))
					for y := cell.Min.Y; y < cell.Max.Y; y++ {
						for x := cell.Min.X; x < cell.Max.X; x++ {
							p.Y[y*p.StrideY+x] = luma
						}
					}
					damage.Add(cell)
				}
				r.encode(t, e, p, &damage, false, at)
				at = at.Add(time.Second / 30)
			}
			for i, got := range r.decode(t) {
				for x := square / 2; x < digits*square; x += square {
					at := func(p *yuv.Picture) bool { return p.Y[(64+square/2)*p.StrideY+x] > 126 }
					if at(&got) != at(&r.sources[i]) {
						t.Errorf("squares of %d: the one at %d of picture %d has not changed", square, x/square, i)
					}
				}
			}
		}
	})
}

// grey is a picture of one colour.
func grey(size image.Point) *yuv.Picture {
	p := &yuv.Picture{Size: size, StrideY: size.X, StrideC: (size.X + 1) / 2}
	p.Y = make([]byte, size.X*size.Y)
	chroma := make([]byte, 2*p.StrideC*((size.Y+1)/2))
	for i := range p.Y {
		p.Y[i] = 126
	}
	for i := range chroma {
		chroma[i] = 128
	}
	p.U, p.V = chroma[:len(chroma)/2], chroma[len(chroma)/2:]
	return p
}
