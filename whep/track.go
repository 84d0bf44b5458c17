package whep

import (
	"fmt"
	"strings"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"

	"deskwhep/encode"
	"deskwhep/interceptors"
)

// track is what one viewer is sent of one section. Each viewer has its own, and
// so its own header: players choose payload types and extension ids for
// themselves.
type track struct {
	// Static after bind.
	clock   clock
	repairs repairer
	writer  interceptor.RTPWriter

	// Owned by send. The header's extensions are set once and patched in place.
	header   rtp.Header
	captured [8]byte // abs-capture-time
	number   [2]byte // transport-wide; interceptors fill it in
}

// repairer sends what a viewer misses again; see interceptors.Retransmission.
type repairer interface {
	Keyframe(ssrc uint32) // is told where key frames begin
	Spare(ssrc uint32)    // and pictures of the top layer
	Misses(ssrc uint32) (repairs, forGood bool)
	Repair(ssrc uint32, pass func(bytes int) bool) (more bool)
}

// bind makes a stream of a connection, whose chain is given, for a served section.
func bind(chain func(*interceptor.StreamInfo) interceptor.RTPWriter, s *section, a *served, c clock, v *interceptors.Viewer) (*track, error) {
	t := &track{clock: c, repairs: v, header: rtp.Header{
		Version: 2, PayloadType: a.format.pt, SSRC: a.ssrc, SequenceNumber: uint16(random64()),
	}}
	info := &interceptor.StreamInfo{
		ID: s.mid, SSRC: a.ssrc, SSRCRetransmission: a.rtx, PayloadType: a.format.pt, PayloadTypeRetransmission: a.format.rtx,
		MimeType: s.kind + "/" + a.format.name, ClockRate: a.format.clock, Channels: a.format.chans, SDPFmtpLine: a.format.fmtp,
	}
	for _, fb := range a.format.feedback() {
		kind, parameter, _ := strings.Cut(fb, " ")
		info.RTCPFeedback = append(info.RTCPFeedback, interceptor.RTCPFeedback{Type: kind, Parameter: parameter})
	}
	values := map[string][]byte{
		interceptors.MidURI:            []byte(s.mid),
		interceptors.PlayoutDelayURI:   {0, 0, 0},
		interceptors.AbsCaptureTimeURI: t.captured[:],
		interceptors.TransportCCURI:    t.number[:],
	}
	for _, uri := range extensionURIs {
		id, ok := s.extension(uri, &a.format)
		if !ok {
			continue
		}
		info.RTPHeaderExtensions = append(info.RTPHeaderExtensions, interceptor.RTPHeaderExtension{URI: uri, ID: int(id)})
		if err := t.header.SetExtension(id, values[uri]); err != nil {
			return nil, fmt.Errorf("header extension %s: %w", uri, err)
		}
	}
	t.writer = chain(info)
	return t, nil
}

// send sends the i-th packet of a unit, while media can reach the player. It is
// false if the packet had no room on its way and is lost.
func (t *track) send(u *encode.Unit, i int) (bool, error) {
	if i == 0 {
		t.header.Timestamp = t.clock.rtp(u.Captured)
		interceptors.PutAbsCaptureTime(t.captured[:], u.Captured)
		switch {
		case u.Key:
			t.repairs.Keyframe(t.header.SSRC)
		case u.Layer == encode.TopLayer:
			t.repairs.Spare(t.header.SSRC)
		}
	}
	t.header.Marker = i == len(u.Payloads)-1
	n, err := t.writer.Write(&t.header, u.Payloads[i], nil)
	if err != nil {
		return false, fmt.Errorf("write rtp: %w", err)
	}
	t.header.SequenceNumber++
	return n > 0, nil
}

// misses tells whether something waits to be sent again, and whether something is
// missed for good, so that only a key frame can be decoded.
func (t *track) misses() (repairs, forGood bool) { return t.repairs.Misses(t.header.SSRC) }

// repair sends what waits to be sent again, as long as pass lets it, and tells
// whether there is more.
func (t *track) repair(pass func(bytes int) bool) (more bool) {
	return t.repairs.Repair(t.header.SSRC, pass)
}

// clock maps the capture clock to one viewer's RTP time.
type clock struct {
	epoch time.Time // with the monotonic reading
	base  uint32
	rate  int64 // ticks per second
}

// rtp is the RTP time of a moment, in integer arithmetic.
func (c clock) rtp(t time.Time) uint32 {
	ns := int64(t.Sub(c.epoch))
	s, ns := ns/int64(time.Second), ns%int64(time.Second)
	return c.base + uint32(s*c.rate+ns*c.rate/int64(time.Second))
}
