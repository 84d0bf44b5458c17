package whep

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"deskwhep/interceptors"
)

// TestRetransmissionIsNegotiated reads an answer.
func TestRetransmissionIsNegotiated(t *testing.T) {
	const media = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc\r\n"
	extensions := fmt.Sprintf("a=extmap:3 %s\r\na=extmap:4 %s\r\n", interceptors.TransportCCURI, interceptors.AbsCaptureTimeURI)
	const rtx = "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
	for _, c := range []struct {
		name, media string
		want        []string
		not         []string
	}{
		{"with RTX", media + extensions + rtx,
			[]string{"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n", "a=rtpmap:97 rtx/90000\r\n", "a=fmtp:97 apt=96\r\n", "a=ssrc-group:FID ",
				"a=rtcp-fb:96 transport-cc\r\n", "a=extmap:3 ", "a=extmap:4 "}, nil},
		{"without RTX", strings.Replace(media, "96 97", "96", 1) + extensions,
			[]string{"m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "a=rtcp-fb:96 nack\r\n"},
			[]string{"rtx", "FID", "transport-cc", "a=extmap:3 ", "a=extmap:4 "}}, // each would make repairs differ
		{"RTX of another format", strings.Replace(media+extensions+rtx, "apt=96", "apt=98", 1), nil, []string{"rtx", "FID"}},
		{"RTX without NACK", strings.Replace(media+extensions+rtx, "a=rtcp-fb:96 nack\r\n", "", 1), []string{"transport-cc"}, []string{"rtx", "FID"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestServer(t, nil)
			offer := "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n" +
				"a=fingerprint:sha-256 " + strings.TrimSuffix(strings.Repeat("AB:", 32), ":") + "\r\na=setup:actpass\r\n" + c.media
			r := ask(s, http.MethodPost, "/whep", offer, "Content-Type", sdpType)
			answer := text(t, r)
			if r.StatusCode != http.StatusCreated {
				t.Fatalf("%s: %s", r.Status, answer)
			}
			for _, w := range c.want {
				if !strings.Contains(answer, w) {
					t.Errorf("%q is missing in\n%s", w, answer)
				}
			}
			for _, n := range c.not {
				if strings.Contains(answer, n) {
					t.Errorf("%q is in\n%s", n, answer)
				}
			}
		})
	}
}

// TestExtensionsOnTheWire looks at each packet: transport-wide numbers without a
// gap, the capture time of its picture, no playout delay.
func TestExtensionsOnTheWire(t *testing.T) {
	var media webrtc.MediaEngine
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	media.RegisterFeedback(webrtc.RTCPFeedback{Type: "transport-cc"}, webrtc.RTPCodecTypeVideo)
	for _, uri := range extensionURIs {
		if err := media.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo); err != nil {
			t.Fatal(err)
		}
	}
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	packets, ids := make(chan *rtp.Packet, 1000), make(chan map[string]uint8, 1)
	pc.OnTrack(func(track *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		list := map[string]uint8{}
		for _, e := range r.GetParameters().HeaderExtensions {
			list[e.URI] = uint8(e.ID)
		}
		ids <- list
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			packets <- p
		}
	})
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	src := small()
	in := startInside(t, src)
	stream(t, src)
	if err := play(pc, in.url, nil); err != nil {
		t.Fatal(err)
	}
	next := func() *rtp.Packet {
		select {
		case p := <-packets:
			return p
		case <-time.After(20 * time.Second):
			t.Fatal("no packet comes")
			return nil
		}
	}
	id, p := <-ids, next()
	number := binary.BigEndian.Uint16(p.GetExtension(id[interceptors.TransportCCURI]))
	captured := func(p *rtp.Packet) uint64 { // in 2^-32 s
		b := p.GetExtension(id[interceptors.AbsCaptureTimeURI])
		if len(b) != 8 {
			t.Fatalf("the capture time is %x", b)
		}
		return binary.BigEndian.Uint64(b)
	}
	began, base := captured(p), p.Timestamp
	for range 100 {
		// The RTP time is capture time too.
		ticks := int64((captured(p) - began) * 90000 >> 32)
		if d := ticks - int64(p.Timestamp-base); d < -1 || d > 1 {
			t.Fatalf("the capture time is %d ticks after the first, the RTP time %d", ticks, p.Timestamp-base)
		}
		if got := p.GetExtension(id[interceptors.PlayoutDelayURI]); !bytes.Equal(got, []byte{0, 0, 0}) {
			t.Fatalf("the playout delay is %x", got)
		}
		if got := p.GetExtension(id[interceptors.TransportCCURI]); !bytes.Equal(got, binary.BigEndian.AppendUint16(nil, number)) {
			t.Fatalf("the transport-wide number is %x, not %x", got, number)
		}
		p, number = next(), number+1
	}
}
