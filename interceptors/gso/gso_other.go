//go:build !linux

package gso

import (
	"net"
	"net/netip"
)

// socket is a UDP socket.
type socket struct{ *net.UDPConn }

func (s *socket) open(c *net.UDPConn) error {
	s.UDPConn = c
	return nil
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (s *socket) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	return s.ReadFromUDPAddrPort(b)
}

// kernel sends packet by packet.
type kernel struct{ conn *net.UDPConn }

func (k *kernel) open(on *socket, _ Path) (Path, error) {
	k.conn = on.UDPConn
	return Single, nil
}

func (k *kernel) send(_ Path, b []byte, size, _ int, to netip.AddrPort) (int, error) {
	if _, err := k.conn.WriteToUDPAddrPort(b[:min(size, len(b))], to); err != nil {
		return 0, err
	}
	return 1, nil
}

func isFull(error) bool { return false }

func isUnable(error) bool { return false }
