package interceptors

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
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

// repairs is one stream. Its packets are written by one goroutine at a time.
type repairs struct {
	// Static after bind.
	media, rtx     uint32
	rtxPayloadType uint8
	refuse         bool  // plain repairs would not be the same packets
	hold           bool  // repairs wait for their owner
	volatile       uint8 // id of the extension that repairs leave out; 0 for none
	w              interceptor.RTPWriter
	began          time.Time

	waits  atomic.Bool // queue may have something
	broken atomic.Bool // the viewer misses for good what others refer to; written under mu

	mu          sync.Mutex // guards below
	queue       []uint16   // packets whose repairs wait; at most historySize
	slots       []slot
	wasRepaired numbers
	spare       numbers // packets of spare pictures
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

	spareNext, spared bool
	spareTimestamp    uint32 // of the last spare picture

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
	waits     bool // it is in the queue
}

func (p *slot) payload() []byte { return unsafe.Slice(p.data, p.size) }

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
	if s.spareNext {
		s.spareNext, s.spared, s.spareTimestamp = false, true, h.Timestamp
	}
	s.spare.set(h.SequenceNumber, s.spared && h.Timestamp == s.spareTimestamp)
	if s.keyNext {
		s.keyNext, s.keyed, s.keyRepeated = false, true, false
		s.key, s.keyTimestamp = h.SequenceNumber, h.Timestamp
		s.queue = s.queue[:0] // older than this one
		s.broken.Store(false)
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
// means that from now on only a key frame helps the viewer.
func (s *repairs) repair(entries []byte, now, rtt time.Duration, path float64) (some, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return false, false
	}
	second := s.refill(now, path)
	short := 0 // bytes of packets that were never repaired, for which there is no budget
	for seq := range nack(entries).most {
		s.stats.Nacked++
		switch back := s.next - seq; {
		case back == 0 || back >= halfNumbers: // not sent yet
		case s.keyed && seq-s.key >= halfNumbers: // from before the key frame
		case back > historySize || s.slots[seq%historySize].seq != seq || s.slots[seq%historySize].data == nil || s.refuse:
			s.stats.Lost++
			lost = lost || back <= memorySize && !s.wasRepaired.has(seq) && !s.spare.has(seq)
		case s.broken.Load(): // what would be repaired refers to what is not
			s.stats.Lost++
		default:
			p := &s.slots[seq%historySize]
			sent, refused := s.resend(p, now, rtt)
			some = some || sent
			if refused && p.repairs == 0 && !s.spare.has(seq) {
				short += int(p.size)
			}
		}
	}
	if short > 0 { // a key frame is there sooner than what takes more than a second
		for _, seq := range s.queue {
			short += int(s.slots[seq%historySize].size)
		}
		lost = lost || float64(short) > second
	}
	if !lost || s.broken.Swap(true) {
		return some, false
	}
	s.queue = s.queue[:0]
	s.waits.Store(false)
	return false, true
}

// refill earns budget for what was sent since the last time, and tells how much
// a second's worth is. path is what a narrow path carries in bytes per second,
// else 0.
func (s *repairs) refill(now time.Duration, path float64) (second float64) {
	now = max(now, s.filled)
	passed := (now - s.filled).Seconds()
	if since := (now - s.measured).Seconds(); since >= 1 { // a frame alone is no rate
		s.most = max(float64(s.sent-s.earlier)/since/repairShare, repairFloor) // a second's worth
		s.measured, s.earlier = now, s.sent
	}
	earned := max(float64(s.sent-s.counted)/repairShare, repairFloor*passed)
	most := s.most
	switch {
	case path > 0 && s.hold: // the stream waits for them
		earned, most = path*passed, path
	case path > 0:
		earned, most = min(earned, path/repairShare*passed), min(most, path/repairShare)
	}
	s.budget = min(s.budget+earned, most)
	s.filled, s.counted = now, s.sent
	return most
}

// resend sends a kept packet again, or lets it wait to be sent, unless it just
// was. It is refused if there is no budget.
func (s *repairs) resend(p *slot, now, rtt time.Duration) (sent, refused bool) {
	if p.waits || p.repairs > 0 && micros(now)-p.repaired < micros(rtt+repairAgain) {
		return false, false
	}
	// The more often it was repaired, the more must be left for others.
	if p.repairs == repairsMost || s.budget < float64(p.size)+s.most*float64(p.repairs)/(2*repairsMost) || len(s.queue) == historySize {
		s.stats.Refused++
		return false, true
	}
	p.repairs++
	s.wasRepaired.set(p.seq, true)
	s.budget -= float64(p.size)
	if !s.hold {
		s.write(p, now)
		return true, false
	}
	p.waits = true
	s.queue = append(s.queue, p.seq)
	s.waits.Store(true)
	return true, false
}

// write writes the repair of a packet.
func (s *repairs) write(p *slot, now time.Duration) {
	h, payload := &s.header, p.payload()
	h.Timestamp, h.Marker, h.SequenceNumber = p.timestamp, p.marker, p.seq
	if s.rtx != 0 {
		h.SequenceNumber = s.nextRTX
		s.nextRTX++
		if s.buf == nil {
			s.buf = make([]byte, 0, maxRTXPacket)
		}
		s.buf = append(binary.BigEndian.AppendUint16(s.buf[:0], p.seq), payload...)
		payload = s.buf
	}
	// A repair that fails is asked for again.
	_, _ = s.w.Write(h, payload, interceptor.Attributes{})
	p.repaired, p.waits = micros(now), false
	s.stats.Repaired++
	s.stats.Bytes += uint64(len(payload))
}

// work writes repairs that wait as long as they may pass, and tells whether
// there are more.
func (s *repairs) work(now time.Duration, pass func(bytes int) bool) (more bool) {
	done := 0
	for _, seq := range s.queue {
		// Other packets may have taken its place.
		if p := &s.slots[seq%historySize]; p.seq == seq && p.waits {
			if !pass(int(p.size)) {
				break
			}
			s.write(p, now)
		}
		done++
	}
	s.queue = append(s.queue[:0], s.queue[done:]...)
	s.waits.Store(len(s.queue) > 0)
	return len(s.queue) > 0
}

func (s *repairs) repeatKeyframe(now, rtt time.Duration, path float64) (recent, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.keyed || s.broken.Load() || now-s.keySent > rtt+recentFrame:
		return false, false
	case s.keyRepeated || s.refuse || !s.keyWhole:
		return true, false
	}
	s.keyRepeated = true
	s.stats.Keyframes++
	s.refill(now, path)
	for seq := s.key; seq != s.keyEnd; seq++ {
		if p := &s.slots[seq%historySize]; p.seq == seq {
			sent, _ := s.resend(p, now, rtt)
			some = some || sent
		}
	}
	return true, some
}
