package whep

import (
	"io"
	"net"
	"sync"
	"testing"

	"deskwhep/whep/relaytest"
)

// relay is a UDP path to a server.
type relay struct{ *relaytest.Relay }

func startRelay(t testing.TB, server *net.UDPAddr, link relaytest.Link, seed uint64) relay {
	t.Helper()
	return relay{relaytest.Start(t, server, link, seed)}
}

// tcpRelay is a TCP path to a server that can stall.
type tcpRelay struct {
	listener net.Listener
	stalled  chan struct{} // closed to stall
	free     chan struct{} // closed to go on
}

func startTCPRelay(t testing.TB, server string) *tcpRelay {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &tcpRelay{l, make(chan struct{}), make(chan struct{})}
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			player, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp4", server)
			if err != nil {
				player.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, player, to)
			mu.Unlock()
			running.Go(func() { _, _ = io.Copy(to, player); to.Close() })
			running.Go(func() {
				buf := make([]byte, 16<<10)
				for {
					select {
					case <-r.stalled:
						<-r.free
					default:
					}
					n, err := to.Read(buf)
					if err != nil {
						player.Close()
						return
					}
					if _, err := player.Write(buf[:n]); err != nil {
						to.Close()
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		r.release()
		running.Wait()
	})
	return r
}

func (r *tcpRelay) stall() { close(r.stalled) }

func (r *tcpRelay) release() {
	select {
	case <-r.free:
	default:
		close(r.free)
	}
}
