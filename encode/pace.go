package encode

import "time"

// While the picture can be made sharper it is encoded again so long after the
// last unit, if there is room for it.
const refineEvery = 100 * time.Millisecond

// keepAlive is the time after a unit at which another one leaves, whether or
// not anything has changed. It shows viewers the loss of the last one, and that
// the stream lives: browsers give up on one after three seconds.
const keepAlive = time.Second

// onTheWay is what a frame takes from its capture to its encoding, on a machine
// that is not overloaded.
const onTheWay = 10 * time.Millisecond

// What may be ahead of the bitrate when a picture is begun, as the time that it
// takes to make up for it.
const (
	aheadKey    = time.Second
	aheadMoving = 250 * time.Millisecond
	aheadStill  = 50 * time.Millisecond  // what refines makes way for what moves
	refinement  = 200 * time.Millisecond // what one picture that refines may take
)

// pace turns the time between two pictures into a step of the clock that an
// encoder's rate control sees. The library gives a picture the bits of its
// step: after a pause the first one that moves would be as big as a second of
// video. One that only refines what it shows may use the pause.
func pace(elapsed, interval time.Duration, moving bool) time.Duration {
	longest := time.Second
	if moving {
		longest = 4 * interval
	}
	return min(max(elapsed, interval/2), longest)
}

// budget holds what leaves to a bitrate: it tells when the next picture may be
// begun.
type budget struct {
	rate  int       // bit/s; zero: no limit
	clear time.Time // when all that has left will have taken its time
}

func (b *budget) spend(bytes int, now time.Time) {
	if b.rate == 0 {
		return
	}
	b.clear = later(b.clear, now)
	b.clear = b.clear.Add(time.Duration(float64(8*bytes) / float64(b.rate) * float64(time.Second)))
}

func (b *budget) ready(ahead time.Duration) time.Time { return b.clear.Add(-ahead) }

// limit holds what leaves to a bitrate over any second, key frames apart, and
// over shorter times.
type limit struct {
	bitrate int    // bit/s; zero: no limit
	budget  budget // of the usable part
	recent  []sent // in the last second, the oldest first, but key frames
}

type sent struct {
	at    time.Time
	bytes int
}

// Percentages of the bitrate over a second.
const (
	usable  = 92  // encoders aim at this, so that no second is over it
	refined = 85  // no refinement is begun above
	dropped = 103 // pictures that move are dropped above; the next one would be larger, as it moved further
)

// set changes the bitrate.
func (l *limit) set(bitrate int) { l.bitrate, l.budget.rate = bitrate, bitrate*usable/100 }

func (l *limit) spend(bytes int, key bool, now time.Time) {
	l.budget.spend(bytes, now)
	if key || l.bitrate == 0 {
		return
	}
	old := 0
	for old < len(l.recent) && now.Sub(l.recent[old].at) >= time.Second {
		old++
	}
	l.recent = append(append(l.recent[:0], l.recent[old:]...), sent{now, bytes})
}

// ready tells when no more than ahead is ahead, and the second before took no
// more than a percentage of the bitrate.
func (l *limit) ready(ahead time.Duration, percent int) time.Time {
	at := l.budget.ready(ahead)
	room := l.bitrate / 8 * percent / 100
	for i := len(l.recent) - 1; i >= 0; i-- {
		if room -= l.recent[i].bytes; room < 0 {
			return later(at, l.recent[i].at.Add(time.Second))
		}
	}
	return at
}

// room is how many bytes a picture that refines may take.
func (l *limit) room(now time.Time) int {
	if l.bitrate == 0 {
		return 1 << 30
	}
	room := l.budget.rate / 8
	for _, s := range l.recent {
		if now.Sub(s.at) < time.Second {
			room -= s.bytes
		}
	}
	return min(room, int(refinement.Seconds()*float64(l.bitrate/8)))
}

// target is the bitrate for an encoder: less while much is ahead, so that no
// picture need be dropped. It changes in few steps.
func (l *limit) target(now time.Time) int {
	steps := min(max(int(l.budget.clear.Sub(now)/(aheadMoving/8)), 0), 4)
	return l.bitrate - l.bitrate/8*steps
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// load lowers the frame rate if encoding takes most of the time, and raises it
// again later.
type load struct {
	fastest  time.Duration // the frame interval that is asked for
	interval time.Duration // the one in force
	average  time.Duration // what a picture takes, smoothed
	since    time.Time     // since when it has been too much, or little; zero while neither
	little   bool
}

const slowest = 200 * time.Millisecond

func newLoad(fps int) load {
	interval := time.Second / time.Duration(max(fps, 1))
	return load{fastest: interval, interval: interval}
}

// spent notes what a moving picture took.
func (l *load) spent(took time.Duration, now time.Time) {
	l.average += (took - l.average) / 8
	much := l.average > l.interval*7/10 && l.interval < slowest
	little := l.average < l.interval*4/10 && l.interval > l.fastest
	switch {
	case !much && !little:
		l.since = time.Time{}
	case l.since.IsZero() || l.little != little:
		l.since, l.little = now, little
	case much && now.Sub(l.since) >= time.Second:
		l.interval, l.since = min(l.interval*3/2, max(slowest, l.fastest)), time.Time{}
	case little && now.Sub(l.since) >= 5*time.Second:
		l.interval, l.since = max(l.interval*2/3, l.fastest), time.Time{}
	}
}
