package conformance

import (
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

// Group F: counter-offers. The group is skipped when the server makes none.

// counter is a pending counter-offer.
type counter struct {
	t     *T
	made  *exchange
	url   string
	offer *description
}

// counter asks for a counter-offer, by an offer that most servers take; the
// case is skipped when that gives a session.
func (t *T) counter() *counter {
	e := t.post(t.offer().description)
	if e.status != http.StatusNotAcceptable {
		t.skip("the server makes no counter-offers")
	}
	d, err := e.answer()
	if err != nil || e.location() == "" {
		if t.c.ID == "WHEP-CTR-01" {
			t.warn(e, "a 406 without an SDP offer or Location is no counter-offer; refuse with another status")
			t.stop()
		}
		t.skip("the counter-offer is not complete (see WHEP-CTR-01)")
	}
	return &counter{t, e, e.location(), d}
}

// answer makes the SDP answer of a new peer to the counter-offer, and starts
// the peer's side of it.
func (c *counter) answer() *session {
	p := c.t.newPeer(anyAddr)
	p.controlled = true
	d := c.offer.clone()
	d.lines = without(d.lines, "ice-lite", "fingerprint", "ice-ufrag", "ice-pwd", "setup", "end-of-candidates", "cryptex")
	o := dress(d, p)
	for _, m := range d.media {
		m.direct("recvonly")
		m.set("setup", "active")
		m.remove("msid", "ssrc", "ssrc-group", "bundle-only", "cryptex")
		if m.port == "0" {
			m.port = "9"
		}
	}
	o.gather()
	s := &session{t: c.t, made: c.made, url: c.url, etag: c.made.header.Get("Etag"), offer: o, answer: c.offer, peer: p}
	if err := p.answered(c.offer); err != nil {
		c.t.skip("needs a counter-offer to connect to: %v", err)
	}
	return s
}

// send patches an SDP answer.
func (c *counter) send(body string) *exchange {
	return c.t.do(request{method: http.MethodPatch, url: c.url, contentType: typeSDP, body: body})
}

func checkCounter(t *T) {
	c := t.counter()
	t.require(c.made.mediaType() == typeSDP, c.made, "send the counter-offer as application/sdp")
}

func checkCounterValid(t *T) {
	c := t.counter()
	for _, m := range c.offer.media {
		t.require(c.offer.either(m, "setup") == "actpass", m, "offer setup:actpass")
		t.require(m.proto == "UDP/TLS/RTP/SAVPF", m, "offer UDP/TLS/RTP/SAVPF")
		t.require(m.has("msid"), m, "write a=msid")
	}
	t.require(len(c.offer.groups()) == 1, c.made, "offer one BUNDLE group")
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.skip("needs a PeerConnection: %v", err)
	}
	defer pc.Close()
	err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(c.made.body)})
	t.require(err == nil, c.made, "a real PeerConnection must take the counter-offer: %v", err)
}

func checkCounterDirection(t *T) {
	c := t.counter()
	for _, m := range c.offer.media {
		switch got := c.offer.direction(m); got {
		case "sendonly":
		case "sendrecv":
			t.warn(m, "offer sendonly")
		default:
			t.require(false, m, "offer sendonly, not %s", got)
		}
	}
}

// until returns the valid-until parameter of the counter-offer.
func (c *counter) until() (string, bool) {
	_, params, _ := mime.ParseMediaType(c.made.header.Get("Content-Type"))
	v, ok := params["valid-until"]
	return v, ok || strings.Contains(strings.ToLower(c.made.header.Get("Content-Type")), "valid-until")
}

func checkCounterUntil(t *T) {
	c := t.counter()
	v, given := c.until()
	if !given {
		t.skip("the counter-offer has no valid-until")
	}
	at, err := http.ParseTime(v)
	if t.require(err == nil, c.made, "write valid-until as a quoted HTTP-date") {
		now, err := http.ParseTime(c.made.header.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		t.require(at.After(now), c.made, "let valid-until be in the future")
	}
}

func checkCounterExpiry(t *T) {
	c := t.counter()
	wait := t.opt.Limits.Counter
	if v, given := c.until(); given {
		at, err := http.ParseTime(v)
		if err != nil {
			t.skip("valid-until is no date (see WHEP-CTR-04)")
		}
		wait = time.Until(at) + 5*time.Second
		if wait > 2*time.Minute {
			t.skip("the counter-offer is valid for %v, which is too long to wait for", wait.Round(time.Second))
		}
	}
	body := c.answer().offer.String()
	t.sleep(wait)
	e := c.send(body)
	t.require(e.refused(), e, "drop a counter-offer that was not answered in time: 404")
}

func checkCounterPlay(t *T) {
	s := t.counter().play()
	t.require(s.flows(), s.made, "send media after the answer")
}

// play answers the counter-offer well, judging the PATCH, and connects.
func (c *counter) play() *session {
	s := c.answer()
	e := c.send(s.offer.String())
	t := c.t
	if !e.ok() && t.c.ID != "WHEP-CTR-06" {
		t.skip("needs the answer to be taken: PATCH is answered with %d (see WHEP-CTR-06)", e.status)
	}
	if !t.require(e.ok(), e, "take the SDP answer with 204") {
		t.stop()
	}
	if t.c.ID == "WHEP-CTR-06" {
		t.require(e.status == http.StatusNoContent && len(e.body) == 0, e, "answer exactly 204, without a body")
	}
	s.peer.start(true)
	if err := s.connect(); err != nil {
		if t.c.ID != "WHEP-CTR-06" {
			t.skip("needs a connected session: %v", err)
		}
		t.require(false, e, "connect after the answer: %v", err)
		t.stop()
	}
	return s
}

func checkCounterMalformed(t *T) {
	c := t.counter()
	fewer := c.answer().offer
	fewer.media = nil
	wrong := c.answer().offer
	for _, m := range wrong.media {
		m.direct("sendonly")
	}
	for what, body := range map[string]string{
		"garbage": "hello", "an answer without sections": fewer.String(), "a sendonly answer": wrong.String(),
	} {
		e := c.send(body)
		t.require(e.refused(), e, "refuse %s with 4xx", what)
	}
	s := c.answer()
	e := c.send(s.offer.String())
	t.require(e.ok(), e, "keep the counter-offer after a malformed answer: a good one must still work")
}

func checkCounterOnce(t *T) {
	c := t.counter()
	s := c.play()
	e := c.send(s.offer.String())
	t.require(e.refused(), e, "take the answer only once: refuse a second with 422")
}

func checkCounterTag(t *T) {
	c := t.counter()
	if t.require(c.made.header.Get("Etag") != "", c.made, "send an ETag with the 406, so that the player can trickle") {
		s := c.play()
		e := s.patch(s.etag, s.fragment(s.peer.local.candidates()...))
		t.require(e.ok(), e, "take candidates with the ETag of the 406")
	}
}

func checkCounterDelete(t *T) {
	c := t.counter()
	body := c.answer().offer.String()
	e := t.delete(c.url)
	t.require(e.status == http.StatusOK, e, "let a pending counter-offer be deleted with 200")
	e = c.send(body)
	t.require(e.ended(), e, "answer 404 after the counter-offer was deleted")
}
