package whep

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Request limits (WHEP 5): generous for people behind one address, small for a
// flood. Per second, and in a burst.
const (
	postsPerAddress, postBurst   = 10, 40
	postsAltogether, postsBurst  = 50, 100
	othersPerAddress, otherBurst = 50, 200
	othersAltogether, othersMost = 500, 1000

	addressesKept = 4096
	addressesAge  = time.Minute
)

// limits holds a token bucket for each address and kind of request, and one for
// all addresses together.
type limits struct {
	posts, others *rate.Limiter

	mu        sync.Mutex
	addresses map[netip.Addr]*address
}

type address struct {
	posts, others *rate.Limiter
	used          time.Time
}

func newLimits() *limits {
	return &limits{
		posts:     rate.NewLimiter(postsAltogether, postsBurst),
		others:    rate.NewLimiter(othersAltogether, othersMost),
		addresses: map[netip.Addr]*address{},
	}
}

// allow takes a token for a request at now. The error is ErrRate.
func (l *limits) allow(from netip.Addr, post bool, now time.Time) error {
	a := l.of(from, now)
	own, all := a.others, l.others
	if post {
		own, all = a.posts, l.posts
	}
	if !own.AllowN(now, 1) || !all.AllowN(now, 1) {
		return fmt.Errorf("%w: slow down", ErrRate)
	}
	return nil
}

// of is the buckets of an address, IPv6 by its /64. When too many are kept,
// those that have not been used for a while are full again and forgotten.
func (l *limits) of(from netip.Addr, now time.Time) *address {
	if from = from.Unmap(); from.Is6() {
		if p, err := from.Prefix(64); err == nil {
			from = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.addresses) >= addressesKept {
		for k, a := range l.addresses {
			if now.Sub(a.used) > addressesAge {
				delete(l.addresses, k)
			}
		}
	}
	a := l.addresses[from]
	if a == nil {
		a = &address{posts: rate.NewLimiter(postsPerAddress, postBurst), others: rate.NewLimiter(othersPerAddress, otherBurst)}
		if len(l.addresses) < addressesKept {
			l.addresses[from] = a
		} else {
			a = &address{posts: l.posts, others: l.others} // a flood from everywhere: the common bucket only
		}
	}
	a.used = now
	return a
}
