//go:build !linux

package gso

import (
	"net"
	"net/netip"
	"syscall"
)

// kernel sends packet by packet.
type kernel struct{ conn *net.UDPConn }

func (k *kernel) open(c *net.UDPConn, _ syscall.RawConn, _ Path) (Path, error) {
	k.conn = c
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
