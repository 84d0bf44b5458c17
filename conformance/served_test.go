package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/rtcp"
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
		live := m.live() && !(f.is("port-0-rejected") && m.port == "0")
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

// finishAnswer makes pion's answer what the WHEP text wants, but for the defect.
func (s *served) finishAnswer(d *description) {
	f := s.f
	var candidates []string
	for i, m := range d.media {
		o := s.original.media[i]
		m.proto = o.proto
		for _, c := range m.all("candidate") {
			two := strings.Fields(c)[1] == "2"
			if (!two || f.is("component-2")) && !slices.Contains(candidates, "candidate:"+c) {
				candidates = append(candidates, "candidate:"+c)
			}
		}
		m.remove("candidate", "end-of-candidates")
		if o.kind == "audio" && f.is("reject-audio", "rejected-candidates") {
			m.port = "0"
		}
		if !o.live() && !f.is("revives-port-0") || o.port == "0" && f.is("port-0-rejected") || f.is("rejects-all") {
			m.port = "0"
		}
		if m.port == "0" {
			m.set("mid", o.get("mid"))
			m.direct("inactive")
			m.remove("msid", "ssrc")
			continue
		}
		m.add("rtcp-mux-only")
		s.spoil(i, m, o)
	}
	d.lines = append(without(d.lines, "ice-options", "msid-semantic"), "a=ice-options:trickle ice2")
	if f.is("no-ice-options") {
		d.lines = without(d.lines, "ice-options")
	}
	if f.is("mute-ice") {
		d.lines = without(d.lines, "ice-lite")
	}
	if f.is("lite-srflx") {
		d.lines = append(d.lines, "a=ice-lite")
		candidates = append(candidates, "candidate:9 1 udp 1694498815 192.0.2.9 9 typ srflx raddr 0.0.0.0 rport 0")
	}
	group := d.accepted()
	if f.is("rejected-in-bundle") {
		group = d.media
	}
	(&description{media: group}).bundle()
	d.lines = slices.DeleteFunc(d.lines, func(l string) bool { return strings.HasPrefix(l, "a=group:") })
	if len(group) > 0 {
		line := "a=group:BUNDLE"
		for _, m := range group {
			line += " " + m.get("mid")
		}
		d.lines = append(d.lines, line)
	}
	to := first(d.accepted())
	if f.is("rejected-candidates") {
		to = d.media[0]
	}
	if to != nil && !f.is("no-candidates") {
		to.add(append(candidates, "end-of-candidates")...)
	}
	if f.is("missing-section") {
		d.media = d.media[:1]
	}
}

// spoil puts a defect into an accepted section.
func (s *served) spoil(i int, m, o *section) {
	switch f := s.f; {
	case f.is("echo-direction") && s.original.direction(o) == "sendrecv":
		m.direct("sendrecv")
	case f.is("mids-renamed"):
		m.set("mid", fmt.Sprintf("m%d", i))
	case f.is("no-mux"):
		m.remove("rtcp-mux")
	case f.is("no-mux-only"):
		m.remove("rtcp-mux-only")
	case f.is("no-msid"):
		m.remove("msid")
	case f.is("actpass"):
		m.set("setup", "actpass")
	case f.is("wrong-print"):
		m.remove("fingerprint")
		m.add("fingerprint:sha-256" + strings.Replace(strings.Repeat(":CD", 32), ":", " ", 1))
	case f.is("short-pwd"):
		m.set("ice-pwd", "short")
	case f.is("different-transport") && i > 0:
		m.set("ice-ufrag", "other")
	case f.is("fixed-pt") && m.kind == "video":
		m.formats = []string{"96"}
		m.remove("rtpmap", "fmtp", "rtcp-fb")
		m.add("rtpmap:96 VP8/90000")
	case f.is("mode-mixed") && m.has("fmtp"):
		v := m.get("fmtp")
		m.remove("fmtp")
		m.add("fmtp:" + strings.ReplaceAll(v, "packetization-mode=0", "packetization-mode=1"))
	case f.is("echo-bundle-only") && o.has("bundle-only"):
		m.add("bundle-only")
	case f.is("extra-extmap"):
		m.add("extmap:12 urn:x-not-offered")
	case f.is("large-answer"):
		m.add(padding()...)
	}
}

// counterOffer makes the session's own offer.
func (s *served) counterOffer() error {
	offer, err := s.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(s.pc)
	if err := s.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	d, err := parse(s.pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	for _, m := range d.media {
		m.direct("sendonly")
		switch {
		case s.f.is("counter-active"):
			m.set("setup", "active")
		case s.f.is("counter-recvonly"):
			m.direct("recvonly")
		}
	}
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
	case s.f.is("star-etag"):
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
		begun := s.connected
		s.connected = true
		s.mu.Unlock()
		if begun || s.f.is("no-rtp") {
			return
		}
		for _, src := range []*source{s.video, s.audio} {
			if src != nil {
				s.wg.Go(src.run)
			}
		}
	case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
		if !s.f.is("ignores-close", "never-expires") {
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
	s.cancel()
	if s.pc != nil {
		_ = s.pc.Close()
	}
	s.wg.Wait()
}

// patch is trickle, restart, or the answer to a counter-offer.
func (s *served) patch(w http.ResponseWriter, r *http.Request) {
	f := s.f
	typ := mediaType(r.Header.Get("Content-Type"))
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		f.problem(w, http.StatusBadRequest, "read")
		return
	}
	body := string(b)
	switch {
	case f.is("no-patch"):
		f.problem(w, http.StatusMethodNotAllowed, "no PATCH")
		return
	case f.is("no-op-patch"):
		w.WriteHeader(http.StatusNoContent)
		return
	case typ == typeSDP && f.counter:
		s.takeAnswer(w, body)
		return
	case typ == typeSDP && f.is("renegotiates"):
		w.WriteHeader(http.StatusOK)
		return
	case typ == typeSDP:
		f.problem(w, http.StatusUnprocessableEntity, "no renegotiation")
		return
	case typ == "application/json" && f.is("old-patch-500"):
		f.problem(w, http.StatusInternalServerError, "oops")
		return
	case typ != typeFrag && !f.is("any-patch-type"):
		f.problem(w, http.StatusUnsupportedMediaType, "send "+typeFrag)
		return
	case f.is("overlap-409") && !s.enter():
		f.problem(w, http.StatusConflict, "one at a time")
		return
	}
	defer s.leave()
	frag, err := s.readFragment(body)
	if err != nil {
		f.problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if status := s.precondition(r.Header.Get("If-Match"), frag); status != 0 {
		f.problem(w, status, "If-Match")
		return
	}
	s.mu.Lock()
	same := frag.ufrag == "" || frag.ufrag == s.ufrag
	s.mu.Unlock()
	if same {
		s.trickle(w, frag)
	} else {
		s.restart(w, frag)
	}
}

func (s *served) enter() bool {
	s.mu.Lock()
	if s.busy {
		s.mu.Unlock()
		return false
	}
	s.busy = true
	s.mu.Unlock()
	time.Sleep(50 * time.Millisecond) // so that overlapping is seen
	return true
}

func (s *served) leave() {
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
}

// fragment of a PATCH.
type fragment struct {
	ufrag, pwd string
	candidates []string
}

func (s *served) readFragment(body string) (frag fragment, err error) {
	f := s.f
	if f.is("broken-fragments") {
		return fragment{}, nil
	}
	section := false
	for l := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSpace(body), "\r\n", "\n"), "\n") {
		name, value, _ := strings.Cut(strings.TrimPrefix(l, "a="), ":")
		switch {
		case strings.HasPrefix(l, "m="):
			section = true
			if f.is("strict-fragments") && !strings.Contains(l, "SAVPF") {
				return frag, errors.New("unknown profile")
			}
		case !strings.HasPrefix(l, "a="):
			return frag, fmt.Errorf("not a fragment: %q", l)
		case name == "ice-ufrag":
			frag.ufrag = value
		case name == "ice-pwd":
			frag.pwd = value
		case name == "end-of-candidates" && f.is("end-400"):
			return frag, errors.New("no end")
		case name == "candidate" && !section:
			return frag, errors.New("candidate outside a section")
		case name == "candidate":
			fields := strings.Fields(value)
			if len(fields) < 8 || fields[6] != "typ" {
				return frag, errors.New("broken candidate")
			}
			if !strings.EqualFold(fields[2], "udp") || strings.HasSuffix(fields[4], ".local") {
				if f.is("unusable-400") {
					return frag, errors.New("unusable candidate")
				}
				continue
			}
			frag.candidates = append(frag.candidates, value)
		}
	}
	if (frag.ufrag == "") != (frag.pwd == "") {
		if f.is("half-restart-ends") {
			s.f.remove(s)
			s.close()
		}
		return frag, errors.New("half of the credentials")
	}
	return frag, nil
}

// precondition returns the status to refuse with, or 0.
func (s *served) precondition(field string, frag fragment) int {
	f, tag := s.f, s.tag()
	switch {
	case field == "" && f.is("no-if-match-400"):
		return http.StatusBadRequest
	case field == "" && !f.is("lenient"):
		return http.StatusPreconditionRequired
	case f.is("any-if-match"):
		return 0
	case f.is("if-match-literal"):
		if field != tag && field != "*" {
			return http.StatusPreconditionFailed
		}
		return 0
	case f.is("star-412") && field == "*":
		return http.StatusPreconditionFailed
	case field == `"*"` && f.is("no-quoted-star"):
		return http.StatusPreconditionFailed
	case field == "" || field == "*" || field == `"*"`:
		return 0
	}
	for t := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(t) == tag {
			return 0
		}
	}
	return http.StatusPreconditionFailed
}

func (s *served) trickle(w http.ResponseWriter, frag fragment) {
	f := s.f
	s.mu.Lock()
	s.taken += len(frag.candidates)
	taken := s.taken
	s.mu.Unlock()
	if f.is("candidate-flood-500") && taken > 1000 {
		f.problem(w, http.StatusInternalServerError, "out of memory")
		return
	}
	if taken < 64 && !f.is("ignores-trickle") {
		for _, c := range frag.candidates {
			mid := s.original.media[0].get("mid")
			_ = s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: "candidate:" + c, SDPMid: &mid})
		}
	}
	if f.is("patch-200") {
		w.Header().Set("ETag", s.tag())
		_, _ = io.WriteString(w, "thanks")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *served) restart(w http.ResponseWriter, frag fragment) {
	f := s.f
	s.mu.Lock()
	defer s.mu.Unlock()
	old, _ := parse(s.text)
	switch {
	case f.is("no-restart"):
		f.problem(w, http.StatusUnprocessableEntity, "no restart")
		return
	case f.is("no-restart-500"):
		f.problem(w, http.StatusInternalServerError, "no restart")
		return
	case f.is("restart-fake"):
		old.media[0].set("ice-ufrag", newID()[:8])
		old.media[0].set("ice-pwd", newID())
		s.text = old.String()
	default:
		offer := s.offer.clone()
		offer.lines = without(offer.lines, "ice-ufrag", "ice-pwd")
		for i, m := range offer.media {
			m.remove("candidate", "end-of-candidates")
			m.set("ice-ufrag", frag.ufrag)
			m.set("ice-pwd", frag.pwd)
			if i == 0 {
				for _, c := range frag.candidates {
					m.add("candidate:" + c)
				}
			}
		}
		if err := s.exchange(offer); err != nil {
			f.problem(w, http.StatusInternalServerError, err.Error())
			return
		}
		s.renamed.Store(f.is("restart-new-ssrc"))
	}
	s.ufrag = frag.ufrag
	if !f.is("restart-same-etag") {
		s.etag = `"` + newID() + `"`
	}
	d, err := parse(s.text)
	if err != nil {
		f.problem(w, http.StatusInternalServerError, err.Error())
		return
	}
	m := first(d.accepted())
	if f.is("restart-same-credentials") {
		m = first(old.accepted())
	}
	lines := []string{"a=ice-ufrag:" + d.either(m, "ice-ufrag"), "a=ice-pwd:" + d.either(m, "ice-pwd")}
	if !f.is("restart-no-options") {
		lines = append([]string{"a=ice-options:trickle ice2"}, lines...)
	}
	lines = append(lines, "m="+m.kind+" 9 UDP/TLS/RTP/SAVPF 0", "a=mid:"+m.get("mid"))
	if !f.is("restart-no-candidates") {
		for _, c := range m.all("candidate") {
			lines = append(lines, "a=candidate:"+c)
		}
	}
	w.Header().Set("Content-Type", typeFrag)
	if !f.is("restart-no-etag") {
		w.Header().Set("ETag", s.etag)
	}
	_, _ = io.WriteString(w, strings.Join(lines, "\r\n")+"\r\na=end-of-candidates\r\n")
}

// takeAnswer takes the answer to a counter-offer.
func (s *served) takeAnswer(w http.ResponseWriter, body string) {
	f := s.f
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending && !f.is("counter-twice") {
		f.problem(w, http.StatusUnprocessableEntity, "answered already")
		return
	}
	d, err := parse(body)
	if err != nil || len(d.media) != len(s.pc.GetTransceivers()) || d.direction(d.media[0]) != "recvonly" {
		if f.is("counter-garbage-204") {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		f.problem(w, http.StatusBadRequest, "not an answer")
		return
	}
	if s.pending {
		if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body}); err != nil {
			f.problem(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	s.pending = false
	s.ufrag = d.either(d.media[0], "ice-ufrag")
	if f.is("counter-200") {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusNoContent)
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
