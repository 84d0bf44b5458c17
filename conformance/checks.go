package conformance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pion/stun/v4"
)

// checks sends Binding requests: to all pairs until one is nominated, then on
// that one, as consent.
func (p *peer) checks() {
	defer p.wg.Done()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		switch {
		case p.silent:
		case p.nominated:
			if n%10 == 0 {
				p.ask(p.path, true)
			}
		case p.path.from != nil:
			p.ask(p.path, true)
		case n%3 == 0:
			for _, s := range p.local.sockets {
				for _, to := range p.remote.addrs {
					if s.addr.Addr().Is4() == to.Addr().Is4() {
						p.ask(path{s, to}, false)
					}
				}
			}
		}
		p.mu.Unlock()
	}
}

const (
	priority   = 1<<24*110 + 1<<8*65535 + 255 // of a peer-reflexive candidate
	maxWaiting = 4096
)

// ask sends one Binding request. The caller holds mu.
func (p *peer) ask(on path, nominate bool) {
	if len(p.inflight) > maxWaiting {
		clear(p.inflight)
	}
	setters := []stun.Setter{
		stun.BindingRequest, stun.TransactionID,
		stun.NewUsername(p.remote.ufrag + ":" + p.local.ufrag),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{priority >> 24, priority >> 16 & 255, priority >> 8 & 255, priority & 255}},
		stun.RawAttribute{Type: p.role(), Value: p.tiebreaker},
	}
	if nominate && !p.controlled {
		setters = append(setters, stun.RawAttribute{Type: stun.AttrUseCandidate})
	}
	setters = append(setters, stun.NewShortTermIntegrity(p.remote.pwd), stun.Fingerprint)
	m, err := stun.Build(setters...)
	if err != nil {
		return
	}
	p.inflight[m.TransactionID] = check{on, nominate}
	_, _ = on.from.conn.WriteToUDPAddrPort(m.Raw, on.to) // unreachable pairs are normal
}

func (p *peer) role() stun.AttrType {
	if p.controlled {
		return stun.AttrICEControlled
	}
	return stun.AttrICEControlling
}

// read hands on what arrives on a socket, until it is closed.
func (p *peer) read(s *socket) {
	defer p.wg.Done()
	buf := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			if p.ctx.Err() != nil {
				return
			}
			continue // an ICMP error of an earlier packet
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		packet := slices.Clone(buf[:n])
		p.mu.Lock()
		current := slices.Contains(p.local.sockets, s)
		switch b := packet[0]; { // RFC 7983
		case b < 4 && stun.IsMessage(packet):
			p.binding(s, from, packet, current)
		case b >= 20 && b < 64:
			p.secure.record(packet)
		case b >= 128 && b < 192:
			s.lastMedia = time.Now()
			p.secure.srtp(packet)
		}
		p.mu.Unlock()
	}
}

// binding handles a STUN message. The caller holds mu.
func (p *peer) binding(s *socket, from netip.AddrPort, packet []byte, current bool) {
	m := stun.New()
	m.Raw = packet
	if m.Decode() != nil {
		return
	}
	switch m.Type {
	case stun.BindingRequest:
		var name stun.Username
		if name.GetFrom(m) != nil {
			return
		}
		if len(p.asked) < maxWaiting {
			p.asked = append(p.asked, asked{time.Now(), s, name.String()})
		}
		if !p.silent && current && strings.HasPrefix(name.String(), p.local.ufrag+":") {
			p.reply(s, from, m)
			if p.controlled && m.Contains(stun.AttrUseCandidate) {
				p.path, p.nominated = path{s, from}, true
			}
		}
	case stun.BindingSuccess:
		c, ok := p.inflight[m.TransactionID]
		if !ok || c.to != from || m.Check(stun.NewShortTermIntegrity(p.remote.pwd)) != nil {
			return
		}
		delete(p.inflight, m.TransactionID)
		p.consented = time.Now()
		switch {
		case p.controlled: // the server nominates
		case c.nominating && c.path == p.path:
			p.nominated = true
		case p.path.from == nil:
			p.path = c.path
			p.ask(p.path, true)
		}
	case stun.BindingError:
		var code stun.ErrorCodeAttribute
		if _, ok := p.inflight[m.TransactionID]; ok && code.GetFrom(m) == nil {
			p.refusal = fmt.Sprintf("%d %s", code.Code, code.Reason)
		}
	}
}

// reply answers a Binding request with success. The caller holds mu.
func (p *peer) reply(s *socket, to netip.AddrPort, request *stun.Message) {
	integrity := stun.NewShortTermIntegrity(p.local.pwd)
	if request.Check(integrity) != nil {
		return
	}
	m, err := stun.Build(
		stun.NewTransactionIDSetter(request.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: to.Addr().AsSlice(), Port: int(to.Port())},
		integrity, stun.Fingerprint,
	)
	if err == nil {
		_, _ = s.conn.WriteToUDPAddrPort(m.Raw, to) // the sender repeats its request
	}
}

// send writes on the path of media.
func (p *peer) send(packet []byte) error {
	p.mu.Lock()
	on, silent := p.path, p.silent
	p.mu.Unlock()
	if silent || on.from == nil {
		return nil // lost on the way
	}
	_, err := on.from.conn.WriteToUDPAddrPort(packet, on.to)
	return err
}
