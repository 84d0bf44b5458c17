package whep

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"deskwhep/encode"
)

// quiet is a stream whose hub is not running: viewers join and get nothing.
type quiet struct{ hub *encode.Hub }

func (q quiet) Join(wants []encode.Want) (*encode.Viewer, encode.Codec, error) {
	if !slices.ContainsFunc(wants, func(w encode.Want) bool { return w.Codec == encode.VP8 }) {
		return nil, "", encode.ErrNoCodec
	}
	return q.hub.Join(), encode.VP8, nil
}

// idle is a stream that is known and has nothing to play.
type idle struct{}

func (idle) Join([]encode.Want) (*encode.Viewer, encode.Codec, error) {
	return nil, "", fmt.Errorf("%w: its window is closed", ErrIdle)
}

// newTestServer makes a server that is asked without HTTP connections. Its
// sessions end with the test.
func newTestServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	hub := encode.NewHub(encode.HubConfig{Log: log, FPS: 30})
	cfg := Config{Streams: map[string]Stream{"desktop": quiet{hub}, "other": quiet{hub}, "window": idle{}}, Default: "desktop", CORSOrigin: "*", Log: log, RTCPMuxOnly: true}
	if change != nil {
		change(&cfg)
	}
	s, err := New("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.drain()
		s.ports.media.end() // split is not running
		if err := s.ports.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request to the server's handler.
func ask(s *Server, method, target, body string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8080"
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// begin posts the basic offer.
func begin(t *testing.T, s *Server, target string, header ...string) (location, etag, answer string) {
	t.Helper()
	r := ask(s, "POST", target, basic, append(header, "Content-Type", "application/sdp")...)
	answer = text(t, r)
	if r.StatusCode != http.StatusCreated {
		t.Fatalf("POST: %s\n%s", r.Status, answer)
	}
	return r.Header.Get("Location"), r.Header.Get("ETag"), answer
}

// TestStatuses asks for one thing each and looks at the status and what must
// come with it.
func TestStatuses(t *testing.T) {
	s := newTestServer(t, nil)
	session, etag, _ := begin(t, s, "/whep")
	const sdp, frag = "application/sdp", "application/trickle-ice-sdpfrag"
	const creds = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\na=end-of-candidates\r\n"
	for _, c := range []struct {
		what, method, target, mediaType, ifMatch, body string
		want                                           int
	}{
		{"an offer", "POST", "/whep", sdp, "", basic, 201},
		{"an offer by the stream's name", "POST", "/whep/other", sdp, "", basic, 201},
		{"a media type with parameters", "POST", "/whep", "Application/SDP; charset=utf-8", "", basic, 201},
		{"an unknown stream", "POST", "/whep/nope", sdp, "", basic, 404},
		{"an idle stream", "POST", "/whep/window", sdp, "", basic, 409},
		{"no media type", "POST", "/whep", "", "", basic, 415},
		{"another media type", "POST", "/whep", "application/sdpfoo", "", basic, 415},
		{"no SDP", "POST", "/whep", sdp, "", "hello", 400},
		{"an empty body", "POST", "/whep", sdp, "", "", 400},
		{"a large body", "POST", "/whep", sdp, "", strings.Repeat("a", 1<<20), 413},
		{"an offer without our codecs", "POST", "/whep", sdp, "", strings.ReplaceAll(strings.ReplaceAll(basic, "VP8", "H265"), "opus", "speex"), 422},
		{"a codec that is not wanted", "POST", "/whep?codec=av1", sdp, "", basic, 422},
		{"the codec that is wanted", "POST", "/whep?codec=VP8", sdp, "", basic, 201},
		{"another spelling", "POST", "/whep/", sdp, "", basic, 307},
		{"one more spelling", "POST", "//whep", sdp, "", basic, 307},
		{"GET", "GET", "/whep", "", "", "", 200},
		{"HEAD", "HEAD", "/whep", "", "", "", 200},
		{"OPTIONS", "OPTIONS", "/whep", "", "", "", 200},
		{"PUT", "PUT", "/whep", "", "", "", 405},
		{"PATCH on the endpoint", "PATCH", "/whep", frag, "", "", 405},
		{"DELETE on the endpoint", "DELETE", "/whep", "", "", "", 405},
		{"GET on a session", "GET", session, "", "", "", 200},
		{"POST on a session", "POST", session, "application/json", "", "{}", 405},
		{"a session of another stream", "GET", strings.Replace(session, "desktop", "other", 1), "", "", "", 404},
		{"an unknown session", "DELETE", "/whep/desktop/aaaaaaaa", "", "", "", 404},
		{"candidates", "PATCH", session, frag, etag, creds, 204},
		{"candidates with the wildcard", "PATCH", session, frag, "*", creds, 204},
		{"candidates in an unknown session", "PATCH", "/whep/desktop/nope", frag, etag, creds, 404},
		{"candidates without a tag", "PATCH", session, frag, "", creds, 428},
		{"candidates with another tag", "PATCH", session, frag, `"nope"`, creds, 412},
		{"JSON candidates", "PATCH", session, "application/json", etag, "{}", 415},
		{"JSON said to be candidates", "PATCH", session, frag, etag, "{}", 400},
		{"an offer as PATCH", "PATCH", session, sdp, etag, basic, 422},
		{"a user fragment without a password", "PATCH", session, frag, "*", "a=ice-ufrag:new1\r\n", 400},
		{"DELETE with another tag", "DELETE", session, "", `"nope"`, "", 200},
		{"DELETE again", "DELETE", session, "", "", "", 404},
		{"candidates after DELETE", "PATCH", session, frag, etag, creds, 404},
		{"nothing there", "GET", "/nope", "", "", "", 404},
	} {
		header := []string{"Origin", "https://example.org"}
		if c.mediaType != "" {
			header = append(header, "Content-Type", c.mediaType)
		}
		if c.ifMatch != "" {
			header = append(header, "If-Match", c.ifMatch)
		}
		r := ask(s, c.method, c.target, c.body, header...)
		body := text(t, r)
		if r.StatusCode != c.want {
			t.Errorf("%s: %s, want %d\n%s", c.what, r.Status, c.want, body)
			continue
		}
		if r.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(r.Header.Get("Access-Control-Expose-Headers"), "Location, ETag, Link") {
			t.Errorf("%s: a page of another origin cannot read the answer", c.what)
		}
		if c.want >= 400 {
			var p problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != c.want || p.Detail == "" || r.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: no problem document but %q", c.what, body)
			}
			if r.Header.Get("Location") != "" {
				t.Errorf("%s: a refusal has a Location", c.what)
			}
		}
		switch c.want {
		case 405:
			if !strings.Contains(r.Header.Get("Allow"), "OPTIONS") {
				t.Errorf("%s: Allow is %q", c.what, r.Header.Get("Allow"))
			}
		case 409:
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", c.what)
			}
		case 307:
			if r.Header.Get("Location") != "/whep" {
				t.Errorf("%s: to %q", c.what, r.Header.Get("Location"))
			}
		case 204:
			if body != "" || r.Header.Get("ETag") != "" {
				t.Errorf("%s: ETag %q, body %q", c.what, r.Header.Get("ETag"), body)
			}
		}
	}
}

// TestRestart restarts ICE twice and finds new credentials and tags each time.
func TestRestart(t *testing.T) {
	s := newTestServer(t, nil)
	session, etag, answer := begin(t, s, "/whep")
	seen := []string{etag, attribute(answer, "ice-ufrag"), attribute(answer, "ice-pwd")}
	for i, ifMatch := range append([]string{"*", `"*"`, "current"}, slices.Repeat([]string{"*"}, 50)...) {
		if ifMatch == "current" {
			ifMatch = etag
		}
		body := fmt.Sprintf("a=ice-ufrag:new%02d\r\na=ice-pwd:abcdefghijklmnopqrstu%02d\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\na=end-of-candidates\r\n", i, i)
		r := ask(s, "PATCH", session, body, "Content-Type", fragmentType, "If-Match", ifMatch)
		got := text(t, r)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != fragmentType {
			t.Fatalf("restart with %s: %s\n%s", ifMatch, r.Status, got)
		}
		old := etag
		etag = r.Header.Get("ETag")
		for _, v := range []string{etag, attribute(got, "ice-ufrag"), attribute(got, "ice-pwd")} {
			if v == "" || slices.Contains(seen, v) {
				t.Errorf("restart %d has %q again", i, v)
			}
			seen = append(seen, v)
		}
		if !strings.Contains(got, "a=candidate:") || attribute(got, "ice-options") != attribute(answer, "ice-options") {
			t.Errorf("the fragment lacks candidates or options:\n%s", got)
		}
		trickle := strings.Replace(body, "a=end-of-candidates\r\n", "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n", 1)
		if r := ask(s, "PATCH", session, trickle, "Content-Type", fragmentType, "If-Match", old); r.StatusCode != http.StatusPreconditionFailed {
			t.Errorf("the old tag: %s", r.Status)
		}
		if r := ask(s, "PATCH", session, trickle, "Content-Type", fragmentType, "If-Match", etag); r.StatusCode != http.StatusNoContent {
			t.Errorf("the new tag: %s", r.Status)
		}
	}
}

func attribute(sdp, name string) string {
	_, rest, _ := strings.Cut(sdp, "a="+name+":")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// TestTokens: two tokens open the endpoint, in a header or the URL; sessions
// are opened by their URL unless configured otherwise.
func TestTokens(t *testing.T) {
	for _, strict := range []bool{false, true} {
		s := newTestServer(t, func(c *Config) { c.Tokens, c.SessionToken = []string{"one", "two"}, strict })
		session, _, _ := begin(t, s, "/whep", "Authorization", "bearer two")
		begin(t, s, "/whep?token=one")
		withoutToken := http.StatusOK
		if strict {
			withoutToken = http.StatusUnauthorized
		}
		for _, c := range []struct {
			what, method, target, auth string
			want                       int
		}{
			{"no token", "POST", "/whep", "", 401},
			{"no token on an idle stream", "POST", "/whep/window", "", 401},
			{"a wrong token", "POST", "/whep", "Bearer three", 401},
			{"a wrong token in the URL", "POST", "/whep?token=three", "", 401},
			{"another scheme", "POST", "/whep", "Basic b25lOnR3bw==", 401},
			{"GET without a token", "GET", "/whep", "", 401},
			{"a preflight", "OPTIONS", "/whep", "", 200},
			{"a preflight on a session", "OPTIONS", session, "", 200},
			{"a session by its URL alone", "GET", session, "", withoutToken},
			{"a session with a wrong token", "GET", session, "Bearer three", 401},
			{"a session with a token", "GET", session, "Bearer one", 200},
			{"DELETE with a wrong token", "DELETE", session, "Bearer three", 401},
			{"DELETE", "DELETE", session, "Bearer one", 200},
		} {
			r := ask(s, c.method, c.target, "garbage", "Authorization", c.auth, "Origin", "https://example.org", "Access-Control-Request-Method", "POST")
			if r.StatusCode != c.want {
				t.Errorf("strict %v: %s: %s, want %d", strict, c.what, r.Status, c.want)
			}
			challenge := r.Header.Get("WWW-Authenticate")
			if c.want == 401 && (!strings.HasPrefix(challenge, "Bearer") || strings.Contains(challenge, "invalid_token") != strings.Contains(c.what, "wrong")) {
				t.Errorf("strict %v: %s: the challenge is %q", strict, c.what, challenge)
			}
		}
	}
	open := newTestServer(t, nil)
	begin(t, open, "/whep", "Authorization", "Bearer whatever")
}

// TestOptions: what preflights and bare OPTIONS tell.
func TestOptions(t *testing.T) {
	s := newTestServer(t, func(c *Config) {
		c.CORSOrigin = "https://example.org"
		c.ICEServers = []ICEServer{{URL: "stun:stun.example.org"}, {URL: "turn:turn.example.org", Username: "u", Credential: "c"}}
	})
	session, _, _ := begin(t, s, "/whep")
	preflight := []string{"Origin", "https://example.org", "Access-Control-Request-Method", "POST"}
	for target, want := range map[string][]string{"/whep": {"POST", "PATCH"}, session: {"PATCH", "DELETE"}} {
		for _, header := range [][]string{preflight, nil} {
			r := ask(s, "OPTIONS", target, "", header...)
			for _, m := range want {
				if !strings.Contains(r.Header.Get("Access-Control-Allow-Methods"), m) {
					t.Errorf("%s: %s is missing", target, m)
				}
			}
			for _, h := range []string{"Authorization", "Content-Type", "If-Match"} {
				if !strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), h) {
					t.Errorf("%s: %s is not allowed", target, h)
				}
			}
			if links := len(r.Header.Values("Link")); header != nil && links != 0 {
				t.Errorf("%s: a preflight has %d ice-servers", target, links)
			}
			if r.Header.Get("Access-Control-Allow-Origin") != "https://example.org" || r.Header.Get("Vary") != "Origin" {
				t.Errorf("%s: origin %q", target, r.Header.Get("Access-Control-Allow-Origin"))
			}
		}
	}
	r := ask(s, "POST", "/whep", basic, "Content-Type", "application/sdp")
	want := []string{`<stun:stun.example.org>; rel="ice-server"`,
		`<turn:turn.example.org>; rel="ice-server"; username="u"; credential="c"; credential-type="password"`}
	if got := r.Header.Values("Link"); !slices.Equal(got, want) {
		t.Errorf("Link: %q", got)
	}
}

// TestFullHouse: viewers over the limit are refused until one leaves.
func TestFullHouse(t *testing.T) {
	s := newTestServer(t, func(c *Config) { c.MaxViewers = 2 })
	session, _, _ := begin(t, s, "/whep")
	begin(t, s, "/whep")
	r := ask(s, "POST", "/whep", basic, "Content-Type", "application/sdp")
	if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Errorf("the third viewer: %s, Retry-After %q", r.Status, r.Header.Get("Retry-After"))
	}
	ask(s, "DELETE", session, "")
	for deadline := time.Now().Add(10 * time.Second); s.Viewers() > 1 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	begin(t, s, "/whep")
}

// TestDraining: a server that is ending sends newcomers away for a while, and
// tells its viewers.
func TestDraining(t *testing.T) {
	s := newTestServer(t, nil)
	session, _, _ := begin(t, s, "/whep")
	s.drain()
	if r := ask(s, "GET", session, ""); r.StatusCode != http.StatusNotFound {
		t.Errorf("a session is left: %s", r.Status)
	}
	r := ask(s, "POST", "/whep", basic, "Content-Type", "application/sdp")
	if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || !strings.Contains(text(t, r), "shutting down") {
		t.Errorf("a newcomer: %s, Retry-After %q", r.Status, r.Header.Get("Retry-After"))
	}
}

// TestPostFlood: an address that posts too fast is told to slow down.
func TestPostFlood(t *testing.T) {
	s := newTestServer(t, nil)
	slowed := 0
	for range 300 {
		if r := ask(s, "POST", "/whep", "garbage", "Content-Type", "application/sdp"); r.StatusCode == http.StatusTooManyRequests {
			slowed++
			if r.Header.Get("Retry-After") == "" {
				t.Fatal("no Retry-After")
			}
		}
	}
	if slowed < 200 {
		t.Errorf("%d of 300 POSTs were slowed down", slowed)
	}
}
