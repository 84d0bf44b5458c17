package whep

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// linkTo is what a path does to the packets of one direction. Its zero value
// does nothing.
type linkTo struct {
	loss   float64       // share of packets that are lost
	delay  time.Duration // of each packet
	jitter time.Duration // more, at random, in order
	late   float64       // share of packets that come later than the next ones
	rate   float64       // bits per second; 0 is any
	queue  int           // bytes that wait for the rate
	noUDP  bool          // in a network: UDP does not pass
}

// way carries packets in one direction. The same seed loses the same packets.
type way struct {
	settings linkTo
	deliver  func([]byte) // called by run
	wake     chan struct{}

	mu     sync.Mutex // guards below
	random *rand.Rand
	free   time.Time // when the queue is empty
	last   time.Time // when the last packet leaves
	queue  []parcel  // by time
}

type parcel struct {
	at time.Time
	b  []byte
}

func newWay(settings linkTo, seed uint64, deliver func([]byte)) *way {
	return &way{settings: settings, deliver: deliver, wake: make(chan struct{}, 1), random: rand.New(rand.NewPCG(seed, seed))}
}

// carry takes a packet, which it copies. One that is not frail is not lost by
// chance.
func (p *way) carry(b []byte, frail bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, passes := p.judge(len(b), frail, time.Now())
	if !passes {
		return
	}
	i := len(p.queue)
	for i > 0 && p.queue[i-1].at.After(at) {
		i--
	}
	p.queue = slices.Insert(p.queue, i, parcel{at, slices.Clone(b)})
	if i == 0 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// judge tells when a packet arrives, if it does. The caller holds mu.
func (p *way) judge(size int, frail bool, now time.Time) (at time.Time, passes bool) {
	s := &p.settings
	if frail && p.random.Float64() < s.loss {
		return at, false
	}
	at = now
	if s.rate > 0 {
		if p.free.Before(now) {
			p.free = now
		}
		if p.free.Sub(now).Seconds()*s.rate/8 > float64(s.queue) {
			return at, false
		}
		p.free = p.free.Add(time.Duration(float64(8*size) / s.rate * 1e9))
		at = p.free
	}
	at = at.Add(s.delay)
	if s.jitter > 0 {
		at = at.Add(time.Duration(p.random.Int64N(int64(s.jitter))))
	}
	if frail && p.random.Float64() < s.late {
		return at.Add(5 * time.Millisecond), true
	}
	if at.Before(p.last) {
		at = p.last // in order
	}
	p.last = at
	return at, true
}

// run delivers packets until done is closed.
func (p *way) run(done <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.mu.Lock()
		now := time.Now()
		n := 0
		for n < len(p.queue) && !p.queue[n].at.After(now) {
			n++
		}
		ready := slices.Clone(p.queue[:n])
		p.queue = slices.Delete(p.queue, 0, n)
		wait := time.Hour
		if len(p.queue) > 0 {
			wait = p.queue[0].at.Sub(now)
		}
		p.mu.Unlock()
		for _, parcel := range ready {
			p.deliver(parcel.b)
		}
		if n > 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-done:
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// relay is a UDP path to a server. It loses RTP; control survives. What goes to
// the server is only delayed.
type relay struct {
	addr   *net.UDPAddr // for the player
	bytes  atomic.Int64 // given to the player
	dead   atomic.Bool  // nothing passes any more
	player atomic.Pointer[net.UDPAddr]
	lose   atomic.Pointer[func(rtp []byte) bool] // tells which RTP packets are lost besides
}

func startRelay(t testing.TB, server *net.UDPAddr, settings linkTo, seed uint64) *relay {
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
	r := &relay{addr: outside.LocalAddr().(*net.UDPAddr)}
	up := newWay(linkTo{delay: settings.delay}, seed, func(b []byte) { _, _ = inside.Write(b) })
	down := newWay(settings, seed, func(b []byte) {
		r.bytes.Add(int64(len(b)))
		_, _ = outside.WriteToUDP(b, r.player.Load())
	})
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { up.run(done) })
	running.Go(func() { down.run(done) })
	running.Go(func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := outside.ReadFromUDP(buf)
			if err != nil {
				return
			}
			r.player.Store(from)
			if !r.dead.Load() {
				up.carry(buf[:n], false)
			}
		}
	})
	running.Go(func() {
		buf := make([]byte, 2000)
		for {
			n, err := inside.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || r.dead.Load() || r.player.Load() == nil {
				continue
			}
			rtp := buf[0]>>6 == 2 && (buf[1] < 192 || buf[1] > 223)
			if lose := r.lose.Load(); rtp && lose != nil && (*lose)(buf[:n]) {
				continue
			}
			down.carry(buf[:n], rtp)
		}
	})
	t.Cleanup(func() {
		outside.Close()
		inside.Close()
		close(done)
		running.Wait()
	})
	return r
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
