package conformance

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Group H: ICE restart by PATCH.

func checkRestart(t *T) {
	s := t.watch(t.offer())
	oldUfrag, oldPwd := s.peer.remote.ufrag, s.peer.remote.pwd
	e, r := s.restart("*")
	if e.is(http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusUnprocessableEntity) {
		t.skip("ICE restart is not supported: %d (see WHEP-TRK-01)", e.status)
	}
	if !t.require(r != nil, e, "answer new credentials with 200 and a fragment") {
		return
	}
	t.require(e.mediaType() == typeFrag, e, "send the fragment as %s", typeFrag)
	if t.require(r.ufrag != "" && r.pwd != "", e, "write the server's new ice-ufrag and ice-pwd into the fragment") {
		t.require(r.ufrag != oldUfrag && r.pwd != oldPwd, linef("a=ice-ufrag:%s, before: %s", r.ufrag, oldUfrag), "make new credentials: these are the old ones")
	}
}

func checkRestartTag(t *T) {
	s := t.watch(t.offer())
	old := s.etag
	e, _ := s.restarts()
	tag := e.header.Get("Etag")
	if !t.require(strongTag.MatchString(tag), e, "send a strong ETag with the 200 of a restart") {
		return
	}
	t.require(tag != old, e, "change the ETag with the ICE session")
	body := s.fragment(s.peer.local.candidates()...)
	if strongTag.MatchString(old) && old != tag { // * would match (see WHEP-ANS-07)
		late := s.patch(old, body)
		t.require(late.status == http.StatusPreconditionFailed, late, "answer 412 to the entity-tag from before the restart")
	}
	now := s.patch(tag, body)
	t.require(now.ok(), now, "take the entity-tag of the restart")
}

func checkRestartCandidates(t *T) {
	s := t.watch(t.offer())
	e, r := s.restarts()
	if len(r.candidates) == 0 {
		t.warn(e, "write the server's candidates into the 200 of a restart")
	}
}

func checkRestartAttributes(t *T) {
	s := t.watch(t.offer())
	e, r := s.restarts()
	all := slices.Concat(append([][]string{s.answer.lines}, linesOf(s.answer.accepted()[:1])...)...)
	for _, name := range []string{"ice-options", "ice-pacing", "ice-lite"} {
		before, after := values(all, name), values(r.lines, name)
		t.require(strings.Join(slices.Compact(before), ",") == strings.Join(slices.Compact(after), ","), e,
			"repeat %s as in the answer, where it is %q: the fragment has %q", name, before, after)
	}
}

func checkRestartWildcard(t *T) {
	s := t.watch(t.offer())
	s.restarts()
	e, r := s.restart(`"*"`)
	if r == nil { // the text means * and its example writes "*"
		t.warn(e, `take If-Match: "*" as a wildcard too: the example of the text writes it so`)
	}
	if s.etag == "" {
		return
	}
	if e, r := s.restart(s.etag); r == nil {
		t.note(e, "a restart with the current entity-tag may be taken as well")
	}
}

// settle is how long packets under way may still come after a change.
const settle = 200 * time.Millisecond

func checkRestartReplaces(t *T) {
	s := t.watch(t.offer())
	e, _ := s.restarts()
	if err := s.connect(); err != nil {
		t.skip("needs a connection: %v", err)
	}
	moved := t.wait(t.opt.Limits.Media, s.peer.isNominated) && s.flows()
	if !t.require(moved, e, "move media to the player's new candidates after a restart") {
		return
	}
	// Late packets may still be under way.
	t.sleep(settle)
	since := time.Now()
	s.flows()
	t.sleep(t.opt.Limits.Quiet)
	t.require(s.peer.formerLastMedia().Before(since), e, "send no more media to the player's former candidates")
	for _, a := range s.peer.requests(since) {
		if !slices.Contains(s.peer.local.sockets, a.on) {
			t.require(false, e, "send no more checks to the player's former candidates")
			break
		}
	}
}

func checkRestartKeeps(t *T) {
	s := t.watch(t.offer())
	before := s.video()
	s.peer.mu.Lock()
	hellos := s.peer.secure.hellos
	s.peer.mu.Unlock()
	e, r := s.restarts()
	t.wait(t.opt.Limits.Media, s.peer.isNominated)
	if !t.require(s.flows(), e, "go on with media after a restart, in the same DTLS association") {
		return
	}
	t.sleep(settle)
	s.peer.mu.Lock()
	again, n := s.peer.secure.hellos-hellos, 0
	for _, st := range s.peer.media.streams {
		if st.kind == "video" {
			n++
		}
	}
	s.peer.mu.Unlock()
	after, _ := s.streamOf(before.ssrc)
	t.require(again == 0, e, "keep the DTLS association through a restart: a new handshake began")
	t.require(n == 1, linef("%d video SSRCs, at first %d", n, before.ssrc), "keep the SSRC through a restart")
	t.require(after.pt == before.pt, linef("payload types %d, %d", before.pt, after.pt), "keep the payload type through a restart")
	if gap := after.seqs[len(after.seqs)-1] - before.seqs[len(before.seqs)-1]; n == 1 {
		t.require(gap < 1<<14, linef("sequence number jumped by %d", gap), "continue the sequence numbers through a restart")
	}
	t.require(!slices.ContainsFunc(r.lines, func(l string) bool { return strings.HasPrefix(l, "a=fingerprint") }), e, "leave all but ICE out of the fragment")
}

// streamOf returns a copy of what came of an SSRC.
func (s *session) streamOf(ssrc uint32) (stream, bool) {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	st, ok := s.peer.media.streams[ssrc]
	if !ok {
		return stream{}, false
	}
	return st.clone(), true
}

func checkRestartRefused(t *T) {
	s := t.watch(t.offer())
	m := s.offer.media[0]
	body := "a=ice-ufrag:" + random()[:8] + "\r\nm=" + m.kind + " 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:" + m.get("mid") + "\r\n"
	e := s.patch("*", body)
	t.require(e.refused(), e, "refuse a new ice-ufrag without ice-pwd with 4xx")
	t.sleep(t.opt.Limits.Quiet)
	t.require(s.flows(), e, "keep the old ICE session when a restart cannot be done")
}

func checkRestartBurst(t *T) {
	s := t.watch(t.offer())
	tags := map[string]bool{}
	var e *exchange
	for range 3 {
		var r *restarted
		if e, r = s.restart("*"); r == nil || r.ufrag == "" {
			t.require(len(tags) == 0, e, "take restarts in quick succession")
			t.skip("needs ICE restart: the PATCH is answered with %d (see WHEP-RST-01)", e.status)
		}
		tags[e.header.Get("Etag")] = true
		t.sleep(100 * time.Millisecond)
	}
	t.require(len(tags) == 3, e, "give each restart an ETag of its own: %d for 3", len(tags))
	connected := t.wait(t.opt.Limits.Connect, s.peer.isNominated)
	t.require(connected && s.flows(), e, "connect by the last of several restarts")
}

func checkRestartConsent(t *T) {
	s := t.watch(t.offer())
	s.restarts()
	sign := s.watched()
	s.peer.mute()
	began := time.Now()
	e, gone := s.gone(sign, t.opt.Limits.Consent)
	t.require(gone, e, "end the session when consent expires after a restart: it lived for %v", time.Since(began).Round(time.Second))
	t.stopped(s, e, "stop media when consent expires after a restart")
}

// stopped requires that no more RTP comes on any socket.
func (t *T) stopped(s *session, e *exchange, fix string) {
	t.sleep(settle)
	since := time.Now()
	t.sleep(t.opt.Limits.Quiet)
	last := s.peer.lastPacket()
	if f := s.peer.formerLastMedia(); f.After(last) {
		last = f
	}
	t.require(last.Before(since), e, "%s: it still comes", fix)
}
