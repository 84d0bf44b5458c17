package encode

import "time"

// Key frames take at most one part in keyShare of the bitrate, and once what
// that share is worth in keyAhead.
const (
	keyShare = 2
	keyAhead = time.Second
)

// keyGate is the debt of key frames: whoever asks is owed one, and one pays
// all. It passes at most one per interval, and no more than their share of the
// bitrate, and forgets nobody in between.
type keyGate struct {
	interval time.Duration
	budget   budget    // its rate is the whole bitrate
	last     time.Time // when a key frame last left; zero: never
	due      time.Time // when the earliest debt may be paid; zero: none
}

// owe adds a debt that is to be paid at the given time or sooner, with another:
// merged tells that there is one.
func (g *keyGate) owe(at time.Time) (merged bool) {
	merged = !g.due.IsZero()
	if !merged || at.Before(g.due) {
		g.due = at
	}
	return merged
}

// when tells the time at which a key frame is to be made, if one is owed.
func (g *keyGate) when() (at time.Time, owed bool) {
	if g.due.IsZero() {
		return time.Time{}, false
	}
	at = later(g.due, g.budget.ready(keyAhead))
	if !g.last.IsZero() {
		at = later(at, g.last.Add(g.interval))
	}
	return at, true
}

// paid notes that a key frame of so many bytes has left; it serves all. It
// tells whether one was owed.
func (g *keyGate) paid(bytes int, now time.Time) (owed bool) {
	owed = !g.due.IsZero()
	g.last, g.due = now, time.Time{}
	g.budget.spend(keyShare*bytes, now)
	return owed
}
