package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Group P: tolerance towards clients in the field. What would lose a player is
// a warning, whatever the level of the rows.

func checkHTTPForms(t *T) {
	t.exchangeBase()
	typ := "Content-Type: " + typeSDP + "\r\n"
	length := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n", len(body)) }

	body := t.offer().String()
	t.form("HTTP/1.0", t.requestLine(http.MethodPost, "HTTP/1.0", typ+length(body)), body, false)

	body = t.offer().String()
	t.form("Expect: 100-continue", t.requestLine(http.MethodPost, "HTTP/1.1", typ+length(body)+"Expect: 100-continue\r\nConnection: close\r\n"), body, true)

	body = t.offer().String()
	half := len(body) / 2
	chunked := fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
	t.form("a chunked body", t.requestLine(http.MethodPost, "HTTP/1.1", typ+"Transfer-Encoding: chunked\r\nConnection: close\r\n"), chunked, false)

	body = t.offer().String()
	t.form("a reused connection", t.requestLine(http.MethodOptions, "HTTP/1.1", "")+t.requestLine(http.MethodPost, "HTTP/1.1", typ+length(body)+"Connection: close\r\n"), body, false)
}

// form posts on a connection of its own; the last answer counts.
func (t *T) form(what, header, body string, wait bool) {
	e := t.formExchange(header, body, wait)
	if e.busy() { // once more, after what other cases used up
		t.sleep(retryAfter(e))
		e = t.formExchange(header, body, wait)
	}
	t.recordPost(e)
	complete := e.status == http.StatusCreated && strings.HasPrefix(string(e.body), "v=0")
	if !complete {
		t.warn(e, "take a POST with %s, and answer it whole", what)
	}
}

func (t *T) formExchange(header, body string, wait bool) *exchange {
	e := &exchange{sent: request{method: http.MethodPost, url: t.opt.URL, contentType: typeSDP, body: body}}
	c, err := t.dial()
	if err != nil {
		e.err = err
		return e
	}
	defer c.Close()
	r := bufio.NewReader(c)
	if _, e.err = io.WriteString(c, header); e.err != nil {
		return e
	}
	if wait {
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
		if err != nil {
			e.err = err
			return e
		}
		if resp.StatusCode != http.StatusContinue {
			return e.take(resp)
		}
	}
	if _, e.err = io.WriteString(c, body); e.err != nil {
		return e
	}
	for range strings.Count(header, "\r\n\r\n") {
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
		if err != nil {
			e.err = err
			return e
		}
		e.take(resp)
	}
	return e
}

// take takes an answer that was read from a raw connection.
func (e *exchange) take(resp *http.Response) *exchange {
	defer resp.Body.Close()
	e.body, e.err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	e.status, e.header = resp.StatusCode, resp.Header
	return e
}

func checkSlashes(t *T) {
	t.exchangeBase()
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	paths := []string{strings.TrimSuffix(u.Path, "/") + "/", "/" + u.Path}
	for _, path := range paths {
		v := *u
		v.Path = path
		target := v.String()
		if strings.HasPrefix(path, "//") { // String writes no such path by itself
			target = u.Scheme + "://" + u.Host + path
			if u.RawQuery != "" {
				target += "?" + u.RawQuery
			}
		}
		e := t.postBody(request{url: target, contentType: typeSDP, body: t.offer().String()})
		switch {
		case e.status == http.StatusCreated:
		case e.is(http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther):
			t.fail(e, "answer POST to %s with 201, 307 or 308: %d loses the body", path, e.status)
		default:
			t.require(false, e, "take POST to %s: players and people add slashes", path)
		}
	}
}

func checkEmptyPost(t *T) {
	for _, typ := range []string{typeSDP, ""} {
		e := t.postBody(request{contentType: typ})
		if !e.refused() {
			t.fail(e, "refuse an empty POST with 4xx: the mode in which the server offers is retired")
		}
	}
}

func checkOldPatches(t *T) {
	s := t.watch(t.offer())
	json := t.do(request{
		method: http.MethodPatch, url: s.url, contentType: "application/json", ifMatch: s.tag(),
		body: `{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host","sdpMid":"0","sdpMLineIndex":0}`,
	})
	etag := t.do(request{
		method: http.MethodPatch, url: s.url, contentType: typeFrag, body: s.fragment("end-of-candidates"),
		header: http.Header{"Etag": {s.tag()}},
	})
	for _, e := range []*exchange{json, etag} {
		if e.status >= 500 || e.status == 0 {
			t.fail(e, "refuse PATCHes of old clients with 4xx instead of failing")
		}
	}
	if !s.flows() {
		t.fail(etag, "let the session live on after PATCHes of old clients")
	}
	e := t.delete(s.url)
	t.require(e.ok(), e, "let a later DELETE work")
}

func checkOldPosts(t *T) {
	s := t.watch(t.offer())
	e := t.do(request{method: http.MethodPost, url: s.url, contentType: "application/json", body: `{"kind":"video","muted":true}`})
	t.require(e.status == http.StatusMethodNotAllowed, e, "answer POST on a session with 405")
	if !s.flows() {
		t.fail(e, "let the session live on after a POST on it")
	}
}

// Vanished players at once, and in all.
const vanishedAtOnce, vanishedAll = 4, 12

func checkVanished(t *T) {
	var all []*session
	for range vanishedAll / vanishedAtOnce {
		var group []*session
		var signs []request
		for range vanishedAtOnce {
			s := t.play(t.offer())
			signs = append(signs, s.watched())
			s.peer.vanish()
			group = append(group, s)
		}
		all = append(all, group...)
		for i, s := range group {
			if e, gone := s.gone(signs[i], t.opt.Limits.Consent); !gone {
				t.fail(e, "remove the sessions of players that vanish: this one is still there after %v", t.opt.Limits.Consent)
				return
			}
		}
	}
	t.observed("%d sessions of vanished players are gone", len(all))
}
