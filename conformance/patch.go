package conformance

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Group G: trickle ICE by PATCH.

func checkICESupport(t *T) {
	s := t.open(t.offer())
	e := s.patch(s.tag(), s.fragment(s.peer.local.candidates()...))
	t.require(e.ok(), e, "support trickle ICE by PATCH")
	e, r := s.restart("*")
	t.require(r != nil && r.ufrag != "", e, "support ICE restart by PATCH with new credentials")
}

func checkTrickle(t *T) {
	s := t.open(t.bareOffer())
	candidates := s.peer.local.candidates()
	e := s.patch(s.tag(), s.fragment(candidates[:min(2, len(candidates))]...))
	if e.is(http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusUnprocessableEntity) {
		t.skip("trickle is not supported: %d (see WHEP-TRK-01)", e.status)
	}
	if t.require(e.status == http.StatusNoContent, e, "answer candidates with 204") {
		t.require(len(e.body) == 0, e, "send no body with 204")
	}
	t.require(e.header.Get("Etag") == "", e, "send no ETag when the ICE session stays the same")
}

func checkPatchType(t *T) {
	s := t.trickles(t.offer())
	send := func(typ string) *exchange {
		return t.do(request{
			method: http.MethodPatch, url: s.url, contentType: typ, ifMatch: s.tag(),
			body: s.fragment(s.peer.local.candidates()...),
		})
	}
	for _, typ := range []string{"text/plain", "application/json", ""} {
		t.judgeRefusal("PATCH with Content-Type "+orNone(typ), send(typ), http.StatusUnsupportedMediaType)
	}
	e := send(typeFrag + "; charset=utf-8")
	t.require(e.ok(), e, "ignore parameters of the media type")
}

func checkFragments(t *T) {
	s := t.trickles(t.offer())
	for _, v := range []struct{ what, body string }{
		{"a JSON body", `{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host","sdpMid":"0"}`},
		{"binary", "\x00\x01\xff\xfe\x80"},
		{"a candidate before any section", "a=candidate:1 1 udp 2130706431 192.0.2.1 9 typ host\r\n"},
		{"a broken candidate", s.fragment("candidate:what is this")},
	} {
		t.judgeRefusal(v.what+" as fragment", s.patch(s.tag(), v.body), http.StatusBadRequest)
	}
	e := s.patch(s.tag(), s.fragment(s.peer.local.candidates()...))
	t.require(e.ok(), e, "let the session live on after a malformed fragment")
}

func checkNoIfMatch(t *T) {
	s := t.trickles(t.offer())
	e := s.patch("", s.fragment(s.peer.local.candidates()...))
	switch {
	case e.ok():
		t.warn(e, "demand If-Match by 428: this is lenient towards players that forget it")
	default:
		t.require(e.status == http.StatusPreconditionRequired, e, "answer 428 when If-Match is missing")
	}
}

func checkWrongIfMatch(t *T) {
	s := t.trickles(t.offer())
	e := s.patch(`"nope"`, s.fragment(s.peer.local.candidates()...))
	t.require(e.status == http.StatusPreconditionFailed, e, "answer 412 to an entity-tag of another ICE session")
}

func checkIfMatchGrammar(t *T) {
	s := t.trickles(t.offer())
	if !strongTag.MatchString(s.etag) {
		t.skip("the server gives no strong ETag (see WHEP-ANS-07)")
	}
	body := s.fragment(s.peer.local.candidates()...)
	e := s.patch(`"x", `+s.etag, body)
	t.require(e.ok(), e, "take If-Match as a list of entity-tags")
	e = s.patch("W/"+strings.TrimPrefix(s.etag, "W/"), body)
	t.require(e.status == http.StatusPreconditionFailed, e, "compare entity-tags strongly: a weak one gives 412")
	e = s.patch("*", body)
	t.require(e.ok(), e, "take If-Match: * with unchanged credentials: one player sends only that")
}

func checkPatchUnsupported(t *T) {
	s := t.open(t.offer())
	trickle := s.patch(s.tag(), s.fragment(s.peer.local.candidates()...))
	restart, r := s.restart("*")
	trickles, restarts := trickle.ok(), r != nil && r.ufrag != ""
	unsupported := []int{http.StatusMethodNotAllowed}
	if t.profile("00") {
		unsupported = append(unsupported, http.StatusNotImplemented)
	}
	switch {
	case trickles && restarts:
		t.observed("both are supported")
	case trickles:
		t.require(restart.status == http.StatusUnprocessableEntity, restart, "answer an unsupported restart with 422")
	case restarts:
		t.require(trickle.status == http.StatusUnprocessableEntity, trickle, "answer unsupported trickle with 422")
	default:
		for _, e := range []*exchange{trickle, restart} {
			t.require(e.is(unsupported...), e, "answer PATCH with 405 when neither trickle nor restart is supported")
		}
	}
}

func checkUnusableCandidates(t *T) {
	o := t.bareOffer()
	s := t.open(o)
	good := s.peer.local.candidates()
	e := s.patch(s.tag(), s.fragment(append([]string{
		"candidate:91 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
		"candidate:92 1 foo 1518280446 192.0.2.1 9 typ host",
		"candidate:93 1 udp 2113937151 d9c2a1de-7a0b-4c1b-8c59-0f9f2f2b3f10.local 9 typ host",
		"candidate:94 1 udp 2130706430 2001:db8::1 9 typ host",
	}, good...)...))
	if e.is(http.StatusMethodNotAllowed, http.StatusNotImplemented) {
		t.skip("PATCH is not supported: %d (see WHEP-TRK-01)", e.status)
	}
	t.require(e.ok(), e, "drop candidates that cannot be used, and answer 204 for the rest")
	err := s.connect()
	t.require(err == nil, e, "use the good candidate among others: %v", err)
}

func checkFragmentForms(t *T) {
	s := t.trickles(t.offer())
	g := s.peer.local
	credentials := "a=ice-ufrag:" + g.ufrag + "\r\na=ice-pwd:" + g.pwd + "\r\n"
	mid := "a=mid:" + s.offer.media[0].get("mid") + "\r\n"
	c := "a=" + g.candidates()[0] + "\r\n"
	for _, v := range []struct{ what, body string }{
		{"session-level credentials and a pseudo m-line", credentials + "m=audio 9 RTP/AVP 0\r\n" + mid + c},
		{"credentials in the section", "m=video 9 UDP/TLS/RTP/SAVPF 0\r\n" + mid + credentials + c + "a=end-of-candidates\r\n"},
		{"group, ice-options and a session-level end", strings.Join(s.groupLines(), "") + "a=ice-options:trickle ice2\r\n" + credentials +
			"a=end-of-candidates\r\nm=video 9 RTP/AVP 0\r\n" + mid + c},
		{"an empty end marker", credentials + "m=video 9 RTP/AVP 0\r\n" + mid + c + "a=\r\n"},
	} {
		e := s.patch(s.tag(), v.body)
		t.require(e.ok(), e, "understand fragments with %s", v.what)
	}
}

func (s *session) groupLines() (lines []string) {
	for _, mids := range s.offer.groups() {
		lines = append(lines, "a=group:BUNDLE "+strings.Join(mids, " ")+"\r\n")
	}
	return lines
}

func checkCandidateTried(t *T) {
	s := t.open(t.bareOffer())
	if slices.Contains(s.answer.lines, "a=ice-lite") {
		t.skip("an ICE lite agent tries no candidates")
	}
	s.peer.mute()
	since := time.Now()
	e := s.patch(s.tag(), s.fragment(s.peer.local.candidates()...))
	if !e.ok() {
		t.skip("needs trickle ICE: a plain PATCH is answered with %d (see WHEP-TRK-02)", e.status)
	}
	want := s.peer.local.ufrag + ":" + s.peer.remote.ufrag
	tried := t.wait(t.opt.Limits.Media, func() bool { return len(s.peer.requests(since)) > 0 })
	if !tried {
		// A server may rather wait to be asked than send to addresses that
		// strangers name. Then it must at least answer.
		if _, other, err := t.try(t.bareOffer()); other == nil || err != nil {
			t.fail(e, "try trickled candidates, or at least answer those who ask: %v", err)
			return
		}
		t.warn(e, "send checks to trickled candidates: only players that can reach the server connect now")
		return
	}
	got := s.peer.requests(since)[0].username
	t.require(got == want, linef("USERNAME %s, expected %s", got, want), "send checks with USERNAME <player's ufrag>:<server's ufrag>")
}

func checkParallelPatches(t *T) {
	s := t.trickles(t.offer())
	candidates := s.peer.local.candidates()
	answers := make([]*exchange, 10)
	var wg sync.WaitGroup
	for i := range answers {
		attrs := append([]string{candidate(20+i, netip.AddrPortFrom(t.nobody(i), 9))}, candidates...)
		q := request{method: http.MethodPatch, url: s.url, contentType: typeFrag, ifMatch: s.tag(), body: s.fragment(attrs...)}
		wg.Go(func() { answers[i] = t.doQuietly(q) })
	}
	wg.Wait()
	refused := 0
	for _, e := range answers {
		t.record(e)
		if !e.ok() {
			if refused++; refused <= 3 { // players overlap them, whatever the level of the row
				t.warn(e, "answer each of overlapping PATCHes with 204")
			}
		}
	}
	err := s.connect()
	if err != nil || !s.flows() {
		t.warn(answers[0], "play on during overlapping PATCHes: %v", err)
	}
}

func checkEndOfCandidates(t *T) {
	s := t.trickles(t.offer())
	e := s.patch(s.tag(), s.fragment("end-of-candidates"))
	t.require(e.ok(), e, "take a fragment of only end-of-candidates with 204")
}

func checkPatchUnknown(t *T) {
	s := t.trickles(t.offer())
	body := s.fragment(s.peer.local.candidates()...)
	e := t.do(request{method: http.MethodPatch, url: stranger(s.url), contentType: typeFrag, ifMatch: s.tag(), body: body})
	t.require(e.ended(), e, "answer PATCH on an unknown session with 404")
	t.delete(s.url)
	e = s.patch(s.tag(), body)
	t.require(e.ended(), e, "answer PATCH on a deleted session with 404")
}

func checkAcceptPatch(t *T) {
	e, _ := t.exchangeBase()
	for _, e := range []*exchange{e, t.options("")} {
		t.require(slices.Contains(list(e.header.Values("Accept-Patch")), typeFrag), e, "send Accept-Patch: %s, as some players still look for it", typeFrag)
		if t.profile("00") && e.sent.method == http.MethodPost && e.header.Get("Accept-Patch") == "" {
			t.warn(e, "this draft wants Accept-Patch on 201")
		}
	}
}
