package interceptors

import (
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// reportEvery is the time between sender reports of a stream that sends.
const reportEvery = time.Second

// Reports sends a sender report (RFC 3550, 6.4.1) with the first packet of each
// stream and then once a second while it sends. The report's pair of times
// comes from rtpTime, so that it belongs to the clock by which packets are
// stamped and not to the moment when they happened to leave.
//
// A stream that is silent sends none; nothing has to be stopped.
func Reports(rtpTime func(at time.Time, clockRate uint32) uint32) interceptor.Factory {
	return factory(func() interceptor.Interceptor { return &reports{rtpTime: rtpTime} })
}

type reports struct {
	interceptor.NoOp
	rtpTime func(time.Time, uint32) uint32

	mu   sync.Mutex
	rtcp interceptor.RTCPWriter
}

func (r *reports) BindRTCPWriter(w interceptor.RTCPWriter) interceptor.RTCPWriter {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rtcp = w
	return w
}

func (r *reports) BindLocalStream(info *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	s := &reported{ssrc: info.SSRC, rate: info.ClockRate}
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		n, err := w.Write(h, payload, a)
		if err == nil {
			r.sent(s, len(payload), time.Now())
		}
		return n, err
	})
}

// reported is one stream; its packets are written one at a time.
type reported struct {
	ssrc, rate     uint32
	packets, bytes uint32
	last           time.Time
}

func (r *reports) sent(s *reported, bytes int, now time.Time) {
	s.packets++
	s.bytes += uint32(bytes)
	if now.Sub(s.last) < reportEvery {
		return
	}
	s.last = now
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
		PacketCount: s.packets,
		OctetCount:  s.bytes,
	}}, interceptor.Attributes{})
}

// ntp is a moment as NTP time (RFC 3550, 4).
func ntp(t time.Time) uint64 {
	const since1900 = 2208988800
	ns := uint64(t.UnixNano())
	return (ns/1e9+since1900)<<32 | (ns%1e9)<<32/1e9
}
