package interceptors

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
)

const (
	historySize = 512  // packets of one stream, a second or so; a power of two
	memorySize  = 4096 // packets of which it is known whether they were repaired

	repairShare  = 4       // a repair budget is one part in so many of what is sent
	repairFloor  = 1e6 / 8 // and at least so many bytes per second
	repairAgain  = 5e6     // ns beyond the round trip before a packet is repaired again
	repairsMost  = 10      // of one packet; some players never stop asking
	unknownRTT   = 25e6    // ns, before the first report
	recentFrame  = 100e6   // ns beyond the round trip in which a key frame is repaired, not replaced
	maxRTXPacket = 1500    // bytes
	halfNumbers  = 1 << 15 // of sequence numbers
)

// RetransmissionConfig wires a Retransmission to its owner. Functions may be
// nil. They are called from the goroutine that reads RTCP, and must not block.
type RetransmissionConfig struct {
	RTT  func() time.Duration // round trip; zero while unknown
	Lost func(ssrc uint32)    // a viewer misses what is not kept any more, and was never repaired; only a key frame helps
	Sent func()               // repairs have been written
	Path func() float64       // bits per second that a narrow path carries; zero while it is not known to be narrow
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
// and a quarter of a narrow path, first those of packets that have not been
// repaired often. What is older than
// the last key frame is not repaired; see Keyframe.
//
// Under authenticated encryption two different packets must never have one
// number. Without RTX a repair is therefore the same packet once more, and
// streams whose packets carry transport-wide sequence numbers or capture times
// are then not repaired: do not negotiate those without RTX. Other header
// extensions must be the same in all packets of a stream.
type Retransmission struct {
	interceptor.NoOp
	cfg RetransmissionConfig

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
	Lost      uint64 // not kept any more
	Keyframes uint64 // requests answered by the packets of a recent key frame
}

// repairs is one stream. Its packets are written by one goroutine at a time.
type repairs struct {
	// Static after bind.
	media, rtx     uint32
	rtxPayloadType uint8
	refuse         bool  // plain repairs would not be the same packets
	volatile       uint8 // id of the extension that repairs leave out; 0 for none
	w              interceptor.RTPWriter
	began          time.Time

	mu          sync.Mutex // guards below
	slots       []slot
	wasRepaired numbers
	started     bool
	next        uint16 // sequence number after the newest
	nextRTX     uint16
	header      rtp.Header // for repairs; its extensions are its own
	buf         []byte

	keyNext, keyed bool
	key, keyEnd    uint16        // the last key frame's first number, and the one after it
	keySent        time.Duration // its last packet, since began
	keyTimestamp   uint32
	keyRepeated    bool
	keyWhole       bool // all of it was sent

	sent, counted uint64  // payload bytes in all, and those that have given budget
	budget, most  float64 // bytes left for repairs, and the most that may be saved up
	filled        time.Duration
	measured      time.Duration // when most was last set
	earlier       uint64        // sent until then
	stats         RepairStats
}

// numbers is a set of the last sequence numbers.
type numbers [memorySize / 64]uint64

func (n *numbers) has(seq uint16) bool { return n[seq%memorySize/64]>>(seq%64)&1 != 0 }

func (n *numbers) set(seq uint16, in bool) {
	n[seq%memorySize/64] &^= 1 << (seq % 64)
	if in {
		n[seq%memorySize/64] |= 1 << (seq % 64)
	}
}

// slot is a packet that was sent, in 24 bytes: there are many.
type slot struct {
	data      *byte // of its payload; nil while the slot is empty
	timestamp uint32
	repaired  uint32 // when it last was, in microseconds modulo 2^32 since began
	seq       uint16
	size      uint16 // of its payload
	repairs   uint8  // how often it was repaired
	marker    bool
}

func (p *slot) payload() []byte { return unsafe.Slice(p.data, p.size) }

// BindLocalStream implements interceptor.Interceptor.
func (r *Retransmission) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	if !slices.ContainsFunc(info.RTCPFeedback, func(f interceptor.RTCPFeedback) bool { return f.Type == "nack" && f.Parameter == "" }) {
		return w
	}
	s := &repairs{
		media: info.SSRC, w: w, slots: make([]slot, historySize), nextRTX: uint16(rand.Uint32()),
		began: time.Now(), budget: repairFloor, most: repairFloor,
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
	recent, wrote := s.repeatKeyframe(time.Since(s.began), r.rtt(), r.path())
	if wrote && r.cfg.Sent != nil {
		r.cfg.Sent()
	}
	return recent
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
	wrote, lost := s.repair(entries, time.Since(s.began), r.rtt(), r.path())
	if wrote && r.cfg.Sent != nil {
		r.cfg.Sent()
	}
	if lost && r.cfg.Lost != nil {
		r.cfg.Lost(media)
	}
}

// remember keeps a packet that is about to be sent.
func (s *repairs) remember(h *rtp.Header, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.started = true
		s.template(h)
	}
	s.next = h.SequenceNumber + 1
	s.sent += uint64(len(payload))
	s.slots[h.SequenceNumber%historySize] = slot{
		data: unsafe.SliceData(payload), size: uint16(len(payload)), timestamp: h.Timestamp, seq: h.SequenceNumber, marker: h.Marker,
	}
	s.wasRepaired.set(h.SequenceNumber, false)
	if s.keyNext {
		s.keyNext, s.keyed, s.keyRepeated = false, true, false
		s.key, s.keyTimestamp = h.SequenceNumber, h.Timestamp
	}
	if s.next-s.key > historySize+memorySize { // numbers wrap; what is older than it is not kept either
		s.keyed = false
	}
	if s.keyed && h.Timestamp == s.keyTimestamp {
		s.keyEnd, s.keyWhole = s.next, h.Marker
		s.keySent = time.Since(s.began)
	}
}

// template makes the header of repairs from the first packet's.
func (s *repairs) template(h *rtp.Header) {
	s.header = rtp.Header{Version: 2, PayloadType: h.PayloadType, SSRC: s.media, ExtensionProfile: h.ExtensionProfile}
	if s.rtx != 0 {
		s.header.PayloadType, s.header.SSRC = s.rtxPayloadType, s.rtx
	}
	for _, id := range h.GetExtensionIDs() {
		if id != s.volatile {
			_ = s.header.SetExtension(id, slices.Clone(h.GetExtension(id))) // as it is there, it fits here
		}
	}
}

// repair answers the entries of a NACK at now, which is time since began. lost
// means that only a key frame helps the viewer.
func (s *repairs) repair(entries []byte, now, rtt time.Duration, path float64) (wrote, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return false, false
	}
	s.refill(now, path)
	for seq := range nack(entries).most {
		s.stats.Nacked++
		switch back := s.next - seq; {
		case back == 0 || back >= halfNumbers: // not sent yet
		case s.keyed && seq-s.key >= halfNumbers: // from before the key frame
		case back > historySize || s.slots[seq%historySize].seq != seq || s.slots[seq%historySize].data == nil || s.refuse:
			s.stats.Lost++
			lost = lost || back <= memorySize && !s.wasRepaired.has(seq)
		default:
			wrote = s.resend(seq, now, rtt) || wrote
		}
	}
	return wrote, lost
}

// refill earns budget for what was sent since the last time. path is what a
// narrow path carries in bytes per second, else 0.
func (s *repairs) refill(now time.Duration, path float64) {
	passed := (now - s.filled).Seconds()
	if passed <= 0 {
		return
	}
	if since := (now - s.measured).Seconds(); since >= 1 { // a frame alone is no rate
		s.most = max(float64(s.sent-s.earlier)/since/repairShare, repairFloor) // a second's worth
		s.measured, s.earlier = now, s.sent
	}
	earned := max(float64(s.sent-s.counted)/repairShare, repairFloor*passed)
	most := s.most
	if path > 0 {
		earned, most = min(earned, path/repairShare*passed), min(most, path/repairShare)
	}
	s.budget = min(s.budget+earned, most)
	s.filled, s.counted = now, s.sent
}

// resend sends a kept packet again unless it just was, or there is no budget.
func (s *repairs) resend(seq uint16, now, rtt time.Duration) bool {
	p := &s.slots[seq%historySize]
	if p.repairs > 0 && micros(now)-p.repaired < micros(rtt+repairAgain) {
		return false
	}
	// The more often it was repaired, the more must be left for others.
	if p.repairs == repairsMost || s.budget < float64(p.size)+s.most*float64(p.repairs)/(2*repairsMost) {
		s.stats.Refused++
		return false
	}
	p.repairs++
	s.wasRepaired.set(seq, true)
	h, payload := &s.header, p.payload()
	h.Timestamp, h.Marker, h.SequenceNumber = p.timestamp, p.marker, seq
	if s.rtx != 0 {
		h.SequenceNumber = s.nextRTX
		s.nextRTX++
		if s.buf == nil {
			s.buf = make([]byte, 0, maxRTXPacket)
		}
		s.buf = append(binary.BigEndian.AppendUint16(s.buf[:0], seq), payload...)
		payload = s.buf
	}
	// A repair that fails is asked for again.
	_, _ = s.w.Write(h, payload, interceptor.Attributes{})
	s.budget -= float64(len(payload))
	p.repaired = micros(now)
	s.stats.Repaired++
	s.stats.Bytes += uint64(len(payload))
	return true
}

func (s *repairs) repeatKeyframe(now, rtt time.Duration, path float64) (recent, wrote bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.keyed || now-s.keySent > rtt+recentFrame:
		return false, false
	case s.keyRepeated || s.refuse || !s.keyWhole:
		return true, false
	}
	s.keyRepeated = true
	s.stats.Keyframes++
	s.refill(now, path)
	for seq := s.key; seq != s.keyEnd; seq++ {
		if s.slots[seq%historySize].seq == seq {
			wrote = s.resend(seq, now, rtt) || wrote
		}
	}
	return true, wrote
}
