package gso

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// No poller waits for the socket to be writable, which it is after each send.
func TestSendingWakesNobody(t *testing.T) {
	g, to := open(t, "udp4", "127.0.0.1:0", Segments)
	t.Cleanup(func() { g.Close() })
	if n := len(polled(t, to[0])); n == 0 {
		t.Fatal("the test does not find who polls a plain socket")
	}
	events := polled(t, g.raw)
	if len(events) != 1 || events[0]&unix.EPOLLIN == 0 || events[0]&unix.EPOLLOUT != 0 {
		t.Errorf("the socket is polled for %x; want one poller that waits to read", events)
	}
}

// polled is what each epoll instance of this process waits for on a socket.
func polled(t *testing.T, of any) (events []uint64) {
	t.Helper()
	raw, ok := of.(interface{ Control(func(uintptr)) error })
	if !ok {
		var err error
		if raw, err = of.(*net.UDPConn).SyscallConn(); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := raw.Control(func(fd uintptr) {
		if err := unix.Fstat(int(fd), &st); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^tfd:.* events: *([0-9a-f]+) .* ino:` + strconv.FormatUint(st.Ino, 16) + ` `)
	fds, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range fds {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // closed meanwhile
		}
		for _, m := range line.FindAllSubmatch(text, -1) {
			e, err := strconv.ParseUint(string(m[1]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	return events
}

func TestRead(t *testing.T) {
	for _, on := range [][2]string{{"udp4", "127.0.0.1:0"}, {"udp6", "[::1]:0"}} {
		t.Run(on[0], func(t *testing.T) {
			g, from := open(t, on[0], on[1], Segments)
			t.Cleanup(func() { g.Close() })
			b := make([]byte, 100)
			_ = g.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, _, err := g.ReadFromAddrPort(b); !errors.Is(err, os.ErrDeadlineExceeded) || !os.IsTimeout(err) {
				t.Errorf("reading in vain: %v", err)
			}
			_ = g.SetDeadline(time.Now().Add(10 * time.Second))
			for i := range 200 {
				c := from[i%2]
				want := fmt.Appendf(nil, "message %d", i)
				// Half of the messages are there before the reader is.
				go func() { _, _ = c.WriteTo(want, g.LocalAddr()) }()
				if i%4 < 2 {
					time.Sleep(100 * time.Microsecond)
				}
				n, addr, err := g.ReadFrom(b)
				if err != nil || !bytes.Equal(b[:n], want) || addr.String() != c.LocalAddr().String() {
					t.Fatalf("read %q from %v, %v; want %q from %v", b[:n], addr, err, want, c.LocalAddr())
				}
			}
			if _, err := from[0].WriteTo(make([]byte, 150), g.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if n, _, err := g.ReadFromAddrPort(b); n != len(b) || err != nil {
				t.Errorf("of a message that is longer than the buffer came %d bytes, %v", n, err)
			}
		})
	}
}

func TestClose(t *testing.T) {
	g, to := open(t, "udp4", "127.0.0.1:0", Segments)
	read := make(chan error)
	go func() {
		_, _, err := g.ReadFromAddrPort(make([]byte, 100))
		read <- err
	}()
	time.Sleep(10 * time.Millisecond) // it may wait already, or not
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading ended by %v", err)
	}
	_, _, err := g.ReadFromAddrPort(make([]byte, 100))
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading from a closed socket: %v", err)
	}
	if err := g.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing it again: %v", err)
	}
	if _, err := g.WriteTo(packet(1, 100), to[0].LocalAddr()); err != nil {
		t.Error(err)
	}
	g.Flush()
	if s := g.Stats(); s.Packets != 0 || s.Refused != 1 {
		t.Errorf("writing to a closed socket: %+v", s)
	}
	c, err := net.ListenUDP("udp4", g.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatalf("the port is not free again: %v", err)
	}
	c.Close()
}

func TestZone(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) == 0 {
		t.Skipf("there are no interfaces here: %v", err)
	}
	var s socket
	s.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: netOrder(5000), Addr: netip.MustParseAddr("fe80::1").As16()}
	for index, want := range map[uint32]string{uint32(interfaces[0].Index): "%" + interfaces[0].Name, 1 << 30: "%1073741824", 0: ""} {
		s.name.Scope_id = index
		for range 2 {
			if got := s.from().String(); got != "[fe80::1"+want+"]:5000" {
				t.Errorf("index %d: %s", index, got)
			}
		}
	}
}
