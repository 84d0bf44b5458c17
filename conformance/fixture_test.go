package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// fixture is a small WHEP server over pion that does what the suite wants, but
// for one defect. It is written from the texts, apart from the checks.
type fixture struct {
	// Static after start.
	fixtureOptions
	*httptest.Server
	limit *rate.Limiter

	mu       sync.Mutex
	sessions map[string]*served
	count    int
	creating int
}

type fixtureOptions struct {
	defect  string // "" for the good server; several with + between them
	token   string // that it demands
	counter bool   // answers by counter-offers
	balance bool   // redirects POST
	tls     bool
	viewers int           // most sessions at once
	setup   time.Duration // to connect
	pending time.Duration // life of a counter-offer
	burst   int           // of POSTs
}

func startFixture(t testing.TB, o fixtureOptions) *fixture {
	if o.viewers == 0 {
		o.viewers = 24
	}
	if o.setup == 0 {
		o.setup = 30 * time.Second
	}
	if o.pending == 0 {
		o.pending = 30 * time.Second
	}
	if o.burst == 0 {
		o.burst = 300
	}
	f := &fixture{fixtureOptions: o, sessions: map[string]*served{}, limit: rate.NewLimiter(20, o.burst)}
	if o.tls {
		f.Server = httptest.NewTLSServer(f)
	} else {
		f.Server = httptest.NewServer(f)
	}
	t.Cleanup(func() {
		f.Close()
		f.closeSessions()
	})
	return f
}

func (f *fixture) closeSessions() {
	f.mu.Lock()
	all := make([]*served, 0, len(f.sessions))
	for _, s := range f.sessions {
		all = append(all, s)
	}
	clear(f.sessions)
	f.mu.Unlock()
	for _, s := range all {
		s.close()
	}
}

// is tells whether the server has one of the defects.
func (f *fixture) is(names ...string) bool {
	return slices.ContainsFunc(strings.Split(f.defect, "+"), func(d string) bool { return slices.Contains(names, d) })
}

func (f *fixture) endpoint() string { return f.URL + "/whep" }

// problem answers with problem details.
func (f *fixture) problem(w http.ResponseWriter, status int, detail string) {
	if f.is("location-on-errors") {
		w.Header().Set("Location", "/whep/none")
	}
	if f.is("cors-not-on-errors") {
		w.Header().Del("Access-Control-Allow-Origin")
	}
	if f.is("plain-errors") {
		http.Error(w, detail, status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	if f.is("problem-status") {
		status = http.StatusOK
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "detail": detail})
}

func (f *fixture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.cors(w, r)
	path := r.URL.Path
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	slashed := path != r.URL.Path || strings.HasSuffix(path, "/")
	path = strings.TrimSuffix(path, "/")
	switch {
	case slashed && f.is("moved-301"):
		http.Redirect(w, r, path, http.StatusMovedPermanently)
		return
	case slashed && f.is("slash-404"):
		f.problem(w, http.StatusNotFound, "no such path")
		return
	case f.is("no-http10") && r.ProtoMinor == 0:
		f.problem(w, http.StatusHTTPVersionNotSupported, "too old")
		return
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	stream, id := parts[0], ""
	if len(parts) > 1 {
		id = parts[1]
	}
	if r.Method == http.MethodOptions {
		f.options(w, r, id)
		return
	}
	if !f.is("token-late") && !f.allowed(w, r, id) {
		return
	}
	if !slices.Contains([]string{"whep", "other", "idle"}, stream) && !f.is("any-stream") || len(parts) > 2 {
		f.problem(w, http.StatusNotFound, "no such stream")
		return
	}
	if id == "" {
		f.serveEndpoint(w, r, stream)
	} else {
		f.serveSession(w, r, stream, id)
	}
}

func (f *fixture) cors(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if !f.is("no-expose") {
		h.Set("Access-Control-Expose-Headers", "Location, ETag, Link, Retry-After, Accept-Patch")
	}
}

func (f *fixture) options(w http.ResponseWriter, r *http.Request, id string) {
	h := w.Header()
	preflight := r.Header.Get("Access-Control-Request-Method") != ""
	switch {
	case f.is("preflight-token") && r.Header.Get("Authorization") == "":
		f.problem(w, http.StatusUnauthorized, "no token")
		return
	case f.is("session-preflight-405") && id != "":
		f.problem(w, http.StatusMethodNotAllowed, "no")
		return
	case f.is("no-cors-headers"):
	default:
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
	}
	h.Set("Access-Control-Allow-Methods", "OPTIONS, GET, HEAD, POST, PATCH, DELETE")
	if f.is("options-without-patch") {
		h.Set("Access-Control-Allow-Methods", "OPTIONS, GET, POST")
	}
	h.Set("Accept-Post", typeSDP)
	if f.is("accept-post-typo") {
		h.Del("Accept-Post")
		h.Set("Accept-Posts", typeSDP)
	}
	if !f.is("no-accept-patch") {
		h.Set("Accept-Patch", typeFrag)
	}
	if !preflight || f.is("preflight-links") {
		f.links(w)
	}
	if f.is("options-extension") {
		h.Add("Link", `</layers>; rel="urn:ietf:params:whep:ext:core:layer"`)
	}
	w.WriteHeader(http.StatusOK)
}

func (f *fixture) links(w http.ResponseWriter) {
	stun, turn := `<stun:192.0.2.1:3478>; rel="ice-server"`,
		`<turn:192.0.2.1:3478?transport=udp>; rel="ice-server"; username="viewer"; credential="abc123"; credential-type="password"`
	switch {
	case f.is("ice-server-slashes"):
		stun = `<stun://192.0.2.1:3478>; rel="ice-server"`
	case f.is("turn-no-credential"):
		turn = `<turn:192.0.2.1:3478?transport=udp>; rel="ice-server"`
	case f.is("links-joined"):
		stun, turn = stun+", "+turn, ""
	}
	for _, l := range []string{stun, turn} {
		if l != "" {
			w.Header().Add("Link", l)
		}
	}
}

// allowed checks the token, and answers when it is wrong.
func (f *fixture) allowed(w http.ResponseWriter, r *http.Request, id string) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given := r.Header.Get("Authorization") != ""
	switch {
	case f.token == "" && !(f.is("needless-token-401") && given):
		return true
	case f.is("session-needs-query") && (r.URL.Query().Get("token") == f.token || r.Method == http.MethodPost):
		return true
	case r.URL.Query().Get("token") == f.token && f.token != "":
		return true
	case id != "" && !given && !f.is("session-needs-query"): // the URL is a capability
		return true
	case id != "" && f.is("session-any-token"):
		return true
	case id != "" && f.is("session-rejects-token"):
	case f.is("any-token") && given:
		return true
	case strings.EqualFold(scheme, "Bearer") && token == f.token && !(f.is("bearer-case") && scheme != "Bearer"):
		return true
	}
	if !f.is("no-challenge") {
		challenge := `Bearer realm="whep"`
		if given {
			challenge += `, error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	f.problem(w, http.StatusUnauthorized, "give the token")
	return false
}

func (f *fixture) serveEndpoint(w http.ResponseWriter, r *http.Request, stream string) {
	h := w.Header()
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.Set("Content-Type", typeSDP)
		h.Set("Content-Length", "0")
		head := r.Method == http.MethodHead
		switch {
		case head && f.is("head-405"):
			f.problem(w, http.StatusMethodNotAllowed, "no")
			return
		case head && f.is("head-type"):
			h.Del("Content-Type")
		case head && f.is("head-body"):
			f.headBody(w)
			return
		case f.is("get-body"):
			h.Del("Content-Length")
			_, _ = io.WriteString(w, "<html>play</html>")
			return
		}
		w.WriteHeader(http.StatusOK)
	case http.MethodPost:
		f.post(w, r, stream)
	default:
		if f.is("put-500") {
			f.problem(w, http.StatusInternalServerError, "oops")
			return
		}
		if !f.is("no-allow") {
			h.Set("Allow", "OPTIONS, GET, HEAD, POST")
		}
		f.problem(w, http.StatusMethodNotAllowed, "use POST")
	}
}

func (f *fixture) headBody(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nhello")
}

func (f *fixture) serveSession(w http.ResponseWriter, r *http.Request, stream, id string) {
	f.mu.Lock()
	s := f.sessions[id]
	f.mu.Unlock()
	if s != nil && s.stream != stream && !f.is("cross-stream") {
		s = nil
	}
	if s == nil {
		switch {
		case f.is("strict-ids") && len(id) != len(newID()):
			f.problem(w, http.StatusBadRequest, "not an id")
		case r.Method == http.MethodDelete && f.is("delete-twice-500"):
			f.problem(w, http.StatusInternalServerError, "oops")
		case r.Method == http.MethodDelete && f.is("flood-drops"):
			f.closeSessions()
			f.problem(w, http.StatusNotFound, "no such session")
		case r.Method == http.MethodPatch && f.is("patch-unknown-204"):
			w.WriteHeader(http.StatusNoContent)
		default:
			f.problem(w, http.StatusNotFound, "no such session")
		}
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if f.is("session-get-404") {
			f.problem(w, http.StatusNotFound, "no page here")
			return
		}
		if f.is("session-get-405") {
			f.problem(w, http.StatusMethodNotAllowed, "no")
			return
		}
		w.WriteHeader(http.StatusOK)
	case http.MethodDelete:
		f.deleteSession(w, r, s)
	case http.MethodPatch:
		if f.is("patch-307") {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		s.patch(w, r)
	case http.MethodPost:
		if f.is("session-post-200") {
			w.WriteHeader(http.StatusOK)
			return
		}
		fallthrough
	default:
		w.Header().Set("Allow", "OPTIONS, GET, HEAD, PATCH, DELETE")
		f.problem(w, http.StatusMethodNotAllowed, "no")
	}
}

func (f *fixture) deleteSession(w http.ResponseWriter, r *http.Request, s *served) {
	status := http.StatusOK
	switch {
	case f.is("delete-nothing"):
		w.WriteHeader(status)
		return
	case f.is("delete-etag") && r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != s.tag():
		f.problem(w, http.StatusPreconditionFailed, "no")
		return
	case f.is("delete-early-409") && !s.isConnected():
		f.problem(w, http.StatusConflict, "not yet")
		return
	case f.is("counter-delete-405") && s.isPending():
		f.problem(w, http.StatusMethodNotAllowed, "no")
		return
	case f.is("delete-204"):
		status = http.StatusNoContent
	}
	f.remove(s)
	if f.is("sends-after-delete") {
		time.AfterFunc(8*time.Second, s.close)
	} else {
		s.close()
	}
	w.WriteHeader(status)
}

func (f *fixture) remove(s *served) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, s.id)
}
