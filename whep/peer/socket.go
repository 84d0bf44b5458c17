package peer

import (
	"net"
	"net/netip"
	"sync"
)

// PacketConn is a UDP socket whose writes never block, such as *gso.Conn.
type PacketConn interface {
	net.PacketConn
	ReadFromAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// Socket is a UDP socket of many players. It goes under ICE's UDP mux
// (ice.UDPMuxParams.UDPConn), and takes the short way past it for what is
// frequent: media goes straight to the socket, and what players say of it
// straight to their connections, on the goroutine that reads the socket.
type Socket struct {
	PacketConn
	local netip.AddrPort

	mu    sync.RWMutex // guards below
	peers map[netip.AddrPort]*Conn
}

// NewSocket makes a Socket of c, whose local address is local.
func NewSocket(c PacketConn, local netip.AddrPort) *Socket {
	return &Socket{PacketConn: c, local: local, peers: map[netip.AddrPort]*Conn{}}
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (s *Socket) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := s.PacketConn.ReadFromAddrPort(b)
		if err != nil || !isControl(b[:n]) {
			return n, from, err
		}
		s.mu.RLock()
		c := s.peers[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
		s.mu.RUnlock()
		if c == nil {
			return n, from, nil
		}
		c.take(b[:n])
	}
}

// register gives the RTCP of an address to c.
func (s *Socket) register(at netip.AddrPort, c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[at] = c
}

// forget ends register.
func (s *Socket) forget(at netip.AddrPort, c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers[at] == c {
		delete(s.peers, at)
	}
}

// isControl tells RTCP from all else (RFC 7983, RFC 5761).
func isControl(b []byte) bool { return len(b) > 1 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223 }
