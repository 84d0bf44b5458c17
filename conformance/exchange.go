package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Media types of WHEP.
const (
	typeSDP  = "application/sdp"
	typeFrag = "application/trickle-ice-sdpfrag"
)

// request is one HTTP request of the tester. Zero fields mean what a player
// would send: the endpoint, the configured token, the foreign origin.
type request struct {
	method, url string
	contentType string
	ifMatch     string
	body        string
	header      http.Header // added last; a nil value removes the field
	token       string      // instead of the configured one; noToken: none
	busyIsFine  bool        // do not wait and retry on 429 and 503
}

const noToken = "\x00"

// exchange is one request and its answer. Status is 0 when none came.
type exchange struct {
	sent     request
	status   int
	proto    string
	header   http.Header
	body     []byte
	said     string // how a refusal explains itself
	took     time.Duration
	err      error
	redirect []*exchange // those that led here
	offer    *description
}

func (e *exchange) ok() bool         { return e.status >= 200 && e.status < 300 }
func (e *exchange) refused() bool    { return e.status >= 400 && e.status < 500 }
func (e *exchange) is(s ...int) bool { return slices.Contains(s, e.status) }
func (e *exchange) busy() bool {
	return e.is(http.StatusTooManyRequests, http.StatusServiceUnavailable)
}
func (e *exchange) mediaType() string { return mediaType(e.header.Get("Content-Type")) }

func mediaType(field string) string {
	m, _, err := mime.ParseMediaType(field)
	if err != nil {
		m, _, _ = strings.Cut(field, ";")
	}
	return strings.ToLower(strings.TrimSpace(m))
}

// shown are the fields worth showing as evidence.
var shown = []string{
	"Content-Type", "Content-Length", "Location", "Etag", "Link", "Allow", "Retry-After", "Www-Authenticate",
	"Accept-Post", "Accept-Patch", "Vary", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Headers", "Access-Control-Expose-Headers",
}

func (e *exchange) evidence() []string {
	q := e.sent.method + " " + withoutSecrets(e.sent.url)
	if e.sent.contentType != "" {
		q += "; Content-Type: " + e.sent.contentType
	}
	if e.sent.ifMatch != "" {
		q += "; If-Match: " + e.sent.ifMatch
	}
	if method := e.sent.header.Get("Access-Control-Request-Method"); method != "" {
		q += "; Access-Control-Request-Method: " + method
	}
	if e.sent.body != "" {
		q += fmt.Sprintf("; %d bytes", len(e.sent.body))
	}
	if e.err != nil {
		return []string{printable(q), printable("-> no answer: " + e.err.Error())}
	}
	a := fmt.Sprintf("-> %d %s", e.status, http.StatusText(e.status))
	for _, name := range shown {
		for _, v := range e.header.Values(name) {
			a += "; " + name + ": " + withoutSecrets(v)
		}
	}
	lines := []string{printable(q), printable(a)}
	if e.said != "" {
		lines = append(lines, printable("   "+e.said))
	}
	return lines
}

// explanation is the beginning of a refusal's body, on one line, without the
// token.
func explanation(body []byte, token string) string {
	const most = 200
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "\ufffd")), " ")
	if token != "" {
		text = strings.ReplaceAll(text, token, "...")
	}
	text = withoutSecrets(text)
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "..."
	}
	return text
}

var secret = regexp.MustCompile(`([?&][^=&]*(?:token|key|auth|sig|jwt)[^=&]*=|credential=")[^&#"]+`)

// withoutSecrets hides what looks like a token in a query, and the credentials
// of links.
func withoutSecrets(s string) string { return secret.ReplaceAllString(s, "${1}...") }

// do sends the request and waits, a bounded number of times, when the target
// says that it is busy. The exchange is recorded.
func (t *T) do(q request) *exchange {
	e := t.doQuietly(q)
	t.record(e)
	return e
}

// record keeps the exchange as evidence. Not for concurrent use.
func (t *T) record(e *exchange) {
	t.seen = append(t.seen, e)
	if e.err == nil && len(t.log) < maxLog {
		t.log = append(t.log, e)
	}
}

// doQuietly is do without the record; it may be called concurrently.
func (t *T) doQuietly(q request) *exchange {
	const attempts = 6
	for i := 1; ; i++ {
		e := t.send(t.ctx, q)
		if !e.busy() || q.busyIsFine || i == attempts {
			return e
		}
		select {
		case <-time.After(retryAfter(e)):
		case <-t.ctx.Done():
			return e
		}
	}
}

// retryAfter is how long a busy target wants to be left alone, within bounds.
func retryAfter(e *exchange) time.Duration {
	if s, err := strconv.Atoi(e.header.Get("Retry-After")); err == nil && s > 0 {
		return min(time.Duration(s)*time.Second, 10*time.Second)
	}
	return time.Second
}

// send makes one exchange. It may be called concurrently. What makes or ends a
// session is seen through when ctx ends meanwhile, so that none is left behind.
func (r *run) send(ctx context.Context, q request) *exchange {
	if q.url == "" {
		q.url = r.opt.URL
	}
	e := &exchange{sent: q}
	switch {
	case q.method == http.MethodDelete:
		ctx = context.WithoutCancel(ctx)
	case ctx.Err() != nil:
		e.err = ctx.Err()
		return e
	case q.method == http.MethodPost:
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.Limits.Request)
	defer cancel()
	var body io.Reader
	if q.body != "" || q.method == http.MethodPost || q.method == http.MethodPatch {
		body = strings.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, body)
	if err != nil {
		e.err = err
		return e
	}
	req.Header = r.fields(q)
	began := time.Now()
	resp, err := r.client.Do(req)
	if err != nil {
		e.err = errors.Unwrap(err)
		if e.err == nil {
			e.err = err
		}
		return e
	}
	defer resp.Body.Close()
	e.body, e.err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	e.took = time.Since(began)
	e.status, e.proto, e.header = resp.StatusCode, resp.Proto, resp.Header
	if e.status >= 400 && e.mediaType() != typeSDP {
		e.said = explanation(e.body, r.opt.Token)
	}
	return e
}

// fields are the header fields of a request.
func (r *run) fields(q request) http.Header {
	h := http.Header{"Origin": {r.opt.Origin}, "User-Agent": {"deskwhep-check"}}
	switch {
	case q.token == noToken:
	case q.token != "":
		h.Set("Authorization", "Bearer "+q.token)
	case r.opt.Token != "":
		h.Set("Authorization", "Bearer "+r.opt.Token)
	}
	if q.contentType != "" {
		h.Set("Content-Type", q.contentType)
	}
	if q.ifMatch != "" {
		h.Set("If-Match", q.ifMatch)
	}
	for name, values := range q.header {
		if values == nil {
			h.Del(name)
		} else {
			h[http.CanonicalHeaderKey(name)] = values
		}
	}
	return h
}

func (t *T) get(u string) *exchange  { return t.do(request{method: http.MethodGet, url: u}) }
func (t *T) head(u string) *exchange { return t.do(request{method: http.MethodHead, url: u}) }

// delete ends a session, which then need not be ended with the case.
func (t *T) delete(u string) *exchange {
	e := t.do(request{method: http.MethodDelete, url: u})
	if e.ok() {
		t.urls = slices.DeleteFunc(t.urls, func(v string) bool { return v == u })
	}
	return e
}

// preflight asks as a browser does before it sends method with the headers.
func (t *T) preflight(u, method, headers string) *exchange {
	return t.do(request{method: http.MethodOptions, url: u, token: noToken, header: http.Header{
		"Access-Control-Request-Method":  {method},
		"Access-Control-Request-Headers": {headers},
	}})
}

// options asks without preflight fields.
func (t *T) options(u string) *exchange {
	return t.do(request{method: http.MethodOptions, url: u})
}

// postBody posts a body and follows 307 and 308. A session made is deleted at
// the end of the case.
func (t *T) postBody(q request) *exchange {
	q.method = http.MethodPost
	e := t.doQuietly(q)
	var hops []*exchange
	for len(hops) < 5 && e.is(http.StatusTemporaryRedirect, http.StatusPermanentRedirect) {
		next := e.location()
		if next == "" {
			break
		}
		hops = append(hops, e)
		q.url = next
		e = t.doQuietly(q)
	}
	e.redirect = hops
	t.recordPost(e)
	return e
}

// recordPost keeps the exchange and the session it made.
func (t *T) recordPost(e *exchange) {
	for _, hop := range e.redirect {
		t.record(hop)
	}
	t.record(e)
	if u := e.location(); u != "" && (e.ok() || e.status == http.StatusNotAcceptable) {
		t.urls = append(t.urls, u)
	}
}

// post posts an offer with the right media type.
func (t *T) post(offer *description) *exchange {
	e := t.postBody(request{contentType: typeSDP, body: offer.String()})
	e.offer = offer
	return e
}

// location resolves the Location field against the URL of the request; "" when
// there is none or when it is no reference.
func (e *exchange) location() string {
	field := e.header.Get("Location")
	base, err := url.Parse(e.sent.url)
	if field == "" || err != nil {
		return ""
	}
	u, err := base.Parse(field)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	return u.String()
}

// answer parses the body as SDP.
func (e *exchange) answer() (*description, error) {
	if e.mediaType() != typeSDP && !bytes.HasPrefix(e.body, []byte("v=0")) {
		return nil, fmt.Errorf("the body is not SDP")
	}
	return parse(string(e.body))
}

// ended tells whether the status says that there is no such resource.
func (e *exchange) ended() bool { return e.is(http.StatusNotFound, http.StatusGone) }
