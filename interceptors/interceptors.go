// Package interceptors stands between a viewer's RTP and the wire:
// retransmission, reports, keyframe requests, transport-wide numbers and the
// estimate that follows from them, pacing. Each part is an interceptor.Factory
// or a small type that any pion program can use; Viewer joins them.
package interceptors

import (
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
)

// Config wires a viewer's interceptors to its owner. Its functions must not
// block.
type Config struct {
	// Keyframe is called when only a key frame of the encoder helps the
	// viewer: with "pli" or "fir" when it asks for one, with "lost" when it
	// misses packets that will not be repaired.
	Keyframe func(reason string)

	// Repeated is called when a request for a key frame, with the same reasons,
	// was answered by sending the last one again; it may be nil.
	Repeated func(reason string)

	// RTPTime maps a moment to the RTP time of the stream with the given clock
	// rate in Hz; sender reports tell the mapping to the viewer.
	RTPTime func(at time.Time, clockRate uint32) uint32

	// Sent is called after repairs have been written; it may be nil.
	Sent func()

	// Waiting, unless it is nil, is called when there are repairs instead, which
	// then leave by Repair.
	Waiting func()

	// StartRate is what the path is taken to carry at first, in bits per
	// second; 2.5 Mbit/s if zero.
	StartRate float64
}

// Viewer is the sending side of one peer connection.
type Viewer struct {
	retransmission *Retransmission
	reports        *Reports
	transport      *Transport
	keyframes      *keyframes
	cfg            Config
	asked          atomic.Uint64
}

// New makes the parts of one viewer.
func New(c Config) *Viewer {
	if c.StartRate == 0 {
		c.StartRate = 2.5e6
	}
	v := &Viewer{cfg: c, reports: NewReports(c.RTPTime), transport: NewTransport(c.StartRate)}
	v.retransmission = NewRetransmission(RetransmissionConfig{
		RTT:  v.reports.RTT,
		Lost: func(uint32) { c.Keyframe("lost") },
		Sent: c.Sent, Waiting: c.Waiting,
		Path: func() float64 {
			if e := v.transport.Estimate(); e.Congested {
				return e.Target
			}
			return 0
		},
	})
	v.keyframes = newKeyframes(v.request)
	return v
}

// Registry is the viewer's interceptors; the first one is nearest the wire.
func (v *Viewer) Registry() *interceptor.Registry {
	r := &interceptor.Registry{}
	r.Add(v.transport)
	r.Add(v.retransmission)
	r.Add(v.reports)
	r.Add(factory(func() interceptor.Interceptor { return v.keyframes }))
	return r
}

// request answers a viewer's request for a key frame.
func (v *Viewer) request(ssrc uint32, reason string) {
	v.asked.Add(1)
	if !v.retransmission.RepeatKeyframe(ssrc) {
		v.cfg.Keyframe(reason)
	} else if v.cfg.Repeated != nil {
		v.cfg.Repeated(reason)
	}
}

// Keyframe tells that the next packet of a stream begins a key frame.
func (v *Viewer) Keyframe(ssrc uint32) { v.retransmission.Keyframe(ssrc) }

// Spare tells that the next packet of a stream begins a picture that nothing
// refers to.
func (v *Viewer) Spare(ssrc uint32) { v.retransmission.Spare(ssrc) }

// Misses tells whether repairs wait, and whether something is missed for good; see
// Retransmission.Misses.
func (v *Viewer) Misses(ssrc uint32) (repairs, forGood bool) { return v.retransmission.Misses(ssrc) }

// Repair sends repairs that wait; see Retransmission.Repair.
func (v *Viewer) Repair(ssrc uint32, pass func(bytes int) bool) (more bool) {
	return v.retransmission.Repair(ssrc, pass)
}

// Start begins the estimate again, for a new path.
func (v *Viewer) Start(bitsPerSecond float64) { v.transport.Start(bitsPerSecond) }

// Estimate is what the path carries.
func (v *Viewer) Estimate() Estimate { return v.transport.Estimate() }

// Begin is Estimate for who begins to write packets at now; see Transport.Begin.
func (v *Viewer) Begin(now time.Time) Estimate { return v.transport.Begin(now) }

// Late tells that this machine had no time; see Transport.Late.
func (v *Viewer) Late(now time.Time) { v.transport.Late(now) }

// Stats is what a viewer was sent, and what it said of it.
type Stats struct {
	Reported                    // of the stream asked for
	RTT           time.Duration // zero while unknown
	Repairs       RepairStats
	KeyframesWant uint64 // key frames that the viewer asked for
	Estimate      Estimate
}

// Stats tells of the stream with the media SSRC.
func (v *Viewer) Stats(ssrc uint32) Stats {
	return Stats{
		Reported: v.reports.Stream(ssrc), RTT: v.reports.RTT(), Repairs: v.retransmission.Stats(),
		KeyframesWant: v.asked.Load(), Estimate: v.transport.Estimate(),
	}
}
