package encode

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A viewer may be this many units behind, about a second; one that is later
// goes on with the next key frame.
const viewerQueue = 32

// One viewer's troubles make a key frame at most this often.
const viewerKeyInterval = 2 * time.Second

// ErrLeft is what Next returns after the viewer's own Close.
var ErrLeft = errors.New("the viewer has left")

// Viewer receives the units of a hub, from a key frame on and without gaps
// until it has no room; then again from the next key frame on. Next is for one
// goroutine; the other methods are for any.
type Viewer struct {
	hub   *Hub
	queue chan *Unit // never closed
	left  chan struct{}
	leave sync.Once
	lost  atomic.Bool // starved may be set

	// Guarded by hub.mu.
	waker   Waker     // told of each unit; may be nil
	layers  uint8     // units of higher ones are left out
	keyed   bool      // the queue continues from a key frame
	starved bool      // units were lost; a key frame is owed as soon as there is room
	owed    time.Time // for when the last key frame for this viewer's sake was owed
}

// Next waits for the next unit. It fails when ctx ends, after Close (ErrLeft),
// and when the hub has ended, with the hub's error.
func (v *Viewer) Next(ctx context.Context) (*Unit, error) {
	select {
	case u := <-v.queue:
		return u, nil
	default:
	}
	v.catchUp()
	select {
	case u := <-v.queue:
		return u, nil
	case <-v.hub.ended:
		return nil, v.hub.err
	case <-v.left:
		return nil, ErrLeft
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Waker is somebody who polls viewers. Wake must not block.
type Waker interface{ Wake() }

// Notify makes the hub wake w after each unit for the viewer; once for all of
// w's viewers.
func (v *Viewer) Notify(w Waker) {
	v.hub.mu.Lock()
	v.waker = w
	v.hub.mu.Unlock()
}

// Poll is Next without waiting: nil when there is no unit now.
func (v *Viewer) Poll() *Unit {
	select {
	case u := <-v.queue:
		return u
	default:
		if v.lost.Load() {
			v.catchUp()
		}
		return nil
	}
}

// Ended is closed when the hub has ended.
func (v *Viewer) Ended() <-chan struct{} { return v.hub.ended }

// Close gives up the viewer's place. It may be called more than once.
func (v *Viewer) Close() {
	v.leave.Do(func() {
		close(v.left)
		v.hub.remove(v)
	})
}

// RequestKeyframe is Hub.RequestKeyframe for one viewer's sake: however often
// it asks, the others see no more than one key frame per two seconds of it.
func (v *Viewer) RequestKeyframe(reason string) {
	h := v.hub
	h.mu.Lock()
	v.owe(reason)
	h.mu.Unlock()
	h.poke()
}

// KeyframeRepeated counts a request that was answered with a key frame which
// the viewer had been sent before.
func (v *Viewer) KeyframeRepeated(reason string) {
	v.hub.mu.Lock()
	v.hub.cached(reason)
	v.hub.mu.Unlock()
}

// SetLayers leaves out units of temporal layers above highest from now on; at
// first none is. While a viewer goes without the [TopLayer] the others pay for
// it with a few more bits, so it is for those who cannot take all. Not every
// codec has it.
func (v *Viewer) SetLayers(highest uint8) {
	v.hub.mu.Lock()
	v.layers = highest
	v.hub.mu.Unlock()
}

// owe makes the hub owe a key frame, now or two seconds after the last one that
// was made for this viewer. The caller holds hub.mu.
func (v *Viewer) owe(reason string) {
	now := time.Now()
	if !v.owed.After(now) {
		v.owed = v.owed.Add(viewerKeyInterval)
		if v.owed.Before(now) {
			v.owed = now
		}
	}
	v.hub.owe(reason, v.owed)
}

// offer gives u to the viewer if it can use it and has room. The caller holds
// hub.mu.
func (v *Viewer) offer(u *Unit) {
	if u.Key {
		v.keyed, v.starved = true, false
	}
	if !v.keyed || u.Layer > v.layers {
		return
	}
	select {
	case v.queue <- u:
	default: // what it has not fetched is old by now, and useless before a gap
		v.keyed, v.starved = false, true
		v.lost.Store(true)
		for range cap(v.queue) {
			select {
			case <-v.queue:
			default:
			}
		}
	}
}

// catchUp asks for a key frame if units were lost. A viewer that does not come
// back for more asks for nothing.
func (v *Viewer) catchUp() {
	h := v.hub
	h.mu.Lock()
	starved := v.starved
	v.starved = false
	v.lost.Store(false)
	if starved {
		v.owe("no room")
	}
	h.mu.Unlock()
	if starved {
		h.poke()
	}
}
