package interceptors

import "time"

const (
	estimateLeast = 100e3 // bits per second

	rateWindow  = 500 * time.Millisecond // over which the rate of arrival is measured
	lossWindow  = time.Second
	heavyWindow = 100 * time.Millisecond // with heavy loss and a long queue that is enough
	floorWindow = 5 * time.Second        // the least delay of one or two of these is that of an empty queue

	queueOver  = 60 * time.Millisecond // a longer queue that does not empty is too much
	standing   = time.Second / 2       // for so long, and then for as long again
	standLeast = 3                     // messages at least tell whether it stands
	queueGood  = 30 * time.Millisecond // up to here the path may carry more
	queueNone  = 5 * time.Millisecond  // a queue that is so short at times does not stand
	lossOver   = 0.10
	lossHeavy  = 0.20
	heavyMost  = 10   // packets that may be missing
	lossNarrow = 0.30 // with any queue
	lossGood   = 0.02
	pathDead   = 300 * time.Millisecond // a narrow path carries something in this time
	backOff    = 0.85
	growth     = 0.08 // per second
	growthFree = 0.5  // per second, when the path has not been overused lately
	decrease   = 300 * time.Millisecond
	congestion = 5 * time.Second // is remembered so long
	silence    = time.Second     // without feedback; then what it tells of is no measure of the rate
)

// Estimate is what a viewer's path carries, as far as its feedback tells.
type Estimate struct {
	Target    float64       // bits per second that may be sent
	Arriving  float64       // bits per second that lately arrived
	Queue     time.Duration // delay of the last packets above the least one
	Loss      float64       // share of packets, in the last second with feedback
	Congested bool          // the path was overused in the last seconds
	Measured  bool          // there has been feedback
}

// Pace is the rate in bits per second for packets that wait: fast as long as the
// path is not known to be narrow. A narrow one gets less than it carries until
// its queue is short.
func (e Estimate) Pace() float64 {
	switch {
	case !e.Congested:
		return 2.5 * e.Target
	case e.Queue > queueGood:
		return e.Target
	default:
		return 1.25 * e.Target
	}
}

// feedback is one message about packets.
type feedback struct {
	arrived, missing int
	bytes            int
	delay, least     time.Duration // the sum of the delays, and the smallest
	from, to         time.Duration // the first and the last arrival by the viewer's clock
	run              int           // packets that are missing since the last one that arrived
	runFrom          time.Duration // when the first of them left
}

// lose adds a packet that left at a time by our clock and did not arrive. What is
// lost while the path is dead tells nothing of what it carries otherwise.
func (f *feedback) lose(left time.Duration) {
	if f.run == 0 {
		f.runFrom = left
	}
	f.run++
	f.missing++
}

// add adds a packet that left at a time by our clock and arrived at another by
// the viewer's. Packets are added in the order in which they left.
func (f *feedback) add(bytes int, left, at time.Duration) {
	if f.run > 0 && left-f.runFrom > pathDead {
		f.missing -= f.run
	}
	f.run = 0
	delay := at - left
	if f.arrived == 0 || delay < f.least {
		f.least = delay
	}
	if f.arrived == 0 {
		f.from, f.to = at, at
	}
	f.from, f.to = min(f.from, at), max(f.to, at)
	f.arrived++
	f.bytes += bytes
	f.delay += delay
}

// estimator follows one path. Delays have an unknown constant offset.
//
// A desktop is often still, so what arrives says little about what could: the
// target grows only up to 1.5 times of what does arrive, or what was proven
// before, and a still stream keeps what was proven.
type estimator struct {
	target, proven float64
	measured       bool
	grown          time.Duration // when the target was last changed upwards
	cut            time.Duration // when it was last cut
	congested      bool          // has been cut
	heard          time.Duration // when the last feedback came
	least          time.Duration // the shortest queue that was found by the last feedback
	full           time.Duration // since when none of them was short, or since it was last judged whether the queue stands
	told           int           // feedback messages since then
	lowest         time.Duration // the shortest queue that was found since then
	stood          time.Duration // lowest when it was first judged; 0 before
	over           bool          // the queue stands
	queue          time.Duration

	floor, lastFloor time.Duration // least delay in this window and in the one before
	floorSince       time.Duration
	floorKnown       bool

	arriving  float64
	earlier   float64 // the same, one window before
	bytes     int
	rateSince time.Duration

	loss              float64
	lossy             bool
	shortest          time.Duration // queue that was found since lossSince
	stream            int           // bytes that came since then, after the first packet
	from, to          time.Duration // in this time by the viewer's clock
	received, missing int
	lossSince         time.Duration
}

func newEstimator(start float64) estimator {
	return estimator{target: start, proven: start}
}

func (e *estimator) snapshot(now time.Duration) Estimate {
	return Estimate{
		Target: e.target, Arriving: e.arriving, Queue: e.queue, Loss: e.loss,
		Congested: e.congested && now-e.cut < congestion, Measured: e.measured,
	}
}

// take takes one feedback message.
func (e *estimator) take(f feedback, now time.Duration) {
	if f.arrived+f.missing == 0 {
		return
	}
	if !e.measured {
		e.measured, e.rateSince, e.lossSince, e.grown, e.heard = true, now, now, now, now
		e.empty(now)
		e.judge(now)
		e.bytes = -f.bytes // came in an unknown time by our clock
		e.stream, e.from, e.to = -f.bytes/max(f.arrived, 1), f.from, f.to
	}
	if now-e.heard > silence { // the path stood still, or the stream
		e.bytes, e.rateSince, f.bytes = 0, now, 0
		e.empty(now)
	}
	e.heard = now
	e.rate(f, now)
	if f.arrived > 0 {
		e.delays(f, now)
	}
	e.lose(f, now)
	switch {
	case e.over || e.lossy:
		if now-e.cut > decrease {
			e.reduce(now)
		}
	case e.queue <= queueGood && e.loss <= lossGood:
		step := min(now-e.grown, time.Second).Seconds()
		if limit := max(e.proven, 1.5*e.arriving); e.target < limit {
			rate := growth
			if now-e.cut >= congestion {
				rate = growthFree
			}
			e.target = min(e.target*(1+rate*step), limit)
		}
	}
	e.grown = now
}

// reduce takes the target back to what the path has carried, or somewhat below so
// that its queue empties. What is lost beside a queue that empties anyway is lost
// by chance, or because packets came too fast one behind the other.
func (e *estimator) reduce(now time.Duration) {
	carried := max(e.arriving, e.earlier)
	if passed := e.to - e.from; carried == 0 && passed >= heavyWindow/2 {
		carried = float64(8*e.stream) / passed.Seconds()
	}
	if carried == 0 {
		carried = e.target
	}
	if e.over || e.loss > lossNarrow || e.shortest > queueNone {
		carried *= backOff
	} else {
		carried /= 1 - e.loss // as much was sent
	}
	e.target = max(min(e.target, carried), estimateLeast)
	e.proven = e.target
	e.cut, e.congested = now, true
	e.lossy = false
	e.empty(now)
	e.judge(now)
}

// judge begins to judge anew.
func (e *estimator) judge(now time.Duration) {
	e.received, e.missing, e.lossSince, e.shortest = 0, 0, now, floorWindow
	e.stream, e.from = 0, e.to
}

func (e *estimator) rate(f feedback, now time.Duration) {
	e.bytes += f.bytes
	if passed := now - e.rateSince; passed >= rateWindow {
		e.earlier, e.arriving = e.arriving, float64(8*e.bytes)/passed.Seconds()
		e.bytes, e.rateSince = 0, now
		if !e.over {
			e.proven = max(e.proven, e.arriving)
		}
	}
}

func (e *estimator) lose(f feedback, now time.Duration) {
	e.received += f.arrived
	e.missing += f.missing
	if f.arrived > 0 {
		e.shortest = min(e.shortest, e.least)
		e.stream += f.bytes
		e.to = max(e.to, f.to)
	}
	n, passed := e.received+e.missing, now-e.lossSince
	heavy := passed >= heavyWindow && e.missing > heavyMost && float64(e.missing) > lossHeavy*float64(n) && e.least > queueGood
	if heavy || passed >= lossWindow && n >= 20 {
		e.loss = float64(e.missing) / float64(n)
		e.lossy = e.loss > lossOver
		if !e.lossy {
			e.judge(now)
		}
	}
}

func (e *estimator) delays(f feedback, now time.Duration) {
	if !e.floorKnown {
		e.floorKnown, e.floor, e.lastFloor, e.floorSince = true, f.least, f.least, now
	}
	if now-e.floorSince > floorWindow {
		e.lastFloor, e.floor, e.floorSince = e.floor, f.least, now
	}
	e.floor = min(e.floor, f.least)
	e.queue = f.delay/time.Duration(f.arrived) - min(e.floor, e.lastFloor)
	e.least = f.least - min(e.floor, e.lastFloor)
	if e.least <= queueOver {
		e.empty(now)
	} else {
		e.stand(now)
	}
}

// empty begins to look anew whether the queue stands.
func (e *estimator) empty(now time.Duration) {
	e.full, e.told, e.stood, e.over = now, 0, 0, false
}

// stand takes a message after which the queue may stand. A receiver or a path that
// pauses for a moment delays many packets, but not the last ones that it then takes
// at once. A narrow path delays all, and each more than the one before or loses some;
// a busy machine does neither for long.
func (e *estimator) stand(now time.Duration) {
	if e.told++; e.told == 1 || e.least < e.lowest {
		e.lowest = e.least
	}
	if now-e.full < standing || e.told < standLeast {
		return
	}
	e.over = e.stood > 0 && (e.lowest-e.stood >= queueOver || e.missing > 0 || e.loss > lossGood)
	if e.stood == 0 {
		e.stood = e.lowest
	}
	e.full, e.told = now, 0
}
