package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/webrtc/v4"
)

// served is one session of the fixture.
type served struct {
	f       *fixture
	stream  string
	id      string
	pc      *webrtc.PeerConnection
	video   *source
	audio   *source
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	renamed atomic.Bool // sends with other SSRCs

	mu        sync.Mutex
	offer     *description // as given to pion
	original  *description
	text      string // the answer, or the counter-offer
	etag      string
	ufrag     string // of the viewer
	connected bool
	pending   bool
	restarted bool
	busy      bool
	taken     int // candidates
}

// videoFor chooses the codec for an offer's section, and its H.264 mode.
func videoFor(m *section) (mime, fmtp string) {
	codecs := m.codecs()
	for _, f := range m.formats {
		for pt, c := range codecs {
			if fmt.Sprint(pt) != f {
				continue
			}
			if c.name == "vp8/90000" {
				return webrtc.MimeTypeVP8, ""
			}
		}
	}
	for _, c := range codecs {
		id := strings.ToLower(cmp.Or(c.fmtp["profile-level-id"], "42e01f"))
		if c.name == "h264/90000" && strings.HasPrefix(id, "42") {
			return webrtc.MimeTypeH264, fmt.Sprintf("level-asymmetry-allowed=1;packetization-mode=%s;profile-level-id=%s",
				cmp.Or(c.fmtp["packetization-mode"], "0"), id)
		}
	}
	return "", ""
}

func (s *served) api(offer *description, h264 string) (*webrtc.API, error) {
	f, m := s.f, &webrtc.MediaEngine{}
	feedback := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}}
	video := []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000, RTCPFeedback: feedback}, PayloadType: 96},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, ClockRate: 90000, SDPFmtpLine: cmp.Or(h264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"), RTCPFeedback: feedback}, PayloadType: 97},
	}
	for _, c := range video {
		if err := m.RegisterCodec(c, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, err
		}
	}
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	if err := m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: opus, PayloadType: 111}, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, err
	}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: midURI}, kind); err != nil {
			return nil, err
		}
	}
	registry := &interceptor.Registry{}
	registry.Add(&renamer{on: &s.renamed})
	if !f.is("ignores-nack") {
		responder, err := nack.NewResponderInterceptor()
		if err != nil {
			return nil, err
		}
		registry.Add(responder)
	}
	if !f.is("no-sr") {
		sender, err := report.NewSenderInterceptor(report.SenderInterval(300 * time.Millisecond))
		if err != nil {
			return nil, err
		}
		registry.Add(sender)
	}
	var e webrtc.SettingEngine
	e.SetIncludeLoopbackCandidate(true)
	e.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	e.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	e.DisableActiveTCP(true)
	e.DisableCertificateFingerprintVerification(f.is("any-fingerprint"))
	e.SetDTLSRetransmissionInterval(200 * time.Millisecond)
	disconnected, failed := 1500*time.Millisecond, 1500*time.Millisecond
	if f.is("never-expires") {
		disconnected, failed = time.Hour, time.Hour
	}
	e.SetICETimeouts(disconnected, failed, 200*time.Millisecond)
	if f.is("loopback-only") {
		e.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	}
	e.SetLite(f.is("mute-ice"))
	role := webrtc.DTLSRoleClient
	if offer.either(first(offer.media), "setup") == "active" && !f.is("setup-always-active") {
		role = webrtc.DTLSRoleServer
	}
	if err := e.SetAnsweringDTLSRole(role); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(e)), nil
}

const midURI = "urn:ietf:params:rtp-hdrext:sdes:mid"

// newServed makes a session for an offer.
func (f *fixture) newServed(stream string, original *description) (_ *served, err error) {
	offer := original.clone()
	s := &served{f: f, stream: stream, original: original, offer: offer, etag: `"` + newID() + `"`, pending: f.counter}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	mime, fmtp, opus, common := "", "", false, false
	for _, m := range offer.media {
		live := (m.live() || f.is("revives-port-0")) && !(f.is("port-0-rejected") && m.port == "0")
		if live {
			m.port = "9"
		}
		m.remove("bundle-only")
		m.direct("recvonly")
		if m.kind == "video" && live && mime == "" {
			if f.is("partial-500") && strings.Contains(m.get("rtpmap"), "x-nobody") {
				return nil, errors.New("unknown codec")
			}
			if mime, fmtp = videoFor(m); mime == webrtc.MimeTypeH264 && f.is("no-h264") {
				mime = ""
			}
			common = common || mime != ""
		}
		if m.kind == "audio" && live {
			for _, c := range m.codecs() {
				opus = opus || strings.HasPrefix(c.name, "opus/48000")
			}
			common = common || opus
		}
	}
	if !common && !f.is("all-rejected-201") {
		return nil, refuse(http.StatusUnprocessableEntity, "no common codec")
	}
	api, err := s.api(offer, fmtp)
	if err != nil {
		return nil, err
	}
	if s.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return nil, err
	}
	s.pc.OnConnectionStateChange(s.changed)
	audioStream := "desk"
	if f.is("two-streams") {
		audioStream = "sound"
	}
	if mime != "" {
		if s.video, err = newSource(s, mime, "video", "desk"); err != nil {
			return nil, err
		}
	}
	if opus {
		if s.audio, err = newSource(s, webrtc.MimeTypeOpus, "audio", audioStream); err != nil {
			return nil, err
		}
	}
	if f.counter {
		err = s.counterOffer()
	} else {
		err = s.exchange(offer)
	}
	if err != nil {
		return nil, err
	}
	s.ufrag = offer.either(offer.media[0], "ice-ufrag")
	return s, nil
}

// exchange gives pion the offer and keeps the answer.
func (s *served) exchange(offer *description) error {
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.String()}); err != nil {
		return refuse(http.StatusBadRequest, "offer: %v", err)
	}
	answer, err := s.pc.CreateAnswer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(s.pc)
	if err := s.pc.SetLocalDescription(answer); err != nil {
		return err
	}
	<-gathered
	d, err := parse(s.pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	s.finishAnswer(d)
	s.text = d.String()
	return nil
}

func (s *served) answer() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

func (s *served) tag() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.f.is("star-etag") && !s.restarted:
		return "*"
	case s.f.is("weak-etag"):
		return "W/" + s.etag
	case s.f.is("unquoted-etag"):
		return strings.Trim(s.etag, `"`)
	case s.f.is("no-etag"):
		return ""
	}
	return s.etag
}

func (s *served) isConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected
}

func (s *served) isPending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending
}

// changed begins media when connected, and ends the session with the connection.
func (s *served) changed(state webrtc.PeerConnectionState) {
	switch state {
	case webrtc.PeerConnectionStateConnected:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.connected || s.f.is("no-rtp") || s.ctx.Err() != nil {
			s.connected = true
			return
		}
		s.connected = true
		for _, src := range []*source{s.video, s.audio} {
			if src != nil {
				s.wg.Go(src.run)
			}
		}
	case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
		if !s.f.is("ignores-close", "never-expires", "never-released") {
			s.f.remove(s)
			go s.close() // not from pion's goroutine, which close waits for
		}
	}
}

// arm ends the session if it does not connect in time.
func (s *served) arm() {
	limit := s.f.setup
	if s.f.counter {
		limit = s.f.pending
	}
	if s.f.is("never-released", "counter-forever") {
		return
	}
	timer := time.AfterFunc(limit, func() {
		if !s.isConnected() {
			s.f.remove(s)
			s.close()
		}
	})
	context.AfterFunc(s.ctx, func() { timer.Stop() })
}

func (s *served) close() {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	if s.pc != nil {
		_ = s.pc.Close()
	}
	s.wg.Wait()
}
