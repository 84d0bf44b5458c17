package conformance

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Group A: HTTP surface and discovery by HEAD.

func checkEndpointGet(t *T) {
	e := t.get("")
	if t.profile("00", "01") {
		t.require(e.status == http.StatusMethodNotAllowed, e, "answer GET with 405: this draft reserves the method")
		return
	}
	if t.require(e.is(http.StatusOK, http.StatusNoContent), e, "answer GET on the endpoint with 200 and no body") {
		t.require(len(e.body) == 0, e, "send no body: %d bytes came; serve a player page at another URL", len(e.body))
	}
}

func checkSessionGet(t *T) {
	s := t.watch(t.offer())
	e := t.get(s.url)
	if t.profile("00", "01") {
		t.require(e.status == http.StatusMethodNotAllowed, e, "answer GET on a session with 405: this draft reserves the method")
		return
	}
	if t.require(e.ok(), e, "answer GET on a live session with 2xx") {
		t.require(len(e.body) == 0, e, "send no body: %d bytes came", len(e.body))
	}
	t.require(s.flows(), e, "GET must not disturb the session: media stopped after it")
}

func checkMethods(t *T) {
	s := t.watch(t.offer())
	for _, q := range []request{
		{method: http.MethodPut}, {method: http.MethodPatch}, {method: http.MethodDelete},
		{method: http.MethodPut, url: s.url}, {method: http.MethodPost, url: s.url, contentType: typeSDP, body: "v=0\r\n"},
	} {
		e := t.do(q)
		switch {
		case e.status >= 500 && e.status != http.StatusNotImplemented, e.status == 0, e.ok():
			t.require(false, e, "answer %s here with 405 and Allow", q.method)
		case !e.is(http.StatusMethodNotAllowed, http.StatusNotImplemented):
			t.warn(e, "better answer %s here with 405 and Allow", q.method)
		case e.status == http.StatusMethodNotAllowed && e.header.Get("Allow") == "":
			t.warn(e, "send Allow with the 405 to %s", q.method)
		}
	}
	t.require(s.flows(), line("RTP stopped"), "a method that is not supported must not disturb the session")
}

func checkHTTPS(t *T) {
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	if u.Scheme == "https" {
		return
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	near := host == "localhost" || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".localhost") ||
		err == nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || isDocumentation(ip))
	if near {
		t.warn(linef("endpoint %s", withoutSecrets(t.opt.URL)), "serve https when others than this machine are to play")
		return
	}
	t.fail(linef("endpoint %s", withoutSecrets(t.opt.URL)), "serve https: tokens and SDP must not travel in the clear")
}

// isDocumentation tells addresses that are in no public network (RFC 5737).
func isDocumentation(ip netip.Addr) bool {
	return slices.ContainsFunc([]string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"}, func(p string) bool {
		return netip.MustParsePrefix(p).Contains(ip)
	})
}

func checkHead(t *T) {
	e := t.head("")
	t.require(e.status == http.StatusOK, e, "answer HEAD on the endpoint with 200")
}

func checkHeadType(t *T) {
	e := t.head("")
	if !e.ok() {
		t.skip("HEAD is answered with %d (see WHEP-DISC-01)", e.status)
	}
	t.require(e.mediaType() == typeSDP, e, "send Content-Type: application/sdp with HEAD")
}

// volatile fields may differ from one answer to the next.
var volatile = []string{"Date", "X-Request-Id", "Traceparent", "Set-Cookie", "Server-Timing", "Connection", "Keep-Alive"}

func checkHeadSame(t *T) {
	g, h := t.get(""), t.head("")
	if !h.ok() {
		t.skip("HEAD is answered with %d (see WHEP-DISC-01)", h.status)
	}
	t.require(g.status == h.status, g, "answer GET and HEAD alike: %d and %d", g.status, h.status)
	for _, name := range fieldNames(g.header, h.header) {
		if a, b := g.header.Values(name), h.header.Values(name); !slices.Equal(a, b) {
			t.require(false, linef("GET  %s: %q\nHEAD %s: %q", name, a, name, b), "send the same %s with GET and HEAD", name)
		}
	}
	t.require(h.mediaType() == typeSDP, h, "send Content-Type: application/sdp with both GET and HEAD")
}

// fieldNames are the names in either header that do not always change.
func fieldNames(a, b http.Header) (names []string) {
	for _, h := range []http.Header{a, b} {
		for name := range h {
			if !slices.Contains(names, name) && !slices.Contains(volatile, name) && !strings.HasPrefix(name, "X-Ratelimit") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func checkHeadBody(t *T) {
	// The OPTIONS that follows on the same connection must be what comes next.
	status, rest := t.raw(
		t.requestLine(http.MethodHead, "HTTP/1.1", "")+
			t.requestLine(http.MethodOptions, "HTTP/1.1", "Connection: close\r\n"), http.MethodHead)
	t.observed("HEAD on a raw connection: %d", status)
	if status == 0 {
		t.skip("HEAD on a raw connection got no answer: %s", rest)
	}
	// An answer without length ends with the connection: then nothing may follow.
	if rest = strings.TrimLeft(rest, "\r\n"); rest != "" && !strings.HasPrefix(rest, "HTTP/") {
		t.require(false, linef("after the header of HEAD: %.60q", rest), "send no body with HEAD")
	}
}

// requestLine is a request to the endpoint as it goes on the wire, with more
// header lines.
func (t *T) requestLine(method, proto, more string) string {
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\nHost: %s\r\n", method, u.RequestURI(), proto, u.Host)
	for name, values := range t.fields(request{}) {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	return b.String() + more + "\r\n"
}

// dial opens a connection to the endpoint's server.
func (t *T) dial() (net.Conn, error) {
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	d := &net.Dialer{Timeout: t.opt.Limits.Request}
	var c net.Conn
	var err error
	if u.Scheme == "https" {
		c, err = (&tls.Dialer{NetDialer: d, Config: &tls.Config{InsecureSkipVerify: t.opt.Insecure}}).DialContext(t.ctx, "tcp", host) // asked for
	} else {
		c, err = d.DialContext(t.ctx, "tcp", host)
	}
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(t.opt.Limits.Request))
}

// raw writes to a new connection and returns the status and, for HEAD, all that
// followed the header; status 0 with the reason when there was no answer.
func (t *T) raw(text, method string) (int, string) {
	c, err := t.dial()
	if err != nil {
		return 0, err.Error()
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return 0, err.Error()
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	rest, _ := io.ReadAll(io.LimitReader(r, 1<<16)) // what came before the end
	return resp.StatusCode, string(rest)
}

// provoke makes answers of all kinds, for the rows that judge all answers, when
// few other cases ran before.
func (t *T) provoke() {
	t.postBody(request{contentType: typeSDP, body: "v=0\r\n"})
	t.postBody(request{contentType: "text/plain", body: "hello"})
	t.postBody(request{contentType: typeSDP, body: t.offer().with(only("video")).with(unsupported("video")).String()})
	t.do(request{method: http.MethodPut})
	s := t.open(t.offer())
	t.get("")
	t.head("")
	t.get(s.url)
	t.do(request{method: http.MethodPatch, url: s.url, contentType: "text/plain", body: "hello"})
	s.patch("", s.fragment())
	s.patch(`"nope"`, s.fragment())
	s.patch(s.tag(), s.fragment())
	t.delete(s.url)
	t.delete(s.url)
	s.patch(s.tag(), s.fragment())
	t.options("")
	if t.opt.Token != "" {
		t.postBody(request{contentType: typeSDP, body: "v=0\r\n", token: noToken})
	}
}

func checkProblems(t *T) {
	t.provoke()
	without, malformed := 0, 0
	for _, e := range t.log {
		if e.status < 400 || e.sent.method == http.MethodHead {
			continue
		}
		if e.mediaType() != "application/problem+json" {
			without++
			continue
		}
		var p struct {
			Status *int `json:"status"`
		}
		if err := json.Unmarshal(e.body, &p); err != nil || p.Status != nil && *p.Status != e.status {
			if malformed++; malformed <= 3 {
				t.warn(e, "write problem details as JSON whose status is that of the answer: %.80q", e.body)
			}
		}
	}
	if without > 0 {
		t.note(linef("%d error answers without problem details", without), "explain errors by application/problem+json")
	}
}

func checkRefusedLocation(t *T) {
	t.provoke()
	found := 0
	for _, e := range t.log {
		if e.sent.method == http.MethodPost && e.status >= 400 && e.status != http.StatusNotAcceptable && e.header.Get("Location") != "" {
			if found++; found <= 3 {
				t.require(false, e, "send no Location with a refusal, and keep no session")
			}
		}
	}
}
