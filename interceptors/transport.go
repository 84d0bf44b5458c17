package interceptors

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
)

// Header extensions by their URIs (RFC 9143; libwebrtc's playout-delay and
// abs-capture-time; draft-holmer-rmcat-transport-wide-cc-extensions).
const (
	MidURI            = "urn:ietf:params:rtp-hdrext:sdes:mid"
	PlayoutDelayURI   = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	AbsCaptureTimeURI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	TransportCCURI    = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
)

// PutAbsCaptureTime writes the 8 bytes of an abs-capture-time extension.
func PutAbsCaptureTime(b []byte, captured time.Time) { binary.BigEndian.PutUint64(b, ntp(captured)) }

// flightSize bounds the packets whose arrival is awaited; a power of two.
const flightSize = 512

// Transport numbers all packets of one peer connection where transport-wide
// congestion control was negotiated, when they are sent, and estimates from the
// viewer's feedback what its path can carry. It must be nearest the wire of all
// that write packets. It is an interceptor.Factory; each connection needs its
// own.
//
// A header that has the extension already, with two bytes, is patched in place,
// which allocates nothing; the two bytes must not be shared between
// connections.
type Transport struct {
	interceptor.NoOp

	mu       sync.Mutex
	next     uint16
	flight   []sent // by number; allocated with the first packet
	began    time.Time
	burst    time.Duration // of what is written now, since began; 0 for not known
	lastRef  int64         // unwrapped reference time of feedback, in 64 ms
	refKnown bool
	estimate estimator
}

// sent is a packet that was sent.
type sent struct {
	at   uint32 // in microseconds modulo 2^32 since began
	seq  uint16
	size uint16 // of the payload, bytes
	fate fate
}

// micros is a time in microseconds modulo 2^32, 71 minutes.
func micros(t time.Duration) uint32 { return uint32(t / time.Microsecond) }

type fate uint8

const (
	unsent fate = iota
	underway
	arrived
	missing
)

// NewTransport makes the transport part of one peer connection. Its estimate
// begins at bitsPerSecond.
func NewTransport(bitsPerSecond float64) *Transport {
	return &Transport{began: time.Now(), estimate: newEstimator(bitsPerSecond)}
}

// NewInterceptor implements interceptor.Factory.
func (t *Transport) NewInterceptor(string) (interceptor.Interceptor, error) { return t, nil }

// Start begins the estimate again at bitsPerSecond, for a new path.
func (t *Transport) Start(bitsPerSecond float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.estimate = newEstimator(bitsPerSecond)
}

// Estimate is the present estimate.
func (t *Transport) Estimate() Estimate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.estimate.snapshot(time.Since(t.began))
}

// Begin tells that the packets which are written from here to the next Begin
// leave at now, and returns the estimate. Who writes bursts saves with it what
// the clock costs for each packet; without it the clock is read.
func (t *Transport) Begin(now time.Time) Estimate {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.burst = now.Sub(t.began)
	return t.estimate.snapshot(t.burst)
}

// Late tells that this machine had no time for what was to be done before now: the
// delays that were measured meanwhile are its own, and tell nothing of the path.
func (t *Transport) Late(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.estimate.empty(now.Sub(t.began))
}

// BindLocalStream implements interceptor.Interceptor.
func (t *Transport) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	i := slices.IndexFunc(info.RTPHeaderExtensions, func(e interceptor.RTPHeaderExtension) bool { return e.URI == TransportCCURI })
	if i < 0 {
		return w
	}
	id := uint8(info.RTPHeaderExtensions[i].ID)
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		number := t.number(len(payload))
		if ext := h.GetExtension(id); len(ext) == 2 {
			binary.BigEndian.PutUint16(ext, number)
		} else if err := h.SetExtension(id, binary.BigEndian.AppendUint16(nil, number)); err != nil {
			return 0, err
		}
		return w.Write(h, payload, a)
	})
}

// number gives the next packet its number.
func (t *Transport) number(size int) uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flight == nil {
		t.flight = make([]sent, flightSize)
	}
	now := t.burst
	if now == 0 {
		now = time.Since(t.began)
	}
	n := t.next
	t.next++
	t.flight[n%flightSize] = sent{at: micros(now), seq: n, size: uint16(size), fate: underway}
	return n
}

// BindRTCPReader implements interceptor.Interceptor.
func (t *Transport) BindRTCPReader(reader interceptor.RTCPReader) interceptor.RTCPReader {
	return listen(reader, t.look)
}

func (t *Transport) look(c control) {
	if c.kind == typeTransportFeedback && c.format == formatTransportCC {
		if _, rest, ok := c.feedback(); ok {
			t.take(rest, time.Since(t.began))
		}
	}
}

// take takes the control information of a feedback message. It may come twice.
func (t *Transport) take(b []byte, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flight == nil || len(b) < 8 {
		return
	}
	ref := int64(b[4])<<16 | int64(b[5])<<8 | int64(b[6])
	if t.refKnown {
		ref = t.lastRef + int64(int32(uint32(ref-t.lastRef)<<8)>>8) // modulo 2^24
	}
	t.lastRef, t.refKnown = ref, true
	var f feedback
	for seq, at := range arrivals(b).since(t.next - flightSize) {
		p := &t.flight[seq%flightSize]
		if p.seq != seq || p.fate == unsent || p.fate == arrived || p.fate == missing && at < 0 {
			continue
		}
		left := now - time.Duration(micros(now)-p.at)*time.Microsecond
		if at < 0 {
			p.fate = missing
			f.lose(left)
			continue
		}
		p.fate = arrived
		f.add(int(p.size), left, time.Duration(ref)*64*time.Millisecond+at)
	}
	t.estimate.take(f, now)
}

// arrivals is transport-wide feedback from its base sequence number on
// (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1); at least 8 bytes.
type arrivals []byte

// since yields the packets with the time of their arrival after the reference
// time; -1 for packets that did not arrive. It ends where the message is cut
// off. Of long runs that did not arrive it skips what is not among the
// flightSize packets from first on: two bytes can tell of thousands.
func (b arrivals) since(first uint16) func(yield func(uint16, time.Duration) bool) {
	return func(yield func(uint16, time.Duration) bool) { b.walk(first, yield) }
}

func (b arrivals) walk(first uint16, yield func(uint16, time.Duration) bool) {
	base, count := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
	chunks, known := b[8:], 0
	deltas := chunks
	for ; known < count && len(deltas) >= 2; deltas = deltas[2:] {
		known += statuses(binary.BigEndian.Uint16(deltas))
	}
	at := int64(0) // in 250 us
	for i := 0; i < min(count, known); chunks = chunks[2:] {
		chunk := binary.BigEndian.Uint16(chunks)
		n := min(statuses(chunk), count-i)
		if chunk>>13 == 0 {
			start := base + uint16(i)
			from, to := 0, 0
			if in := int(start - first); in < flightSize {
				to = min(n, flightSize-in)
			} else {
				from = min(n, int(first-start))
				to = min(n, from+flightSize)
			}
			for ; from < to; from++ {
				if !yield(start+uint16(from), -1) {
					return
				}
			}
			i += n
			continue
		}
		for j := range n {
			arrival := time.Duration(-1)
			switch s := int(status(chunk, j)); {
			case s == 0:
			case s > 2 || len(deltas) < s:
				return
			default:
				if s == 1 {
					at += int64(deltas[0])
				} else {
					at += int64(int16(binary.BigEndian.Uint16(deltas)))
				}
				deltas = deltas[s:]
				arrival = max(time.Duration(at)*250*time.Microsecond, 0)
			}
			if !yield(base+uint16(i), arrival) {
				return
			}
			i++
		}
	}
}

// statuses is the number of packets that a chunk tells of.
func statuses(chunk uint16) int {
	switch {
	case chunk>>15 == 0:
		return int(chunk & 0x1fff)
	case chunk>>14&1 == 0:
		return 14
	default:
		return 7
	}
}

// status is the status of a chunk's i-th packet: 0 is not received, 1 and 2
// have a delta of so many bytes.
func status(chunk uint16, i int) uint16 {
	switch {
	case chunk>>15 == 0:
		return chunk >> 13 & 3
	case chunk>>14&1 == 0:
		return chunk >> (13 - i) & 1
	default:
		return chunk >> (12 - 2*i) & 3
	}
}
