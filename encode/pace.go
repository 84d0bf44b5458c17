package encode

import "time"

// topOff are the times after the last change of the screen at which the picture
// is encoded again, each time sharper.
var topOff = [...]time.Duration{120 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 900 * time.Millisecond}

// pace turns the time between two pictures into a step of the clock that an
// encoder's rate control sees. The library gives a picture the bits of its
// step: after a pause the first one that moves would be as big as a second of
// video. One that only refines what it shows may use the pause.
func pace(elapsed time.Duration, fps int, moving bool) time.Duration {
	interval := time.Second / time.Duration(max(fps, 1))
	longest := time.Second
	if moving {
		longest = 4 * interval
	}
	return min(max(elapsed, interval/2), longest)
}
