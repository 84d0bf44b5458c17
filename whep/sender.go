package whep

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	beat     = 40 * time.Millisecond // so long after it was woken the sender looks whether the machine has time for it
	lateMost = 20 * time.Millisecond // where it is busy, the sender comes so much later than it wanted
)

// sender sends to all viewers, one after the other, so that all packets of a
// frame to one viewer leave together. Nothing in it waits for a viewer.
type sender struct {
	wake  chan time.Time // one slot, for when it was woken; never closed
	flush func()         // sends what sockets keep back

	// Owned by run.
	next, ended time.Time // when it wanted to begin the next pass, zero for not by itself, and when the last one ended

	mu      sync.Mutex // guards outlets; the slice is replaced, not written to
	outlets []*outlet
}

func newSender(flush func()) *sender {
	return &sender{wake: make(chan time.Time, 1), flush: flush}
}

// Wake makes the sender look at its viewers; it never blocks. It implements
// encode.Waker.
func (s *sender) Wake() {
	select {
	case s.wake <- time.Now():
	default:
	}
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var due time.Time
		select {
		case <-ctx.Done():
			return nil
		case due = <-s.wake:
		case <-timer.C:
		}
		began := time.Now()
		next := s.pass(began, s.isLate(due, began))
		ended := time.Now()
		if check := ended.Add(beat); !due.IsZero() && (next.IsZero() || next.After(check)) {
			next = check // once after it was woken
		}
		if s.next = next; next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(ended))
		}
		s.ended = ended
	}
}

// isLate tells whether a pass begins so late that the machine must be busy: after it
// was due, or after the sender wanted to look at its viewers or at the time. What
// came due during the pass before had to wait for its end.
func (s *sender) isLate(due, began time.Time) bool {
	if due.IsZero() || !s.next.IsZero() && s.next.Before(due) {
		due = s.next
	}
	return !due.IsZero() && began.Sub(due) > lateMost && began.Sub(s.ended) > lateMost
}

// pass sends to each viewer what may leave now, and tells when one must be
// looked at again; zero for not before there is more to send. late tells that the
// machine was too busy for it to begin in time.
func (s *sender) pass(began time.Time, late bool) (next time.Time) {
	s.mu.Lock()
	outlets := s.outlets
	s.mu.Unlock()
	for _, o := range outlets {
		if at := o.turn(began, time.Now(), late); next.IsZero() || !at.IsZero() && at.Before(next) {
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
