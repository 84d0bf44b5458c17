package conformance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

// peer is a player below HTTP: sockets, a controlling ICE agent, DTLS and SRTP.
// It is written out instead of using a PeerConnection because checks need to see
// and to withhold every single packet. It offers host candidates only and
// reaches servers by UDP.
type peer struct {
	// Static after newPeer.
	cert       tls.Certificate
	tiebreaker []byte
	ctx        context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	keep       func(netip.Addr) bool // which addresses to use, of both sides
	controlled bool                  // the server offered (RFC 8445 6.1.1); set before start

	mu        sync.Mutex
	local     generation   // the current ICE session
	former    []generation // those before restarts; they only watch
	remote    remote
	inflight  map[[stun.TransactionIDSize]byte]check
	path      path // of media; zero until a check succeeded
	nominated bool
	silent    bool // sends nothing, sees everything
	asked     []asked
	consented time.Time // last success response to a check
	refusal   string    // last error response to a check
	secure    secure
	media     media
}

// generation is one ICE session of the peer.
type generation struct {
	ufrag, pwd string
	sockets    []*socket
}

type socket struct {
	conn      *net.UDPConn
	addr      netip.AddrPort
	lastMedia time.Time // guarded by the peer's mu
}

// remote is what an answer says about the server's side.
type remote struct {
	ufrag, pwd  string
	fingerprint string // "sha-256 AA:BB..."
	addrs       []netip.AddrPort
}

type path struct {
	from *socket
	to   netip.AddrPort
}

type check struct {
	path
	nominating bool
}

// asked is a Binding request that came from the server.
type asked struct {
	at       time.Time
	on       *socket
	username string
}

// newPeer opens a socket on each usable address of the machine.
func newPeer(cert tls.Certificate, keep func(netip.Addr) bool) (*peer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &peer{
		cert: cert, ctx: ctx, cancel: cancel, keep: keep, tiebreaker: make([]byte, 8),
		inflight: map[[stun.TransactionIDSize]byte]check{},
		media:    media{streams: map[uint32]*stream{}},
	}
	_, _ = rand.Read(p.tiebreaker) // never fails
	p.secure.init(p)
	local, err := p.open()
	p.mu.Lock()
	p.local = local
	p.mu.Unlock()
	if err != nil {
		p.vanish()
		return nil, err
	}
	return p, nil
}

// maxSockets bounds the addresses a peer offers.
const maxSockets = 8

// open makes a generation with its sockets, each read by its own goroutine.
func (p *peer) open() (generation, error) {
	g := generation{ufrag: random()[:8], pwd: random()}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return g, err
	}
	for _, a := range addrs {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(ipnet.IP)
		ip = ip.Unmap()
		if len(g.sockets) == maxSockets || ip.IsLinkLocalUnicast() || !p.keep(ip) {
			continue
		}
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		if err != nil {
			continue // an address that is being configured
		}
		s := &socket{conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
		g.sockets = append(g.sockets, s)
		p.wg.Add(1)
		go p.read(s)
	}
	if len(g.sockets) == 0 {
		return g, errors.New("this machine has no address to receive media on")
	}
	return g, nil
}

// close sends close_notify when there is an association, and ends all.
func (p *peer) close() {
	p.secure.close()
	p.vanish()
}

// vanish closes the sockets without a word, as a player that lost its power.
func (p *peer) vanish() {
	p.cancel()
	p.mu.Lock()
	for _, g := range append(p.former, p.local) {
		for _, s := range g.sockets {
			s.conn.Close()
		}
	}
	p.mu.Unlock()
	p.secure.pipe.Close()
	p.wg.Wait()
}

// fingerprint of the peer's certificate, as in SDP.
func (p *peer) fingerprint() string { return fingerprint(p.cert.Certificate[0]) }

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return "sha-256 " + strings.Join(parts, ":")
}

// candidates of the generation, as attributes.
func (g generation) candidates() []string {
	lines := make([]string, 0, len(g.sockets))
	for i, s := range g.sockets {
		lines = append(lines, candidate(i+1, s.addr))
	}
	return lines
}

func candidate(n int, a netip.AddrPort) string {
	return fmt.Sprintf("candidate:%d 1 udp %d %s %d typ host", n, 2130706431-n<<8, a.Addr(), a.Port())
}

// answered takes the server's side from an answer.
func (p *peer) answered(d *description) error {
	m := first(d.accepted())
	if m == nil {
		return errors.New("the answer accepts no section")
	}
	// Transport attributes count in the first section of the BUNDLE group.
	r := remote{
		ufrag: d.either(m, "ice-ufrag"), pwd: d.either(m, "ice-pwd"),
		fingerprint: d.either(m, "fingerprint"), addrs: p.reachable(m.all("candidate")),
	}
	switch {
	case r.ufrag == "" || r.pwd == "":
		return errors.New("the answer has no ICE credentials")
	case r.fingerprint == "":
		return errors.New("the answer has no fingerprint")
	case len(r.addrs) == 0:
		return errors.New("the first accepted section of the answer has no UDP candidate that this machine can use")
	}
	p.mu.Lock()
	p.remote = r
	p.media.learn(d)
	p.mu.Unlock()
	return nil
}

// maxCandidates bounds the candidates that a peer looks at, and looks up.
const maxCandidates = 32

// reachable are the UDP addresses among candidate attributes.
func (p *peer) reachable(candidates []string) (addrs []netip.AddrPort) {
	for _, c := range candidates[:min(len(candidates), maxCandidates)] {
		f := strings.Fields(c)
		if len(f) < 8 || f[1] != "1" || !strings.EqualFold(f[2], "udp") {
			continue
		}
		port, err := strconv.ParseUint(f[5], 10, 16)
		if err != nil || port == 0 || strings.HasSuffix(f[4], ".local") {
			continue
		}
		ctx, cancel := context.WithTimeout(p.ctx, time.Second)
		ips, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", f[4])
		cancel()
		for _, ip := range ips {
			ip = ip.Unmap()
			if !ip.IsLinkLocalUnicast() && p.keep(ip) && len(addrs) < 16 {
				addrs = append(addrs, netip.AddrPortFrom(ip, uint16(port)))
			}
		}
	}
	return addrs
}

// start begins connectivity checks, and DTLS in the role that the answer leaves.
func (p *peer) start(client bool) {
	p.wg.Add(2)
	go p.checks()
	go p.secure.run(client)
}

// prepare opens the sockets of an ICE session to come.
func (p *peer) prepare() (generation, error) {
	next, err := p.open()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.former = append(p.former, next) // closed with the peer, used or not
	return next, err
}

// adopt changes to a prepared ICE session with the server's side of a fragment.
// The sockets from before only watch. Media has no path until a check succeeds.
func (p *peer) adopt(next generation, ufrag, pwd string, candidates []string) {
	addrs := p.reachable(candidates)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.former = slices.DeleteFunc(append(p.former, p.local), func(g generation) bool { return g.ufrag == next.ufrag })
	p.local = next
	p.remote.ufrag, p.remote.pwd = ufrag, pwd
	if len(addrs) > 0 {
		p.remote.addrs = addrs
	}
	p.nominated = false
	p.path = path{}
	clear(p.inflight)
}

func (p *peer) isNominated() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nominated
}

// mute stops everything the peer sends.
func (p *peer) mute() {
	p.mu.Lock()
	p.silent = true
	p.mu.Unlock()
}

// lastConsent is when the server last answered a check with success.
func (p *peer) lastConsent() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.consented
}

// requests are the Binding requests that came since a moment.
func (p *peer) requests(since time.Time) (found []asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.asked {
		if a.at.After(since) {
			found = append(found, a)
		}
	}
	return found
}

// formerLastMedia is when media last came to a socket from before the restarts.
func (p *peer) formerLastMedia() (last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.former {
		for _, s := range g.sockets {
			if s.lastMedia.After(last) {
				last = s.lastMedia
			}
		}
	}
	return last
}
