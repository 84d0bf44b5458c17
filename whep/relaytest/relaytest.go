// Package relaytest carries packets over bad paths, for tests of what is sent over
// them.
package relaytest

import (
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Link is what a path does to the packets of one direction. Its zero value does
// nothing.
type Link struct {
	Loss   float64       // share of packets that are lost
	Delay  time.Duration // of each packet
	Jitter time.Duration // more, at random, in order
	Late   float64       // share of packets that come later than the next ones
	Rate   float64       // bits per second; 0 is any
	Queue  int           // bytes that wait for the rate
	NoUDP  bool          // for who carries more than UDP: that does not pass
}

// Way carries packets in one direction. The same seed loses the same packets.
type Way struct {
	deliver func([]byte) // called by Run
	wake    chan struct{}

	mu     sync.Mutex // guards below
	link   Link
	random *rand.Rand
	free   time.Time // when the queue is empty
	last   time.Time // when the last packet leaves
	queue  []parcel  // by time
}

type parcel struct {
	at time.Time
	b  []byte
}

// NewWay makes a way that gives the packets that arrive to deliver.
func NewWay(link Link, seed uint64, deliver func([]byte)) *Way {
	return &Way{link: link, deliver: deliver, wake: make(chan struct{}, 1), random: rand.New(rand.NewPCG(seed, seed))}
}

// Change changes what becomes of packets that are carried from now on.
func (p *Way) Change(link Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = link
}

// Carry takes a packet, which it copies. One that is not frail is not lost by
// chance.
func (p *Way) Carry(b []byte, frail bool) {
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
func (p *Way) judge(size int, frail bool, now time.Time) (at time.Time, passes bool) {
	s := &p.link
	if frail && p.random.Float64() < s.Loss {
		return at, false
	}
	at = now
	if s.Rate > 0 {
		if p.free.Before(now) {
			p.free = now
		}
		if p.free.Sub(now).Seconds()*s.Rate/8 > float64(s.Queue) {
			return at, false
		}
		p.free = p.free.Add(time.Duration(float64(8*size) / s.Rate * 1e9))
		at = p.free
	}
	at = at.Add(s.Delay)
	if s.Jitter > 0 {
		at = at.Add(time.Duration(p.random.Int64N(int64(s.Jitter))))
	}
	if frail && p.random.Float64() < s.Late {
		return at.Add(5 * time.Millisecond), true
	}
	if at.Before(p.last) {
		at = p.last // in order
	}
	p.last = at
	return at, true
}

// Run delivers packets until done is closed.
func (p *Way) Run(done <-chan struct{}) {
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

// Relay is a UDP path to a server. It loses RTP; control survives. What goes to
// the server is only delayed.
type Relay struct {
	Port  uint16                                // for the player, on each address of this machine
	Bytes atomic.Int64                          // given to the player
	Dead  atomic.Bool                           // nothing passes any more
	Lose  atomic.Pointer[func(rtp []byte) bool] // tells which RTP packets are lost besides

	player          atomic.Pointer[net.UDPAddr]
	outside, inside *net.UDPConn
	down            *Way
	done            chan struct{} // closed to end
	running         sync.WaitGroup
}

// Room gives a socket room for what comes while the machine has no time for its
// reader: the usual buffer is full after some hundred milliseconds.
func Room(c *net.UDPConn) {
	const size = 4 << 20
	_ = c.SetReadBuffer(size) // as much as the system allows
	force(c, size)
}

// Start starts a relay, which ends with the test.
func Start(t testing.TB, server *net.UDPAddr, link Link, seed uint64) *Relay {
	t.Helper()
	r, err := Open(server, link, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Open starts a relay, which its caller closes.
func Open(server *net.UDPAddr, link Link, seed uint64) (*Relay, error) {
	outside, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	inside, err := net.DialUDP("udp4", nil, server)
	if err != nil {
		return nil, errors.Join(err, outside.Close())
	}
	Room(inside)
	Room(outside)
	r := &Relay{Port: outside.LocalAddr().(*net.UDPAddr).AddrPort().Port(), outside: outside, inside: inside, done: make(chan struct{})}
	up := NewWay(Link{Delay: link.Delay}, seed, func(b []byte) { _, _ = inside.Write(b) })
	r.down = NewWay(link, seed, func(b []byte) {
		r.Bytes.Add(int64(len(b)))
		_, _ = outside.WriteToUDP(b, r.player.Load())
	})
	r.running.Go(func() { up.Run(r.done) })
	r.running.Go(func() { r.down.Run(r.done) })
	r.running.Go(func() { r.fromPlayer(up) })
	r.running.Go(r.fromServer)
	return r, nil
}

// Close ends the relay.
func (r *Relay) Close() {
	r.outside.Close()
	r.inside.Close()
	close(r.done)
	r.running.Wait()
}

// fromPlayer carries what the player sends until the relay ends.
func (r *Relay) fromPlayer(up *Way) {
	buf := make([]byte, 2000)
	for {
		n, from, err := r.outside.ReadFromUDP(buf)
		if err != nil {
			return
		}
		r.player.Store(from)
		if !r.Dead.Load() {
			up.Carry(buf[:n], false)
		}
	}
}

// fromServer carries what the server sends until the relay ends.
func (r *Relay) fromServer() {
	buf := make([]byte, 2000)
	for {
		n, err := r.inside.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || r.Dead.Load() || r.player.Load() == nil {
			continue
		}
		rtp := buf[0]>>6 == 2 && (buf[1] < 192 || buf[1] > 223)
		if lose := r.Lose.Load(); rtp && lose != nil && (*lose)(buf[:n]) {
			continue
		}
		r.down.Carry(buf[:n], rtp)
	}
}

// Change changes what becomes of what is sent to the player from now on.
func (r *Relay) Change(link Link) { r.down.Change(link) }
