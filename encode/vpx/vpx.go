//go:build !novpx

package vpx

/*
#cgo pkg-config: vpx
#cgo CFLAGS: -O3
#cgo linux LDFLAGS: -Wl,--wrap=vpx_calloc
#include <stdlib.h>
#include "vpx.h"
#include <vpx/vpx_codec.h>
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

// Version is the version of libvpx in use.
func Version() string { return C.GoString(C.vpx_codec_version_str()) }

// Encoder is an encode.Encoder. A new size begins with a key frame.
type Encoder struct {
	name   string
	vp9    C.int
	kbps   C.int
	fps    int
	floor  int           // of the quantizer while the picture changes
	ladder refine.Ladder // of VP8
	steps  []step        // of VP9

	c           *C.encoder // nil before the first picture and after Close; c, task and thread belong together
	task        *C.task
	thread      *thread.Thread // calls dw_vpx_encode with task
	changed     []C.rect       // of task
	size        image.Point
	began       time.Time // of the first picture of this size; zero before
	last        time.Time // of the last picture
	debt        float64   // bytes that have been spent ahead on what changes
	activity    *activity
	least, most int // quantizers of the last picture
}

// Quantizers, 0 to 63. While the picture changes the floor keeps a desktop on
// which little happens from using the whole bitrate.
const (
	floorVP8 = 8
	floorVP9 = 10
	ceiling  = 44
	highest  = 56 // while much has been spent ahead
)

const few = 20 // a picture in which less than one block of so many is coded gets no cyclic refresh

// NewVP8 makes a VP8 encoder that aims at a bitrate in bit/s, at most fps
// pictures a second.
func NewVP8(bitrate, fps int) *Encoder {
	return &Encoder{name: "vp8", kbps: kilo(bitrate), fps: max(fps, 1), floor: floorVP8, ladder: refine.Ladder{Sharp: 4, Least: 4}}
}

// NewVP9 makes a VP9 encoder, profile 0, like [NewVP8].
func NewVP9(bitrate, fps int) *Encoder {
	return &Encoder{name: "vp9", vp9: 1, kbps: kilo(bitrate), fps: max(fps, 1), floor: floorVP9, steps: stepsVP9()}
}

func kilo(bitrate int) C.int { return C.int(max(bitrate/1000, 1)) }

// Encode implements encode.Encoder.
func (e *Encoder) Encode(p *yuv.Picture, damage *capture.Damage, key bool, at time.Time) (data []byte, isKey bool, err error) {
	if key {
		return e.change(p, damage, C.KEY, at)
	}
	return e.change(p, damage, C.BASE, at)
}

// EncodeSpare implements encode.SpareEncoder.
func (e *Encoder) EncodeSpare(p *yuv.Picture, damage *capture.Damage, at time.Time) (data []byte, isKey bool, err error) {
	return e.change(p, damage, C.SPARE, at)
}

// change encodes a picture that has changed.
func (e *Encoder) change(p *yuv.Picture, damage *capture.Damage, kind C.kind, at time.Time) (data []byte, isKey bool, err error) {
	if e.c == nil || p.Size != e.size {
		if err := e.open(p.Size); err != nil {
			return nil, false, err
		}
	}
	if e.began.IsZero() {
		e.began, e.last = at, at
		kind = C.KEY
	}
	active := e.activity.choose(e.size, damage, kind == C.KEY)
	share := float64(e.kbps) * 125 * min(at.Sub(e.last).Seconds(), 4/float64(e.fps))
	e.changed = e.changed[:0]
	for _, r := range damage.Rects(p.Size) {
		e.changed = append(e.changed, C.rect{C.int(r.Min.X), C.int(r.Min.Y), C.int(r.Max.X), C.int(r.Max.Y)})
	}
	t := C.task{kind: kind, least: C.int(e.floor), most: C.int(e.ceiling())}
	if e.activity.active*few < len(e.activity.marks) {
		t.even = 1
	}
	out, err := e.encode(p, active, t, at)
	if err != nil {
		return nil, false, err
	}
	if e.debt = max(e.debt+float64(out.size)-share, 0); kind == C.KEY {
		e.debt = 0 // a pause pays for it
	}
	// What is in a spare picture only will be coded again.
	if e.activity.again = out.size == 0 || kind == C.SPARE; !e.activity.again {
		e.activity.coded(int(out.quantizer), false)
	}
	if out.size > 0 {
		e.ladder.Changed(int(out.quantizer), 1.3*float64(out.size)/float64(64-out.quantizer))
	}
	for i := range e.steps {
		e.steps[i].cost = dense
	}
	return unsafe.Slice((*byte)(out.data), out.size), out.key != 0, nil
}

// Refine implements encode.Encoder.
func (e *Encoder) Refine(p *yuv.Picture, room int, at time.Time) (data []byte, more bool, err error) {
	if e.activity.again { // what only a spare picture shows is a change to what others refer to
		stir(p)
		defer stir(p)
		data, _, err = e.change(p, &capture.Damage{}, C.BASE, at)
		return data, true, err
	}
	steps := e.steps
	if e.vp9 == 0 { // its rate control would take a picture of which little is coded for an easy one
		steps = []step{{quantizer: e.ladder.Next(room)}}
	}
	active, step, work := e.activity.refine(steps, float64(room))
	e.changed = e.changed[:0]
	q := C.int(step.quantizer)
	t := C.task{kind: C.BASE, still: 1, even: 1, least: q, most: q}
	if step.luma {
		t.luma = 1
	}
	out, err := e.encode(p, active, t, at)
	if err != nil || out.size == 0 {
		return nil, true, err
	}
	e.activity.coded(int(out.quantizer), step.luma)
	data = unsafe.Slice((*byte)(out.data), out.size)
	if e.vp9 == 0 {
		return data, e.ladder.Refined(int(out.quantizer), len(data)), nil
	}
	if work > 0 { // a band may hold little text
		step.cost = max(float64(len(data))/work, step.cost/2)
	}
	return data, e.activity.left(&e.steps[len(e.steps)-1]) > 0, nil
}

// stir changes one bit in each superblock of p, and, called again, changes it back.
// Where a picture has the same content as the last one libvpx does not look for
// what has moved, though that one was spare and what it refers to is older.
func stir(p *yuv.Picture) {
	for y := 0; y < p.Size.Y; y += superblock {
		for x := 0; x < p.Size.X; x += superblock {
			p.Y[y*p.StrideY+x] ^= 1
		}
	}
}

// ceiling keeps text legible in a picture that differs from the last one, and
// lets go where one such picture follows the other.
func (e *Encoder) ceiling() int {
	const most = 0.15 // s
	return ceiling + int((highest-ceiling)*min(e.debt/(float64(e.kbps)*125*most), 1))
}

// Bounds are the least and the highest quantizer that the last picture could be
// coded with.
func (e *Encoder) Bounds() (least, most int) { return e.least, e.most }

// encode encodes the active blocks of p, all if active is nil, as t tells.
func (e *Encoder) encode(p *yuv.Picture, active []uint8, t C.task, at time.Time) (*C.task, error) {
	e.least, e.most = int(t.least), int(t.most)
	var pin runtime.Pinner
	defer pin.Unpin()
	t.e, t.y, t.u, t.v = e.c, plane(&pin, p.Y), plane(&pin, p.U), plane(&pin, p.V)
	t.stride_y, t.stride_c = C.int(p.StrideY), C.int(p.StrideC)
	t.pts, t.duration = C.int64_t(at.Sub(e.began).Nanoseconds()*9/100000), C.ulong(90000/e.fps)
	*e.task = t
	if active != nil {
		e.task._map = plane(&pin, active)
	}
	if n := len(e.changed); n > 0 {
		pin.Pin(&e.changed[0])
		e.task.changed, e.task.rects = &e.changed[0], C.int(n)
	}
	if err := e.thread.Do(); err != nil {
		return e.task, fmt.Errorf("libvpx %s: encode: %w", e.name, err)
	}
	if e.task.error != nil {
		return e.task, e.failed("encode", e.task.error)
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
	if why := C.dw_vpx_open(&e.c, e.vp9, C.int(size.X), C.int(size.Y), e.kbps, C.int(runtime.NumCPU())); why != nil {
		return e.failed(fmt.Sprintf("open for %dx%d", size.X, size.Y), why)
	}
	e.task = (*C.task)(C.calloc(1, C.sizeof_task))
	var err error
	if e.thread, err = thread.Start(unsafe.Pointer(C.dw_vpx_encode), unsafe.Pointer(e.task)); err != nil {
		e.Close()
		return fmt.Errorf("libvpx %s: %w", e.name, err)
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
		if e.thread != nil {
			e.thread.End()
		}
		C.dw_vpx_close(e.c)
		C.free(unsafe.Pointer(e.task))
		e.c, e.task, e.thread = nil, nil, nil
	}
	return nil
}

func (e *Encoder) failed(doing string, why *C.char) error {
	return fmt.Errorf("libvpx %s: %s: %w", e.name, doing, errors.New(C.GoString(why)))
}
