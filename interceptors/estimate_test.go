package interceptors

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
)

// link is a path with a rate and a bounded queue; its receiver sends
// transport-wide feedback. Time is simulated.
type link struct {
	rate  float64 // bits per second
	depth time.Duration
	loss  float64
	pause time.Duration // the receiver takes nothing for so long in each half second

	estimate estimator
	free     time.Duration // when the queue is empty
	f        feedback
	last     time.Duration
	random   *rand.Rand
}

func newLink(start, rate float64) *link {
	return &link{rate: rate, depth: 300 * time.Millisecond, estimate: newEstimator(start), random: rand.New(rand.NewPCG(3, 4))}
}

// run sends a stream of so many bits per second for a time in frames at 30 fps,
// and gives feedback each 50 ms.
func (l *link) run(from, d time.Duration, bits float64) (until time.Duration) {
	const packet = 1000
	size := int(bits / 30 / 8)
	for now := from; now < from+d; now += time.Second / 30 {
		for sent := 0; sent < size; sent += packet {
			l.free = max(l.free, now)
			if l.free-now > l.depth || l.random.Float64() < l.loss {
				l.f.lose(now)
				continue
			}
			l.free += time.Duration(packet * 8 / l.rate * 1e9)
			arrival := l.free + 20*time.Millisecond + time.Duration(l.random.IntN(3e6))
			if in := arrival % (time.Second / 2); in < l.pause {
				arrival += l.pause - in
			}
			l.f.add(packet, now, arrival)
		}
		if now-l.last >= 50*time.Millisecond {
			l.estimate.take(l.f, now)
			l.f, l.last = feedback{}, now
		}
	}
	return from + d
}

func TestNarrowLink(t *testing.T) {
	l := newLink(100e6, 2e6)
	l.run(0, 10*time.Second, 4e6)
	e := l.estimate.snapshot(10 * time.Second)
	if !e.Congested || e.Target > 2e6 || e.Target < 0.8e6 {
		t.Errorf("4 Mbit/s into a link of 2 made %+v", e)
	}
}

// A still desktop proves nothing; the estimate must not wander off.
func TestStillDesktopKeepsEstimate(t *testing.T) {
	l := newLink(2.5e6, 3e6)
	now := l.run(0, 30*time.Second, 60e3)
	if e := l.estimate.snapshot(now); e.Target > 2.6e6 || e.Target < 2.4e6 || e.Congested {
		t.Errorf("30 s of 60 kbit/s made %+v", e)
	}
}

func TestWideLink(t *testing.T) {
	l := newLink(2.5e6, 50e6)
	now := l.run(0, 20*time.Second, 6e6)
	if e := l.estimate.snapshot(now); e.Target < 6e6 || e.Congested || e.Queue > queueGood {
		t.Errorf("6 Mbit/s into a link of 50 made %+v", e)
	}
}

// A receiver whose machine is busy takes packets late, and then all at once.
func TestBusyReceiver(t *testing.T) {
	for _, pause := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		l := newLink(100e6, 100e6)
		l.pause = pause
		now := l.run(0, 20*time.Second, 1.5e6)
		if e := l.estimate.snapshot(now); e.Congested || e.Target < 50e6 {
			t.Errorf("pauses of %v made %+v", pause, e)
		}
	}
}

// A path that stands still for a while, as TCP may, and then gives all that
// waited, carries what it did before.
func TestStalledLink(t *testing.T) {
	l := newLink(100e6, 50e6)
	now := l.run(0, 5*time.Second, 3e6)
	const stall = 12 * time.Second
	for i := range 500 { // what the sender still knows of
		l.f.add(1000, now+time.Duration(i)*time.Millisecond, now+20*time.Millisecond+stall)
		if now += time.Millisecond; i%50 == 0 {
			l.estimate.take(l.f, now+stall)
			l.f = feedback{}
		}
	}
	now = l.run(now+stall, 2*time.Second, 3e6)
	if e := l.estimate.snapshot(now); e.Target < 2.5e6 {
		t.Errorf("after a stall of a path that carries 50 Mbit/s the estimate is %+v", e)
	}
}

// A path that loses all for a while, as where a player changes its network, carries
// what it did before.
func TestDeadLink(t *testing.T) {
	for _, dead := range []time.Duration{400 * time.Millisecond, 2 * time.Second} {
		l := newLink(100e6, 50e6)
		now := l.run(0, 5*time.Second, 3e6)
		for end := now + dead; now < end; now += 10 * time.Millisecond {
			l.f.lose(now) // nothing comes that could be told of
		}
		l.last = now
		now = l.run(now, 5*time.Second, 3e6)
		if e := l.estimate.snapshot(now); e.Congested || e.Target < 50e6 {
			t.Errorf("%v without any packet made %+v", dead, e)
		}
	}
}

func TestLossyLink(t *testing.T) {
	l := newLink(5e6, 50e6)
	l.loss = 0.05
	now := l.run(0, 10*time.Second, 4e6)
	if e := l.estimate.snapshot(now); e.Congested || e.Target < 4e6 {
		t.Errorf("5 %% of random loss made %+v", e)
	}
	l.loss = 0.3
	now = l.run(now, 10*time.Second, 4e6)
	if e := l.estimate.snapshot(now); !e.Congested || e.Target > 4e6 {
		t.Errorf("30 %% of loss made %+v", e)
	}
}

// TestFeedbackReachesEstimate goes the whole way once.
func TestFeedbackReachesEstimate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := NewTransport(5e6)
		l := bind(t, stream(true, TransportCCURI), transport)
		const n = 50
		f := &rtcp.TransportLayerCC{MediaSSRC: mediaSSRC, PacketStatusCount: n, ReferenceTime: 5,
			PacketChunks: []rtcp.PacketStatusChunk{&rtcp.RunLengthChunk{PacketStatusSymbol: 0, RunLength: 10}, &rtcp.RunLengthChunk{PacketStatusSymbol: 1, RunLength: n - 10}}}
		for range n - 10 {
			f.RecvDeltas = append(f.RecvDeltas, &rtcp.RecvDelta{Type: 1, Delta: 250})
		}
		f.Header = rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: uint16(f.MarshalSize()/4 - 1), Padding: int(f.Len()) != f.MarshalSize()}
		for round := range uint16(12) {
			l.send(t, round*n, n, 1000, make([]byte, 2))
			time.Sleep(100 * time.Millisecond)
			f.BaseSequenceNumber = round * n
			b := marshal(t, f)
			l.feed(t, b)
			l.feed(t, b) // it may come for two streams
		}
		e := transport.Estimate()
		if !e.Measured || e.Loss < 0.19 || e.Loss > 0.21 || e.Arriving < 3e6 || e.Arriving > 3.4e6 {
			t.Errorf("40 of 50 packets each 100 ms made %+v", e)
		}
	})
}

// Packets of a burst have its time, others their own.
func TestTimeOfBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := NewTransport(5e6)
		l := bind(t, stream(true, TransportCCURI), transport)
		began, seq := time.Now(), uint16(0)
		leaves := func(at time.Duration) {
			t.Helper()
			l.send(t, seq, 2, 1000, make([]byte, 2))
			for range 2 {
				if got := transport.flight[seq].at; got != micros(at) {
					t.Errorf("packet %d left at %d us, want %v", seq, got, at)
				}
				seq++
			}
		}
		time.Sleep(time.Second)
		leaves(time.Second)
		time.Sleep(time.Second)
		if e := transport.Begin(time.Now()); e.Target != 5e6 {
			t.Errorf("the estimate is %+v", e)
		}
		time.Sleep(time.Second)
		leaves(2 * time.Second)
		transport.Begin(began.Add(3 * time.Second))
		leaves(3 * time.Second)
	})
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReports(func(at time.Time, rate uint32) uint32 { return uint32(at.Unix()) * rate })
		l := bind(t, stream(true), r)
		l.send(t, 0, 2, 100)
		if len(l.reports) != 1 {
			t.Fatalf("the first frame made %d reports", len(l.reports))
		}
		sr := l.reports[0].(*rtcp.SenderReport)
		if sr.PacketCount != 2 || sr.OctetCount != 200 || sr.RTPTime != uint32(time.Now().Unix())*90000 {
			t.Errorf("%+v", sr)
		}
		time.Sleep(70 * time.Millisecond)
		l.feed(t, marshal(t, &rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{
			SSRC: mediaSSRC, FractionLost: 64, Jitter: 900, LastSenderReport: uint32(sr.NTPTime >> 16), Delay: 65536 * 30 / 1000,
		}}}))
		if got := r.RTT(); got < 39*time.Millisecond || got > 41*time.Millisecond {
			t.Errorf("the round trip is %v, not 40 ms", got)
		}
		if s := r.Stream(mediaSSRC); s.Loss != 0.25 || s.Jitter != 10*time.Millisecond || s.Packets != 2 || s.Bytes != 200 {
			t.Errorf("%+v", s)
		}
		l.send(t, 2, 2, 100)
		if len(l.reports) != 1 {
			t.Error("two reports within a second")
		}
		time.Sleep(time.Second)
		if l.send(t, 4, 2, 100); len(l.reports) != 2 {
			t.Error("no report after a second")
		}
	})
}

func TestPacer(t *testing.T) {
	const pace = 8e6 // a byte each us
	var p Pacer
	now := time.Unix(1000, 0)
	run := func(n int) (passed int) { // packets of 1000 bytes that pass now
		for range n {
			if ok, _ := p.Pass(now, 1000, pace); !ok {
				return passed
			}
			passed++
		}
		return passed
	}
	if got := run(4); got != 4 {
		t.Errorf("%d of 4 packets passed at once", got)
	}
	now = now.Add(time.Second)
	first := run(1000)
	if first < 5 || first > 7 {
		t.Errorf("%d packets passed at once", first)
	}
	total := first
	for range 100 {
		now = now.Add(5 * time.Millisecond)
		total += run(1000)
	}
	if total < 490 || total > 520 {
		t.Errorf("%d packets of 1 ms passed in 500 ms", total)
	}
	p.Done()
	if now = now.Add(time.Second); run(1000) > 7 {
		t.Error("a pause was saved up")
	}
	p.Done()
	now = now.Add(time.Second)
	for _, c := range []struct {
		bytes int
		ok    bool
	}{{6000, false}, {4000, true}, {2000, false}, {1000, true}, {1000, false}} { // 5 ms may leave at once
		if got := p.All(now, c.bytes, pace); got != c.ok {
			t.Errorf("%d bytes together: %v", c.bytes, got)
		}
	}
}

// A delay that stays as it is, or comes and goes as on a busy machine, is no narrow
// path; one that grows is, unless this machine was late itself, and so is one beside
// which packets are lost.
func TestDelayThatStays(t *testing.T) {
	const step = 50 * time.Millisecond
	grows := func(i int) time.Duration { return 70*time.Millisecond + time.Duration(i)*10*time.Millisecond }
	for _, c := range []struct {
		name      string
		delay     func(i int) time.Duration
		missing   int
		late      int // this machine is, each so many messages; 0 for never
		congested bool
	}{
		{"stays", func(int) time.Duration { return 100 * time.Millisecond }, 0, 0, false},
		{"grows", grows, 0, 0, true},
		{"grows, measured in time", grows, 0, 30, true},
		{"grows, measured late", grows, 0, 10, false},
		{"comes and goes", func(i int) time.Duration { return 70*time.Millisecond + time.Duration(i%7)*50*time.Millisecond }, 0, 0, false},
		{"stays, with loss", func(int) time.Duration { return 100 * time.Millisecond }, 1, 0, true},
		{"short", func(int) time.Duration { return 20 * time.Millisecond }, 0, 0, false},
	} {
		transport := NewTransport(10e6)
		e := &transport.estimate
		now := time.Duration(0)
		take := func(delay time.Duration, missing int) {
			f := feedback{missing: missing}
			for range 10 {
				f.add(1000, now, now+delay)
			}
			now += step
			e.take(f, now)
		}
		for range 10 {
			take(0, 0)
		}
		for i := range 26 {
			if c.late > 0 && i%c.late == c.late-1 {
				transport.Late(transport.began.Add(now))
			}
			take(c.delay(i), c.missing)
		}
		if got := e.snapshot(now).Congested; got != c.congested {
			t.Errorf("a delay that %s: congested is %v", c.name, got)
		}
	}
}

// A first burst that overruns a narrow path tells what it carries within a moment.
func TestOverrunAtOnce(t *testing.T) {
	l := newLink(100e6, 1e6)
	l.run(0, 400*time.Millisecond, 3e6)
	if e := l.estimate.snapshot(400 * time.Millisecond); !e.Congested || e.Target < 0.7e6 || e.Target > 0.9e6 || e.Pace() > 0.9e6 {
		t.Errorf("400 ms of 3 Mbit/s into a link of 1 made %+v", e)
	}
}

// Loss by chance, though it is heavy, does not take the stream's rate away.
func TestHeavyLossByChance(t *testing.T) {
	l := newLink(5e6, 50e6)
	l.loss = 0.2
	now := l.run(0, 20*time.Second, 2e6)
	if e := l.estimate.snapshot(now); e.Target < 1.7e6 {
		t.Errorf("20 %% of random loss made %+v", e)
	}
}
