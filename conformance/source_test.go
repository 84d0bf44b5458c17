package conformance

import (
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// source sends the frames of one track of the fixture: ten a second, small, and
// as valid as a depacketizer can tell.
type source struct {
	s      *served
	mime   string
	track  *webrtc.TrackLocalStaticRTP
	sender *webrtc.RTPSender
	owed   atomic.Bool // a key frame
	seq    uint16
	stamp  uint32
}

func newSource(s *served, mime, id, stream string) (*source, error) {
	capability := webrtc.RTPCodecCapability{MimeType: mime}
	track, err := webrtc.NewTrackLocalStaticRTP(capability, id, stream)
	if err != nil {
		return nil, err
	}
	sender, err := s.pc.AddTrack(track)
	if err != nil {
		return nil, err
	}
	src := &source{s: s, mime: mime, track: track, sender: sender, seq: 1000}
	src.owed.Store(true)
	s.wg.Go(func() { src.drain(sender) })
	return src, nil
}

// run sends until the session ends.
func (src *source) run() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		src.frame(n)
		select {
		case <-tick.C:
		case <-src.s.ctx.Done():
			return
		}
	}
}

// frame sends one frame.
func (src *source) frame(n int) {
	f := src.s.f
	ask := src.owed.Swap(false)
	key := ask && (n == 0 || !f.is("ignores-pli"))
	payloads := src.payloads(key)
	src.stamp += 9000
	for i, payload := range payloads {
		p := &rtp.Packet{
			Header:  rtp.Header{Version: 2, SequenceNumber: src.seq, Timestamp: src.stamp, Marker: i == len(payloads)-1},
			Payload: payload,
		}
		src.seq++
		src.label(p)
		_ = src.track.WriteRTP(p) // fails when the session ends
	}
}

// label writes the MID extension as negotiated.
func (src *source) label(p *rtp.Packet) {
	if src.s.f.is("no-mid-extension") {
		return
	}
	for _, e := range src.sender.GetParameters().HeaderExtensions {
		if e.URI != midURI {
			continue
		}
		for _, t := range src.s.pc.GetTransceivers() {
			if t.Sender() == src.sender {
				_ = p.SetExtension(uint8(e.ID), []byte(t.Mid()))
			}
		}
	}
}

func (src *source) payloads(key bool) [][]byte {
	switch src.mime {
	case webrtc.MimeTypeVP8:
		if key {
			return [][]byte{{0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x10, 0x00, 0x10, 0x00, 0x00}}
		}
		return [][]byte{{0x10, 0x11, 0x02, 0x00, 0x00}}
	case webrtc.MimeTypeH264:
		if key {
			sps := []byte{0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40, 0xa0, 0xfd}
			if src.s.f.is("wrong-profile") {
				sps[1] = 0x64
			}
			return [][]byte{sps, {0x68, 0xce, 0x3c, 0x80}, {0x65, 0x88, 0x84, 0x00}}
		}
		if src.s.f.is("b-frames") {
			return [][]byte{{0x41, 0xa0, 0x00}} // slice_type 1
		}
		return [][]byte{{0x41, 0xe0, 0x00}} // slice_type 0
	default:
		return [][]byte{{0xf8, 0xff, 0xfe}} // silence
	}
}

// drain reads RTCP, for interceptors and for PLI.
func (src *source) drain(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range packets {
			if _, ok := p.(*rtcp.PictureLossIndication); ok {
				src.owed.Store(true)
			}
		}
	}
}

// renamer gives streams another SSRC from some moment on, which is a defect.
type renamer struct {
	interceptor.NoOp
	on *atomic.Bool
}

// NewInterceptor makes the renamer its own factory.
func (r *renamer) NewInterceptor(string) (interceptor.Interceptor, error) { return r, nil }

// BindLocalStream changes the SSRC on the way out.
func (r *renamer) BindLocalStream(_ *interceptor.StreamInfo, w interceptor.RTPWriter) interceptor.RTPWriter {
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		if r.on.Load() {
			renamed := h.Clone()
			renamed.SSRC ^= 0xBAD
			h = &renamed
		}
		return w.Write(h, payload, a)
	})
}
