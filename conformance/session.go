package conformance

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pion/rtcp"
)

// session is one WHEP session of the tester.
type session struct {
	t      *T
	made   *exchange
	url    string // "" when the server gave no usable Location
	etag   string
	offer  *offer
	answer *description
	peer   *peer
}

// try posts the offer, and connects when that is answered with an SDP answer.
// The session is nil only when it was not; the error says what went wrong.
func (t *T) try(o *offer) (*exchange, *session, error) {
	e, s, err := t.begin(o)
	if err == nil {
		err = s.connect()
	}
	return e, s, err
}

// begin is try without waiting for the connection.
func (t *T) begin(o *offer) (*exchange, *session, error) {
	e := t.post(o.description)
	if e.err != nil {
		return e, nil, e.err
	}
	if e.status != http.StatusCreated {
		return e, nil, fmt.Errorf("POST is answered with %d", e.status)
	}
	answer, err := e.answer()
	if err != nil {
		return e, nil, err
	}
	s := &session{
		t: t, made: e, url: e.location(), etag: e.header.Get("Etag"),
		offer: o, answer: answer, peer: o.peer,
	}
	if err := s.peer.answered(answer); err != nil {
		return e, s, err
	}
	s.peer.start(s.client())
	return e, s, nil
}

// client tells whether the answer leaves the tester the role of DTLS client.
func (s *session) client() bool {
	return s.answer.either(s.answer.accepted()[0], "setup") != "active"
}

func (s *session) connect() error {
	return s.peer.connect(s.t.ctx, s.t.opt.Limits.Connect)
}

// open is begin for checks that need a session: without one they are skipped.
func (t *T) open(o *offer) *session {
	_, s, err := t.begin(o)
	if s == nil {
		t.skip("needs a session: %v", err)
	}
	if s.url == "" {
		t.skip("needs a session URL: the answer to POST has no usable Location (see WHEP-ANS-03)")
	}
	return s
}

// play is open for checks that need a connection.
func (t *T) play(o *offer) *session {
	s := t.open(o)
	if err := s.connect(); err != nil {
		t.skip("needs a connected session: %v", err)
	}
	return s
}

// watch is play for checks that need media.
func (t *T) watch(o *offer) *session {
	s := t.play(o)
	if !s.flows() {
		t.skip("needs media: no RTP in %v (see WHEP-MED-01)", t.opt.Limits.Media)
	}
	return s
}

// flows waits for the next RTP packet. It asks for a picture, because a server
// whose screen is still need not send any of its own.
func (s *session) flows() bool { return s.flowsWithin(s.t.opt.Limits.Media) }

func (s *session) flowsWithin(limit time.Duration) bool {
	p := s.peer
	before := p.packets()
	asked := time.Time{}
	return s.t.wait(limit, func() bool {
		if time.Since(asked) > 600*time.Millisecond {
			asked = time.Now()
			s.pli()
		}
		return p.packets() > before
	})
}

func (p *peer) packets() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.media.total
}

// lastPacket is when the last RTP packet came.
func (p *peer) lastPacket() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.media.last
}

// pli asks for a key frame of each video stream.
func (s *session) pli() {
	if st, ok := s.stream("video"); ok {
		s.peer.feedback(&rtcp.PictureLossIndication{MediaSSRC: st.ssrc})
	}
}

// video waits for the video stream; without one the case is skipped.
func (s *session) video() (st stream) {
	t := s.t
	found := s.answer.plays("video") && t.wait(t.opt.Limits.Media, func() (ok bool) {
		st, ok = s.stream("video")
		return ok
	})
	if !found {
		t.skip("needs a video stream (see WHEP-MED-01)")
	}
	return st
}

// stream returns a copy of what came of the first stream of a kind.
func (s *session) stream(kind string) (stream, bool) {
	p := s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, st := range p.media.streams {
		if st.kind == kind {
			return st.clone(), true
		}
	}
	return stream{}, false
}

// tag is what a player would send as If-Match: the entity-tag, or the wildcard.
func (s *session) tag() string {
	if s.etag != "" {
		return s.etag
	}
	return "*"
}

// patch sends a fragment.
func (s *session) patch(ifMatch, body string) *exchange {
	return s.t.do(request{
		method: http.MethodPatch, url: s.url, contentType: typeFrag, ifMatch: ifMatch, body: body,
	})
}

// fragment of the current ICE session with the given attributes.
func (s *session) fragment(attrs ...string) string {
	return s.fragmentOf(s.peer.local, attrs...)
}

func (s *session) fragmentOf(g generation, attrs ...string) string {
	m := s.offer.media[0]
	lines := []string{
		"a=ice-ufrag:" + g.ufrag, "a=ice-pwd:" + g.pwd,
		fmt.Sprintf("m=%s 9 UDP/TLS/RTP/SAVPF 0", m.kind), "a=mid:" + m.get("mid"),
	}
	for _, a := range attrs {
		lines = append(lines, "a="+a)
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// trickles opens a session and skips the case unless a plain trickle works.
func (t *T) trickles(o *offer) *session {
	s := t.open(o)
	if e := s.patch(s.tag(), s.fragment(s.peer.local.candidates()...)); !e.ok() {
		t.skip("needs trickle ICE: a plain PATCH is answered with %d (see WHEP-TRK-02)", e.status)
	}
	return s
}

// restarted is what a server said to a restart.
type restarted struct {
	ufrag, pwd string
	candidates []string
	lines      []string
}

// restart asks for a new ICE session on new sockets, and changes to it when the
// server agrees.
func (s *session) restart(ifMatch string) (*exchange, *restarted) {
	next, err := s.peer.prepare()
	if err != nil {
		s.t.skip("needs sockets for a restart: %v", err)
	}
	e := s.patch(ifMatch, s.fragmentOf(next, append(next.candidates(), "end-of-candidates")...))
	if e.status != http.StatusOK {
		return e, nil
	}
	r := &restarted{lines: strings.Split(strings.ReplaceAll(string(e.body), "\r\n", "\n"), "\n")}
	r.ufrag, r.pwd = first(values(r.lines, "ice-ufrag")), first(values(r.lines, "ice-pwd"))
	r.candidates = values(r.lines, "candidate")
	if r.ufrag == "" || r.pwd == "" {
		return e, r
	}
	if tag := e.header.Get("Etag"); tag != "" {
		s.etag = tag
	}
	s.peer.adopt(next, r.ufrag, r.pwd, r.candidates)
	return e, r
}

// restarts is restart for checks that need it to work.
func (s *session) restarts() (*exchange, *restarted) {
	e, r := s.restart("*")
	if r == nil || r.ufrag == "" || r.pwd == "" {
		s.t.skip("needs ICE restart: the PATCH is answered with %d (see WHEP-RST-01)", e.status)
	}
	return e, r
}

// lifeSign is a request that succeeds while the session, which must be alive,
// lives: GET, or else a fragment without news. Not ok: the server tells nobody.
func (s *session) lifeSign() (q request, ok bool) {
	for _, q := range []request{
		{method: http.MethodGet, url: s.url},
		{method: http.MethodPatch, url: s.url, contentType: typeFrag, ifMatch: s.tag(), body: s.fragment("end-of-candidates")},
	} {
		if s.t.send(s.t.ctx, q).ok() {
			return q, true
		}
	}
	return request{}, false
}

// watched is lifeSign for checks that need one.
func (s *session) watched() request {
	q, ok := s.lifeSign()
	if !ok {
		s.t.skip("cannot tell a live session from one that has ended: neither GET (see WHEP-HTTP-02) nor PATCH succeeds on it")
	}
	return q
}

// gone repeats a life sign until the session URL is unknown, and returns the
// last answer.
func (s *session) gone(sign request, limit time.Duration) (*exchange, bool) {
	e := s.t.send(s.t.ctx, sign)
	asked := time.Now()
	gone := s.t.wait(limit, func() bool {
		if time.Since(asked) > 200*time.Millisecond {
			e, asked = s.t.send(s.t.ctx, sign), time.Now()
		}
		return e.ended()
	})
	s.t.record(e)
	return e, gone
}

// newPeer makes a peer that ends with the case.
func (t *T) newPeer(keep func(netip.Addr) bool) *peer {
	p, err := newPeer(t.cert, keep)
	if err != nil {
		t.skip("needs sockets: %v", err)
	}
	t.peers = append(t.peers, p)
	return p
}

func anyAddr(netip.Addr) bool { return true }

// baseExchange is one POST of the base offer that many checks look at.
func (t *T) baseExchange() *exchange {
	if t.base == nil {
		t.base = t.post(t.offer().description)
	} else {
		t.seen = append(t.seen, t.base)
	}
	return t.base
}

// exchangeBase is baseExchange for checks that need the answer.
func (t *T) exchangeBase() (*exchange, *description) {
	t.baseExchange()
	if t.base.status != http.StatusCreated {
		t.skip("needs an answer: POST is answered with %d (see WHEP-OFFER-01)", t.base.status)
	}
	d, err := t.base.answer()
	if err != nil {
		t.skip("needs an answer: %v (see WHEP-ANS-05)", err)
	}
	return t.base, d
}

// errNoMedia says that a session connected and stayed silent.
var errNoMedia = errors.New("connected, but no RTP came")

// tryMedia is try, and waits for the first packet.
func (t *T) tryMedia(o *offer) (*exchange, *session, error) {
	e, s, err := t.try(o)
	if err == nil && !s.flows() {
		err = errNoMedia
	}
	return e, s, err
}

// finish deletes a session and ends its peer before the case ends, so that few
// are open at once.
func (s *session) finish() {
	if s == nil {
		return
	}
	s.peer.close()
	if s.url == "" {
		return
	}
	s.t.delete(s.url)
}
