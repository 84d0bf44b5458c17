package gso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	sent   uint32
}

const controlSize = 24 // of a control message with two bytes, with padding

// kernel is the way to the socket. One goroutine uses it at a time. Its fields
// live as long as a call, so that nothing is allocated.
type kernel struct {
	raw   syscall.RawConn
	six   bool // an IPv6 socket
	flags uintptr

	messages [maxRun]message
	vectors  [maxRun]unix.Iovec
	four     unix.RawSockaddrInet4
	sixth    unix.RawSockaddrInet6
	control  [controlSize]byte
	call     func(fd uintptr)
	count    int
	done     int
	errno    syscall.Errno
}

// open prepares the calls, and tells the best path up to best that the system
// knows.
func (k *kernel) open(on *socket, best Path) (Path, error) {
	k.raw, k.flags = on.raw, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL
	k.call = k.transmit
	var domain int
	var err, segments error
	if e := k.raw.Control(func(fd uintptr) {
		domain, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		_, segments = unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT)
	}); e != nil {
		err = e
	}
	if err != nil {
		return best, fmt.Errorf("socket family: %w", err)
	}
	k.six = domain == unix.AF_INET6
	if segments != nil && best == Segments {
		best = Batch
	}
	return best, nil
}

// send sends n packets that lie one behind the other in b, each of the given
// size but the last, and tells how many went.
func (k *kernel) send(path Path, b []byte, size, n int, to netip.AddrPort) (done int, err error) {
	if !k.six && !to.Addr().Unmap().Is4() {
		return 0, unix.EAFNOSUPPORT
	}
	name, length := k.address(to)
	k.count = n
	if path == Segments || path == Single {
		k.count = 1
	}
	for i := range k.count {
		part := b[i*size : min((i+1)*size, len(b))]
		if path == Segments {
			part = b
		}
		v := &k.vectors[i]
		v.Base = unsafe.SliceData(part)
		v.SetLen(len(part))
		h := &k.messages[i].header
		*h = unix.Msghdr{Name: name, Namelen: length, Iov: v}
		h.SetIovlen(1)
	}
	if path == Segments && n > 1 {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&k.control))
		c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(k.control[unix.CmsgLen(0):], uint16(size))
		h := &k.messages[0].header
		h.Control = &k.control[0]
		h.SetControllen(unix.CmsgSpace(2))
	}
	k.done, k.errno = 0, 0
	if err := k.raw.Control(k.call); err != nil {
		return 0, err
	}
	done = k.done
	if path == Segments && done == 1 {
		done = n
	}
	if k.errno != 0 {
		return done, k.errno
	}
	return done, nil
}

// transmit sends the messages. One alone goes by sendmsg: sendmmsg would offer
// the processor to others after it.
func (k *kernel) transmit(fd uintptr) {
	for {
		var n uintptr
		var e syscall.Errno
		if k.count == 1 {
			_, _, e = syscall.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&k.messages[0].header)), k.flags)
			n = 1
		} else {
			n, _, e = syscall.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&k.messages)), uintptr(k.count), k.flags, 0, 0)
		}
		if e == unix.EINTR {
			continue
		}
		if e == 0 {
			k.done = int(n)
		}
		k.errno = e
		return
	}
}

// address is to as the socket's family writes it.
func (k *kernel) address(to netip.AddrPort) (*byte, uint32) {
	port := netOrder(to.Port())
	if !k.six {
		k.four = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().Unmap().As4()}
		return (*byte)(unsafe.Pointer(&k.four)), unix.SizeofSockaddrInet4
	}
	k.sixth = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16(), Scope_id: scope(to.Addr().Zone())}
	return (*byte)(unsafe.Pointer(&k.sixth)), unix.SizeofSockaddrInet6
}

// netOrder is a port as the network writes it, and the same the other way round.
func netOrder(port uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(port >> 8), byte(port)})
}

func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

// isFull tells whether the socket has no room now.
func isFull(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) }

// isUnable tells whether the path does not work with this socket or route, as
// with a network card that cannot write checksums.
func isUnable(err error) bool {
	for _, e := range []syscall.Errno{unix.EIO, unix.EINVAL, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
