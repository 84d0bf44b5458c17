package conformance

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Group I: ICE, DTLS, consent, end of session.

func checkFullICE(t *T) {
	s := t.open(t.offer())
	if slices.Contains(s.answer.lines, "a=ice-lite") {
		t.observed("the server is an ICE lite agent, and says so")
		return
	}
	s.peer.mute()
	asked := t.wait(t.opt.Limits.Media, func() bool { return len(s.peer.requests(time.Time{})) > 0 })
	if asked {
		return
	}
	s.finish()
	// Some servers send checks only where they were asked from.
	other := t.play(t.offer())
	triggered := t.wait(t.opt.Limits.Media, func() bool { return len(other.peer.requests(time.Time{})) > 0 })
	if t.require(triggered, other.made, "send connectivity checks, or announce a=ice-lite") {
		t.note(other.made, "the server sends checks only to addresses that asked it: players it could reach first are not tried")
	}
}

func checkConsent(t *T) {
	s := t.watch(t.offer())
	sign := s.watched()
	s.peer.mute()
	began := time.Now()
	e, gone := s.gone(sign, t.opt.Limits.Consent)
	t.observed("session gone after %v: %v", time.Since(began).Round(100*time.Millisecond), gone)
	t.require(gone, e, "end the session of a vanished player within 30 s: it lived for %v", time.Since(began).Round(time.Second))
	t.stopped(s, e, "stop media to a vanished player")
}

func checkTeardown(t *T) {
	s := t.watch(t.offer())
	sign := s.watched()
	s.peer.secure.close()
	e, gone := s.gone(sign, t.opt.Limits.Media)
	t.require(gone, e, "end the session when the player closes DTLS")
	t.stopped(s, e, "stop media when the player closes DTLS")
}

func checkRevocation(t *T) {
	s := t.watch(t.offer())
	e := t.delete(s.url)
	if !e.ok() {
		t.skip("DELETE is answered with %d (see WHEP-DEL-01)", e.status)
	}
	t.stopped(s, e, "stop media at once after DELETE")
	answered := s.peer.lastConsent()
	t.sleep(max(t.opt.Limits.Quiet, time.Second))
	t.require(!s.peer.lastConsent().After(answered), e, "stop answering connectivity checks after DELETE")
	if s.peer.secure.closedAt().IsZero() {
		t.warn(e, "send close_notify of DTLS after DELETE")
	}
}

func checkFingerprint(t *T) {
	t.baseline()
	wrong := "sha-256" + strings.Repeat(":AB", 32)
	wrong = strings.Replace(wrong, ":", " ", 1)
	e, s, err := t.begin(t.offer().with(setAll("fingerprint", wrong)))
	if s == nil {
		t.skip("needs a session: %v", err)
	}
	_ = s.connect() // it need not
	t.sleep(t.opt.Limits.Quiet)
	s.peer.mu.Lock()
	got := s.peer.media.total + len(s.peer.secure.early) + s.peer.secure.undecoded
	s.peer.mu.Unlock()
	t.require(got == 0, e, "compare the certificate of DTLS with the offered fingerprint: %d media packets came for a wrong one", got)
}

func checkNeverConnected(t *T) {
	s := t.open(t.bareOffer())
	sign := s.watched()
	s.peer.mute()
	began := time.Now()
	e, gone := s.gone(sign, t.opt.Limits.Setup)
	t.observed("released after %v: %v", time.Since(began).Round(100*time.Millisecond), gone)
	if !gone {
		t.warn(e, "release sessions that never connect: this one lived for %v", time.Since(began).Round(time.Second))
	}
}

func checkDelete(t *T) {
	s := t.open(t.offer())
	sign, ok := s.lifeSign()
	e := t.delete(s.url)
	switch {
	case e.status == http.StatusOK:
	case e.ok():
		t.warn(e, "answer DELETE with exactly 200: three players expect it")
	default:
		t.require(false, e, "answer DELETE with 200")
		return
	}
	if !ok {
		t.observed("neither GET nor PATCH tells whether the session is gone")
		return
	}
	after := t.do(sign)
	t.require(after.ended(), after, "remove the session on DELETE: its URL is still known")
}

func checkDeleteTag(t *T) {
	for _, tag := range []string{`"nope"`, "*", ""} {
		s := t.open(t.offer())
		e := t.do(request{method: http.MethodDelete, url: s.url, ifMatch: tag})
		t.require(e.ok(), e, "ignore If-Match: %s with DELETE", orNone(tag))
	}
}

func checkDeleteAgain(t *T) {
	s := t.open(t.offer())
	t.delete(s.url)
	i := strings.LastIndex(s.url, "/") + 1
	for what, u := range map[string]string{
		"a second time": s.url, "of an unknown session": stranger(s.url), "of a malformed id": s.url[:i] + "%00%ff..",
	} {
		e := t.delete(u)
		switch {
		case e.status >= 500 || e.status == 0 || e.ok():
			t.require(false, e, "answer DELETE %s with 404", what)
		case !e.ended() && !(strings.HasSuffix(u, "..") && e.refused()):
			t.note(e, "404 is the usual status for DELETE %s", what)
		}
	}
}

func checkDeletePhases(t *T) {
	require := func(what string, s *session) {
		e := t.delete(s.url)
		t.require(e.ok(), e, "let DELETE work %s", what)
		again := t.delete(s.url)
		t.require(!again.ok(), again, "remove the session on DELETE %s", what)
	}
	before := t.open(t.bareOffer())
	before.peer.mute()
	require("before ICE", before)
	require("during ICE", t.open(t.offer()))
	require("while playing", t.watch(t.offer()))
	s := t.watch(t.offer())
	if _, r := s.restart("*"); r != nil {
		require("during a restart", s)
	}
}
