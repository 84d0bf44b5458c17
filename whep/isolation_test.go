package whep

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"deskwhep/encode/encodetest"
	"deskwhep/whep/relaytest"
)

const (
	goodViewers = 9
	watchFor    = 4 * time.Second
	pathDelay   = 25 * time.Millisecond // each way
)

// small is a stream of about a Mbit/s.
func small() *encodetest.Source { return encodetest.New(20000, 4000) }

// scene is a server with good viewers, who must not notice what happens to
// others.
type scene struct {
	*insideServer
	good func() []watched
	stop func() // ends the stream

	began  time.Time // when the counting began
	keys   uint64    // key frames until then
	before []watched // by the good viewers
	drops  []uint64  // pictures not sent to them
}

// startScene starts the good viewers. Counting begins when they all play and no
// key frame is owed any more.
func startScene(t *testing.T, src *encodetest.Source) *scene {
	t.Helper()
	s := &scene{insideServer: startInside(t, src)}
	s.stop = stream(t, src)
	var good []*watcher
	for range goodViewers {
		good = append(good, follow(t, s.url, nil))
	}
	s.good = func() (all []watched) {
		for _, w := range good {
			all = append(all, w.seen())
		}
		return all
	}
	s.count(t)
	return s
}

// count waits until all good viewers play and a second of pictures has had no
// key frame among them, and begins to count.
func (s *scene) count(t *testing.T) {
	t.Helper()
	eventually(t, "all good viewers see pictures", func() bool {
		return !slices.ContainsFunc(s.good(), func(w watched) bool { return w.Decoded == 0 })
	})
	from := s.hub.Status()
	eventually(t, "no key frame is owed any more", func() bool {
		now := s.hub.Status()
		if now.Keys != from.Keys {
			from = now
		}
		return now.Units >= from.Units+30
	})
	s.began, s.keys, s.before = time.Now(), s.hub.Status().Keys, s.good()
	s.drops = nil
	for _, v := range s.ViewerStatus()[:goodViewers] {
		s.drops = append(s.drops, v.Dropped)
	}
}

// check checks that the good viewers saw every picture until now, that key
// frames came once in two seconds at most, and that each request for one had an
// outcome. joins is how many viewers came while it was counted, each of whom may
// have cost one more.
func (s *scene) check(t *testing.T, joins int) {
	t.Helper()
	end, lasted := s.hub.Status(), time.Since(s.began)
	if keys, most := end.Keys-s.keys, 1+joins+int(lasted/(2*time.Second)); keys > uint64(most) {
		t.Errorf("good viewers were sent %d key frames in %v; %d are allowed; requests: %v", keys, lasted.Round(time.Second), most, end.KeyReasons)
	}
	open := -int64(end.Keys + end.KeysMerged + end.KeysCached)
	for _, n := range end.KeyReasons {
		open += int64(n)
	}
	if open < 0 || open > 1 {
		t.Errorf("requests %v; %d key frames, %d merged, %d from the cache", end.KeyReasons, end.Keys, end.KeysMerged, end.KeysCached)
	}
	var good []watched
	eventually(t, "the good viewers have seen the last picture", func() bool {
		good = s.good()
		return !slices.ContainsFunc(good, func(w watched) bool { return w.Last < int64(end.Units)-1 })
	})
	for i, w := range good {
		if w.Skipped > s.before[i].Skipped || w.Asked > s.before[i].Asked {
			t.Errorf("good viewer %d saw %+v, and before that %+v", i, w, s.before[i])
		}
	}
	for i, v := range s.ViewerStatus()[:goodViewers] {
		if v.Dropped > s.drops[i] || !v.Connected {
			t.Errorf("a good viewer was served like this: %+v", v)
		}
	}
	if !t.Failed() {
		t.Logf("good viewers: %d key frames in %v, no picture missed", end.Keys-s.keys, lasted.Round(100*time.Millisecond))
	}
}

// bad is the status of the viewer who joined last.
func (s *scene) bad(t *testing.T) ViewerStatus {
	t.Helper()
	list := s.ViewerStatus()
	if len(list) <= goodViewers {
		t.Fatal("the bad viewer's session has ended")
	}
	return list[len(list)-1]
}

// tell logs what the bad viewer saw.
func (s *scene) tell(t *testing.T, w watched) {
	v := s.bad(t)
	t.Logf("bad viewer: %.1f %% of %d pictures, %d key frames, %d asked for, %d packets; server: %d packets asked for, %d repaired, %d refused, %d lost, %d pictures dropped, estimate %.0f kbit/s",
		100*w.share(s.hub.Status().Units), s.hub.Status().Units-uint64(max(w.First, 0)), w.Keys, w.Asked, w.Packets,
		v.Nacked, v.Repaired, v.Refused, v.Lost, v.Dropped, v.Path/1e3)
}

// stream makes 30 frames per second until stop is called.
func stream(t testing.TB, s *encodetest.Source) (stop func()) {
	stop = sync.OnceFunc(every(s.Tick)) // if the machine is too busy, one frame less
	t.Cleanup(stop)
	return stop
}

// every calls frame 30 times a second until stop is called.
func every(frame func() bool) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(time.Second / 30)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				frame()
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// pass waits for so long a time of pictures.
func (s *scene) pass(t *testing.T, d time.Duration) {
	t.Helper()
	from := s.hub.Status().Units
	eventually(t, "pictures come", func() bool { return s.hub.Status().Units >= from+uint64(30*d.Seconds()) })
}

// hardPaths are the ways of bad viewers to a stream of 1.5 Mbit/s, with
// pathDelay besides.
var hardPaths = []struct {
	name  string
	link  relaytest.Link
	least float64 // share of the pictures that must be seen
}{
	{"1% loss", relaytest.Link{Loss: 0.01}, 0.99},
	{"5% loss", relaytest.Link{Loss: 0.05}, 0.95},
	{"20% loss", relaytest.Link{Loss: 0.20}, 0.60},
	{"jitter", relaytest.Link{Jitter: 20 * time.Millisecond}, 0.99},
	{"reordering", relaytest.Link{Late: 0.1}, 0.99},
	{"1 Mbit per s", relaytest.Link{Rate: 1e6, Queue: 30000}, 0.20},
	{"2 Mbit per s", relaytest.Link{Rate: 2e6, Queue: 30000}, 0.40}, // what it begins with overruns the queue
	{"3 Mbit per s and 1% loss", relaytest.Link{Rate: 3e6, Queue: 30000, Loss: 0.01}, 0.90},
}

// TestHardPaths has one viewer after the other on a bad path.
func TestHardPaths(t *testing.T) {
	s := startScene(t, middling())
	for i, c := range hardPaths {
		t.Run(c.name, func(t *testing.T) {
			c.link.Delay = pathDelay
			s.count(t)
			r := startRelay(t, s.udp(), c.link, uint64(i))
			bad := follow(t, s.url, r.via)
			s.suffer(t, c.least, bad.seen)
			_ = bad.pc.GracefulClose()
			eventually(t, "the session ends", func() bool { return s.Viewers() == goodViewers })
		})
	}
}

// middling is a stream of about 1.5 Mbit/s.
func middling() *encodetest.Source { return encodetest.New(20000, 6000) }

// suffer lets a viewer who has just joined watch, and checks what all saw.
func (s *scene) suffer(t *testing.T, least float64, seen func() watched) {
	t.Helper()
	s.pass(t, watchFor)
	end := s.hub.Status().Units
	s.check(t, 1)
	s.pass(t, time.Second) // for the last repairs
	saw := seen()
	s.tell(t, saw)
	if share := saw.share(end); share < least {
		t.Errorf("%.1f %% of the pictures were seen; at least %.0f %% should be", 100*share, 100*least)
	}
}

// TestFloodOfKeyframeRequests has one viewer ask for 50 key frames a second.
func TestFloodOfKeyframeRequests(t *testing.T) {
	flood(t, func(t *testing.T, w *watcher) {
		w.send(t, &rtcp.PictureLossIndication{MediaSSRC: w.ssrc()})
	}, func(t *testing.T, v ViewerStatus) {
		if v.Asked < 100 {
			t.Errorf("only %d key frames were asked for", v.Asked)
		}
	})
}

// TestFloodOfNacks has one viewer ask for 200,000 packets a second: all numbers
// in turn.
func TestFloodOfNacks(t *testing.T) {
	nack := &rtcp.TransportLayerNack{}
	for i := range uint16(250) {
		nack.Nacks = append(nack.Nacks, rtcp.NackPair{PacketID: 17 * i, LostPackets: 0xffff})
	}
	flood(t, func(t *testing.T, w *watcher) {
		nack.MediaSSRC = w.ssrc()
		for i := range nack.Nacks {
			nack.Nacks[i].PacketID += 250 * 17
		}
		w.send(t, nack)
	}, func(t *testing.T, v ViewerStatus) {
		if v.Nacked < 10000 {
			t.Errorf("only %d packets were asked for", v.Nacked)
		}
	})
}

// flood has one viewer send something 50 times a second, and bounds what that
// draws.
func flood(t *testing.T, send func(*testing.T, *watcher), check func(*testing.T, ViewerStatus)) {
	s := startScene(t, small())
	r := startRelay(t, s.udp(), relaytest.Link{}, 1)
	bad := follow(t, s.url, r.via)
	eventually(t, "the bad viewer is served", func() bool { return bad.seen().Decoded > 0 })
	s.count(t)
	out, media := r.Bytes.Load(), s.hub.Status().Bytes
	for time.Since(s.began) < 2*watchFor {
		send(t, bad)
		time.Sleep(20 * time.Millisecond)
	}
	lasted := time.Since(s.began)
	check(t, s.bad(t))
	// A quarter for repairs, or 1 Mbit/s; 5 % for headers and control; what may
	// be saved up.
	drawn, stream := float64(r.Bytes.Load()-out), float64(s.hub.Status().Bytes-media)
	if drawn > 1.05*stream+max(stream/4, 1e6/8*lasted.Seconds())+1e6/8+20000 {
		t.Errorf("a flood drew %.0f bytes; the stream had %.0f", drawn, stream)
	}
	s.check(t, 0)
	s.tell(t, bad.seen())
}

// TestViewerThatVanishes falls silent without a word.
func TestViewerThatVanishes(t *testing.T) {
	t.Parallel() // it waits most of the time
	s := startScene(t, small())
	r := startRelay(t, s.udp(), relaytest.Link{}, 1)
	follow(t, s.url, r.via)
	r.Dead.Store(true)
	eventually(t, "the session ends", func() bool { return s.Viewers() == goodViewers })
	s.check(t, 1)
}

// TestOutage has one viewer lose more than can be repaired in a second, right after
// a key frame that it asked for, so that the next one is late: until then it is sent
// nothing that it could not decode, and then all again.
func TestOutage(t *testing.T) {
	t.Parallel()                        // it waits most of the time
	src := encodetest.New(20000, 12000) // 3 Mbit/s
	s := startScene(t, src)
	r := startRelay(t, s.udp(), relaytest.Link{Delay: pathDelay}, 1)
	bad := follow(t, s.url, r.via)
	eventually(t, "the bad viewer is served", func() bool { return bad.seen().Decoded > 0 })
	s.pass(t, time.Second)
	s.count(t)
	before := bad.seen()
	bad.send(t, &rtcp.PictureLossIndication{MediaSSRC: bad.ssrc()})
	eventually(t, "the key frame comes", func() bool { return bad.seen().Keys > before.Keys })
	r.Dead.Store(true)
	s.pass(t, 500*time.Millisecond)
	r.Dead.Store(false)
	eventually(t, "another key frame comes", func() bool { return bad.seen().Keys > before.Keys+1 })
	v := s.bad(t)
	if v.Dropped < 5 {
		t.Errorf("%+v", v)
	}
	from := bad.seen()
	s.pass(t, 2*time.Second)
	end := s.hub.Status().Units
	s.check(t, 0)
	eventually(t, "the bad viewer has seen the last picture", func() bool { return bad.seen().Last >= int64(end)-1 })
	if saw := bad.seen(); saw.Skipped > from.Skipped {
		t.Errorf("%+v, and before that %+v", saw, from)
	}
	if last := s.bad(t); last.Dropped > v.Dropped {
		t.Errorf("%+v", last)
	}
	s.tell(t, bad.seen())
}

// TestNarrowPath has one viewer behind a path that carries a third of the
// stream, with a short queue. It must still be shown pictures, and nobody else
// may notice.
func TestNarrowPath(t *testing.T) {
	s := startScene(t, encodetest.New(20000, 8000)) // 2 Mbit/s
	r := startRelay(t, s.udp(), relaytest.Link{Rate: 0.7e6, Queue: 20000, Delay: 10 * time.Millisecond}, 1)
	bad := follow(t, s.url, r.via)
	s.pass(t, 2*watchFor)
	seen, v := bad.seen(), s.bad(t)
	s.tell(t, seen)
	s.check(t, 1)
	if seen.Keys < 3 || seen.Decoded < 15 {
		t.Errorf("through a narrow path %d pictures came, %d of them key frames", seen.Decoded, seen.Keys)
	}
	if v.Dropped == 0 || !v.Narrow || v.Path > 2e6 || !v.Lean {
		t.Errorf("%+v", v)
	}
}

// TestStalledTCPViewer plays over TCP, stops reading, and goes on.
func TestStalledTCPViewer(t *testing.T) {
	s := startScene(t, encodetest.New(30000, 12000)) // 3 Mbit/s
	r := startTCPRelay(t, s.Addr().String())
	bad := follow(t, s.url, r.via)
	eventually(t, "the TCP viewer is served", func() bool { return bad.seen().Decoded > 10 })
	if v := s.bad(t); v.Transport != "tcp4" || !v.Connected {
		t.Errorf("%+v", v)
	}
	r.stall()
	eventually(t, "pictures are dropped", func() bool { return s.bad(t).Dropped > 0 })
	before := bad.seen()
	s.pass(t, 3*time.Second)
	r.release()
	eventually(t, "the viewer goes on when it reads again", func() bool {
		seen := bad.seen()
		return seen.Keys > before.Keys && seen.Decoded > before.Decoded+30
	})
	s.tell(t, bad.seen())
	s.check(t, 1)
}

// TestUDPBlocked has one viewer whose UDP leads nowhere: it plays over TCP.
func TestUDPBlocked(t *testing.T) {
	s := startScene(t, small())
	hole := startRelay(t, s.udp(), relaytest.Link{}, 1)
	hole.Dead.Store(true)
	bad := follow(t, s.url, func(answer string) string {
		return through(answer, udpCandidate(hole.address()), tcpCandidate(s.Addr()))
	})
	s.pass(t, watchFor)
	if v := s.bad(t); v.Transport != "tcp4" {
		t.Errorf("it plays over %s", v.Transport)
	}
	end := s.hub.Status().Units
	s.check(t, 1)
	eventually(t, "the TCP viewer has seen the last picture", func() bool { return bad.seen().Last >= int64(end)-1 })
	if seen := bad.seen(); seen.Skipped > 0 || hole.Bytes.Load() > 0 {
		t.Errorf("%+v; %d bytes came over UDP", seen, hole.Bytes.Load())
	}
	s.tell(t, bad.seen())
}
