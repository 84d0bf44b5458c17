package whep

import (
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"deskwhep/encode"
	"deskwhep/encode/encodetest"
)

// What waits too long has a key frame made, once in two seconds, and goes when that
// is there, or when it waits for no use.
func TestHurry(t *testing.T) {
	const late, soon = queueMost + 1, queueMost
	for _, c := range []struct {
		name    string
		waits   []time.Duration // of each picture
		key     int             // which of them is a key frame; -1 for none
		begun   bool            // the first one is half sent
		keyed   time.Duration   // since a key frame has left
		slow    time.Duration   // since one was asked for
		dropped int
		asked   bool
	}{
		{"in time", []time.Duration{soon, 0}, -1, false, time.Minute, time.Minute, 0, false},
		{"late", []time.Duration{late, 0}, -1, false, time.Minute, time.Minute, 0, true},
		{"late, and asked for", []time.Duration{late, 0}, -1, false, time.Minute, slowAgain, 0, false},
		{"late, and asked for long ago", []time.Duration{late, 0}, -1, false, time.Minute, slowAgain + 1, 0, true},
		{"late behind a key frame", []time.Duration{queueKeyed, 0}, -1, false, queueKeyed - 1, time.Minute, 0, false},
		{"later than that", []time.Duration{queueKeyed + 1, 0}, -1, false, queueKeyed - 1, time.Minute, 0, true},
		{"late, with a key frame", []time.Duration{late, 20, 10, 0}, 2, false, time.Minute, time.Minute, 2, false},
		{"in time, with a key frame", []time.Duration{soon, 20, 10, 0}, 2, false, time.Minute, time.Minute, 0, false},
		{"half sent", []time.Duration{late, soon}, -1, true, time.Minute, time.Minute, 0, false},
		{"half sent, late, with a key frame", []time.Duration{late, late, 10, 0}, 2, true, time.Minute, time.Minute, 1, false},
		{"a key frame that is late", []time.Duration{queueKeyed + 1, queueKeyed + 1, 0}, 1, false, time.Minute, time.Minute, 1, true},
		{"of no use", []time.Duration{queueLast + 1, 0, 0}, -1, true, time.Minute, time.Minute, 0, false},
		{"of no use, half sent", []time.Duration{queueLast + 2, queueLast + 1, 0}, -1, true, time.Minute, time.Second, 2, true},
	} {
		hub := encodetest.New(1, 1).Hub(slog.New(slog.NewTextHandler(io.Discard, nil)))
		viewer := hub.Join()
		var dropped atomic.Uint64
		o, now := newOutlet(viewer, nil, nil, &dropped, nil), time.Now()
		for i, wait := range c.waits {
			o.queue = append(o.queue, waiting{&encode.Unit{Key: i == c.key}, now.Add(-wait)})
		}
		if c.begun {
			o.sent = 1
		}
		o.keyed, o.slow = now.Add(-c.keyed), now.Add(-c.slow)
		o.hurry(now)
		asked := hub.Status().KeyReasons["slow"] > 0
		if got := int(dropped.Load()); got != c.dropped || len(o.queue) != len(c.waits)-got || asked != c.asked || c.key >= 0 && o.skip {
			t.Errorf("%s: %d were dropped, a key frame was asked for: %v; skip is %v", c.name, got, asked, o.skip)
		}
		viewer.Close()
	}
}
