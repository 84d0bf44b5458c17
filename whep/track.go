package whep

import (
	"fmt"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"deskwhep/encode"
)

// track is the local track of one viewer's section. Each viewer has its own,
// and so its own header: players choose payload types and extension ids for
// themselves.
type track struct {
	// Static after open.
	capability webrtc.RTPCodecCapability
	kind       webrtc.RTPCodecType
	mid        string
	extensions map[string]uint8 // URI to id, as answered
	clock      clock
	bound      chan struct{} // closed by Bind

	// Set by Bind, then owned by send.
	header rtp.Header
	writer webrtc.TrackLocalWriter
}

func newTrack(s *section, f *format, c clock) *track {
	t := &track{
		capability: capability(s.kind, f),
		kind:       webrtc.NewRTPCodecType(s.kind),
		mid:        s.mid,
		extensions: map[string]uint8{},
		clock:      c,
		bound:      make(chan struct{}),
	}
	for _, uri := range extensionURIs {
		if id, ok := s.extension(uri); ok {
			t.extensions[uri] = id
		}
	}
	return t
}

// capability tells the WebRTC stack of a format.
func capability(kind string, f *format) webrtc.RTPCodecCapability {
	c := webrtc.RTPCodecCapability{MimeType: kind + "/" + f.name, ClockRate: f.clock, Channels: f.chans, SDPFmtpLine: f.fmtp}
	for _, fb := range f.feedback() {
		kind, parameter, _ := strings.Cut(fb, " ")
		c.RTCPFeedback = append(c.RTCPFeedback, webrtc.RTCPFeedback{Type: kind, Parameter: parameter})
	}
	return c
}

// Bind implements webrtc.TrackLocal.
func (t *track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	codecs := c.CodecParameters()
	if len(codecs) == 0 {
		return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
	}
	t.writer = c.WriteStream()
	t.header = rtp.Header{
		Version:        2,
		PayloadType:    uint8(codecs[0].PayloadType),
		SSRC:           uint32(c.SSRC()),
		SequenceNumber: uint16(random64()),
	}
	for uri, payload := range map[string][]byte{midURI: []byte(t.mid), playoutDelayURI: {0, 0, 0}} {
		if id, ok := t.extensions[uri]; ok {
			if err := t.header.SetExtension(id, payload); err != nil {
				return webrtc.RTPCodecParameters{}, fmt.Errorf("header extension %s: %w", uri, err)
			}
		}
	}
	close(t.bound)
	return codecs[0], nil
}

// Unbind implements webrtc.TrackLocal.
func (t *track) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements webrtc.TrackLocal.
func (t *track) ID() string { return t.kind.String() }

// RID implements webrtc.TrackLocal.
func (t *track) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (t *track) StreamID() string { return cname }

// Kind implements webrtc.TrackLocal.
func (t *track) Kind() webrtc.RTPCodecType { return t.kind }

// send sends a unit as one RTP frame. Only after bound.
func (t *track) send(u *encode.Unit) error {
	t.header.Timestamp = t.clock.rtp(u.Captured)
	for i, payload := range u.Payloads {
		t.header.Marker = i == len(u.Payloads)-1
		if _, err := t.writer.WriteRTP(&t.header, payload); err != nil {
			return fmt.Errorf("write rtp: %w", err)
		}
		t.header.SequenceNumber++
	}
	return nil
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
