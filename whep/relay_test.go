package whep

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// linkTo is what a relay does to the packets of one direction. Its zero value
// does nothing.
type linkTo struct {
	loss   float64       // share of RTP packets that are lost; control survives
	delay  time.Duration // of each packet
	jitter time.Duration // more, at random, in order
	late   float64       // share of packets that come later than the next ones
	rate   float64       // bits per second; 0 is any
	queue  int           // bytes that wait for the rate
}

// relay is a UDP path to a server that loses, delays and bounds what comes from
// it. The same seed loses the same packets.
type relay struct {
	addr     *net.UDPAddr // for the player
	outside  *net.UDPConn
	inside   *net.UDPConn
	bytes    atomic.Int64 // given to the player
	dead     atomic.Bool  // nothing passes any more
	settings linkTo

	mu      sync.Mutex // guards below
	random  *rand.Rand
	player  *net.UDPAddr
	free    time.Time // when the queue is empty
	last    time.Time // when the last packet leaves
	pending sync.WaitGroup
}

func startRelay(t testing.TB, server *net.UDPAddr, p linkTo, seed uint64) *relay {
	t.Helper()
	outside, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	inside, err := net.DialUDP("udp4", nil, server)
	if err != nil {
		t.Fatal(err)
	}
	_ = inside.SetReadBuffer(4 << 20)
	_ = outside.SetReadBuffer(4 << 20)
	r := &relay{addr: outside.LocalAddr().(*net.UDPAddr), outside: outside, inside: inside, settings: p, random: rand.New(rand.NewPCG(seed, seed))}
	var running sync.WaitGroup
	running.Go(r.toServer)
	running.Go(r.toPlayer)
	t.Cleanup(func() {
		outside.Close()
		inside.Close()
		running.Wait()
		r.pending.Wait()
	})
	return r
}

func (r *relay) toServer() {
	buf := make([]byte, 2000)
	for {
		n, from, err := r.outside.ReadFromUDP(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.player = from
		r.mu.Unlock()
		if r.dead.Load() {
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		r.after(r.settings.delay, func() { _, _ = r.inside.Write(b) })
	}
}

func (r *relay) toPlayer() {
	buf := make([]byte, 2000)
	for {
		n, err := r.inside.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		player, wait, passes := r.player, time.Duration(0), r.player != nil && !r.dead.Load()
		if passes {
			wait, passes = r.judge(buf[:n], time.Now())
		}
		r.mu.Unlock()
		if !passes {
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		r.after(wait, func() {
			r.bytes.Add(int64(len(b)))
			_, _ = r.outside.WriteToUDP(b, player)
		})
	}
}

// judge tells when a packet reaches the player, if it does. The caller holds
// mu.
func (r *relay) judge(b []byte, now time.Time) (wait time.Duration, passes bool) {
	p := &r.settings
	rtp := b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223)
	if rtp && r.random.Float64() < p.loss {
		return 0, false
	}
	at := now
	if p.rate > 0 {
		if r.free.Before(now) {
			r.free = now
		}
		if r.free.Sub(now).Seconds()*p.rate/8 > float64(p.queue) {
			return 0, false
		}
		r.free = r.free.Add(time.Duration(float64(8*len(b)) / p.rate * 1e9))
		at = r.free
	}
	at = at.Add(p.delay)
	if p.jitter > 0 {
		at = at.Add(time.Duration(r.random.Int64N(int64(p.jitter))))
	}
	if rtp && r.random.Float64() < p.late {
		return at.Sub(now) + 5*time.Millisecond, true
	}
	if at.Before(r.last) {
		at = r.last // in order
	}
	r.last = at
	return at.Sub(now), true
}

func (r *relay) after(d time.Duration, f func()) {
	if d <= 0 {
		f()
		return
	}
	r.pending.Add(1)
	time.AfterFunc(d, func() { defer r.pending.Done(); f() })
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
