package conformance

import (
	"net/http"
	"net/url"
	"strings"
)

// Group K: authentication.

// locked skips the case unless a token was given and is needed.
func (t *T) locked() {
	if t.opt.Token == "" {
		t.skip("give the token of a protected endpoint")
	}
}

func checkToken(t *T) {
	t.locked()
	e, s, err := t.begin(t.offer())
	if !t.require(s != nil && s.url != "", e, "accept Authorization: Bearer with the token: %v", err) {
		return
	}
	for _, e := range []*exchange{s.patch(s.tag(), s.fragment("end-of-candidates")), t.get(s.url), t.delete(s.url)} {
		t.require(!e.is(http.StatusUnauthorized, http.StatusForbidden), e, "accept the token with %s on the session", e.sent.method)
	}
}

func checkNoToken(t *T) {
	t.locked()
	e := t.postBody(request{contentType: typeSDP, body: t.offer().String(), token: noToken})
	if !t.require(e.status == http.StatusUnauthorized, e, "answer 401 when the token is missing") {
		return
	}
	scheme, _, _ := strings.Cut(e.header.Get("WWW-Authenticate"), " ")
	t.require(strings.EqualFold(scheme, "Bearer"), e, "send WWW-Authenticate: Bearer with the 401")
	t.require(e.header.Get("Location") == "" && !strings.Contains(string(e.body), "v=0"), e, "give nothing away with the 401")
}

func checkWrongToken(t *T) {
	t.locked()
	e := t.postBody(request{contentType: typeSDP, body: t.offer().String(), token: random()})
	if t.require(e.is(http.StatusUnauthorized, http.StatusForbidden), e, "refuse a wrong token with 401") &&
		e.status == http.StatusUnauthorized && !strings.Contains(e.header.Get("WWW-Authenticate"), "invalid_token") {
		t.note(e, `say error="invalid_token" in WWW-Authenticate`)
	}
}

func checkSessionToken(t *T) {
	t.locked()
	s := t.watch(t.offer())
	send := func(token string) *exchange {
		return t.do(request{
			method: http.MethodPatch, url: s.url, contentType: typeFrag, ifMatch: s.tag(), token: token,
			body: s.fragment("end-of-candidates"),
		})
	}
	e := send(noToken)
	if e.ok() {
		t.observed("the session URL is a capability: PATCH needs no token")
	}
	wrong := send(random())
	if !wrong.is(http.StatusUnauthorized, http.StatusForbidden) {
		t.warn(wrong, "refuse a wrong token on a session with 401")
	}
	e = t.do(request{method: http.MethodDelete, url: s.url, token: random()})
	if !e.is(http.StatusUnauthorized, http.StatusForbidden) {
		t.warn(e, "refuse DELETE with a wrong token with 401")
		return
	}
	t.require(s.flows(), e, "let the session play on when a request is refused")
}

func checkSchemeCase(t *T) {
	t.locked()
	e := t.postBody(request{
		contentType: typeSDP, body: t.offer().String(), token: noToken,
		header: http.Header{"Authorization": {"bearer " + t.opt.Token}},
	})
	t.require(e.status == http.StatusCreated, e, "take the scheme as bearer too: it has no case")
}

func checkURLToken(t *T) {
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	if u.RawQuery == "" {
		t.skip("the URL has no query that could hold a token")
	}
	s := t.open(t.offer())
	e := t.get(s.url)
	t.require(e.status != http.StatusUnauthorized && e.status != http.StatusForbidden, e, "let Location work as it is, without the endpoint's query")
	e = t.delete(s.url)
	t.require(e.ok(), e, "let DELETE on Location work without the endpoint's query")
}

func checkNeedlessToken(t *T) {
	if t.opt.Token != "" {
		t.skip("the endpoint is protected")
	}
	t.exchangeBase()
	e := t.postBody(request{contentType: typeSDP, body: t.offer().String(), token: "x"})
	if e.status != http.StatusCreated { // such players are left out
		t.warn(e, "ignore a token that is not needed: one player always sends one")
	}
}

func checkTokenFirst(t *T) {
	t.locked()
	urls := []string{t.opt.URL}
	if t.opt.IdleURL != "" {
		urls = append(urls, t.opt.IdleURL)
	}
	for _, u := range urls {
		for _, q := range []request{
			{contentType: typeSDP, body: "garbage"},
			{contentType: "text/plain", body: "garbage"},
		} {
			q.url, q.token = u, noToken
			e := t.postBody(q)
			if !e.is(http.StatusUnauthorized, http.StatusForbidden) {
				t.warn(e, "check the token before anything else: 401, not %d", e.status)
			}
		}
	}
}
