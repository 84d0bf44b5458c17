package whep

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Request limits (WHEP 5), generous for people behind one address and small for
// a flood. Other requests than POST may come five times as often, and all
// addresses together have five times the share of one.
const (
	burst   = 4 // times the rate
	others  = 5
	crowd   = 5
	most    = 4096        // addresses that are kept
	refresh = time.Minute // an address's buckets are full again
)

// limits holds a token bucket for each address and kind of request, and one for
// all addresses together.
type limits struct {
	rate int // POSTs per second of one address
	all  address

	mu        sync.Mutex
	addresses map[netip.Addr]*address
}

type address struct {
	posts, others *rate.Limiter
	used          time.Time
}

func newAddress(perSecond int) *address {
	bucket := func(r int) *rate.Limiter { return rate.NewLimiter(rate.Limit(r), burst*r) }
	return &address{posts: bucket(perSecond), others: bucket(others * perSecond)}
}

func newLimits(perSecond int) *limits {
	return &limits{rate: perSecond, all: *newAddress(crowd * perSecond), addresses: map[netip.Addr]*address{}}
}

// allow takes a token for a request at now. The error is ErrRate.
func (l *limits) allow(from netip.Addr, post bool, now time.Time) error {
	a := l.of(from, now)
	own, all := a.others, l.all.others
	if post {
		own, all = a.posts, l.all.posts
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
	if len(l.addresses) >= most {
		for k, a := range l.addresses {
			if now.Sub(a.used) > refresh {
				delete(l.addresses, k)
			}
		}
	}
	a := l.addresses[from]
	switch {
	case a != nil:
	case len(l.addresses) < most:
		a = newAddress(l.rate)
		l.addresses[from] = a
	default:
		return &l.all // a flood from everywhere
	}
	a.used = now
	return a
}
