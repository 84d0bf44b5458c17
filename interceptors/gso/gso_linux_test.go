package gso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open makes a Conn and two receivers on loopback.
func open(t testing.TB, network, address string, best Path) (*Conn, [2]*net.UDPConn) {
	t.Helper()
	listen := func() *net.UDPConn {
		a, err := net.ResolveUDPAddr(network, address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.ListenUDP(network, a)
		if err != nil {
			t.Skipf("no %s here: %v", network, err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetReadBuffer(4 << 20)
		return c
	}
	g, err := New(listen(), best)
	if err != nil {
		t.Fatal(err)
	}
	return g, [2]*net.UDPConn{listen(), listen()}
}

// packet is like an RTP packet with a number in it.
func packet(number, size int) []byte {
	b := bytes.Repeat([]byte{byte(number)}, size)
	b[0], b[1] = 0x80, 96
	binary.BigEndian.PutUint16(b[2:], uint16(number))
	return b
}

// write writes frames for the two receivers in turn: 70 equal packets and one
// smaller, more than a run takes.
func write(t *testing.T, g *Conn, to [2]*net.UDPConn) (each int) {
	t.Helper()
	const frames, packets = 3, 71
	for f := range frames {
		for _, c := range to {
			addr := c.LocalAddr().(*net.UDPAddr).AddrPort()
			for i := range packets {
				size := 1000
				if i == packets-1 {
					size = 77
				}
				if _, err := g.WriteToAddrPort(packet(f*packets+i, size), addr); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	g.Flush()
	return frames * packets
}

// read reads n packets and checks that they are what write has written.
func read(t *testing.T, c *net.UDPConn, n int) {
	t.Helper()
	var seen []int
	buf := make([]byte, 2000)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for range n {
		size, _, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("after %d packets: %v", len(seen), err)
		}
		number := int(binary.BigEndian.Uint16(buf[2:]))
		if !bytes.Equal(buf[:size], packet(number, size)) {
			t.Fatalf("packet %d was damaged", number)
		}
		seen = append(seen, number)
	}
	if !slices.IsSorted(seen) || seen[0] != 0 || seen[n-1] != n-1 {
		t.Errorf("packets came as %v", seen)
	}
}

func TestEachPath(t *testing.T) {
	for _, best := range []Path{Single, Batch, Segments} {
		for _, on := range [][2]string{{"udp4", "127.0.0.1:0"}, {"udp6", "[::1]:0"}} {
			t.Run(fmt.Sprint(best, " ", on[0]), func(t *testing.T) {
				g, to := open(t, on[0], on[1], best)
				if Path(g.path.Load()) != best {
					t.Skipf("the kernel knows no %v", best)
				}
				n := write(t, g, to)
				read(t, to[0], n)
				read(t, to[1], n)
				s := g.Stats()
				if s.Packets != uint64(2*n) || s.Dropped+s.Refused != 0 || s.Fallback != best {
					t.Errorf("%+v", s)
				}
				most := map[Path]uint64{Single: uint64(2 * n), Batch: 12, Segments: 12}[best]
				if s.Calls > most {
					t.Errorf("%d packets took %d calls; %d are enough", s.Packets, s.Calls, most)
				}
			})
		}
	}
}

// A socket without checksums is refused segmentation by the kernel, as one is
// whose network card cannot write them.
func TestSocketThatCannotSegment(t *testing.T) {
	g, to := open(t, "udp4", "127.0.0.1:0", Segments)
	if Path(g.path.Load()) != Segments {
		t.Skip("the kernel knows no UDP_SEGMENT")
	}
	if err := g.kernel.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	n := write(t, g, to)
	read(t, to[0], n)
	read(t, to[1], n)
	if s := g.Stats(); s.Packets != uint64(2*n) || s.Refused != 0 || s.Fallback != Batch {
		t.Errorf("%+v", s)
	}
}

// One address that is refused harms no other, and not the way to it.
func TestAddressThatRefuses(t *testing.T) {
	g, to := open(t, "udp4", "127.0.0.1:0", Segments)
	good := to[0].LocalAddr().(*net.UDPAddr).AddrPort()
	path := Path(g.path.Load())
	const frames, packets = 3 * mostUnable, 5
	for f := range frames {
		for _, addr := range []netip.AddrPort{netip.AddrPortFrom(good.Addr(), 0), good, netip.MustParseAddrPort("[::1]:9")} {
			for i := range packets {
				if _, err := g.WriteToAddrPort(packet(f*packets+i, 500), addr); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	g.Flush()
	read(t, to[0], frames*packets)
	if s := g.Stats(); s.Fallback != path || s.Refused != 2*frames*packets || s.Packets != frames*packets {
		t.Errorf("%+v", s)
	}
}

// What is not RTP must not wait, and must not overtake.
func TestControlLeavesAtOnce(t *testing.T) {
	g, to := open(t, "udp4", "127.0.0.1:0", Segments)
	addr := to[0].LocalAddr().(*net.UDPAddr)
	rtp, rtcp, dtls := packet(1, 100), packet(2, 100), packet(3, 100)
	rtcp[1], dtls[0] = 201, 22
	for _, b := range [][]byte{rtp, rtcp, dtls} {
		if _, err := g.WriteTo(b, addr); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 200)
	_ = to[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	for _, want := range [][]byte{rtp, rtcp, dtls} {
		n, err := to[0].Read(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("got % x, %v; want % x", buf[:min(n, 4)], err, want[:4])
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, best := range []Path{Single, Batch, Segments} {
		b.Run(best.String(), func(b *testing.B) {
			g, to := open(b, "udp4", "127.0.0.1:0", best)
			addr := to[0].LocalAddr().(*net.UDPAddr).AddrPort()
			_ = to[0].SetReadBuffer(1) // what does not fit is dropped by the kernel
			p := packet(1, 1100)
			b.ReportAllocs()
			for b.Loop() {
				for range 15 {
					_, _ = g.WriteToAddrPort(p, addr)
				}
				g.Flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/15, "ns/packet")
		})
	}
}
