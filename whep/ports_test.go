package whep

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// TestAddressesChange lets an address appear and go while viewers play: a laptop
// that moves to another network.
func TestAddressesChange(t *testing.T) {
	src := small()
	s := startInside(t, src)
	stream(t, src)
	var list atomic.Pointer[[]netip.Addr]
	list.Store(&s.ports.at)
	s.ports.addresses = func() ([]netip.Addr, error) {
		if l := list.Load(); l != nil {
			return *l, nil
		}
		return nil, errors.New("no network")
	}
	before := follow(t, s.url, nil)

	fresh := netip.MustParseAddr("127.83.0.9") // any of loopback can be used
	with := append(slices.Clone(s.ports.at), fresh)
	list.Store(&with)
	there := follow(t, s.url, func(answer string) string {
		return through(answer, udpCandidate(netip.AddrPortFrom(fresh, s.Addr().Port())))
	})
	eventually(t, "pictures come from the new address", func() bool { return there.seen().Decoded > 10 })

	without := with[:len(with)-1]
	list.Store(&without)
	var answered string
	after := follow(t, s.url, func(answer string) string { answered = answer; return answer })
	if strings.Contains(answered, fresh.String()) {
		t.Errorf("an address that is gone is offered: %s", answered)
	}
	for who, w := range map[string]*watcher{"before": before, "there": there, "after": after} {
		from := w.seen().Decoded
		eventually(t, "the viewer that joined "+who+" plays on", func() bool { return w.seen().Decoded > from+10 })
	}

	list.Store(nil)
	if w, err := newWatcher(s.url, nil, nil); err == nil {
		t.Errorf("a session was made without a network: %+v", w.seen())
	}
}
