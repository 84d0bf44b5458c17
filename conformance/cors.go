package conformance

import (
	"net/http"
	"slices"
	"strings"
)

// Group J: CORS and OPTIONS.

// allows judges a preflight answer for a method and header fields.
func (t *T) allows(e *exchange, method string, headers ...string) {
	if !t.require(e.ok(), e, "answer preflights with 200, without a token") {
		return
	}
	origin := e.header.Get("Access-Control-Allow-Origin")
	t.require(origin == "*" || origin == t.opt.Origin, e, "allow the origin of the player: Access-Control-Allow-Origin is %s", orNone(origin))
	methods := list(e.header.Values("Access-Control-Allow-Methods"))
	simple := method == http.MethodPost || method == http.MethodGet // need no permission
	t.require(simple || slices.Contains(methods, strings.ToLower(method)) || slices.Contains(methods, "*"), e,
		"name %s in Access-Control-Allow-Methods", method)
	allowed := list(e.header.Values("Access-Control-Allow-Headers"))
	for _, h := range headers {
		named := slices.Contains(allowed, h) || h != "authorization" && slices.Contains(allowed, "*")
		t.require(named, e, "name %s in Access-Control-Allow-Headers, where * does not cover Authorization", h)
	}
}

func checkPreflight(t *T) {
	t.allows(t.preflight("", http.MethodPost, "authorization,content-type"), http.MethodPost, "authorization", "content-type")
}

func checkAcceptPost(t *T) {
	for _, e := range []*exchange{t.preflight("", http.MethodPost, "authorization,content-type"), t.options("")} {
		if !e.ok() {
			t.require(false, e, "answer OPTIONS with 200")
			continue
		}
		types := list(e.header.Values("Accept-Post"))
		t.require(slices.Contains(types, typeSDP), e, "send Accept-Post: application/sdp with OPTIONS")
		if e.status != http.StatusOK {
			t.note(e, "answer OPTIONS with 200 rather than %d", e.status)
		}
	}
}

func checkSessionPreflight(t *T) {
	s := t.open(t.offer())
	t.allows(t.preflight(s.url, http.MethodPatch, "authorization,content-type,if-match"), http.MethodPatch, "authorization", "content-type", "if-match")
	t.allows(t.preflight(s.url, http.MethodDelete, "authorization"), http.MethodDelete, "authorization")
}

func checkPreflightFree(t *T) {
	s := t.open(t.offer())
	for _, u := range []string{"", s.url} {
		e := t.preflight(u, http.MethodPost, "authorization,content-type")
		t.require(e.ok(), e, "answer preflights without a token: browsers send none")
		if t.opt.Token != "" {
			e = t.options(u)
			t.require(e.ok(), e, "answer OPTIONS with a token too")
		}
	}
}

func checkAllowOrigin(t *T) {
	t.provoke()
	found := map[string]bool{}
	for _, e := range t.log {
		if e.sent.header["Origin"] != nil {
			continue // another origin was claimed, or none
		}
		origin := e.header.Get("Access-Control-Allow-Origin")
		kind := e.sent.method + http.StatusText(e.status)
		switch {
		case found[kind]:
		case origin != "*" && origin != t.opt.Origin:
			found[kind] = true
			t.require(false, e, "send Access-Control-Allow-Origin also with %d to %s: scripts see no answer without it", e.status, e.sent.method)
		case origin != "*" && !slices.Contains(list(e.header.Values("Vary")), "origin"):
			found[kind] = true
			t.warn(e, "send Vary: Origin when the origin is echoed")
		}
	}
}

// exposes judges which fields scripts may read of an answer.
func (t *T) exposes(e *exchange, names ...string) {
	exposed := list(e.header.Values("Access-Control-Expose-Headers"))
	for _, name := range names {
		if slices.Contains(exposed, name) || slices.Contains(exposed, "*") {
			continue
		}
		present := len(e.header.Values(name)) > 0
		switch {
		case present || name == "location":
			t.require(false, e, "list %s in Access-Control-Expose-Headers: scripts cannot read it", name)
		default:
			t.note(e, "list %s in Access-Control-Expose-Headers, for when it is sent", name)
		}
	}
}

func checkExposed(t *T) {
	s := t.open(t.offer())
	t.exposes(s.made, "location", "etag", "link")
	if e, r := s.restart("*"); r != nil {
		t.exposes(e, "etag")
	}
	if e := t.options(""); len(e.links()) > 0 {
		t.exposes(e, "link")
	}
	if t.opt.IdleURL != "" {
		e := t.do(request{method: http.MethodPost, url: t.opt.IdleURL, contentType: typeSDP, body: t.offer().String(), busyIsFine: true})
		if e.status == http.StatusConflict {
			t.exposes(e, "retry-after")
		}
	}
}

func checkBareOptions(t *T) {
	e := t.options("")
	if !e.ok() {
		t.warn(e, "answer a bare OPTIONS with 200")
		return
	}
	methods := list(append(e.header.Values("Access-Control-Allow-Methods"), e.header.Values("Allow")...))
	t.require(len(e.header.Values("Access-Control-Allow-Methods")) > 0, e, "send Access-Control-Allow-Methods with a bare OPTIONS")
	t.require(slices.Contains(methods, "patch"), e, "name PATCH on OPTIONS: two players trickle only then")
}
