package conformance

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Group E: availability, load, redirects.

func checkIdle(t *T) {
	if t.opt.IdleURL == "" {
		t.skip("give the URL of a stream that is declared and not live")
	}
	e := t.do(request{method: http.MethodPost, url: t.opt.IdleURL, contentType: typeSDP, body: t.offer().String(), busyIsFine: true})
	if u := e.location(); e.ok() && u != "" {
		t.urls = append(t.urls, u)
	}
	switch {
	case e.status == http.StatusNotFound:
		t.warn(e, "answer 409 with Retry-After for a stream that may begin: 404 makes players give up")
	case t.require(e.status == http.StatusConflict, e, "answer 409 with Retry-After while a stream is not live"):
		s, err := strconv.Atoi(e.header.Get("Retry-After"))
		t.require(err == nil && s >= 1, e, "send Retry-After in seconds with the 409")
	}
}

func checkUnknownStream(t *T) {
	t.takesOffers()
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	for _, path := range []string{strings.TrimSuffix(u.Path, "/") + "/" + random(), u.Path[:strings.LastIndex(u.Path, "/")+1] + random()} {
		u.Path = path
		e := t.postBody(request{url: u.String(), contentType: typeSDP, body: t.offer().String()})
		switch {
		case e.is(http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed):
		case t.require(!e.ok() && e.status < 500 && e.status != 0, e, "refuse an unknown stream with 404, and make no session") && !e.ended():
			t.note(e, "404 is the usual status for an unknown stream")
		}
	}
}

// maxOverload bounds the sessions that checkOverload opens.
const maxOverload = 64

func checkOverload(t *T) {
	victim := t.watch(t.offer())
	var e *exchange
	for range maxOverload {
		e = t.postBody(request{contentType: typeSDP, body: t.offer().String(), busyIsFine: true})
		t.peers[len(t.peers)-1].close() // only the credentials were needed
		if e.status == http.StatusTooManyRequests {
			t.sleep(retryAfter(e))
		} else if e.status != http.StatusCreated {
			break
		}
	}
	t.require(victim.flows(), e, "a refused player must not disturb the others")
	switch {
	case e.status == http.StatusCreated, e.status == http.StatusTooManyRequests:
		t.skip("%d sessions did not exceed the server's limit of viewers", maxOverload)
	case t.require(e.status == http.StatusServiceUnavailable, e, "answer 503 when there is no room for a player"):
		retry := e.header.Get("Retry-After")
		_, err := strconv.Atoi(retry)
		_, dateErr := http.ParseTime(retry)
		t.require(retry == "" || err == nil || dateErr == nil, e, "write Retry-After as seconds or as an HTTP-date")
	}
}

func checkMoved(t *T) {
	t.provoke()
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	for _, path := range []string{strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.Path, "/") + "/", "/" + u.Path} {
		v := *u
		v.Path = path
		for _, method := range []string{http.MethodOptions, http.MethodGet} {
			t.do(request{method: method, url: v.String()})
		}
		t.postBody(request{url: v.String(), contentType: typeSDP, body: t.offer().String()})
	}
	found := 0
	for _, e := range t.log {
		if e.is(http.StatusMovedPermanently, http.StatusFound) {
			if found++; found <= 3 {
				t.require(false, e, "redirect with 307 or 308: after %d clients turn POST into GET", e.status)
			}
		}
	}
}

func checkBalancing(t *T) {
	e := t.post(t.offer().description)
	if len(e.redirect) == 0 {
		if e.is(http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther) {
			t.require(false, e, "redirect POST with 307")
			return
		}
		t.skip("the endpoint does not redirect")
	}
	for _, hop := range e.redirect {
		if hop.status == http.StatusPermanentRedirect {
			t.note(hop, "307 is the status for balancing; 308 is tolerated")
		}
	}
	if !t.require(e.status == http.StatusCreated, e, "answer 201 where the redirect leads") {
		return
	}
	d := t.delete(e.location())
	t.require(d.ok(), d, "make Location valid on the host that the redirect leads to")
}

func checkFinalURLs(t *T) {
	t.provoke()
	found := 0
	for _, e := range t.log {
		if slices.Contains([]string{http.MethodPatch, http.MethodDelete}, e.sent.method) && e.status >= 300 && e.status < 400 {
			if found++; found <= 3 {
				t.require(false, e, "answer %s where Location points, without a redirect", e.sent.method)
			}
		}
	}
}
