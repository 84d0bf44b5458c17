package yuv

// #cgo LDFLAGS: -lyuv
// #include <libyuv/convert.h>
import "C"

import (
	"image"

	"deskwhep/capture"
)

// Convert brings dst up to date with f, where damage is what differs from the
// frame that dst holds; only those pixels, rounded out to whole chroma samples,
// are read and written. If dst has another size than f it is reset and
// converted whole. Frames of an unknown format are left alone.
func Convert(dst *Picture, f *capture.Frame, damage *capture.Damage) {
	if dst.Size != f.Size {
		dst.Reset(f.Size)
		all := capture.Everywhere()
		damage = &all
	}
	for _, r := range damage.Rects(f.Size) {
		convert(dst, f, even(r, f.Size))
	}
}

// even rounds r, which lies in a frame of the given size, out to even
// coordinates; the frame's odd last column and row stay what they are.
func even(r image.Rectangle, size image.Point) image.Rectangle {
	return image.Rect(r.Min.X&^1, r.Min.Y&^1,
		min((r.Max.X+1)&^1, size.X), min((r.Max.Y+1)&^1, size.Y))
}

func convert(dst *Picture, f *capture.Frame, r image.Rectangle) {
	c := r.Min.Y/2*dst.StrideC + r.Min.X/2
	src := (*C.uint8_t)(&f.Pix[r.Min.Y*f.Stride+4*r.Min.X])
	y := (*C.uint8_t)(&dst.Y[r.Min.Y*dst.StrideY+r.Min.X])
	u, v := (*C.uint8_t)(&dst.U[c]), (*C.uint8_t)(&dst.V[c])
	stride, strideY, strideC := C.int(f.Stride), C.int(dst.StrideY), C.int(dst.StrideC)
	w, h := C.int(r.Dx()), C.int(r.Dy())
	switch f.Format { // libyuv names the bytes from the last to the first
	case capture.BGRX:
		C.ARGBToI420(src, stride, y, strideY, u, strideC, v, strideC, w, h)
	case capture.RGBX:
		C.ABGRToI420(src, stride, y, strideY, u, strideC, v, strideC, w, h)
	}
}
