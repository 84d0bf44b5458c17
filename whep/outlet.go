package whep

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"deskwhep/encode"
	"deskwhep/interceptors"
)

const (
	queueMost  = 400 * time.Millisecond // a picture may wait so long before a key frame is made
	queueKeyed = time.Second            // or behind a key frame
	queueLast  = 3 * time.Second        // and no longer
	slowAgain  = 2 * time.Second        // before another one is made
	repairsRow = 4                      // repairs between packets of pictures that wait; some players take the ones only with the others
	tick       = 5 * time.Millisecond   // between parts of what is paced
	stallFirst = 2 * time.Second        // before a viewer without room is tried again
	stallMost  = 16 * time.Second
)

// outlet is one viewer's place in the sender.
type outlet struct {
	// Static.
	viewer    *encode.Viewer
	track     *track
	path      estimator
	failed    chan error           // one slot; takes the error that ends sending
	mayRepair func(bytes int) bool // passesRepair

	dropped *atomic.Uint64            // pictures, counted up
	done    func(after time.Duration) // is told of each picture that has left, and how long it took

	waited atomic.Int64 // ns that the oldest picture in the queue has waited
	lean   atomic.Bool  // the top layer is left out

	mu      sync.Mutex // guards below; the sender holds it in turn
	closed  bool
	queue   []waiting // the first one may be half sent
	sent    int       // packets of the first one
	pacer   interceptors.Pacer
	now     time.Time     // of this turn
	pace    float64       // in this turn, bits per second
	skip    bool          // until the next key frame
	keyed   time.Time     // when the last key frame had left
	slow    time.Time     // when a key frame was last asked for because of the wait
	row     int           // repairs that may still follow each other
	retry   time.Time     // when to ask for a key frame for want of room; zero for not
	stalled time.Duration // the last wait before that
	top     topLayer
}

// estimator tells what a path carries; see interceptors.Transport.
type estimator interface {
	Begin(now time.Time) interceptors.Estimate // before packets are written
	Late(now time.Time)
}

type waiting struct {
	*encode.Unit
	since time.Time
}

func newOutlet(v *encode.Viewer, t *track, path estimator, dropped *atomic.Uint64, done func(time.Duration)) *outlet {
	o := &outlet{viewer: v, track: t, path: path, dropped: dropped, done: done, failed: make(chan error, 1), row: repairsRow}
	o.mayRepair = o.passesRepair
	return o
}

// turn sends what may leave now, and tells when to look again; zero for not
// before there is more to send. began and late are of the pass over all viewers.
func (o *outlet) turn(began, now time.Time, late bool) (next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return next
	}
	if _, forGood := o.track.misses(); forGood {
		o.ahead()
	}
	if late {
		o.path.Late(now)
	} else {
		o.hurry(now) // before anything is fetched: that has not waited
	}
	o.fetch(began, now)
	if !o.retry.IsZero() && !now.Before(o.retry) {
		o.retry = time.Time{}
		o.viewer.RequestKeyframe("no room")
	}
	if !o.waits() {
		return o.idle()
	}
	e := o.path.Begin(now)
	o.layers(now, e)
	o.now, o.pace = now, e.Pace()
	for !o.closed {
		if repairs := o.repair(); len(o.queue) == 0 || repairs && o.row > 0 || !o.picture(now, repairs) {
			break
		}
	}
	if !o.waits() {
		return o.idle()
	}
	if len(o.queue) > 0 {
		o.waited.Store(int64(now.Sub(o.queue[0].since)))
	}
	return now.Add(tick)
}

// waits tells whether a picture waits, or a repair.
func (o *outlet) waits() bool {
	repairs, _ := o.track.misses()
	return repairs || len(o.queue) > 0
}

// idle is the end of a turn after which nothing waits.
func (o *outlet) idle() (next time.Time) {
	o.pacer.Done()
	o.waited.Store(0)
	return o.retry
}

// passes lets packets of so many bytes leave at their pace.
func (o *outlet) passes(bytes int) bool {
	ok, _ := o.pacer.Pass(o.now, bytes, o.pace)
	return ok
}

// repair sends what the viewer misses, which is of use before anything but a key
// frame, and tells whether there is more: either it may not leave now, or row is 0
// and it is a picture's turn.
func (o *outlet) repair() (more bool) {
	repairs, _ := o.track.misses()
	return repairs && !(len(o.queue) > 0 && o.sent == 0 && o.queue[0].Key) && o.track.repair(o.mayRepair)
}

// passesRepair is passes for repairs.
func (o *outlet) passesRepair(bytes int) bool {
	if len(o.queue) == 0 {
		o.row = repairsRow
	} else if o.row == 0 {
		return false
	}
	if !o.passes(bytes) {
		return false
	}
	o.row--
	return true
}

// layers leaves out the top layer while pictures wait for a path that is too narrow.
func (o *outlet) layers(now time.Time, e interceptors.Estimate) {
	wait := time.Duration(0)
	if len(o.queue) > 0 {
		wait = now.Sub(o.queue[0].since)
	}
	out := o.top.judge(now, wait, e)
	if out == o.lean.Load() {
		return
	}
	o.lean.Store(out)
	highest := uint8(encode.TopLayer)
	if out {
		highest--
	}
	o.viewer.SetLayers(highest)
}

// hurry asks for a key frame where pictures have waited too long, and when that is
// there drops what is before it: until then nothing newer could be shown than what
// waits.
func (o *outlet) hurry(now time.Time) {
	begun := 0
	if o.sent > 0 {
		begun = 1 // what has begun is sent to its end
	}
	if len(o.queue) == begun || now.Sub(o.queue[begun].since) <= queueMost {
		return
	}
	most := queueMost
	if o.pass(begun) || now.Sub(o.keyed) < queueKeyed {
		most = queueKeyed
	}
	wait := now.Sub(o.queue[begun].since)
	if wait > queueLast {
		o.drop(begun)
	} else if wait <= most || now.Sub(o.slow) <= slowAgain {
		return
	}
	o.slow = now
	o.viewer.RequestKeyframe("slow")
}

// fetch takes new pictures.
func (o *outlet) fetch(began, now time.Time) {
	for u := o.viewer.Poll(); u != nil; u = o.viewer.Poll() {
		o.top.count(now, u.Bytes)
		if o.skip = o.skip && !u.Key; o.skip {
			o.dropped.Add(1)
			continue
		}
		o.queue = append(o.queue, waiting{u, began})
	}
}

// pass drops what waits before the last key frame in the queue, but for its first n
// pictures, and tells whether there is a key frame behind them.
func (o *outlet) pass(n int) bool {
	for i := len(o.queue) - 1; i >= n; i-- {
		if o.queue[i].Key {
			o.dropped.Add(uint64(i - n))
			o.queue = slices.Delete(o.queue, n, i)
			return true
		}
	}
	return false
}

// ahead drops what the viewer cannot decode any more, up to the next key frame,
// also what has begun.
func (o *outlet) ahead() {
	if o.sent > 0 {
		o.dropped.Add(1)
		o.queue, o.sent = slices.Delete(o.queue, 0, 1), 0
	}
	if !o.pass(0) {
		o.drop(0)
	}
}

// drop drops the queue but its first n pictures; the next one to be sent is a
// key frame.
func (o *outlet) drop(n int) {
	o.dropped.Add(uint64(len(o.queue) - n))
	clear(o.queue[n:])
	o.queue = o.queue[:n]
	o.skip = true
}

// picture sends as much of the first picture as may leave now, or one packet of
// it, and tells whether that was all it was to send.
func (o *outlet) picture(now time.Time, one bool) bool {
	w := o.queue[0]
	all := o.sent == 0 && !one && o.pacer.All(now, w.Bytes, o.pace)
	for o.sent < len(w.Payloads) {
		if !all && !o.passes(len(w.Payloads[o.sent])) {
			return false
		}
		room, err := o.track.send(w.Unit, o.sent)
		if err != nil {
			o.closed = true
			o.failed <- err
			return false
		}
		if !room {
			o.sent = 0
			o.drop(0)
			o.stalled = min(max(2*o.stalled, stallFirst), stallMost)
			o.retry = now.Add(o.stalled)
			return false
		}
		o.row = repairsRow
		if o.sent++; one && o.sent < len(w.Payloads) {
			return true
		}
	}
	if w.Key {
		o.keyed, o.stalled = now, 0
	}
	o.done(time.Since(w.since))
	o.sent = 0
	copy(o.queue, o.queue[1:])
	o.queue[len(o.queue)-1] = waiting{}
	o.queue = o.queue[:len(o.queue)-1]
	return true
}
