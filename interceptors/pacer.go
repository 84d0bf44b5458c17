package interceptors

import "time"

const (
	paceAhead = 5 * time.Millisecond  // may leave at once
	paceLate  = 15 * time.Millisecond // is made up for when the owner comes late
)

// Pacer spreads packets over time so that a large frame does not overrun the
// queues on its way. It is for one viewer and one goroutine; time is an
// argument. The zero value is ready.
type Pacer struct {
	free time.Time // when all that was let through has left at its pace
	held bool      // a packet waits
}

// Pass tells whether a packet of so many bytes may leave now, at a pace in bits
// per second, and if not, when to ask again. A few packets may always leave
// after a pause.
func (p *Pacer) Pass(now time.Time, bytes int, pace float64) (ok bool, again time.Time) {
	if at := p.free.Add(-paceAhead); at.After(now) {
		p.held = true
		return false, at
	}
	p.free = p.begin(now).Add(lasting(bytes, pace))
	return true, time.Time{}
}

// All lets packets of so many bytes in all through, if each of them may leave
// now; else none.
func (p *Pacer) All(now time.Time, bytes int, pace float64) bool {
	free := p.begin(now).Add(lasting(bytes, pace))
	if free.Add(-paceAhead).After(now) {
		return false
	}
	p.free = free
	return true
}

// begin is when the next packet begins to take its time.
func (p *Pacer) begin(now time.Time) time.Time {
	if p.held {
		now = now.Add(-paceLate)
	}
	if p.free.Before(now) {
		return now
	}
	return p.free
}

func lasting(bytes int, pace float64) time.Duration {
	return time.Duration(float64(8*bytes) / pace * 1e9)
}

// Done tells that nothing waits any more.
func (p *Pacer) Done() { p.held = false }
