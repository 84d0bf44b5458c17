package encode

import "time"

// keyGate is the debt of key frames: whoever asks is owed one, and one pays
// all. It passes at most one per interval and forgets nobody in between.
type keyGate struct {
	interval time.Duration
	last     time.Time // when a key frame last left; zero: never
	due      time.Time // when the earliest debt may be paid; zero: none
}

// owe adds a debt that is to be paid at the given time or sooner, with another.
func (g *keyGate) owe(at time.Time) {
	if g.due.IsZero() || at.Before(g.due) {
		g.due = at
	}
}

// when tells the time at which a key frame is to be made, if one is owed.
func (g *keyGate) when() (at time.Time, owed bool) {
	if g.due.IsZero() {
		return time.Time{}, false
	}
	at = g.due
	if open := g.last.Add(g.interval); !g.last.IsZero() && open.After(at) {
		at = open
	}
	return at, true
}

// paid notes that a key frame has left; it serves all.
func (g *keyGate) paid(now time.Time) { g.last, g.due = now, time.Time{} }
