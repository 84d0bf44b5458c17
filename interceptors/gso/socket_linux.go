package gso

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a UDP socket that wakes nobody when it has sent. Go's poller waits
// for sockets to be readable and writable in one, and so the kernel wakes it for
// each message that has left: once for each frame and viewer. The poller gets an
// epoll instance instead in which there is the socket, waiting to be read. Writes
// do not wait.
type socket struct {
	// Static after open.
	file   *os.File        // the socket; unknown to the poller
	raw    syscall.RawConn // file's
	ready  *os.File        // the epoll instance
	wait   syscall.RawConn // ready's
	local  net.Addr
	closed atomic.Bool

	mu      sync.Mutex // guards reading
	receive func(fd uintptr) bool
	into    []byte
	n       uintptr
	errno   syscall.Errno
	name    unix.RawSockaddrInet6 // large enough for both families
	length  uint32
	zones   map[uint32]string // by index; never forgotten
}

// open takes c's socket over.
func (s *socket) open(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	fd := -1
	e := raw.Control(func(own uintptr) {
		if fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN})
		}
	})
	if err = errors.Join(e, err, unix.SetNonblock(poll, true)); err != nil {
		unix.Close(poll)
		if fd >= 0 {
			unix.Close(fd)
		}
		return fmt.Errorf("epoll: %w", err)
	}
	s.local = c.LocalAddr()
	_ = c.Close()                   // the socket stays
	_ = unix.SetNonblock(fd, false) // or NewFile gives it to the poller again
	s.file, s.ready = os.NewFile(uintptr(fd), "udp"), os.NewFile(uintptr(poll), "epoll")
	if s.raw, err = s.file.SyscallConn(); err == nil {
		s.wait, err = s.ready.SyscallConn()
	}
	s.receive = func(uintptr) bool { return s.raw.Control(s.take) != nil || s.errno != unix.EAGAIN }
	return err
}

// take takes one packet, if there is one. RawSyscall does not tell the
// scheduler, which need not know: the call does not wait.
func (s *socket) take(fd uintptr) {
	for {
		s.length = uint32(unsafe.Sizeof(s.name))
		s.n, _, s.errno = syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.into))), uintptr(len(s.into)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&s.name)), uintptr(unsafe.Pointer(&s.length)))
		if s.errno != unix.EINTR {
			return
		}
	}
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (s *socket) ReadFromAddrPort(b []byte) (n int, from netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.into, s.errno = b, 0
	err = s.wait.Read(s.receive)
	s.into = nil
	switch {
	case s.closed.Load():
		err = net.ErrClosed
	case err == nil && s.errno != 0:
		err = os.NewSyscallError("recvfrom", s.errno)
	}
	if err != nil {
		return 0, from, &net.OpError{Op: "read", Net: "udp", Source: s.local, Err: err}
	}
	return int(s.n), s.from(), nil
}

// from is the address in name.
func (s *socket) from() netip.AddrPort {
	port := netOrder(s.name.Port)
	if s.name.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&s.name)).Addr), port)
	}
	addr := netip.AddrFrom16(s.name.Addr)
	if index := s.name.Scope_id; index != 0 {
		zone, ok := s.zones[index]
		if !ok {
			zone = strconv.Itoa(int(index))
			if i, err := net.InterfaceByIndex(int(index)); err == nil {
				zone = i.Name
			}
			if s.zones == nil {
				s.zones = map[uint32]string{}
			}
			s.zones[index] = zone
		}
		addr = addr.WithZone(zone)
	}
	return netip.AddrPortFrom(addr, port)
}

// ReadFrom implements net.PacketConn.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := s.ReadFromAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// LocalAddr implements net.PacketConn.
func (s *socket) LocalAddr() net.Addr { return s.local }

// SetDeadline implements net.PacketConn. It is one for reading: no write waits.
func (s *socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (s *socket) SetReadDeadline(t time.Time) error { return s.ready.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn. No write waits.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.PacketConn.
func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: "udp", Source: s.local, Err: net.ErrClosed}
	}
	return errors.Join(s.ready.Close(), s.file.Close())
}
