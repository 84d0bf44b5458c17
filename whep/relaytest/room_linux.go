package relaytest

import (
	"net"

	"golang.org/x/sys/unix"
)

// force sets the size of a socket's buffer beyond what the system allows, for whom it
// lets do that.
func force(c *net.UDPConn, size int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) })
}
