//go:build !novpx

package bare

/*
#cgo pkg-config: vpx
#cgo LDFLAGS: -lyuv
#cgo CFLAGS: -O2
#include "bare.h"
*/
import "C"

import (
	"image"
	"time"
)

// Encode is the CPU time that libvpx takes for pictures of the given size in
// I420 without padding, which lie one behind the other; negative if it fails.
func Encode(vp9 bool, size image.Point, bitrate, fps int, pictures []byte) time.Duration {
	each := size.X*size.Y + 2*((size.X+1)/2*((size.Y+1)/2))
	var nine C.int
	if vp9 {
		nine = 1
	}
	return time.Duration(C.bare_vpx(nine, C.int(size.X), C.int(size.Y), C.int(bitrate/1000), C.int(fps),
		(*C.uint8_t)(&pictures[0]), C.int(len(pictures)/each)))
}

// Convert is the CPU time that libyuv takes to convert a BGRX frame n times.
func Convert(pix []byte, stride int, size image.Point, n int) time.Duration {
	i420 := make([]byte, size.X*size.Y+2*((size.X+1)/2*((size.Y+1)/2)))
	return time.Duration(C.bare_convert((*C.uint8_t)(&pix[0]), C.int(stride), (*C.uint8_t)(&i420[0]),
		C.int(size.X), C.int(size.Y), C.int(n)))
}
