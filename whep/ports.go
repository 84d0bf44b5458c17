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
	"syscall"
	"time"

	"github.com/pion/ice/v4"

	"deskwhep/interceptors/gso"
	"deskwhep/whep/peer"
)

const (
	socketBuffer = 4 << 20         // bytes; the kernel may grant less
	firstByte    = 5 * time.Second // for a TCP connection to say what it is
	tcpBuffer    = 256 << 10       // bytes in the kernel for one ICE-TCP viewer, who would get as much stale video first
	writeBuffer  = 512 << 10       // bytes beyond that; a slow viewer loses packets instead of blocking
)

// ports are the server's sockets: one TCP port for HTTP and ICE-TCP, and UDP on
// the same number of every interface, each with one socket for all viewers.
//
// UDP listens beside loopback also when HTTP does not, because some browsers
// never pair with 127.0.0.1. It answers nobody without a session's credentials.
type ports struct {
	tcp        net.Listener
	web, media *branch
	udp        []*gso.Conn
	sockets    []*peer.Socket // of udp
	udpMux     *ice.MultiUDPMuxDefault
	tcpMux     *ice.TCPMuxDefault

	mu      sync.Mutex
	pending map[net.Conn]struct{} // connections that have said nothing yet; nil after close
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
	p := &ports{tcp: tcp, web: newBranch(tcp), media: newBranch(tcp), pending: map[net.Conn]struct{}{}}
	port := tcp.Addr().(*net.TCPAddr).AddrPort().Port()
	local, err := interfaceAddresses()
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	var muxes []ice.UDPMux
	for _, addr := range local {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			log.Warn("an interface address cannot be used for media", "address", addr) // not ready, or gone already
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the media socket: %w; choose another port with --listen", err), p.close())
		}
		_ = c.SetReadBuffer(socketBuffer) // a smaller one works too
		_ = c.SetWriteBuffer(socketBuffer)
		bursts, err := gso.New(c, gso.Segments)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the media socket: %w", err), c.Close(), p.close())
		}
		socket := peer.NewSocket(bursts, netip.AddrPortFrom(addr, port))
		p.udp, p.sockets = append(p.udp, bursts), append(p.sockets, socket)
		muxes = append(muxes, ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: socket, Logger: stackLogs{log}.NewLogger("ice")}))
	}
	p.udpMux = ice.NewMultiUDPMuxDefault(muxes...)
	p.tcpMux = ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener:                     p.media,
		Logger:                       stackLogs{log}.NewLogger("ice"),
		ReadBufferSize:               32,
		WriteBufferSize:              writeBuffer,
		FirstStunBindTimeout:         firstByte,
		AliveDurationForConnFromStun: 10 * time.Second,
	})
	return p, nil
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
	for _, c := range p.udp {
		c.Flush()
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
	if p.udpMux != nil {
		errs = append(errs, p.udpMux.Close(), p.tcpMux.Close())
	}
	for _, c := range p.udp {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
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
