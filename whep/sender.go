package whep

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"deskwhep/encode"
	"deskwhep/interceptors"
)

const (
	queueMost  = 150 * time.Millisecond // a picture may wait so long for its turn
	queueKeyed = time.Second            // also behind a key frame, which takes its time
	tick       = 5 * time.Millisecond   // between parts of what is paced
	stallFirst = 2 * time.Second        // before a viewer without room is tried again
	stallMost  = 16 * time.Second
	lean       = 15 * time.Second // the top layer is left out so long after a path was too narrow
)

// sender sends to all viewers, one after the other, so that all packets of a
// frame to one viewer leave together. Nothing in it waits for a viewer.
type sender struct {
	wake  chan struct{} // one slot; never closed
	flush func()        // sends what sockets keep back

	mu      sync.Mutex // guards outlets; the slice is replaced, not written to
	outlets []*outlet
}

func newSender(flush func()) *sender {
	return &sender{wake: make(chan struct{}, 1), flush: flush}
}

// Wake makes the sender look at its viewers; it never blocks. It implements
// encode.Waker.
func (s *sender) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		if next := s.pass(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// pass sends to each viewer what may leave now, and tells when one must be
// looked at again; zero for not before there is more to send.
func (s *sender) pass() (next time.Time) {
	s.mu.Lock()
	outlets := s.outlets
	s.mu.Unlock()
	for _, o := range outlets {
		if at := o.turn(time.Now()); next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	s.flush()
	return next
}

// add begins to send to a viewer.
func (s *sender) add(o *outlet) {
	s.mu.Lock()
	s.outlets = append(slices.Clip(s.outlets), o)
	s.mu.Unlock()
	o.viewer.Notify(s)
	s.Wake()
}

// remove ends sending to a viewer: when it returns, nothing is sent any more.
func (s *sender) remove(o *outlet) {
	s.mu.Lock()
	s.outlets = slices.DeleteFunc(slices.Clone(s.outlets), func(p *outlet) bool { return p == o })
	s.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.queue = nil
}

// outlet is one viewer's place in the sender.
type outlet struct {
	// Static.
	viewer   *encode.Viewer
	track    *track
	estimate func() interceptors.Estimate
	failed   chan error // one slot; takes the error that ends sending

	dropped *atomic.Uint64 // pictures, counted up

	waited atomic.Int64 // ns that the oldest picture in the queue has waited
	lean   atomic.Bool  // the top layer is left out

	mu      sync.Mutex // guards below; the sender holds it in turn
	closed  bool
	queue   []waiting // the first one may be half sent
	sent    int       // packets of the first one
	pacer   interceptors.Pacer
	skip    bool          // until the next key frame
	keyed   time.Time     // when the last key frame had left
	retry   time.Time     // when to ask for a key frame for want of room; zero for not
	stalled time.Duration // the last wait before that
	full    time.Time     // when the top layer comes back; zero while it is there
}

type waiting struct {
	*encode.Unit
	since time.Time
}

func newOutlet(v *encode.Viewer, t *track, estimate func() interceptors.Estimate, dropped *atomic.Uint64) *outlet {
	return &outlet{viewer: v, track: t, estimate: estimate, dropped: dropped, failed: make(chan error, 1)}
}

// turn sends what may leave now, and tells when to look again; zero for not
// before there is more to send.
func (o *outlet) turn(now time.Time) (next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return next
	}
	o.fetch(now)
	if !o.retry.IsZero() && !now.Before(o.retry) {
		o.retry = time.Time{}
		o.viewer.RequestKeyframe("no room")
	}
	if len(o.queue) > 0 {
		e := o.estimate()
		o.layers(now, e.Congested)
		pace := e.Pace()
		for len(o.queue) > 0 && !o.closed {
			if !o.picture(now, pace) {
				break
			}
		}
	}
	if len(o.queue) == 0 {
		o.pacer.Done()
		o.waited.Store(0)
		return o.retry
	}
	o.waited.Store(int64(now.Sub(o.queue[0].since)))
	return now.Add(tick)
}

// layers leaves out the top layer, which nothing refers to, while the path is too
// narrow.
func (o *outlet) layers(now time.Time, congested bool) {
	switch {
	case congested:
		if o.full.IsZero() {
			o.viewer.SetLayers(encode.TopLayer - 1)
			o.lean.Store(true)
		}
		o.full = now.Add(lean)
	case !o.full.IsZero() && now.After(o.full):
		o.full = time.Time{}
		o.viewer.SetLayers(encode.TopLayer)
		o.lean.Store(false)
	}
}

// fetch takes new pictures, and drops what has waited too long.
func (o *outlet) fetch(now time.Time) {
	for u := o.viewer.Poll(); u != nil; u = o.viewer.Poll() {
		if o.skip = o.skip && !u.Key; o.skip {
			o.dropped.Add(1)
			continue
		}
		o.queue = append(o.queue, waiting{u, now})
	}
	begun := 0
	if o.sent > 0 {
		begun = 1 // what has begun is sent to its end
	}
	if len(o.queue) == begun {
		return
	}
	most := queueMost
	if now.Sub(o.keyed) < queueKeyed || slices.ContainsFunc(o.queue, func(w waiting) bool { return w.Key }) {
		most = queueKeyed
	}
	if now.Sub(o.queue[begun].since) > most {
		o.drop(begun)
		o.viewer.RequestKeyframe("slow")
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

// picture sends as much of the first picture as may leave now, and tells
// whether that was all of it.
func (o *outlet) picture(now time.Time, pace float64) bool {
	u := o.queue[0]
	all := o.sent == 0 && o.pacer.All(now, u.Bytes, pace)
	for ; o.sent < len(u.Payloads); o.sent++ {
		if !all {
			if ok, _ := o.pacer.Pass(now, len(u.Payloads[o.sent]), pace); !ok {
				return false
			}
		}
		room, err := o.track.send(u.Unit, o.sent)
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
	}
	if u.Key {
		o.keyed, o.stalled = now, 0
	}
	o.sent = 0
	copy(o.queue, o.queue[1:])
	o.queue[len(o.queue)-1] = waiting{}
	o.queue = o.queue[:len(o.queue)-1]
	return true
}
