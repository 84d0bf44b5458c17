package whep

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"deskwhep/whep/relaytest"
)

// A stream of 2 Mbit/s whose key frames are as big as half a second of it.
const (
	joinKey   = 120_000
	joinDelta = 8_000
)

// joinMany has n players join within spread, and gives their waits from the POST to
// the first picture, sorted.
func joinMany(t testing.TB, url string, n int, spread time.Duration) (waits []time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var joining sync.WaitGroup
	for i := range n {
		joining.Go(func() {
			time.Sleep(spread * time.Duration(i) / time.Duration(n))
			w, err := newWatcher(url, nil, net.IP.IsLoopback)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.pc.GracefulClose()
			for end := time.Now().Add(30 * time.Second); w.seen().First < 0; time.Sleep(2 * time.Millisecond) {
				if time.Now().After(end) {
					t.Error("a player sees nothing")
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, w.seen().Wait)
		})
	}
	joining.Wait()
	slices.Sort(waits)
	return waits
}

// TestTwentyJoinInASecond has twenty players join a moving and a still desktop
// within a second: that costs three key frames at most.
func TestTwentyJoinInASecond(t *testing.T) {
	for _, moving := range []bool{true, false} {
		t.Run(fmt.Sprintf("moving=%v", moving), func(t *testing.T) {
			j := startOurs(t, joinKey, joinDelta)
			first := follow(t, j.url, nil)
			stop := every(j.frame)
			eventually(t, "the first viewer sees pictures", func() bool { return first.seen().Decoded > 30 })
			if !moving {
				stop()
			} else {
				defer stop()
			}
			keys, began := j.keys(), time.Now()
			joinMany(t, j.url, 20, time.Second)
			// One serves who comes in the half second that is kept after it.
			lasted := time.Since(began)
			if made, most := j.keys()-keys, max(3, 1+int(lasted/(time.Second/2))); made > most {
				t.Errorf("twenty viewers cost %d key frames in %v", made, lasted)
			}
		})
	}
}

// BenchmarkJoin measures the time from the POST to the first picture, for one
// player and for twenty within a second, beside a plain pion server. All run in
// one process.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{1, 20} {
		for _, c := range []struct {
			name  string
			start func(t testing.TB, key, delta int) job
		}{{"stock", startStock}, {"ours", startOurs}} {
			b.Run(fmt.Sprintf("%s/joiners=%d", c.name, n), func(b *testing.B) {
				j := c.start(b, joinKey, joinDelta)
				stop := every(j.frame)
				joinMany(b, j.url, 1, 0) // warm
				var waits []time.Duration
				keys, rounds := j.keys(), 0
				for b.Loop() {
					waits = append(waits, joinMany(b, j.url, n, time.Second*time.Duration(n)/20)...)
					rounds++
				}
				stop()
				percentiles(b, waits, "")
				b.ReportMetric(float64(j.keys()-keys)/float64(rounds), "keyframes")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func percentiles(b *testing.B, d []time.Duration, what string) {
	if len(d) == 0 {
		b.Fatal("nothing was measured")
	}
	slices.Sort(d)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(d[len(d)/2]), what+"p50-ms")
	b.ReportMetric(ms(d[len(d)*95/100]), what+"p95-ms")
}

// BenchmarkRecovery loses every fiftieth packet of a stream on a path of 25 ms
// each way, and one packet of each key frame, of which one is asked for each
// second. It measures the time from the loss of a packet to its repair, and from
// the loss in a key frame to a whole one, beside a plain pion server.
func BenchmarkRecovery(b *testing.B) {
	for _, c := range []struct {
		name  string
		start func(t testing.TB, key, delta int) job
	}{{"stock", startStock}, {"ours", startOurs}} {
		b.Run(c.name, func(b *testing.B) {
			j := c.start(b, joinKey, joinDelta)
			r := startRelay(b, j.media, relaytest.Link{Delay: pathDelay}, 1)
			w := follow(b, j.url, r.via)
			stop := every(j.frame)
			eventually(b, "pictures come", func() bool { return w.seen().Decoded > 30 })
			losing := &losing{media: w.ssrc(), lost: map[uint16]time.Time{}}
			lose := losing.lose
			r.Lose.Store(&lose)
			var whole []time.Duration
			for b.Loop() {
				losing.arm()
				j.key()
				eventually(b, "a key frame loses a packet and is whole in the end", func() bool {
					at := losing.keyLost()
					w.mu.Lock()
					defer w.mu.Unlock()
					if at.IsZero() || !w.keyed.After(at) {
						return false
					}
					whole = append(whole, w.keyed.Sub(at))
					return true
				})
				time.Sleep(time.Second)
			}
			r.Lose.Store(nil)
			time.Sleep(time.Second)
			stop()
			repaired, never := losing.repaired(w)
			percentiles(b, repaired, "packet-")
			percentiles(b, whole, "keyframe-")
			b.ReportMetric(float64(never)/float64(never+len(repaired))*100, "%never")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// losing chooses packets of the media stream to lose, by their headers.
type losing struct {
	mu    sync.Mutex // guards all
	media uint32     // SSRC
	n     int
	lost  map[uint16]time.Time
	at    uint32 // RTP time of the present picture
	in    int    // packets of it
	armed bool
	key   time.Time
}

func (l *losing) arm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.key = true, time.Time{}
}

func (l *losing) keyLost() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.key
}

func (l *losing) lose(b []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ssrc := binary.BigEndian.Uint32(b[8:])
	if ssrc != l.media {
		return false
	}
	if at := binary.BigEndian.Uint32(b[4:]); at != l.at {
		l.at, l.in = at, 0
	}
	l.n++
	l.in++
	key := l.armed && l.in == 2*joinDelta/1000 // more than another picture has
	if key {
		l.armed, l.key = false, time.Now()
	} else if l.n%50 != 0 {
		return false
	}
	l.lost[binary.BigEndian.Uint16(b[2:])] = time.Now()
	return true
}

// repaired gives the times that repairs took.
func (l *losing) repaired(w *watcher) (took []time.Duration, never int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for seq, at := range l.lost {
		if came := w.came[seq]; came.After(at) {
			took = append(took, came.Sub(at))
		} else {
			never++
		}
	}
	return took, never
}
