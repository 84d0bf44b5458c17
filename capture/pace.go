package capture

import "time"

// pacer spaces captures. Two captures begin at least 0.8 of the interval apart: a
// floor of the whole interval beats against content of the same rate, so that
// pictures grow old and some are lost. Over a few frames the mean does not
// exceed the rate by more than 1 %, for the same reason: a display of 60 Hz has
// 60.3 or so.
type pacer struct {
	every time.Duration

	last   time.Time
	earned time.Time // when the frames so far would be due at the highest mean rate
}

// slack is by how many intervals a burst may be ahead of the rate.
const slack = 3

// due tells when the next capture may begin.
func (p *pacer) due() time.Time {
	floor := p.last.Add(p.every * 8 / 10)
	if mean := p.earned.Add(-slack * p.every); mean.After(floor) {
		return mean
	}
	return floor
}

// captured notes that a capture began at now, which is never before the last.
func (p *pacer) captured(now time.Time) {
	p.last = now
	if p.earned.Before(now) {
		p.earned = now
	}
	p.earned = p.earned.Add(p.every * 99 / 100)
}
