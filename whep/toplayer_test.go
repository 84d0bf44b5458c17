package whep

import (
	"testing"
	"time"

	"deskwhep/interceptors"
)

// The top layer goes where the path carries less than the stream, and comes back
// when it carries more: soon at first, later where that was too early.
func TestTopLayer(t *testing.T) {
	narrow := interceptors.Estimate{Target: 1e6, Congested: true}
	wide := interceptors.Estimate{Target: 2.5e6, Congested: true}
	free := interceptors.Estimate{Target: 1e6}
	const late, soon = lateAfter + 1, lateAfter
	const whole, half = 2e6, 1.1e6 // bits per second
	l, now := topLayer{}, time.Now()
	for i, step := range []struct {
		lasted time.Duration // of a stream of this rate
		rate   float64
		wait   time.Duration // of a picture then
		path   interceptors.Estimate
		out    bool
	}{
		{0, whole, late, narrow, false}, // what it begins with is no rate
		{time.Second, whole, soon, narrow, false},
		{0, whole, late, wide, false}, // it waits for something else
		{0, whole, late, free, false},
		{0, whole, late, narrow, true},
		{time.Second, half, soon, narrow, true},
		{time.Minute, half, soon, narrow, true},
		{0, half, late, wide, true},
		{0, half, soon, free, false}, // nobody knows whether the path carries it
		{time.Second, whole, late, narrow, true},
		{lastsFor, half, soon, free, true}, // it was too early
		{time.Second, half, soon, free, false},
		{lastsFor - time.Second, whole, late, narrow, true},
		{time.Second, half, soon, free, true},
		{lastsFor, half, soon, free, false},
		{lastsFor, whole, late, narrow, true}, // it has lasted
		{time.Second, half, soon, free, false},
		{time.Second, whole, late, narrow, true},
		{rateOver / 2, half, soon, wide, true}, // the rate was the whole stream's
		{rateOver, half, soon, wide, false},    // too early or not
		{rateOver / 2, whole, late, narrow, false},
		{rateOver, whole, late, narrow, true},
		{time.Second, 1.3e6, soon, wide, true}, // it carries less than twice the half
	} {
		const picture = time.Second / 25
		for end := now.Add(step.lasted); now.Before(end); now = now.Add(picture) {
			l.count(now, int(step.rate/25/8))
		}
		if out := l.judge(now, step.wait, step.path); out != step.out {
			t.Fatalf("step %d: left out is %v: %+v", i, out, l)
		}
	}
}
