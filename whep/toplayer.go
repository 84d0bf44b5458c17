package whep

import (
	"time"

	"deskwhep/interceptors"
)

const (
	lateAfter = 150 * time.Millisecond // a picture has waited too long on a narrow path
	rateOver  = time.Second / 2        // the stream's rate is measured over this time
	lastsFor  = 16 * time.Second       // the top layer's return was too early if it goes again within this time; then it stays away so long
)

// topLayer decides whether one viewer's top layer, which nothing refers to, is left
// out. It has no more than half of a stream. Time is an argument; the zero value
// leaves nothing out.
type topLayer struct {
	out     bool
	changed time.Time // when out last was; zero if never
	early   bool      // its last return was

	bytes   int       // of pictures since counted
	counted time.Time // zero before the first picture
	rate    float64   // of pictures before that, bits per second; 0 for not known
}

// count counts a picture of so many bytes that is to be sent.
func (l *topLayer) count(now time.Time, bytes int) {
	switch passed := now.Sub(l.counted); {
	case l.counted.IsZero(): // what it begins with is no rate
		l.bytes, l.counted = 0, now
		return
	case passed >= rateOver:
		l.rate = float64(8*l.bytes) / passed.Seconds()
		l.bytes, l.counted = 0, now
	}
	l.bytes += bytes
}

// judge tells whether the top layer is left out from now on. wait is how long the
// oldest picture has waited.
//
// It goes while pictures come too late through a path that carries less than the
// stream. It comes back when the path is not overused any more, or carries the
// stream with it. The first return may be a mistake: the whole stream is the only
// test of whether the path carries it.
func (l *topLayer) judge(now time.Time, wait time.Duration, e interceptors.Estimate) (out bool) {
	late := e.Congested && wait > lateAfter
	switch {
	case !l.out && late && e.Target < l.rate:
		l.early = now.Sub(l.changed) < lastsFor
		l.change(now)
	case !l.out || late:
	case !e.Congested && (!l.early || now.Sub(l.changed) > lastsFor), l.rate > 0 && e.Target > 2*l.rate:
		l.change(now)
	}
	return l.out
}

// change changes out; the rate is then another one.
func (l *topLayer) change(now time.Time) {
	l.out, l.changed = !l.out, now
	l.bytes, l.counted, l.rate = 0, now, 0
}
