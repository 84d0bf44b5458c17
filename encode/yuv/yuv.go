// Package yuv holds pictures as encoders want them, and converts frames to them.
package yuv

import "image"

// Picture is an I420 picture, BT.601 limited range. Chroma planes are
// (Size+1)/2.
type Picture struct {
	Y, U, V          []byte
	StrideY, StrideC int // bytes
	Size             image.Point
}
