package conformance

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

// Group C: the 201 response.

func checkCreated(t *T) {
	e := t.post(t.offer().description)
	if !e.ok() {
		t.skip("POST does not succeed: %d (see WHEP-OFFER-01)", e.status)
	}
	t.require(e.status == http.StatusCreated, e, "answer exactly 201: players take %d as failure", e.status)
}

func checkAnswerType(t *T) {
	e := t.post(t.offer().description)
	if !e.ok() {
		t.skip("POST does not succeed: %d (see WHEP-OFFER-01)", e.status)
	}
	if t.require(e.mediaType() == typeSDP, e, "send Content-Type: application/sdp with the answer") && e.header.Get("Content-Type") != typeSDP {
		t.note(e, "write the type without parameters: some players compare the whole field")
	}
}

func checkLocation(t *T) {
	e := t.post(t.offer().description)
	if !e.ok() {
		t.skip("POST does not succeed: %d (see WHEP-OFFER-01)", e.status)
	}
	fields := e.header.Values("Location")
	if !t.require(len(fields) == 1, e, "send one Location: %d came", len(fields)) {
		return
	}
	u := e.location()
	if !t.require(u != "", e, "send a Location that is a URL") {
		return
	}
	d := t.delete(u)
	t.require(d.ok(), d, "make Location the URL of the session: DELETE on it is answered with %d", d.status)
}

func checkLocationForm(t *T) {
	e, _ := t.exchangeBase()
	field := e.header.Get("Location")
	u, err := url.Parse(field)
	if field == "" || err != nil {
		t.skip("there is no Location (see WHEP-ANS-03)")
	}
	t.observed("Location: %s", withoutSecrets(field))
	if u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		t.warn(e, "begin Location with a slash: some players resolve relative paths against another URL")
	}
	if u.RawQuery != "" {
		t.warn(e, "write Location without a query: some players append to it")
	}
	if strings.Contains(u.Path, "http") {
		t.warn(e, "keep the text http out of the path: a player takes such a Location for absolute")
	}
	if base, err := url.Parse(e.sent.url); err == nil && u.Host == base.Host && u.Host != "" {
		t.note(e, "a Location on the same host is better path-absolute: proxies change hosts and schemes")
	}
}

func checkAnswerValid(t *T) {
	e := t.post(t.offer().description)
	if e.status != http.StatusCreated {
		t.skip("needs an answer: POST is answered with %d (see WHEP-OFFER-01)", e.status)
	}
	d, err := e.answer()
	if !t.require(err == nil, e, "answer with SDP: %v", err) {
		return
	}
	if !t.require(len(d.media) == len(e.offer.media), e, "answer every section: %d for %d", len(d.media), len(e.offer.media)) {
		return
	}
	for i, m := range d.media {
		o := e.offer.media[i]
		t.require(m.kind == o.kind && m.proto == o.proto, m, "answer section %d as %s %s", i, o.kind, o.proto)
	}
	real, _, err := t.reference()
	t.require(err == nil, real, "a real PeerConnection must take the answer: %v", err)
}

// reference posts the offer of a real PeerConnection, sets the answer, and tells
// whether the connection received RTP.
func (t *T) reference() (e *exchange, received bool, err error) {
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.skip("needs a PeerConnection: %v", err)
	}
	defer pc.Close()
	offer, err := t.gathered(pc)
	if err != nil {
		t.skip("needs the offer of a PeerConnection: %v", err)
	}
	e = t.postBody(request{contentType: typeSDP, body: offer})
	if e.status != http.StatusCreated {
		t.skip("needs an answer: POST is answered with %d (see WHEP-OFFER-01)", e.status)
	}
	got := make(chan struct{}, 2)
	pc.OnTrack(func(*webrtc.TrackRemote, *webrtc.RTPReceiver) { // at the first packet
		select {
		case got <- struct{}{}:
		default:
		}
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(e.body)}); err != nil {
		return e, false, err
	}
	select {
	case <-got:
		return e, true, nil
	case <-time.After(t.opt.Limits.Connect):
	case <-t.ctx.Done():
	}
	return e, false, nil
}

// gathered is the offer of a PeerConnection that wants to receive, with all its
// candidates.
func (t *T) gathered(pc *webrtc.PeerConnection) (string, error) {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		if err != nil {
			return "", err
		}
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	done := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return "", err
	}
	select {
	case <-done:
	case <-time.After(t.opt.Limits.Connect):
	case <-t.ctx.Done():
	}
	return pc.LocalDescription().SDP, nil
}

func checkAnswerCandidates(t *T) {
	e, d := t.exchangeBase()
	if len(d.accepted()) == 0 {
		t.skip("the answer accepts no section (see WHEP-SDP-07)")
	}
	t.complete(e, d)
	// Where audio comes first and is rejected, the candidates must be elsewhere.
	e = t.post(t.offer().kindFirst("audio").description)
	if d, err := e.answer(); e.status == http.StatusCreated && err == nil && len(d.accepted()) > 0 {
		t.complete(e, d)
	}
}

// complete judges the candidates of an answer.
func (t *T) complete(e *exchange, d *description) {
	m := d.accepted()[0]
	if !t.require(m.has("candidate"), m, "write the candidates into the first accepted section") {
		return
	}
	if !m.has("end-of-candidates") && len(values(d.lines, "end-of-candidates")) == 0 {
		t.warn(e, "end the candidates with a=end-of-candidates: none will follow")
	}
}

var strongTag = regexp.MustCompile(`^"[!#-~\x80-\xff]*"$`)

func checkETag(t *T) {
	s := t.open(t.offer())
	e, r := s.restart("*")
	field := s.made.header.Get("Etag")
	if r == nil && field == "" {
		t.skip("ICE restart is answered with %d, and without it no ETag is needed", e.status)
	}
	if t.require(field != "", s.made, "send an ETag with 201, as ICE restart is supported") {
		t.require(strongTag.MatchString(field), s.made, "write a strong, quoted entity-tag: %s is none", field)
	}
}

func checkOwnSessions(t *T) {
	a := t.watch(t.offer())
	b := t.open(t.offer())
	if !t.require(a.url != b.url, b.made, "make a session of its own for each POST: two share a Location") {
		return
	}
	err := b.connect()
	t.require(err == nil && b.flows() && a.flows(), b.made, "let two sessions play at the same time: %v", err)
	e := t.delete(a.url)
	t.require(b.flows(), e, "DELETE on one session must not stop another")
}

func checkPrompt(t *T) {
	e, _ := t.exchangeBase()
	t.observed("%d bytes after %v", len(e.body), e.took.Round(time.Millisecond))
	if len(e.body) >= 8192 {
		t.note(e, "write answers of less than 8 KiB: one player takes no more; this has %d bytes", len(e.body))
	}
	if e.took >= 2*time.Second {
		t.note(e, "answer POST within 2 s: players give up; this took %v", e.took.Round(time.Millisecond))
	}
}
