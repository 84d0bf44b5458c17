package interceptors

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

const (
	reportEvery = time.Second      // between sender reports of a stream that sends
	longestRTT  = 10 * time.Second // what a viewer may claim
)

// Reports sends a sender report (RFC 3550, 6.4.1) with the first frame of each
// stream of one peer connection and then once a second while it sends, and
// reads what the viewer reports. It is an interceptor.Factory; each connection
// needs its own.
//
// A stream that is silent sends none; nothing has to be stopped.
type Reports struct {
	interceptor.NoOp
	rtpTime func(time.Time, uint32) uint32
	rtt     atomic.Int64 // ns, smoothed; zero while unknown

	mu      sync.Mutex
	rtcp    interceptor.RTCPWriter
	streams map[uint32]*reported
}

// NewReports makes the reports of one peer connection. rtpTime gives the RTP
// time of a moment by the clock that stamps the packets, in ticks of clockRate
// per second; so a report does not depend on when packets happened to leave.
func NewReports(rtpTime func(at time.Time, clockRate uint32) uint32) *Reports {
	return &Reports{rtpTime: rtpTime, streams: map[uint32]*reported{}}
}

// NewInterceptor implements interceptor.Factory.
func (r *Reports) NewInterceptor(string) (interceptor.Interceptor, error) { return r, nil }

// RTT is the smoothed round trip, zero while it is unknown.
func (r *Reports) RTT() time.Duration { return time.Duration(r.rtt.Load()) }

// Reported is what was sent of a stream, and the viewer's last report of it.
type Reported struct {
	Packets, Bytes uint64  // sent, without repairs; bytes of payloads
	Rate           float64 // bits per second, over the last second or so
	Loss           float64
	Jitter         time.Duration
}

// Stream tells of the stream with the media SSRC.
func (r *Reports) Stream(ssrc uint32) Reported {
	r.mu.Lock()
	s := r.streams[ssrc]
	r.mu.Unlock()
	if s == nil {
		return Reported{}
	}
	return Reported{
		Packets: s.packets.Load(), Bytes: s.bytes.Load(), Rate: s.rateAt(time.Now()),
		Loss:   float64(s.lost.Load()) / 256,
		Jitter: time.Duration(uint64(s.jitter.Load()) * uint64(time.Second) / uint64(max(s.rate, 1))),
	}
}

// BindRTCPWriter implements interceptor.Interceptor.
func (r *Reports) BindRTCPWriter(w interceptor.RTCPWriter) interceptor.RTCPWriter {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rtcp = w
	return w
}

// BindRTCPReader implements interceptor.Interceptor.
func (r *Reports) BindRTCPReader(reader interceptor.RTCPReader) interceptor.RTCPReader {
	return listen(reader, func(c control) { r.look(c, time.Now()) })
}

func (r *Reports) look(c control, now time.Time) {
	for b := range c.blocks {
		r.mu.Lock()
		s := r.streams[b.ssrc]
		r.mu.Unlock()
		if s == nil {
			continue
		}
		s.lost.Store(uint32(b.lost))
		s.jitter.Store(b.jitter)
		if b.lastSR == 0 {
			continue
		}
		// RFC 3550, 6.4.1: in 1/65536 s, modulo 2^32.
		ticks := uint32(ntp(now)>>16) - b.lastSR - b.sinceLast
		rtt := int64(ticks) * int64(time.Second) >> 16
		if rtt == 0 || rtt > int64(longestRTT) {
			rtt = 1 // faster than our clock can tell, or clocks are at odds
		}
		if old := r.rtt.Load(); old > 0 {
			rtt = old + (rtt-old)/8
		}
		r.rtt.Store(max(rtt, 1))
	}
}

// BindLocalStream implements interceptor.Interceptor.
func (r *Reports) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	s := &reported{ssrc: info.SSRC, rate: info.ClockRate}
	r.mu.Lock()
	r.streams[info.SSRC] = s
	r.mu.Unlock()
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		n, err := w.Write(h, payload, a)
		if n > 0 && err == nil {
			s.packets.Add(1)
			s.bytes.Add(uint64(len(payload)))
			if h.Marker {
				r.report(s, time.Now())
			}
		}
		return n, err
	})
}

// UnbindLocalStream implements interceptor.Interceptor.
func (r *Reports) UnbindLocalStream(info *interceptor.StreamInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.streams, info.SSRC)
}

// reported is one stream; its packets are written one at a time.
type reported struct {
	ssrc, rate     uint32 // static
	packets, bytes atomic.Uint64
	lost, jitter   atomic.Uint32 // as in the viewer's last report

	mu       sync.Mutex // guards below
	last     time.Time  // of our last report
	reported uint64     // bytes sent until then
	per      float64    // bits per second between the last two
}

// rateAt is the rate until now, or that until the last report if that is not
// long ago.
func (s *reported) rateAt(now time.Time) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if passed := now.Sub(s.last); passed > reportEvery && !s.last.IsZero() {
		return float64(8*(s.bytes.Load()-s.reported)) / passed.Seconds()
	}
	return s.per
}

// due tells whether it is time for a report, and notes it.
func (s *reported) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	passed := now.Sub(s.last)
	if passed < reportEvery {
		return false
	}
	bytes := s.bytes.Load()
	if !s.last.IsZero() {
		s.per = float64(8*(bytes-s.reported)) / passed.Seconds()
	}
	s.last, s.reported = now, bytes
	return true
}

// report sends a report if it is time.
func (r *Reports) report(s *reported, now time.Time) {
	if !s.due(now) {
		return
	}
	r.mu.Lock()
	w := r.rtcp
	r.mu.Unlock()
	if w == nil {
		return
	}
	// A report that is lost is followed by another one.
	_, _ = w.Write([]rtcp.Packet{&rtcp.SenderReport{
		SSRC:        s.ssrc,
		NTPTime:     ntp(now),
		RTPTime:     r.rtpTime(now, s.rate),
		PacketCount: uint32(s.packets.Load()),
		OctetCount:  uint32(s.bytes.Load()),
	}}, interceptor.Attributes{})
}

// ntp is a moment as NTP time (RFC 3550, 4).
func ntp(t time.Time) uint64 {
	const since1900 = 2208988800
	ns := uint64(t.UnixNano())
	return (ns/1e9+since1900)<<32 | (ns%1e9)<<32/1e9
}
