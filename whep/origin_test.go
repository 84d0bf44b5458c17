package whep

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestForeignPages asks from pages of many origins, and under many names. Only
// a token, or the configuration, lets in those of elsewhere.
func TestForeignPages(t *testing.T) {
	const own, elsewhere = "127.0.0.1:8080", "https://evil.example"
	closed := newTestServer(t, func(c *Config) { c.CORSOrigin = "" })
	one := newTestServer(t, func(c *Config) { c.CORSOrigin = "https://wall.example" })
	open := newTestServer(t, nil)
	token := newTestServer(t, func(c *Config) { c.CORSOrigin, c.Tokens = "", []string{"sesame"} })
	for _, c := range []struct {
		what         string
		s            *Server
		host, origin string
		want         int
	}{
		{"a program", closed, own, "", 201},
		{"a program without a host", closed, "", "", 201},
		{"its own page", closed, own, "http://127.0.0.1:8080", 201},
		{"its own page by name", closed, "LocalHost:8080", "http://localhost:8080", 201},
		{"its own page over IPv6", closed, "[::1]:8080", "http://[::1]:8080", 201},
		{"a page of another port here", closed, own, "http://localhost:5173", 201},
		{"a page of elsewhere", closed, own, elsewhere, 403},
		{"a page that looks like one of here", closed, own, "http://localhost.evil.example", 403},
		{"one more", closed, own, "http://127.0.0.1.evil.example:8080", 403},
		{"a page without an origin", closed, own, "null", 403},
		{"a name of elsewhere that points here", closed, "evil.example:8080", "", 403},
		{"its page", closed, "evil.example:8080", "http://evil.example:8080", 403},
		{"an address of the network", closed, "192.0.2.1:8080", "", 403},
		{"the page that is allowed", one, own, "https://wall.example", 201},
		{"the name that is allowed", one, "wall.example", "https://wall.example", 201},
		{"another name", one, "evil.example:8080", "", 403},
		{"any page where all are allowed", open, own, elsewhere, 201},
		{"any name where all are allowed", open, "desk.example", elsewhere, 201},
		{"any page with a token", token, own, elsewhere, 201},
		{"any name with a token", token, "desk.example", elsewhere, 201},
	} {
		r := httptest.NewRequest("POST", "/whep", strings.NewReader(basic))
		r.Host = c.host
		r.Header.Set("Content-Type", "application/sdp")
		r.Header.Set("Authorization", "Bearer sesame")
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		c.s.Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d\n%s", c.what, w.Code, c.want, w.Body)
		}
		if w.Code == http.StatusForbidden && !strings.Contains(w.Body.String(), "--token") {
			t.Errorf("%s: the refusal does not say what to do: %s", c.what, w.Body)
		}
		if allowed := w.Header().Get("Access-Control-Allow-Origin"); allowed == "" || c.s != one && allowed != "*" {
			t.Errorf("%s: the page cannot read the answer: %q", c.what, allowed)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PATCH", "DELETE"} {
		for _, path := range []string{"/whep", "/whep/desktop/abc", "/nothing"} {
			r := httptest.NewRequest(method, path, nil)
			r.Host = own
			r.Header.Set("Origin", elsewhere)
			w := httptest.NewRecorder()
			closed.Handler().ServeHTTP(w, r)
			if w.Code != http.StatusForbidden {
				t.Errorf("%s %s from elsewhere: %d", method, path, w.Code)
			}
		}
	}
}

// TestFromHere tells the owner's requests from others.
func TestFromHere(t *testing.T) {
	for _, c := range []struct {
		what, from, host, origin, proxy string
		want                            bool
	}{
		{"a program", "127.0.0.1:5000", "127.0.0.1:8080", "", "", true},
		{"the page", "127.0.0.1:5000", "localhost:8080", "http://localhost:8080", "", true},
		{"the page over IPv6", "[::1]:5000", "[::1]:8080", "http://[::1]:8080", "", true},
		{"an address of IPv4 within IPv6", "[::ffff:127.0.0.1]:5000", "127.0.0.1:8080", "", "", true},
		{"another machine", "192.0.2.1:5000", "localhost:8080", "", "", false},
		{"another name", "127.0.0.1:5000", "evil.example:8080", "http://evil.example:8080", "", false},
		{"a page of elsewhere", "127.0.0.1:5000", "127.0.0.1:8080", "https://evil.example", "", false},
		{"a proxy", "127.0.0.1:5000", "127.0.0.1:8080", "", "192.0.2.1", false},
		{"no address", "", "127.0.0.1:8080", "", "", false},
	} {
		r := httptest.NewRequest("DELETE", "/viewers/abc", nil)
		r.RemoteAddr, r.Host = c.from, c.host
		for name, value := range map[string]string{"Origin": c.origin, "X-Forwarded-For": c.proxy} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if got := FromHere(r); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestEnd ends a session by hand: its player is told, and others are not.
func TestEnd(t *testing.T) {
	s := newTestServer(t, nil)
	first, _, _ := begin(t, s, "/whep")
	second, _, _ := begin(t, s, "/whep")
	id := strings.TrimPrefix(first, "/whep/desktop/")
	name := id[:8]
	for _, wrong := range []string{"", "aaaaaaaa", name[:7], name + "-" + id[9:]} { // no id has a dash
		if s.End(wrong) {
			t.Errorf("a session was ended as %q", wrong)
		}
	}
	if !s.End(name) || s.End(name) {
		t.Error("it was not ended once")
	}
	for method, want := range map[string]int{"GET": 410, "DELETE": 410, "PATCH": 410} {
		if r := ask(s, method, first, ""); r.StatusCode != want {
			t.Errorf("%s: %s", method, r.Status)
		}
	}
	if r := ask(s, "GET", second, ""); r.StatusCode != http.StatusOK {
		t.Errorf("the other session: %s", r.Status)
	}
	other, err := s.find("desktop", strings.TrimPrefix(second, "/whep/desktop/"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * endedMost {
		id = randomID()
		s.mu.Lock()
		s.sessions[id] = other
		s.mu.Unlock()
		s.End(id)
	}
	if len(s.ended) != endedMost {
		t.Errorf("%d ids are kept", len(s.ended))
	}
}
