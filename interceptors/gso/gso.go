// Package gso sends bursts of RTP with few system calls. A Conn goes under
// ICE's UDP mux (ice.UDPMuxParams.UDPConn) of any pion program:
//
//	conn, err := gso.New(udpConn, gso.Segments)
//	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn})
//	...
//	conn.Flush() // when a frame has been written
//
// Packets that follow each other to one address leave as one message which the
// kernel or the network card cuts up (UDP_SEGMENT, Linux 4.18). So write all
// packets of a frame to one viewer before the next viewer's, and make them all
// of one size but the last.
package gso

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// Path is a way to the kernel. A Conn begins with the one that it is given and
// falls back to the one before when the socket or its route refuses it.
type Path int32

const (
	Single   Path = iota // one call for each packet
	Batch                // one call for many packets: sendmmsg
	Segments             // one message for many packets: UDP_SEGMENT
)

// String implements fmt.Stringer.
func (p Path) String() string { return [...]string{"single", "batch", "segments"}[p] }

const (
	maxRun      = 64    // packets, UDP_MAX_SEGMENTS
	maxRunBytes = 64000 // and with headers less than 65536
	mostUnable  = 8     // runs in a row that are refused before a path is given up
)

// Stats counts what a Conn has sent.
type Stats struct {
	Packets  uint64
	Calls    uint64 // system calls for them
	Dropped  uint64 // packets for which the socket had no room
	Refused  uint64 // packets that the kernel refused for another reason
	Fallback Path   // the path in use
}

// Conn is a UDP socket that keeps RTP packets back until Flush, until a packet
// for another address comes, or until 64 are together. Whatever is not RTP
// leaves at once, after what was kept. A socket without room loses packets; no
// write ever waits. Methods are for any goroutine.
//
// It implements net.PacketConn and ice.AddrPortReaderWriter.
type Conn struct {
	socket
	kernel kernel

	packets, calls, dropped, refused atomic.Uint64
	path                             atomic.Int32

	mu   sync.Mutex // guards the run
	buf  []byte
	to   netip.AddrPort
	size int // of the run's packets; the last one may be smaller
	n    int // packets in buf
	last int // size of the last packet

	unable int // runs that the path refused since it last worked
}

// New makes a Conn of a socket, which it owns from now on. Segments is what
// one normally asks for; where the system knows less, less is used.
func New(c *net.UDPConn, best Path) (*Conn, error) {
	g := &Conn{buf: make([]byte, 0, 65536)}
	if err := g.socket.open(c); err != nil {
		return nil, err
	}
	best, err := g.kernel.open(&g.socket, best)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	g.path.Store(int32(best))
	return g, nil
}

// Stats tells what has been sent.
func (g *Conn) Stats() Stats {
	return Stats{g.packets.Load(), g.calls.Load(), g.dropped.Load(), g.refused.Load(), Path(g.path.Load())}
}

// WriteTo implements net.PacketConn.
func (g *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: addr, Err: syscall.EINVAL}
	}
	return g.WriteToAddrPort(b, a.AddrPort())
}

// WriteToAddrPort implements ice.AddrPortReaderWriter.
func (g *Conn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n > 0 && (to != g.to || len(b) > g.size || g.last < g.size || g.n == maxRun || len(g.buf)+len(b) > maxRunBytes) {
		g.flush()
	}
	if g.n == 0 {
		g.to, g.size = to, len(b)
	}
	g.buf = append(g.buf, b...)
	g.n++
	g.last = len(b)
	if !isRTP(b) || len(b) > maxRunBytes || Path(g.path.Load()) == Single {
		g.flush()
	}
	return len(b), nil
}

// Flush sends what was kept.
func (g *Conn) Flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flush()
}

// flush sends the run, falling back as long as the path is refused. One address
// that refuses it harms no other: the socket falls back only when nobody takes
// it any more.
func (g *Conn) flush() {
	used := Path(g.path.Load())
	path := used
	for first := 0; first < g.n; {
		done, err := g.kernel.send(path, g.buf[first*g.size:], g.size, g.n-first, g.to)
		g.calls.Add(1)
		g.packets.Add(uint64(done))
		first += done
		switch {
		case err == nil:
			if done > 1 && path == used {
				g.unable = 0
			}
		case isFull(err):
			g.dropped.Add(uint64(g.n - first))
			first = g.n
		case g.n-first > 1 && path != Single && isUnable(err):
			path--
			if g.unable++; g.unable == mostUnable {
				g.path.Store(int32(path))
				g.unable = 0
			}
		default: // as ICMP has told, or too long for the route; of no concern for the next one
			g.refused.Add(1)
			first++
		}
	}
	g.n, g.buf = 0, g.buf[:0]
}

// isRTP tells RTP from STUN, DTLS and RTCP (RFC 7983, RFC 5761).
func isRTP(b []byte) bool {
	return len(b) > 1 && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223)
}
