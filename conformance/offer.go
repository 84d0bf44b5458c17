package conformance

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Group B: offer intake.

func checkPost(t *T) {
	e, s, err := t.begin(t.offer())
	switch {
	case e.status == http.StatusNotAcceptable && isCounter(e):
		t.observed("the server makes counter-offers")
	case e.status == http.StatusConflict:
		t.skip("the stream is not live: POST is answered with 409; start it")
	case e.status == http.StatusUnauthorized:
		t.skip("POST is answered with 401: give a token")
	default:
		t.require(s != nil, e, "answer an offer with 201 and an SDP answer: %v", err)
	}
}

// judgeRefusal wants 4xx, or a counter-offer, and notes an unusual status.
func (t *T) judgeRefusal(what string, e *exchange, preferred ...int) {
	switch {
	case e.status == http.StatusNotAcceptable && isCounter(e):
	case !t.require(e.refused(), e, "refuse %s with 4xx: it was answered with %d", what, e.status):
	case len(preferred) > 0 && !e.is(preferred...):
		t.note(e, "%d would be the usual status for %s", preferred[0], what)
	}
}

// takesOffers skips the case unless the base offer gets an answer or a
// counter-offer: who refuses everything refuses nothing for its own sake.
func (t *T) takesOffers() {
	if e := t.baseExchange(); e.status != http.StatusCreated && (e.status != http.StatusNotAcceptable || !isCounter(e)) {
		t.skip("needs an endpoint that takes offers: POST is answered with %d (see WHEP-OFFER-01)", e.status)
	}
}

func checkMediaType(t *T) {
	t.takesOffers()
	body := t.offer().String()
	for _, typ := range []string{"text/plain", "application/json", "application/sdpfoo", ""} {
		what := "Content-Type " + orNone(typ)
		e := t.postBody(request{contentType: typ, body: body})
		if t.profile("00", "01") {
			t.require(e.status == http.StatusUnsupportedMediaType, e, "refuse %s with 415", what)
			continue
		}
		t.judgeRefusal(what, e, http.StatusUnsupportedMediaType)
	}
}

func checkMediaTypeForms(t *T) {
	t.exchangeBase()
	for _, typ := range []string{"application/sdp; charset=utf-8", "Application/SDP"} {
		e := t.postBody(request{contentType: typ, body: t.offer().String()})
		t.require(e.status == http.StatusCreated, e, "accept Content-Type %s", typ)
	}
}

func checkMalformed(t *T) {
	t.takesOffers()
	good := t.offer().String()
	m := strings.Index(good, "m=")
	bodies := []struct{ what, body string }{
		{"an empty body", ""},
		{"SDP of only v=0", "v=0\r\n"},
		{"random bytes", "\x00\x8f\xff\x13\r\n\x00v=0 m= a="},
		{"a JSON wrapper", fmt.Sprintf(`{"type":"offer","sdp":%q}`, good)},
		{"SDP cut off inside a section", good[:m+20]},
		{"SDP without a section", good[:m]},
	}
	for _, b := range bodies {
		e := t.postBody(request{contentType: typeSDP, body: b.body})
		if t.profile("00", "01") {
			t.require(e.status == http.StatusBadRequest, e, "refuse %s with 400", b.what)
			continue
		}
		t.judgeRefusal(b.what, e, http.StatusBadRequest, http.StatusUnprocessableEntity)
	}
}

// playable tries the offer and judges by the row when it does not play.
func (t *T) playable(what string, o *offer) *session {
	e, s, err := t.tryMedia(o)
	if err == nil || s != nil && e.status == http.StatusCreated && !s.expectsMedia() {
		return s
	}
	t.require(false, e, "%s must play: %v", what, err)
	return s
}

// expectsMedia tells whether the answer accepts anything.
func (s *session) expectsMedia() bool { return len(s.answer.accepted()) > 0 }

// baseline skips the case unless the base offer plays, so that what a variation
// of it does is the variation's doing.
func (t *T) baseline() { t.watch(t.offer()).finish() }

func checkSendrecv(t *T) {
	t.baseline()
	o := t.offer().with(directAll("sendrecv"))
	if s := t.playable("a sendrecv offer", o); s != nil {
		for _, m := range s.answer.accepted() {
			if got := s.answer.direction(m); got != "sendonly" {
				t.fail(m, "answer sendonly to sendrecv: the answer says %s", got)
			}
		}
	}
}

func checkWrongDirection(t *T) {
	t.takesOffers()
	for _, direction := range []string{"sendonly", "inactive"} {
		e := t.post(t.offer().with(directAll(direction)).description)
		t.judgeRefusal("an offer of only "+direction+" sections", e, http.StatusUnprocessableEntity, http.StatusBadRequest)
	}
}

func checkCandidateAmounts(t *T) {
	host := func(o *offer) { // one candidate, without the end
		c := o.media[0].get("candidate")
		removeAll("candidate", "end-of-candidates")(o)
		o.media[0].add("candidate:" + c)
	}
	for i, v := range []struct {
		what string
		o    *offer
	}{
		{"an offer with all candidates", t.offer()},
		{"an offer with one candidate", t.offer().with(host)},
		{"an offer without candidates", t.bareOffer()},
	} {
		e, s, err := t.tryMedia(v.o)
		if i == 0 && err != nil {
			t.skip("needs a session that plays: %v", err)
		}
		if err != nil { // players depend on it, whatever the level of the row
			t.fail(e, "%s must connect, by peer-reflexive candidates: %v", v.what, err)
		}
		s.finish()
	}
}

func checkTrackCounts(t *T) {
	t.exchangeBase()
	two := t.offer()
	second := two.kind("video").clone()
	second.set("mid", "extra")
	second.remove("candidate", "end-of-candidates")
	two.media = append(two.media, second)
	two.bundle()
	e := t.post(two.description)
	if d, err := e.answer(); e.status == http.StatusCreated && err == nil {
		n := 0
		for _, m := range d.accepted() {
			if m.kind == "video" {
				n++
			}
		}
		t.require(n <= 1, e, "accept at most one video section: %d are active in the answer", n)
	} else if t.profile("00", "01") {
		t.require(e.status == http.StatusNotAcceptable, e, "refuse a second video section with 406")
	} else {
		t.judgeRefusal("a second video section", e, http.StatusUnprocessableEntity, http.StatusBadRequest)
	}

	data := t.offer()
	addData(data)
	data.media = data.media[2:]
	data.bundle()
	t.judgeRefusal("an offer of only a data channel", t.post(data.description), http.StatusUnprocessableEntity, http.StatusBadRequest)
}

func checkPartlyUnsupported(t *T) {
	_, base := t.exchangeBase()
	kind, other := "video", "audio"
	if !base.plays("audio") {
		kind, other = "audio", "video"
	}
	o := t.offer().with(unsupported(kind)).kindFirst(other)
	e := t.post(o.description)
	if e.status != http.StatusCreated {
		t.judgeRefusal("an offer with one section of unknown codecs, which is better rejected alone,", e)
		return
	}
	d, err := e.answer()
	if !t.require(err == nil && d.kind(kind) != nil, e, "answer with a section for each section of the offer") {
		return
	}
	m := d.kind(kind)
	t.require(m.port == "0", m, "reject the %s section by port 0: no codec of it is known", kind)
	t.require(d.plays(other), e, "keep the %s section, which can be served", other)
	for _, g := range d.groups() {
		t.require(!slices.Contains(g, m.get("mid")) || m.port != "0", linef("a=group:BUNDLE %v", g), "leave the rejected mid out of the BUNDLE group")
	}
}

func checkUnsupported(t *T) {
	t.takesOffers()
	e := t.post(t.offer().with(unsupported("video")).with(unsupported("audio")).description)
	t.judgeRefusal("an offer of only unknown codecs", e, http.StatusUnprocessableEntity)
}

func checkDataChannel(t *T) {
	t.baseline()
	if e, _, err := t.tryMedia(t.offer().with(addData)); err != nil {
		t.warn(e, "accept or reject a data-channel section on its own, and play the rest: %v", err)
	}
}

func checkKinds(t *T) {
	_, base := t.exchangeBase()
	for _, kind := range []string{"video", "audio"} {
		o := t.offer().with(only(kind))
		if !base.plays(kind) {
			t.judgeRefusal("an offer of only "+kind+", which the stream does not have", t.post(o.description))
			continue
		}
		e, s, err := t.try(o)
		t.require(err == nil, e, "an offer of only %s must connect, as the stream has it: %v", kind, err)
		if err == nil && kind == "video" {
			t.require(s.flows(), e, "an offer of only video must get media")
		}
		s.finish()
	}
}

func checkNoMux(t *T) {
	t.takesOffers()
	e := t.post(t.offer().with(removeAll("rtcp-mux", "rtcp-mux-only")).description)
	if e.status == http.StatusCreated {
		if d, err := e.answer(); err == nil && len(d.accepted()) > 0 && d.accepted()[0].has("rtcp-mux") {
			t.warn(e, "refuse an offer without rtcp-mux with 4xx: answering rtcp-mux that was not offered breaks RFC 5761")
			return
		}
	}
	t.judgeRefusal("an offer without rtcp-mux", e)
}

func checkNoBundle(t *T) {
	t.takesOffers()
	ungroup := removeAll("group")
	t.judgeRefusal("two sections without BUNDLE", t.post(t.offer().with(ungroup).description))
	e := t.post(t.offer().with(only("video")).with(ungroup).description)
	t.observed("a single section without BUNDLE is answered with %d", e.status)
	if e.status >= 500 {
		t.require(false, e, "accept a single section without BUNDLE, or refuse it with 4xx")
	}
}

func checkBundleOnly(t *T) {
	t.baseline()
	o := t.offer()
	last := o.media[1]
	last.port = "0"
	last.add("bundle-only")
	e, s, err := t.begin(o)
	if t.require(s != nil, e, "take port 0 with bundle-only as a live section: %v", err) {
		_, base := t.exchangeBase()
		t.require(s.answer.plays(last.kind) || !base.plays(last.kind), e, "accept the %s section: port 0 with bundle-only is live", last.kind)
		s.finish()
	}

	o = t.offer()
	o.media[1].port = "0"
	o.media[1].remove("bundle-only")
	e = t.post(o.description)
	d, err := e.answer()
	if e.status == http.StatusCreated && err == nil && len(d.media) == 2 {
		t.require(d.media[1].port == "0", d.media[1], "answer port 0 to a disabled section: port 0 without bundle-only")
	}
}

func checkSetups(t *T) {
	t.baseline()
	for offered, want := range map[string][]string{
		"actpass": {"active", "passive"}, "active": {"passive"}, "passive": {"active"},
	} {
		e, s, err := t.try(t.offer().with(setAll("setup", offered)))
		if !t.require(s != nil, e, "serve an offer with setup:%s: %v", offered, err) {
			continue
		}
		got := s.answer.either(first(s.answer.accepted()), "setup")
		if t.require(slices.Contains(want, got), e, "answer setup:%s with %s, not with %s", offered, strings.Join(want, " or "), orNone(got)) {
			t.require(err == nil, e, "setup:%s must connect: %v", offered, err)
		}
		s.finish()
	}
}

func checkAttributeLevels(t *T) {
	t.baseline()
	names := []string{"ice-ufrag", "ice-pwd", "fingerprint", "setup"}
	o := t.offer()
	for _, name := range names {
		o.lines = append(o.lines, "a="+name+":"+o.media[0].get(name))
	}
	for _, m := range o.media {
		m.remove(names...)
	}
	t.playable("an offer with transport attributes at session level", o).finish()

	o = t.offer()
	for _, m := range o.media[1:] {
		m.remove(names...)
	}
	t.playable("an offer with transport attributes only in the tagged section", o).finish()
}

func checkIncomplete(t *T) {
	t.exchangeBase()
	for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint", "mid"} {
		e := t.post(t.offer().with(removeAll(name)).description)
		t.judgeRefusal("an offer without "+name, e, http.StatusBadRequest, http.StatusUnprocessableEntity)
	}
}

func checkParser(t *T) {
	t.exchangeBase()
	for _, v := range []struct {
		what   string
		change func(*offer)
	}{
		{"LF-only line ends", func(o *offer) { o.eol = "\n" }},
		{"unknown attributes", func(o *offer) {
			o.lines = append(o.lines, "a=x-unknown:at session level")
			o.media[0].add("x-unknown", "x-more:a b c")
		}},
		{"unknown codecs and extensions", func(o *offer) {
			m := o.kind("video")
			m.formats = append(m.formats, "77")
			m.add("rtpmap:77 x-future/90000", "fmtp:77 a=b;c", "extmap:13 urn:x-unknown:extension")
		}},
		{"mids that are words", renamed("video0", "audio1")},
	} {
		o := t.offer().with(v.change)
		e := t.post(o.description)
		if !t.require(e.status == http.StatusCreated, e, "accept an offer with %s", v.what) {
			continue
		}
		if d, err := e.answer(); err == nil && len(d.media) == 2 {
			for i, m := range d.media {
				t.require(m.get("mid") == o.media[i].get("mid"), m, "echo the mid %s", o.media[i].get("mid"))
			}
		}
	}
	checkLongIDs(t)
}

// checkLongIDs is the part of checkParser about header extensions with ids that
// only two-byte headers have (RFC 8285 4.3): they may be left out of the answer.
func checkLongIDs(t *T) {
	t.baseline()
	o := t.offer().with(func(o *offer) {
		o.lines = append(o.lines, "a=extmap-allow-mixed")
		o.media[0].add("extmap:16 urn:x-unknown:sixteen", "extmap:200 urn:x-unknown:two-hundred")
	})
	t.playable("an offer with header extensions of ids above 14", o).finish()
}

func checkNoMuxOnly(t *T) {
	t.takesOffers()
	e, s, err := t.begin(t.offer().with(removeAll("rtcp-mux-only")))
	if s == nil { // no player would be left
		t.warn(e, "accept offers without rtcp-mux-only, as browsers send them: %v", err)
	}
}

func checkBodySize(t *T) {
	t.exchangeBase()
	fill := func(size int) request {
		o := t.offer()
		padding := "x-padding:" + strings.Repeat("x", 100)
		for range size / (len(padding) + 4) {
			o.media[1].add(padding)
		}
		return request{contentType: typeSDP, body: o.String()}
	}
	q := fill(128 << 10)
	if e := t.postBody(q); e.status != http.StatusCreated {
		t.note(e, "accept 128 KiB of valid SDP: some offers are large")
	}
	began := time.Now()
	e := t.postBody(fill(1 << 20))
	t.observed("1 MiB is answered after %v", time.Since(began).Round(time.Millisecond))
	switch {
	case e.status >= 500:
		t.fail(e, "refuse 1 MiB of SDP with 413 instead of failing")
	case e.ok():
		t.warn(e, "bound the body of POST, and refuse 1 MiB of SDP with 413")
	case e.status != 0 && !e.is(http.StatusRequestEntityTooLarge, http.StatusBadRequest):
		t.note(e, "413 is the status for a body that is too large")
	}
	if e := t.get(""); e.status == 0 {
		t.fail(e, "stay usable after a body that is too large")
	}
}

// isCounter tells whether a 406 is a counter-offer rather than a refusal.
func isCounter(e *exchange) bool {
	return e.mediaType() == typeSDP && bytes.HasPrefix(e.body, []byte("v=0"))
}
