package whep

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"deskwhep/encode"
	"deskwhep/interceptors"
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
	repairs    interface{ Keyframe(ssrc uint32) } // is told where key frames begin
	bound      chan struct{}                      // closed by Bind

	// Set by Bind, then owned by send. The header's extensions are set once and
	// patched in place.
	header   rtp.Header
	captured [8]byte // abs-capture-time
	number   [2]byte // transport-wide; interceptors fill it in
	writer   webrtc.TrackLocalWriter
}

func newTrack(s *section, f *format, c clock, v *interceptors.Viewer) *track {
	t := &track{
		capability: capability(s.kind, f),
		kind:       webrtc.NewRTPCodecType(s.kind),
		mid:        s.mid,
		extensions: map[string]uint8{},
		clock:      c,
		repairs:    v,
		bound:      make(chan struct{}),
	}
	for _, uri := range extensionURIs {
		if id, ok := s.extension(uri, f); ok {
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

// register tells the WebRTC stack of what the track sends.
func (t *track) register(media *webrtc.MediaEngine, f *format) error {
	err := media.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: t.capability, PayloadType: webrtc.PayloadType(f.pt)}, t.kind)
	if err == nil && f.rtx != 0 {
		repairs := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: f.clock, SDPFmtpLine: fmt.Sprintf("apt=%d", f.pt)}
		err = media.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: repairs, PayloadType: webrtc.PayloadType(f.rtx)}, t.kind)
	}
	if err != nil {
		return fmt.Errorf("register %s: %w", f.name, err)
	}
	for uri := range t.extensions {
		err := media.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, t.kind, webrtc.RTPTransceiverDirectionSendonly)
		if err != nil {
			return fmt.Errorf("register the header extension %s: %w", uri, err)
		}
	}
	return nil
}

// Bind implements webrtc.TrackLocal.
func (t *track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	i := slices.IndexFunc(c.CodecParameters(), func(p webrtc.RTPCodecParameters) bool {
		return strings.EqualFold(p.MimeType, t.capability.MimeType)
	})
	if i < 0 {
		return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
	}
	codec := c.CodecParameters()[i]
	t.writer = c.WriteStream()
	t.header = rtp.Header{
		Version:        2,
		PayloadType:    uint8(codec.PayloadType),
		SSRC:           uint32(c.SSRC()),
		SequenceNumber: uint16(random64()),
	}
	values := map[string][]byte{
		interceptors.MidURI:            []byte(t.mid),
		interceptors.PlayoutDelayURI:   {0, 0, 0},
		interceptors.AbsCaptureTimeURI: t.captured[:],
		interceptors.TransportCCURI:    t.number[:],
	}
	for _, uri := range extensionURIs {
		payload := values[uri]
		if id, ok := t.extensions[uri]; ok {
			if err := t.header.SetExtension(id, payload); err != nil {
				return webrtc.RTPCodecParameters{}, fmt.Errorf("header extension %s: %w", uri, err)
			}
		}
	}
	close(t.bound)
	return codec, nil
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

// send sends the i-th packet of a unit. Only after bound. It is false if the
// packet had no room on its way and is lost.
func (t *track) send(u *encode.Unit, i int) (bool, error) {
	if i == 0 {
		t.header.Timestamp = t.clock.rtp(u.Captured)
		interceptors.PutAbsCaptureTime(t.captured[:], u.Captured)
		if u.Key {
			t.repairs.Keyframe(t.header.SSRC)
		}
	}
	t.header.Marker = i == len(u.Payloads)-1
	n, err := t.writer.WriteRTP(&t.header, u.Payloads[i])
	if err != nil {
		return false, fmt.Errorf("write rtp: %w", err)
	}
	t.header.SequenceNumber++
	return n > 0, nil
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
