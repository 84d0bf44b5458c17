package whep

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v5/stdnet"

	"deskwhep/interceptors/gso"
	"deskwhep/whep/peer"
)

const (
	socketBuffer = 4 << 20         // bytes; the kernel may grant less
	addressGone  = time.Minute     // after which the socket of an address is closed that no interface has
	firstByte    = 5 * time.Second // for a TCP connection to say what it is
	tcpBuffer    = 256 << 10       // bytes in the kernel for one ICE-TCP viewer, who would get as much stale video first
	writeBuffer  = 512 << 10       // bytes beyond that; a slow viewer loses packets instead of blocking
)

// ports are the server's sockets: one TCP port for HTTP and ICE-TCP, and UDP on
// the same number of every interface, each with one socket for all viewers.
//
// UDP listens beside loopback also when HTTP does not, because some browsers
// never pair with 127.0.0.1. It answers nobody without a session's credentials.
//
// Addresses come and go while it runs: a laptop moves to another network.
type ports struct {
	// Static after open.
	tcp        net.Listener
	web, media *branch
	tcpMux     *ice.TCPMuxDefault
	log        *slog.Logger
	addresses  func() ([]netip.Addr, error) // of the interfaces

	udp atomic.Pointer[[]*mediaSocket] // all of them, for flush; the slice is replaced under mu, not written to

	mu      sync.Mutex
	pending map[net.Conn]struct{} // connections that have said nothing yet; nil after close
	offered peer.Network          // what new connections get
	at      []netip.Addr          // the addresses in it
}

// mediaSocket is the UDP socket of one address.
type mediaSocket struct {
	addr   netip.Addr
	bursts *gso.Conn
	peers  *peer.Socket // over bursts
	mux    ice.UDPMux   // over peers
	seen   time.Time    // when an interface last had the address; guarded by ports.mu
}

// openPorts opens the sockets. With port 0 it looks for a number that is free
// for TCP and for UDP.
func openPorts(listen string, log *slog.Logger) (*ports, error) {
	const tries = 20
	var err error
	for range tries {
		var p *ports
		if p, err = tryPorts(listen, log); err == nil {
			return p, nil
		}
		if _, port, _ := net.SplitHostPort(listen); port != "0" {
			break
		}
	}
	return nil, err
}

func tryPorts(listen string, log *slog.Logger) (*ports, error) {
	tcp, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", listen, err)
	}
	p := &ports{
		tcp: tcp, web: newBranch(tcp), media: newBranch(tcp), pending: map[net.Conn]struct{}{},
		log: log, addresses: interfaceAddresses,
	}
	p.udp.Store(new([]*mediaSocket))
	p.tcpMux = ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener:                     p.media,
		Logger:                       stackLogs{log}.NewLogger("ice"),
		ReadBufferSize:               32,
		WriteBufferSize:              writeBuffer,
		FirstStunBindTimeout:         firstByte,
		AliveDurationForConnFromStun: 10 * time.Second,
	})
	if _, err := p.network(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// network is what a new connection uses, with the addresses that the interfaces
// have now.
func (p *ports) network() (peer.Network, error) {
	list, err := p.addresses()
	if err != nil {
		return peer.Network{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return peer.Network{}, net.ErrClosed
	}
	if slices.Equal(list, p.at) {
		return p.offered, nil
	}
	interfaces, err := stdnet.NewNet()
	if err != nil {
		return peer.Network{}, fmt.Errorf("list the network interfaces: %w", err)
	}
	now := time.Now()
	var all []*mediaSocket
	for _, s := range *p.udp.Load() {
		if slices.Contains(list, s.addr) {
			s.seen = now
		}
		if now.Sub(s.seen) < addressGone {
			all = append(all, s)
		} else if err := s.mux.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			p.log.Warn("a media socket cannot be closed", "address", s.addr, "error", err)
		}
	}
	n := peer.Network{Net: interfaces}
	var muxes []ice.UDPMux
	for _, addr := range list {
		i := slices.IndexFunc(all, func(s *mediaSocket) bool { return s.addr == addr })
		if i < 0 {
			s, err := p.open(addr)
			switch {
			case err == nil:
				i, all = len(all), append(all, s)
			case p.at == nil && !errors.Is(err, syscall.EADDRNOTAVAIL):
				p.udp.Store(&all)
				return n, fmt.Errorf("open the media socket: %w; choose another port with --listen", err)
			default: // not ready, or gone already, or another program has the port there
				p.log.Warn("an interface address cannot be used for media", "address", addr, "error", err)
				continue
			}
		}
		n.Sockets = append(n.Sockets, all[i].peers)
		muxes = append(muxes, all[i].mux)
	}
	n.UDP = ice.NewMultiUDPMuxDefault(muxes...)
	if p.at != nil {
		p.log.Info("the network addresses have changed", "addresses", list)
	}
	p.udp.Store(&all)
	p.at, p.offered = list, n
	return n, nil
}

// open opens the media socket of an address.
func (p *ports) open(addr netip.Addr) (*mediaSocket, error) {
	at := netip.AddrPortFrom(addr, p.tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(socketBuffer) // a smaller one works too
	_ = c.SetWriteBuffer(socketBuffer)
	bursts, err := gso.New(c, gso.Segments)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s := &mediaSocket{addr: addr, bursts: bursts, peers: peer.NewSocket(bursts, at), seen: time.Now()}
	s.mux = ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: s.peers, Logger: stackLogs{p.log}.NewLogger("ice")})
	return s, nil
}

// interfaceAddresses are the addresses of all interfaces, without link-local
// ones.
func interfaceAddresses() (list []netip.Addr, err error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the network addresses: %w", err)
	}
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if addr := prefix.Addr().Unmap(); !addr.IsLinkLocalUnicast() && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("this machine has no network address, not even loopback")
	}
	return list, nil
}

// flush sends what the media sockets keep back of a frame.
func (p *ports) flush() {
	for _, s := range *p.udp.Load() {
		s.bursts.Flush()
	}
}

func (p *ports) close() error {
	errs := []error{p.tcp.Close()}
	p.mu.Lock()
	for c := range p.pending {
		_ = c.Close()
	}
	p.pending = nil
	p.mu.Unlock()
	errs = append(errs, p.tcpMux.Close())
	for _, s := range *p.udp.Load() {
		for _, err := range []error{s.mux.Close(), s.bursts.Close()} {
			if err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// split tells the connections of the TCP port apart by their first byte until
// the port is closed: framed STUN (RFC 4571) begins with the high byte of a
// length below 512, TLS with 0x16, HTTP with a letter.
func (p *ports) split() error {
	defer p.web.end()
	defer p.media.end()
	var sorting sync.WaitGroup
	defer sorting.Wait()
	for {
		c, err := p.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		sorting.Go(func() { p.sort(c) })
	}
}

// sort gives a connection to the branch that it belongs to.
func (p *ports) sort(c net.Conn) {
	if !p.await(c, true) {
		_ = c.Close()
		return
	}
	r := bufio.NewReaderSize(c, 4096)
	_ = c.SetReadDeadline(time.Now().Add(firstByte))
	first, err := r.Peek(1)
	if !p.await(c, false) || err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	to := p.web
	if first[0] < 2 {
		to = p.media
		_ = c.(*net.TCPConn).SetWriteBuffer(tcpBuffer) // a larger one works too
	}
	if !to.give(peeked{c, r}) {
		_ = c.Close()
	}
}

// await adds or removes a pending connection; false means that the port is
// closed.
func (p *ports) await(c net.Conn, pending bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return false
	}
	if delete(p.pending, c); pending {
		p.pending[c] = struct{}{}
	}
	return true
}

// peeked is a connection whose first bytes have been looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// branch is a listener for one kind of the port's connections.
type branch struct {
	net.Listener // the port; only its address is used
	conns        chan net.Conn
	closed       chan struct{}
	close        sync.Once
}

func newBranch(l net.Listener) *branch {
	return &branch{Listener: l, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// give hands a connection to Accept; false when the branch is closed.
func (b *branch) give(c net.Conn) bool {
	select {
	case b.conns <- c:
		return true
	case <-b.closed:
		return false
	}
}

// Accept implements net.Listener.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; the port stays open for the other branch.
func (b *branch) Close() error { b.end(); return nil }

func (b *branch) end() { b.close.Do(func() { close(b.closed) }) }
