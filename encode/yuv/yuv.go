// Package yuv holds pictures as encoders want them, and converts frames to them.
package yuv

import "image"

// Picture is an I420 picture, BT.601 limited range. Chroma planes are
// (Size+1)/2. The zero value is an empty picture.
type Picture struct {
	Y, U, V          []byte
	StrideY, StrideC int // bytes
	Size             image.Point
}

// Reset makes p a picture of the given size, in pixels and at least 1x1. Its
// planes are reused where they are large enough; their content is undefined.
func (p *Picture) Reset(size image.Point) {
	const align = 64 // whole vectors and cache lines
	p.Size = size
	p.StrideY = (size.X + align - 1) &^ (align - 1)
	p.StrideC = ((size.X+1)/2 + align - 1) &^ (align - 1)
	luma, chroma := p.StrideY*(size.Y+size.Y&1), p.StrideC*((size.Y+1)/2)
	mem := p.Y[:cap(p.Y)]
	if len(mem) < luma+2*chroma {
		mem = make([]byte, luma+2*chroma)
	}
	p.Y = mem[:luma]
	p.U = mem[luma:][:chroma]
	p.V = mem[luma+chroma:][:chroma]
}

// Pad repeats an odd last column, and an odd last row, beyond Size, and returns
// the even size that the picture then has, for codecs that know no other. p has
// been Reset to its size.
func (p *Picture) Pad() (even image.Point) {
	even = p.Size.Add(image.Pt(p.Size.X&1, p.Size.Y&1))
	if even.X > p.Size.X {
		for y := range p.Size.Y {
			p.Y[y*p.StrideY+p.Size.X] = p.Y[y*p.StrideY+p.Size.X-1]
		}
	}
	if even.Y > p.Size.Y {
		copy(p.Y[p.Size.Y*p.StrideY:], p.Y[(p.Size.Y-1)*p.StrideY:p.Size.Y*p.StrideY])
	}
	return even
}
