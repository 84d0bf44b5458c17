package vpx

import "time"

// clock turns the uneven times of damage-driven pictures into the time stamps
// that libvpx's rate control wants. A step is never longer than four frame
// intervals: after a pause the library would otherwise take the frame rate for
// tiny and spend a second's bits on one picture.
type clock struct {
	fps  int
	last time.Time
	pts  int64
}

const timebase = 90000

// tick is called once for each picture. Both results are in units of
// 1/timebase s.
func (c *clock) tick(at time.Time) (pts, duration int64) {
	interval := int64(timebase / max(c.fps, 1))
	if !c.last.IsZero() {
		c.pts += min(max(at.Sub(c.last).Nanoseconds()*9/100000, interval/2, 1), 4*interval)
	}
	c.last = at
	return c.pts, interval
}
