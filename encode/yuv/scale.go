package yuv

// #include <libyuv/scale.h>
import "C"

import (
	"image"
	"math"

	"deskwhep/capture"
)

// Fit is the largest size with even sides and about the proportions of size
// that is not larger than most and takes at most maxFS macroblocks of 16x16
// (max-fs of RFC 7741 and RFC 9628). Zero stands for no limit. A size that
// fits is left as it is.
func Fit(size, most image.Point, maxFS int) image.Point {
	if fits(size, most, maxFS) {
		return size
	}
	scale := 1.0
	if most.X > 0 {
		scale = math.Min(scale, float64(most.X)/float64(size.X))
	}
	if most.Y > 0 {
		scale = math.Min(scale, float64(most.Y)/float64(size.Y))
	}
	if maxFS > 0 {
		scale = math.Min(scale, math.Sqrt(float64(maxFS)*256/float64(size.X)/float64(size.Y)))
	}
	even := func(n int) int { return max(int(float64(n)*scale+1e-6)&^1, 2) }
	for {
		to := image.Pt(even(size.X), even(size.Y))
		if to == image.Pt(2, 2) || fits(to, most, maxFS) {
			return to
		}
		scale *= 0.999
	}
}

func fits(size, most image.Point, maxFS int) bool {
	return (most.X <= 0 || size.X <= most.X) && (most.Y <= 0 || size.Y <= most.Y) &&
		(maxFS <= 0 || (size.X+15)/16*((size.Y+15)/16) <= maxFS)
}

// Scaler converts frames to pictures of a smaller size. The zero value is
// ready.
type Scaler struct {
	full Picture
}

// Convert is [Convert] to a picture of the given size, which is not larger than
// the frame. It returns the damage in pixels of dst.
func (s *Scaler) Convert(dst *Picture, size image.Point, f *capture.Frame, damage *capture.Damage) capture.Damage {
	fresh := dst.Size != size || s.full.Size != f.Size
	Convert(&s.full, f, damage)
	if fresh {
		dst.Reset(size)
	}
	from, to := &s.full, dst
	C.I420Scale(
		(*C.uint8_t)(&from.Y[0]), C.int(from.StrideY), (*C.uint8_t)(&from.U[0]), C.int(from.StrideC),
		(*C.uint8_t)(&from.V[0]), C.int(from.StrideC), C.int(from.Size.X), C.int(from.Size.Y),
		(*C.uint8_t)(&to.Y[0]), C.int(to.StrideY), (*C.uint8_t)(&to.U[0]), C.int(to.StrideC),
		(*C.uint8_t)(&to.V[0]), C.int(to.StrideC), C.int(to.Size.X), C.int(to.Size.Y), C.kFilterBox)
	if fresh || damage.Full() {
		return capture.Everywhere()
	}
	var scaled capture.Damage
	for _, r := range damage.Rects(f.Size) {
		// A pixel of dst is made of those around it, and chroma of twice as many.
		scaled.Add(image.Rect(
			r.Min.X*size.X/f.Size.X-2, r.Min.Y*size.Y/f.Size.Y-2,
			(r.Max.X*size.X+f.Size.X-1)/f.Size.X+2, (r.Max.Y*size.Y+f.Size.Y-1)/f.Size.Y+2))
	}
	return scaled
}
