//go:build !noaom

package aom

/*
#cgo pkg-config: aom
#cgo CFLAGS: -O2
#include <stdlib.h>
#include "aom.h"
#include <aom/aom_codec.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"image"
	"runtime"
	"time"
	"unsafe"

	"deskwhep/capture"
	"deskwhep/encode/refine"
	"deskwhep/encode/thread"
	"deskwhep/encode/yuv"
)

// Version is the version of libaom in use.
func Version() string { return C.GoString(C.aom_codec_version_str()) }

// Encoder is an encode.Encoder for AV1, main profile. A new size begins with a
// key frame. Its data is a temporal unit of OBUs with sizes.
type Encoder struct {
	kbps, fps int

	c           *C.encoder // nil before the first picture and after Close; c, task and thread belong together
	task        *C.task
	thread      *thread.Thread // calls dw_av1_encode with task
	size        image.Point
	began       time.Time // of the first picture of this size; zero before
	ladder      refine.Ladder
	least, most int // quantizers of the last picture
}

// Quantizers, 0 to 63. While the picture changes the floor keeps a desktop on
// which little happens from using the whole bitrate.
const (
	floor   = 10
	ceiling = 56
)

// New makes an encoder that aims at a bitrate in bit/s, at most fps pictures a
// second.
func New(bitrate, fps int) *Encoder {
	return &Encoder{kbps: max(bitrate/1000, 1), fps: max(fps, 1), ladder: refine.Ladder{Sharp: 6, Least: 4}}
}

// Encode implements encode.Encoder. Of the damage this library uses only
// whether there is any.
func (e *Encoder) Encode(p *yuv.Picture, damage *capture.Damage, key bool, at time.Time) (data []byte, isKey bool, err error) {
	if e.c == nil || p.Size != e.size {
		if err := e.open(p.Size); err != nil {
			return nil, false, err
		}
	}
	if e.began.IsZero() {
		e.began = at
		key = true
	}
	out, err := e.encode(p, key, floor, ceiling, at)
	if err != nil || out.size == 0 {
		return nil, false, err
	}
	e.ladder.Changed(int(out.quantizer), 1.3*float64(out.size)/float64(64-out.quantizer))
	return unsafe.Slice((*byte)(out.data), out.size), out.key != 0, nil
}

// Refine implements encode.Encoder.
func (e *Encoder) Refine(p *yuv.Picture, room int, at time.Time) (data []byte, more bool, err error) {
	q := e.ladder.Next(room)
	out, err := e.encode(p, false, q, q, at)
	if err != nil || out.size == 0 {
		return nil, true, err
	}
	return unsafe.Slice((*byte)(out.data), out.size), e.ladder.Refined(int(out.quantizer), int(out.size)), nil
}

// Bounds are the least and the highest quantizer that the last picture could be
// coded with.
func (e *Encoder) Bounds() (least, most int) { return e.least, e.most }

func (e *Encoder) encode(p *yuv.Picture, key bool, least, most int, at time.Time) (*C.task, error) {
	e.least, e.most = least, most
	var pin runtime.Pinner
	defer pin.Unpin()
	*e.task = C.task{
		e: e.c, y: plane(&pin, p.Y), u: plane(&pin, p.U), v: plane(&pin, p.V),
		stride_y: C.int(p.StrideY), stride_c: C.int(p.StrideC),
		least: C.int(least), most: C.int(most),
		pts: C.int64_t(at.Sub(e.began).Nanoseconds() * 9 / 100000), duration: C.ulong(90000 / e.fps),
	}
	if key {
		e.task.force = 1
	}
	if err := e.thread.Do(); err != nil {
		return e.task, fmt.Errorf("libaom: encode: %w", err)
	}
	if e.task.error != nil {
		return e.task, failed("encode", e.task.error)
	}
	return e.task, nil
}

// plane is p, pinned, for C.
func plane(pin *runtime.Pinner, p []byte) *C.uint8_t {
	pin.Pin(&p[0])
	return (*C.uint8_t)(&p[0])
}

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
	if why := C.dw_av1_open(&e.c, C.int(size.X), C.int(size.Y), C.int(e.kbps)); why != nil {
		return failed(fmt.Sprintf("open for %dx%d", size.X, size.Y), why)
	}
	e.task = (*C.task)(C.calloc(1, C.sizeof_task))
	var err error
	if e.thread, err = thread.Start(unsafe.Pointer(C.dw_av1_encode), unsafe.Pointer(e.task)); err != nil {
		e.Close()
		return fmt.Errorf("libaom: %w", err)
	}
	e.size, e.began = size, time.Time{}
	return nil
}

// SetBitrate implements encode.Encoder.
func (e *Encoder) SetBitrate(bitsPerSecond int) error {
	e.kbps = max(bitsPerSecond/1000, 1)
	if e.c == nil {
		return nil
	}
	if why := C.dw_av1_bitrate(e.c, C.int(e.kbps)); why != nil {
		return failed("set the bitrate", why)
	}
	return nil
}

// Close implements encode.Encoder. It may be called twice.
func (e *Encoder) Close() error {
	if e.c != nil {
		if e.thread != nil {
			e.thread.End()
		}
		C.dw_av1_close(e.c)
		C.free(unsafe.Pointer(e.task))
		e.c, e.task, e.thread = nil, nil, nil
	}
	return nil
}

func failed(doing string, why *C.char) error {
	return fmt.Errorf("libaom: %s: %w", doing, errors.New(C.GoString(why)))
}
