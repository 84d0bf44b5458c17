package conformance

import (
	"net/http"
	"slices"
	"strings"
)

// Group D: the SDP answer.

func checkSendonly(t *T) {
	_, d := t.exchangeBase()
	for _, m := range d.accepted() {
		t.require(d.direction(m) == "sendonly", m, "answer sendonly to recvonly: the answer says %s", d.direction(m))
	}
	e := t.post(t.offer().with(directAll("sendrecv")).description)
	d, err := e.answer()
	if e.status != http.StatusCreated || err != nil {
		t.note(e, "sendrecv offers are not served (see WHEP-OFFER-05)")
		return
	}
	for _, m := range d.accepted() {
		t.require(d.direction(m) == "sendonly", m, "answer sendonly to sendrecv: the answer says %s", d.direction(m))
	}
}

// mids of sections, sorted.
func mids(sections []*section) []string {
	found := make([]string, 0, len(sections))
	for _, m := range sections {
		found = append(found, m.get("mid"))
	}
	slices.Sort(found)
	return found
}

// bothAnswers are the answers to the base offer and to one with a section that
// must be rejected.
func (t *T) bothAnswers() map[*exchange]*description {
	e, d := t.exchangeBase()
	found := map[*exchange]*description{e: d}
	spoiled := "audio"
	if !d.plays("video") {
		spoiled = "video"
	}
	e = t.post(t.offer().with(unsupported(spoiled)).description)
	if d, err := e.answer(); e.status == http.StatusCreated && err == nil {
		found[e] = d
	}
	return found
}

func checkBundle(t *T) {
	for e, d := range t.bothAnswers() {
		groups := d.groups()
		if !t.require(len(groups) == 1, e, "answer one BUNDLE group: there are %d", len(groups)) {
			continue
		}
		group := slices.Sorted(slices.Values(groups[0]))
		accepted := mids(d.accepted())
		t.require(slices.Equal(group, accepted), linef("a=group:BUNDLE %s, accepted: %s", strings.Join(groups[0], " "), strings.Join(accepted, " ")),
			"put exactly the accepted mids into the BUNDLE group")
	}
}

func checkMids(t *T) {
	_, d := t.exchangeBase()
	t.sameMids(t.base.offer, d)
	named := t.offer().with(renamed("video0", "audio1"))
	e := t.post(named.description)
	if d, err := e.answer(); e.status == http.StatusCreated && err == nil {
		t.sameMids(named.description, d)
	}
}

func (t *T) sameMids(offer, answer *description) {
	for i, m := range answer.media {
		if i < len(offer.media) {
			want := offer.media[i].get("mid")
			t.require(m.get("mid") == want, m, "echo the mid of the offer, %s", want)
		}
	}
}

func checkMux(t *T) {
	_, d := t.exchangeBase()
	for _, m := range d.accepted() {
		t.require(m.has("rtcp-mux"), m, "write a=rtcp-mux into each accepted section")
	}
}

func checkMuxOnly(t *T) {
	_, d := t.exchangeBase()
	for _, m := range d.accepted() {
		if !m.has("rtcp-mux-only") {
			t.warn(m, "write a=rtcp-mux-only, which the WHEP text wants and RFC 8858 forbids in answers")
		}
	}
}

func checkMsid(t *T) {
	_, d := t.exchangeBase()
	streams := map[string]bool{}
	for _, m := range d.accepted() {
		id, _, _ := strings.Cut(m.get("msid"), " ")
		if t.require(id != "", m, "write a=msid with the id of the stream into each accepted section") {
			streams[id] = true
		}
	}
	t.require(len(streams) <= 1, linef("stream ids: %v", slices.Sorted(keys(streams))), "use one stream id in all sections")
}

func checkTracks(t *T) {
	e, d := t.exchangeBase()
	t.require(len(d.accepted()) > 0, e, "accept at least one section, or refuse the offer")
	for _, kind := range []string{"audio", "video"} {
		n := 0
		for _, m := range d.accepted() {
			if m.kind == kind {
				n++
			}
		}
		t.require(n <= 1, e, "accept at most one %s section: there are %d", kind, n)
	}
}

func checkSetup(t *T) {
	e, d := t.exchangeBase()
	for _, m := range d.accepted() {
		switch setup := d.either(m, "setup"); setup {
		case "active":
		case "passive":
			t.note(m, "active is the better answer to actpass; the example of the text says passive")
			return
		default:
			t.require(false, m, "answer setup active, not %s", orNone(setup))
		}
	}
	t.require(len(d.accepted()) > 0, e, "accept at least one section")
}

func checkCredentials(t *T) {
	_, d := t.exchangeBase()
	for _, m := range d.accepted() {
		ufrag, pwd := d.either(m, "ice-ufrag"), d.either(m, "ice-pwd")
		t.require(len(ufrag) >= 4 && len(pwd) >= 22, linef("a=ice-ufrag:%s, a=ice-pwd of %d characters", ufrag, len(pwd)),
			"make the ufrag at least 4 and the password at least 22 characters long")
		algorithm, _, _ := strings.Cut(strings.ToLower(d.either(m, "fingerprint")), " ")
		t.require(slices.Contains([]string{"sha-256", "sha-384", "sha-512"}, algorithm), linef("a=fingerprint:%s", d.either(m, "fingerprint")),
			"write a fingerprint by sha-256 or stronger")
	}
	_, s, err := t.try(t.offer())
	if s == nil {
		t.skip("needs a session: %v", err)
	}
	s.peer.mu.Lock()
	shown, said := s.peer.secure.peerDigest, s.peer.remote.fingerprint
	s.peer.mu.Unlock()
	if shown == "" {
		t.note(linef("%v", err), "the certificate was not seen, as the session did not connect")
	} else if strings.HasPrefix(strings.ToLower(said), "sha-256 ") {
		t.require(strings.EqualFold(shown, said), linef("a=fingerprint:%s\nin DTLS:      %s", said, shown), "use in DTLS the certificate whose fingerprint the answer gives")
	}
}

func checkSameTransport(t *T) {
	_, d := t.exchangeBase()
	for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint", "setup"} {
		values := map[string]bool{}
		for _, m := range d.accepted() {
			if v := m.get(name); v != "" {
				values[v] = true
			}
		}
		t.require(len(values) <= 1, linef("a=%s: %v", name, slices.Sorted(keys(values))), "repeat the same %s in all bundled sections", name)
	}
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func checkPayloadTypes(t *T) {
	// A second numbering shows servers that assume the first.
	moved := t.offer().with(func(o *offer) { renumber(o.kind("video")) })
	for _, offer := range []*offer{t.offer(), moved} {
		e := t.post(offer.description)
		d, err := e.answer()
		if e.status != http.StatusCreated || err != nil {
			t.skip("needs an answer: POST is answered with %d", e.status)
		}
		for _, m := range d.accepted() {
			o := offer.kind(m.kind)
			if o == nil {
				continue
			}
			offered, common := o.codecs(), 0
			for pt, c := range m.codecs() {
				was, ok := offered[pt]
				if t.require(ok && sameCodec(was, c), m, "keep payload type %d what the offer says, %s: the answer says %s", pt, orNone(was.name), orNone(c.name)) {
					common++
				}
			}
			t.require(common > 0, m, "answer at least one offered codec in each accepted section")
		}
	}
	s := t.play(t.offer())
	s.flows()
	s.peer.mu.Lock()
	unknown := len(s.peer.media.unknown)
	s.peer.mu.Unlock()
	t.require(unknown == 0, linef("%d payload types outside the answer", unknown), "send RTP only with negotiated payload types")
}

func sameCodec(a, b codec) bool {
	cut := func(s string) string { return strings.TrimSuffix(s, "/1") }
	return cut(a.name) == cut(b.name) && (a.fmtp["apt"] == b.fmtp["apt"] || b.fmtp["apt"] == "")
}

// renumber gives each payload type of a section the number of another, so that
// well-known numbers mean something else.
func renumber(m *section) {
	next := map[string]string{}
	for i, f := range m.formats {
		next[f] = m.formats[(i+1)%len(m.formats)]
	}
	for i, l := range m.lines {
		for _, name := range []string{"a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"} {
			v, ok := strings.CutPrefix(l, name)
			if !ok {
				continue
			}
			f, rest, _ := strings.Cut(v, " ")
			if before, apt, ok := strings.Cut(rest, "apt="); ok && name == "a=fmtp:" && next[apt] != "" {
				rest = before + "apt=" + next[apt]
			}
			if next[f] != "" {
				m.lines[i] = name + next[f] + " " + rest
			}
		}
	}
	for i, f := range m.formats {
		m.formats[i] = next[f]
	}
}

func checkNoBundleOnly(t *T) {
	t.exchangeBase()
	o := t.offer()
	o.media[1].port = "0"
	o.media[1].add("bundle-only")
	e := t.post(o.description)
	d, err := e.answer()
	if e.status != http.StatusCreated || err != nil {
		t.skip("needs an answer to a bundle-only section (see WHEP-OFFER-15)")
	}
	for _, m := range d.media {
		if m.has("bundle-only") {
			t.warn(m, "leave bundle-only out of answers: it is for offers")
		}
	}
}

func checkSubset(t *T) {
	_, d := t.exchangeBase()
	offer := t.base.offer
	for i, m := range d.media {
		if i >= len(offer.media) || m.port == "0" {
			continue
		}
		o := offer.media[i]
		for _, v := range m.all("extmap") {
			t.require(slices.ContainsFunc(o.all("extmap"), func(w string) bool { return sameExtension(v, w) }), line("a=extmap:"+v),
				"answer only header extensions that were offered, with their ids")
		}
		for _, v := range m.all("rtcp-fb") {
			pt, what, _ := strings.Cut(v, " ")
			t.require(slices.ContainsFunc(o.all("rtcp-fb"), func(w string) bool {
				opt, offered, _ := strings.Cut(w, " ")
				return (opt == pt || opt == "*" || pt == "*") && strings.EqualFold(what, offered)
			}), line("a=rtcp-fb:"+v), "answer only feedback that was offered")
		}
		t.require(!m.has("rtcp-rsize") || o.has("rtcp-rsize"), line("a=rtcp-rsize"), "answer rtcp-rsize only if offered")
		t.require(!m.has("crypto"), line("a=crypto"), "keys come from DTLS: no a=crypto")
	}
}

// sameExtension compares the id and the URI of two extmap values.
func sameExtension(a, b string) bool {
	split := func(s string) (id, uri string) {
		f := strings.Fields(s)
		if len(f) < 2 {
			return s, ""
		}
		id, _, _ = strings.Cut(f[0], "/")
		return id, f[1]
	}
	aID, aURI := split(a)
	bID, bURI := split(b)
	return aID == bID && aURI == bURI
}

func checkTagged(t *T) {
	t.exchangeBase()
	e := t.post(t.offer().kindFirst("audio").description)
	d, err := e.answer()
	if e.status != http.StatusCreated || err != nil {
		t.fail(e, "serve an offer that begins with audio")
		return
	}
	t.tagged(d)

	e = t.post(t.offer().kindFirst("audio").with(unsupported("audio")).description)
	if d, err := e.answer(); e.status == http.StatusCreated && err == nil && len(d.accepted()) > 0 {
		// Here it cannot be accepted; the rest must still be able to connect.
		m := d.accepted()[0]
		t.require(m.has("candidate"), m, "write the candidates into the first section that is not rejected")
	}
}

func (t *T) tagged(d *description) {
	if len(d.media) == 0 || d.media[0].port != "0" || len(d.accepted()) == 0 {
		return
	}
	if m := d.accepted()[0]; !m.has("candidate") {
		t.require(false, m, "write the candidates into a section that is not rejected")
	}
	t.warn(d.media[0], "accept the first section, with silence: rejecting it condemns the BUNDLE group")
}

func checkComponents(t *T) {
	_, d := t.exchangeBase()
	for _, m := range d.media {
		for _, c := range m.all("candidate") {
			if f := strings.Fields(c); len(f) > 1 && f[1] == "2" {
				t.warn(line("a=candidate:"+c), "leave out candidates of component 2: RTCP is multiplexed")
				return
			}
		}
	}
}

func checkLite(t *T) {
	_, d := t.exchangeBase()
	if !slices.Contains(d.lines, "a=ice-lite") {
		for _, m := range d.media {
			t.require(!m.has("ice-lite"), m, "write ice-lite at session level")
		}
		t.observed("the server is a full ICE agent")
		return
	}
	for _, m := range d.accepted() {
		for _, c := range m.all("candidate") {
			if !strings.Contains(c, " typ host") {
				t.warn(line("a=candidate:"+c), "offer only host candidates as an ICE lite agent")
			}
		}
	}
	if e, _, err := t.try(t.offer()); err != nil {
		t.warn(e, "be reachable as an ICE lite agent: %v", err)
	}
}

func checkICEOptions(t *T) {
	_, d := t.exchangeBase()
	var options []string
	for _, lines := range append([][]string{d.lines}, linesOf(d.media)...) {
		for _, v := range values(lines, "ice-options") {
			options = append(options, strings.Fields(v)...)
		}
	}
	if !slices.Contains(options, "trickle") {
		s := t.open(t.offer())
		if e := s.patch(s.tag(), s.fragment("end-of-candidates")); e.ok() {
			t.warn(linef("a=ice-options: %v", options), "announce trickle in a=ice-options: PATCH takes candidates")
		}
	}
	if !slices.Contains(options, "ice2") {
		t.note(linef("a=ice-options: %v", options), "announce ice2 in a=ice-options (RFC 8445)")
	}
}

func linesOf(sections []*section) (lines [][]string) {
	for _, m := range sections {
		lines = append(lines, m.lines)
	}
	return lines
}

func checkNoRenegotiation(t *T) {
	s := t.watch(t.offer())
	e := t.do(request{method: http.MethodPatch, url: s.url, contentType: typeSDP, ifMatch: s.tag(), body: s.offer.String()})
	if t.require(e.refused(), e, "refuse SDP in PATCH with 4xx: a session is not renegotiated") &&
		!e.is(http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType, http.StatusMethodNotAllowed) {
		t.note(e, "422 would be the usual status here")
	}
	t.require(s.flows(), e, "a refused PATCH must not disturb media")
}
