//go:build !novpx

package vpx

/*
#cgo pkg-config: vpx
#cgo CFLAGS: -O3
#include "balance.h"
#include "vpx.h"
#include <vpx/vpx_codec.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"image"
	"time"
	"unsafe"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// Version is the version of libvpx in use.
func Version() string { return C.GoString(C.vpx_codec_version_str()) }

// Encoder is an encode.Encoder. A new size begins with a key frame.
type Encoder struct {
	name string
	vp9  C.int
	kbps C.int
	fps  int
	quantizers

	c        *C.encoder // nil before the first picture and after Close
	balance  *C.balance // of VP9; else nil
	size     image.Point
	began    time.Time // of the first picture of this size; zero before
	activity *activity
	still    int // calls in a row in which nothing had changed, as an index of quantizers
}

// quantizers bound the quantizer, 0 to 63, while the picture changes, and then
// for each picture in a row that only refines it. The floor keeps a desktop on
// which little happens from using the whole bitrate.
type quantizers [5]struct{ min, max int }

var (
	vp8Quantizers = quantizers{{8, 56}, {8, 32}, {8, 22}, {8, 14}, {4, 6}}
	vp9Quantizers = quantizers{{10, 56}, {10, 32}, {10, 22}, {8, 14}, {4, 6}}
)

// NewVP8 makes a VP8 encoder that aims at a bitrate in bit/s, at most fps
// pictures a second.
func NewVP8(bitrate, fps int) *Encoder {
	return &Encoder{name: "vp8", kbps: kilo(bitrate), fps: max(fps, 1), quantizers: vp8Quantizers}
}

// NewVP9 makes a VP9 encoder, profile 0, like [NewVP8].
func NewVP9(bitrate, fps int) *Encoder {
	return &Encoder{name: "vp9", vp9: 1, kbps: kilo(bitrate), fps: max(fps, 1), quantizers: vp9Quantizers}
}

func kilo(bitrate int) C.int { return C.int(max(bitrate/1000, 1)) }

// Encode implements encode.Encoder.
func (e *Encoder) Encode(p *yuv.Picture, damage *capture.Damage, key bool, at time.Time) (data []byte, isKey bool, err error) {
	if key {
		return e.encode(p, damage, C.KEY, at)
	}
	return e.encode(p, damage, C.BASE, at)
}

// EncodeSpare implements encode.SpareEncoder.
func (e *Encoder) EncodeSpare(p *yuv.Picture, damage *capture.Damage, at time.Time) (data []byte, isKey bool, err error) {
	return e.encode(p, damage, C.SPARE, at)
}

func (e *Encoder) encode(p *yuv.Picture, damage *capture.Damage, kind C.kind, at time.Time) (data []byte, isKey bool, err error) {
	if e.c == nil || p.Size != e.size {
		if err := e.open(p.Size); err != nil {
			return nil, false, err
		}
	}
	if e.began.IsZero() {
		e.began = at
		kind = C.KEY
	}
	if damage.Empty() && kind != C.KEY {
		e.still = min(e.still+1, len(e.quantizers)-1)
	} else {
		e.still = 0
	}
	q := e.quantizers[e.still]
	if why := C.dw_vpx_quantizers(e.c, C.int(q.min), C.int(q.max)); why != nil {
		return nil, false, e.failed("set the quantizer", why)
	}
	active := e.activity.choose(e.size, damage, kind == C.KEY, min(q.max, sharp))
	var only *C.uint8_t // all
	if active != nil {
		only = plane(active)
	}
	if e.balance != nil {
		for _, r := range damage.Rects(p.Size) {
			C.dw_balance_shift(e.balance, plane(p.Y), C.int(p.StrideY), C.int(r.Min.X), C.int(r.Min.Y), C.int(r.Max.X), C.int(r.Max.Y))
		}
	}
	var out C.packet
	why := C.dw_vpx_encode(e.c, plane(p.Y), plane(p.U), plane(p.V), C.int(p.StrideY), C.int(p.StrideC),
		C.int64_t(at.Sub(e.began).Nanoseconds()*9/100000), C.ulong(90000/e.fps), kind, only, &out)
	if e.balance != nil { // libvpx has a copy of its own
		C.dw_balance_restore(e.balance, plane(p.Y), C.int(p.StrideY), boolean(out.size > 0 && kind != C.SPARE))
	}
	if why != nil {
		return nil, false, e.failed("encode", why)
	}
	// What is in a spare picture only will be coded again.
	if e.activity.again = out.size == 0 || kind == C.SPARE; !e.activity.again {
		e.activity.coded(int(out.quantizer))
	}
	return unsafe.Slice((*byte)(out.data), out.size), out.key != 0, nil
}

func boolean(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func plane(p []byte) *C.uint8_t { return (*C.uint8_t)(&p[0]) }

// Prepare implements encode.Preparer.
func (e *Encoder) Prepare(size image.Point) {
	if e.c == nil || size != e.size {
		_ = e.open(size) // Encode will try again and tell
	}
}

func (e *Encoder) open(size image.Point) error {
	if err := e.Close(); err != nil {
		return err
	}
	if why := C.dw_vpx_open(&e.c, e.vp9, C.int(size.X), C.int(size.Y), e.kbps); why != nil {
		return e.failed(fmt.Sprintf("open for %dx%d", size.X, size.Y), why)
	}
	if e.vp9 != 0 {
		if e.balance = C.dw_balance_new(C.int(size.X), C.int(size.Y)); e.balance == nil {
			return fmt.Errorf("libvpx %s: out of memory", e.name)
		}
	}
	e.size, e.began = size, time.Time{}
	e.activity = newActivity(size)
	return nil
}

// SetBitrate implements encode.Encoder.
func (e *Encoder) SetBitrate(bitsPerSecond int) error {
	e.kbps = kilo(bitsPerSecond)
	if e.c == nil {
		return nil
	}
	if why := C.dw_vpx_bitrate(e.c, e.kbps); why != nil {
		return e.failed("set the bitrate", why)
	}
	return nil
}

// Close implements encode.Encoder. It may be called twice.
func (e *Encoder) Close() error {
	if e.c != nil {
		C.dw_vpx_close(e.c)
		C.dw_balance_free(e.balance)
		e.c, e.balance = nil, nil
	}
	return nil
}

func (e *Encoder) failed(doing string, why *C.char) error {
	return fmt.Errorf("libvpx %s: %s: %w", e.name, doing, errors.New(C.GoString(why)))
}
