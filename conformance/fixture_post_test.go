package conformance

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// statusError is an error with the status to answer.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &statusError{status, fmt.Sprintf(format, args...)}
}

func (f *fixture) post(w http.ResponseWriter, r *http.Request, stream string) {
	if !f.is("no-rate-limit") && !f.limit.Allow() {
		w.Header().Set("Retry-After", "1")
		f.problem(w, http.StatusTooManyRequests, "slowly")
		return
	}
	if f.balance && stream == "whep" {
		if f.is("redirect-302") {
			http.Redirect(w, r, "/other", http.StatusFound)
		} else {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		}
		return
	}
	s, status, err := f.create(r, stream)
	if f.is("token-late") && err == nil && !f.allowed(w, r, "") {
		f.remove(s)
		s.close()
		return
	}
	if e, ok := err.(*statusError); ok {
		if e.status == http.StatusConflict && !f.is("no-retry-after") || e.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "2")
		}
		f.problem(w, e.status, e.text)
		return
	}
	if err != nil {
		f.problem(w, http.StatusInternalServerError, err.Error())
		return
	}
	f.created(w, s, status)
}

// create judges the request and makes a session, or says why not.
func (f *fixture) create(r *http.Request, stream string) (*served, int, error) {
	typ := r.Header.Get("Content-Type")
	media := mediaType(typ)
	if f.is("exact-type") {
		media = typ
	}
	if media != typeSDP && !f.is("any-type") {
		return nil, 0, refuse(http.StatusUnsupportedMediaType, "send application/sdp")
	}
	most := int64(256 << 10)
	switch {
	case f.is("unbounded"):
		most = 1 << 30
	case f.is("small-body"):
		most = 16 << 10
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, 0, refuse(http.StatusBadRequest, "read: %v", err)
	}
	if int64(len(body)) > most {
		return nil, 0, refuse(http.StatusRequestEntityTooLarge, "too large")
	}
	if len(body) == 0 && f.is("empty-post-500") {
		return nil, 0, fmt.Errorf("no body")
	}
	if stream == "idle" {
		if f.is("idle-404") {
			return nil, 0, refuse(http.StatusNotFound, "no such stream")
		}
		return nil, 0, refuse(http.StatusConflict, "not live")
	}
	offer, err := f.readOffer(string(body))
	if err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	full := len(f.sessions)+f.creating >= f.viewers
	if !full {
		f.creating++
	}
	only := (*served)(nil)
	if f.is("one-session") {
		for _, s := range f.sessions {
			only = s
		}
	}
	f.mu.Unlock()
	if full {
		if f.is("overload-500") {
			return nil, 0, fmt.Errorf("too many")
		}
		return nil, 0, refuse(http.StatusServiceUnavailable, "full")
	}
	defer func() {
		f.mu.Lock()
		f.creating--
		f.mu.Unlock()
	}()
	if only != nil {
		return only, http.StatusCreated, nil
	}
	s, err := f.newServed(stream, offer)
	if err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	f.count++
	s.id = newID()
	if f.is("counting-ids") {
		s.id = fmt.Sprintf("%032x", f.count)
	}
	f.sessions[s.id] = s
	f.mu.Unlock()
	s.arm()
	return s, map[bool]int{true: http.StatusNotAcceptable, false: http.StatusCreated}[f.counter], nil
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func (f *fixture) created(w http.ResponseWriter, s *served, status int) {
	h := w.Header()
	h.Set("Content-Type", typeSDP)
	location := "/" + s.stream + "/" + s.id
	switch {
	case f.is("no-location"):
		location = ""
	case f.is("broken-location"):
		location = "/nowhere/" + s.id
	case f.is("relative-location"):
		location = s.stream + "/" + s.id
	case f.is("answer-type"):
		h.Set("Content-Type", "text/plain")
	case f.is("status-200"):
		status = http.StatusOK
	case f.is("post-500"):
		f.problem(w, http.StatusInternalServerError, "oops")
		return
	}
	if location != "" {
		h.Set("Location", location)
	}
	if tag := s.tag(); tag != "" {
		h.Set("ETag", tag)
	}
	if !f.is("no-accept-patch") {
		h.Set("Accept-Patch", typeFrag)
	}
	f.links(w)
	h.Add("Link", `</layers>; rel="urn:ietf:params:whep:ext:core:layer"`)
	if f.is("extension-twice") {
		h.Add("Link", `</layers2>; rel="urn:ietf:params:whep:ext:core:layer"`)
	}
	if status == http.StatusNotAcceptable {
		until := time.Now().Add(f.pending).UTC().Format(http.TimeFormat)
		if f.is("counter-bad-date") {
			until = "soon"
		}
		if f.pending >= 20*time.Second {
			h.Set("Content-Type", typeSDP+`; valid-until="`+until+`"`)
		}
		if f.is("counter-no-etag") {
			h.Del("ETag")
		}
		if f.is("counter-no-sdp") {
			f.problem(w, status, "no")
			return
		}
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, s.answer())
}

// readOffer judges an offer.
func (f *fixture) readOffer(body string) (*description, error) {
	if f.is("crlf-only") && !strings.Contains(body, "\r\n") {
		return nil, refuse(http.StatusBadRequest, "no CRLF")
	}
	d, err := parse(body)
	if err != nil || len(d.media) == 0 {
		if f.is("garbage-500") {
			return nil, fmt.Errorf("cannot parse")
		}
		return nil, refuse(http.StatusBadRequest, "not an offer: %v", err)
	}
	bad := func(format string, args ...any) error { return refuse(http.StatusUnprocessableEntity, format, args...) }
	kinds := map[string]int{}
	for i, m := range d.media {
		kinds[m.kind]++
		for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
			if d.either(d.media[0], name) == "" || f.is("media-level-only") && m.get(name) == "" {
				if f.is("incomplete-500") {
					return nil, fmt.Errorf("no %s", name)
				}
				return nil, refuse(http.StatusBadRequest, "no %s", name)
			}
		}
		if m.get("mid") == "" {
			return nil, refuse(http.StatusBadRequest, "no mid")
		}
		if m.kind == "application" {
			if f.is("data-500") {
				return nil, fmt.Errorf("data channels")
			}
			continue
		}
		switch {
		case !m.has("rtcp-mux") && !f.is("no-mux-taken"):
			return nil, bad("no rtcp-mux")
		case f.is("wants-mux-only") && !m.has("rtcp-mux-only"):
			return nil, bad("no rtcp-mux-only")
		case m.port == "0" && i > 0 && f.is("port-0-refused"):
			return nil, bad("port 0")
		}
		if f.is("short-ids-only") && slices.ContainsFunc(m.all("extmap"), func(v string) bool { return len(v) > 2 && v[2] == ' ' && v[:2] > "14" }) {
			return nil, refuse(http.StatusBadRequest, "extension ids end at 14")
		}
		switch d.direction(m) {
		case "sendonly", "inactive":
			if !f.is("takes-sendonly") {
				return nil, bad("nothing to receive by")
			}
		}
	}
	switch {
	case kinds["video"]+kinds["audio"] == 0:
		return nil, bad("no media")
	case kinds["video"] > 1 && !f.is("two-videos"):
		return nil, bad("two videos")
	case len(d.media) > 1 && len(d.groups()) == 0 && !f.is("no-bundle-taken"):
		return nil, bad("no BUNDLE")
	case len(d.media) == 1 && f.is("no-single-kind"):
		return nil, bad("not both kinds")
	case f.is("needs-candidates") && !d.media[0].has("candidate"):
		return nil, bad("no candidates")
	case f.is("needs-video-first") && d.media[0].kind != "video":
		return nil, bad("video must be first")
	}
	return d, nil
}

// padding makes an answer larger than some players take.
func padding() (lines []string) {
	for i := range 200 {
		lines = append(lines, "x-padding-"+strconv.Itoa(i)+":"+strings.Repeat("x", 50))
	}
	return lines
}
