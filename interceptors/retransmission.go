package interceptors

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
)

// RetransmissionConfig wires a Retransmission to its owner. Functions may be
// nil. They are called from the goroutine that reads RTCP, and must not block.
type RetransmissionConfig struct {
	RTT  func() time.Duration // round trip; zero while unknown
	Lost func(ssrc uint32)    // a viewer misses something for good; only a key frame helps
	Sent func()               // repairs have been written
	Path func() float64       // bits per second that a narrow path carries; zero while it is not known to be narrow

	// Waiting is called when there are repairs, which then leave by Repair only,
	// when their owner has time for them. Without it they leave at once.
	Waiting func()
}

// Retransmission answers NACKs (RFC 4585, 6.2.1) of one peer connection: by RTX
// (RFC 4588) where it was negotiated, with a numbering of its own that is given
// when a repair is sent, else by the packet itself. It is an
// interceptor.Factory; each connection needs its own.
//
// Payloads are kept and not copied: whoever writes packets never changes their
// payload again, and may give one payload to many connections.
//
// Each packet is repaired at most once per round trip and ten times. Repairs
// take at most a quarter of what the stream sends, or 1 Mbit/s if that is more,
// first those of packets that have not been repaired often. Of a narrow path
// they take a quarter, or all of it if they wait for Repair, whose caller then
// paces the stream behind them. What is older than the last key frame is not
// repaired; see Keyframe.
//
// A packet is missed for good if it is not kept any more and was never repaired,
// or if more is asked for than may be repaired in a second. Then nothing helps
// but a key frame, and nothing is repaired before that one; but see Spare.
//
// Under authenticated encryption two different packets must never have one
// number. Without RTX a repair is therefore the same packet once more, and
// streams whose packets carry transport-wide sequence numbers or capture times
// are then not repaired: do not negotiate those without RTX. Other header
// extensions must be the same in all packets of a stream.
type Retransmission struct {
	interceptor.NoOp
	cfg   RetransmissionConfig
	asked atomic.Bool // repairs waited at some time, or something was missed for good

	mu      sync.Mutex
	streams map[uint32]*repairs // by media SSRC
}

// NewRetransmission makes the retransmission of one peer connection.
func NewRetransmission(cfg RetransmissionConfig) *Retransmission {
	return &Retransmission{cfg: cfg, streams: map[uint32]*repairs{}}
}

// NewInterceptor implements interceptor.Factory.
func (r *Retransmission) NewInterceptor(string) (interceptor.Interceptor, error) { return r, nil }

// RepairStats counts what has been repaired.
type RepairStats struct {
	Nacked    uint64 // packets that were asked for
	Repaired  uint64 // packets sent again
	Bytes     uint64 // in their payloads
	Refused   uint64 // not sent again for want of budget
	Lost      uint64 // not kept any more, or of no use without what is not
	Keyframes uint64 // requests answered by the packets of a recent key frame
}

// BindLocalStream implements interceptor.Interceptor.
func (r *Retransmission) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	if !slices.ContainsFunc(info.RTCPFeedback, func(f interceptor.RTCPFeedback) bool { return f.Type == "nack" && f.Parameter == "" }) {
		return w
	}
	s := &repairs{
		media: info.SSRC, w: w, slots: make([]slot, historySize), nextRTX: uint16(rand.Uint32()),
		began: time.Now(), budget: repairFloor, most: repairFloor, hold: r.cfg.Waiting != nil,
	}
	if info.SSRCRetransmission != 0 && info.PayloadTypeRetransmission != 0 {
		s.rtx, s.rtxPayloadType = info.SSRCRetransmission, info.PayloadTypeRetransmission
	}
	for _, e := range info.RTPHeaderExtensions {
		switch e.URI {
		case AbsCaptureTimeURI:
			s.volatile, s.refuse = uint8(e.ID), s.rtx == 0
		case TransportCCURI:
			s.refuse = s.refuse || s.rtx == 0
		}
	}
	r.mu.Lock()
	r.streams[info.SSRC] = s
	r.mu.Unlock()
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		s.remember(h, payload)
		return w.Write(h, payload, a)
	})
}

// UnbindLocalStream implements interceptor.Interceptor.
func (r *Retransmission) UnbindLocalStream(info *interceptor.StreamInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.streams, info.SSRC)
}

// BindRTCPReader implements interceptor.Interceptor.
func (r *Retransmission) BindRTCPReader(reader interceptor.RTCPReader) interceptor.RTCPReader {
	return listen(reader, r.look)
}

// Keyframe tells that the next packet of a stream begins a key frame: viewers
// will not miss what is older.
func (r *Retransmission) Keyframe(ssrc uint32) {
	if s := r.stream(ssrc); s != nil {
		s.mu.Lock()
		s.keyNext = true
		s.mu.Unlock()
	}
}

// Spare tells that the next packet of a stream begins a picture that nothing
// refers to: no key frame is owed for what is missing of it.
func (r *Retransmission) Spare(ssrc uint32) {
	if s := r.stream(ssrc); s != nil {
		s.mu.Lock()
		s.spareNext = true
		s.mu.Unlock()
	}
}

// RepeatKeyframe answers a request for a key frame that was on its way when the
// request was made, or shortly before: if less than a round trip and 100 ms ago
// a packet of a key frame was sent, it sends the key frame again when it is
// whole, once, as far as there is budget. It reports whether such a key frame
// exists; if not, the encoder must make one.
func (r *Retransmission) RepeatKeyframe(ssrc uint32) bool {
	s := r.stream(ssrc)
	if s == nil {
		return false
	}
	recent, some := s.repeatKeyframe(time.Since(s.began), r.rtt(), r.path())
	if some {
		r.tell()
	}
	return recent
}

// Misses tells whether repairs of a stream wait for Repair, and whether something
// is missed for good: then what is sent before a key frame cannot be decoded.
func (r *Retransmission) Misses(ssrc uint32) (repairs, forGood bool) {
	if !r.asked.Load() {
		return false, false
	}
	s := r.stream(ssrc)
	if s == nil {
		return false, false
	}
	return s.waits.Load(), s.broken.Load()
}

// Repair sends repairs of a stream that wait, in the order in which they were
// asked for, as long as pass lets packets of so many bytes pass, and tells
// whether there are more. It is called by whoever writes the stream's packets.
func (r *Retransmission) Repair(ssrc uint32, pass func(bytes int) bool) (more bool) {
	s := r.stream(ssrc)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.work(time.Since(s.began), pass)
}

// tell tells the owner that there are repairs, or that they have been written.
func (r *Retransmission) tell() {
	switch {
	case r.cfg.Waiting != nil:
		r.asked.Store(true)
		r.cfg.Waiting()
	case r.cfg.Sent != nil:
		r.cfg.Sent()
	}
}

// Stats sums up all streams.
func (r *Retransmission) Stats() (sum RepairStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		s.mu.Lock()
		sum.Nacked += s.stats.Nacked
		sum.Repaired += s.stats.Repaired
		sum.Bytes += s.stats.Bytes
		sum.Refused += s.stats.Refused
		sum.Lost += s.stats.Lost
		sum.Keyframes += s.stats.Keyframes
		s.mu.Unlock()
	}
	return sum
}

func (r *Retransmission) stream(ssrc uint32) *repairs {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams[ssrc]
}

func (r *Retransmission) rtt() time.Duration {
	if r.cfg.RTT != nil {
		if rtt := r.cfg.RTT(); rtt > 0 {
			return rtt
		}
	}
	return unknownRTT
}

// path is what a narrow path carries in bytes per second, else 0.
func (r *Retransmission) path() float64 {
	if r.cfg.Path == nil {
		return 0
	}
	return r.cfg.Path() / 8
}

func (r *Retransmission) look(c control) {
	if c.kind != typeTransportFeedback || c.format != formatNack {
		return
	}
	media, entries, ok := c.feedback()
	if !ok {
		return
	}
	s := r.stream(media)
	if s == nil {
		return
	}
	some, lost := s.repair(entries, time.Since(s.began), r.rtt(), r.path())
	if some {
		r.tell()
	}
	if lost {
		r.asked.Store(true)
		if r.cfg.Lost != nil {
			r.cfg.Lost(media)
		}
	}
}
