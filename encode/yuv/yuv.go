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
	luma, chroma := p.StrideY*size.Y, p.StrideC*((size.Y+1)/2)
	mem := p.Y[:cap(p.Y)]
	if len(mem) < luma+2*chroma {
		mem = make([]byte, luma+2*chroma)
	}
	p.Y = mem[:luma]
	p.U = mem[luma:][:chroma]
	p.V = mem[luma+chroma:][:chroma]
}
