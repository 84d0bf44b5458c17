package whep

import "sync"

// route tells whether media can reach the player. It begins down.
type route struct {
	mu       sync.Mutex
	up, down chan struct{} // one of them is closed
}

func newRoute() *route {
	r := &route{up: make(chan struct{}), down: make(chan struct{})}
	close(r.down)
	return r
}

func (r *route) set(up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, then := r.up, &r.down
	if !up {
		now, then = r.down, &r.up
	}
	select {
	case <-now: // nothing changes
	default:
		close(now)
		*then = make(chan struct{})
	}
}

func (r *route) isUp() bool {
	select {
	case <-r.working():
		return true
	default:
		return false
	}
}

// working is closed while the path is up.
func (r *route) working() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up
}

// broken is closed while the path is down.
func (r *route) broken() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down
}
