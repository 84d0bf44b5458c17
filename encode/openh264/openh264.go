//go:build !noopenh264

package openh264

/*
#cgo pkg-config: openh264
#cgo CFLAGS: -O3
#include <stdlib.h>
#include "openh264.h"
*/
import "C"

import (
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

// Version is the version of OpenH264 in use.
func Version() string {
	var major, minor, revision C.int
	C.dw_h264_version(&major, &minor, &revision)
	return fmt.Sprintf("v%d.%d.%d", major, minor, revision)
}

// Encoder is an encode.Encoder for H.264, constrained baseline profile. A new
// size begins with a key frame. Its data is in Annex B, with parameter sets
// before every key frame. Pictures are at least 16x16; an odd last column or row
// is there twice, as even sizes are all that 4:2:0 can be cropped to.
type Encoder struct {
	bitrate, fps int

	c         *C.encoder // nil before the first picture and after Close; c, task and thread belong together
	task      *C.task
	thread    *thread.Thread // calls dw_h264_encode with task
	size      image.Point
	began     time.Time // of the first picture of this size; zero before
	last      time.Time // of the last picture
	rate      rate
	ladder    refine.Ladder
	scroll    scroll
	coarse    image.Rectangle // has changed since all was sharp
	quantizer int             // of the last picture
}

// A picture that refines and has no more bytes changes next to nothing.
const settled = 10_000

// New makes an encoder that aims at a bitrate in bit/s, at most fps pictures a
// second.
func New(bitrate, fps int) *Encoder {
	return &Encoder{bitrate: max(bitrate, 1000), fps: max(fps, 1), ladder: refine.Ladder{Sharp: sharpest, Least: 8}}
}

// Encode implements encode.Encoder.
func (e *Encoder) Encode(p *yuv.Picture, damage *capture.Damage, key bool, at time.Time) (data []byte, isKey bool, err error) {
	if e.c == nil || p.Size != e.size {
		if err := e.open(p.Size); err != nil {
			return nil, false, err
		}
	}
	if e.began.IsZero() {
		e.began, e.last = at, at
		key = true
	}
	q := e.rate.quantizer(key)
	since := at.Sub(e.last)
	e.scroll.lead(p, damage, key)
	out, err := e.encode(p, q, key, at)
	e.scroll.coded(p, damage)
	if err != nil || out.size == 0 {
		return nil, false, err
	}
	e.rate.coded(int(out.size), float64(e.bitrate)/8*min(since.Seconds(), 4/float64(e.fps)), key)
	e.coarse = e.coarse.Union(damage.Bounds(p.Size))
	share := float64(e.coarse.Dx()*e.coarse.Dy()) / float64(p.Size.X*p.Size.Y)
	e.ladder.Changed(q, e.rate.cost(q, int(out.size), share))
	return unsafe.Slice((*byte)(out.data), out.size), out.key != 0, nil
}

// Refine implements encode.Encoder.
func (e *Encoder) Refine(p *yuv.Picture, room int, at time.Time) (data []byte, more bool, err error) {
	q := e.ladder.Next(room)
	out, err := e.encode(p, q, false, at)
	if err != nil || out.size == 0 {
		return nil, true, err
	}
	e.rate.paused()
	e.scroll.paused(p)
	// Beside what it has left out the library leaves out more: one picture with
	// a quantizer is not always enough.
	more = e.ladder.Refined(q, int(out.size)) || out.size > settled
	if !more {
		e.coarse = image.Rectangle{}
	}
	return unsafe.Slice((*byte)(out.data), out.size), more, nil
}

// Bounds are the least and the highest quantizer that the last picture could be
// coded with.
func (e *Encoder) Bounds() (least, most int) { return e.quantizer, e.quantizer }

func (e *Encoder) encode(p *yuv.Picture, quantizer int, key bool, at time.Time) (*C.task, error) {
	p.Pad()
	e.quantizer = quantizer
	var pin runtime.Pinner
	defer pin.Unpin()
	*e.task = C.task{
		e: e.c, y: plane(&pin, p.Y), u: plane(&pin, p.U), v: plane(&pin, p.V),
		stride_y: C.int(p.StrideY), stride_c: C.int(p.StrideC),
		quantizer: C.int(quantizer), milliseconds: C.int64_t(at.Sub(e.began).Milliseconds()),
	}
	if key {
		e.task.force = 1
	}
	if err := e.thread.Do(); err != nil {
		return e.task, fmt.Errorf("OpenH264: encode: %w", err)
	}
	if e.task.error != 0 {
		return e.task, failed("encode", e.task.error)
	}
	e.last = at
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
	if size.X < 16 || size.Y < 16 { // the library opens, and then fails at each picture
		return fmt.Errorf("OpenH264: open for %dx%d: pictures have 16x16 pixels at least", size.X, size.Y)
	}
	if err := C.dw_h264_open(&e.c, C.int(size.X+size.X&1), C.int(size.Y+size.Y&1), C.int(e.fps)); err != 0 {
		return failed(fmt.Sprintf("open for %dx%d", size.X, size.Y), err)
	}
	e.task = (*C.task)(C.calloc(1, C.sizeof_task))
	var err error
	if e.thread, err = thread.Start(unsafe.Pointer(C.dw_h264_encode), unsafe.Pointer(e.task)); err != nil {
		e.Close()
		return fmt.Errorf("OpenH264: %w", err)
	}
	e.size, e.began = size, time.Time{}
	return nil
}

// SetBitrate implements encode.Encoder; it is in force from the next picture on.
func (e *Encoder) SetBitrate(bitsPerSecond int) error {
	e.bitrate = max(bitsPerSecond, 1000)
	return nil
}

// Close implements encode.Encoder. It may be called twice.
func (e *Encoder) Close() error {
	if e.c != nil {
		if e.thread != nil {
			e.thread.End()
		}
		C.dw_h264_close(e.c)
		C.free(unsafe.Pointer(e.task))
		e.c, e.task, e.thread = nil, nil, nil
	}
	return nil
}

func failed(doing string, err C.int) error {
	return fmt.Errorf("OpenH264: %s: error %d", doing, err)
}
