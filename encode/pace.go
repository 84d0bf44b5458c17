package encode

import "time"

// topOff are the times after the last change of the screen at which the picture
// is encoded again, each time sharper.
var topOff = [...]time.Duration{120 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 900 * time.Millisecond}

// keepAlive is the time after a unit at which another one leaves, whether or
// not anything has changed. It shows viewers the loss of the last one, and that
// the stream lives: browsers give up on one after three seconds.
const keepAlive = time.Second

// What may be ahead of the bitrate when a picture is begun, as the time that it
// takes to make up for it.
const (
	aheadKey    = time.Second
	aheadMoving = 250 * time.Millisecond
	aheadStill  = 50 * time.Millisecond // what refines makes way for what moves
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
