//go:build !novpx && !noaom && !noopenh264

package bare

/*
#cgo pkg-config: vpx aom openh264
#cgo LDFLAGS: -lyuv
#cgo CFLAGS: -O2
#include "bare.h"
*/
import "C"

import (
	"fmt"
	"image"
	"runtime"
	"time"
	"unsafe"
)

// Encode encodes pictures of the given size, in I420 without padding and one
// behind the other, of which the first becomes a key frame. bounds are the least
// and the highest quantizer of each. It tells the CPU time of the last counted
// ones, and the bytes of all.
func Encode(codec string, size image.Point, bitrate, fps int, pictures []byte, bounds [][2]int32, counted int) (spent time.Duration, bytes int, err error) {
	each := size.X*size.Y + 2*((size.X+1)/2*((size.Y+1)/2))
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(unsafe.SliceData(pictures))
	pin.Pin(unsafe.SliceData(bounds))
	w := C.work{
		pictures: (*C.uint8_t)(&pictures[0]), n: C.int(len(pictures) / each),
		width: C.int(size.X), height: C.int(size.Y), bitrate: C.int(bitrate), fps: C.int(fps), cpus: C.int(runtime.NumCPU()),
		bounds: (*C.int32_t)(&bounds[0][0]), counted: C.int(counted),
	}
	failed := C.int(1)
	switch codec {
	case "vp8":
		failed = C.bare_vp8(&w)
	case "vp9":
		failed = C.bare_vp9(&w)
	case "av1":
		failed = C.bare_av1(&w)
	case "h264":
		failed = C.bare_h264(&w)
	}
	if failed != 0 {
		return 0, 0, fmt.Errorf("%s from C alone failed", codec)
	}
	return time.Duration(w.ns), int(w.bytes), nil
}

// Convert is the CPU time that libyuv takes to convert a BGRX frame n times.
func Convert(pix []byte, stride int, size image.Point, n int) time.Duration {
	i420 := make([]byte, size.X*size.Y+2*((size.X+1)/2*((size.Y+1)/2)))
	return time.Duration(C.bare_convert((*C.uint8_t)(&pix[0]), C.int(stride), (*C.uint8_t)(&i420[0]),
		C.int(size.X), C.int(size.Y), C.int(n)))
}
