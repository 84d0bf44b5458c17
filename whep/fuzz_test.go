package whep

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"
)

// FuzzOffer: an offer is understood or refused with one of our errors, and what
// we write of it can be read again.
func FuzzOffer(f *testing.F) {
	f.Add([]byte(basic))
	for _, name := range recordings {
		f.Add([]byte(recorded(f, name)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := readOffer(body)
		if err == nil {
			_, _, err = o.plan()
		}
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrUnservable) {
				t.Errorf("no status for %v", err)
			}
			return
		}
		video, audio, _ := o.plan()
		var list []served
		for _, i := range []int{video, audio} {
			if i >= 0 {
				list = append(list, served{index: i, format: o.sections[i].formats[0]})
			}
		}
		answer := writeAnswer(o, list, transport{}, 1, true)
		if strings.Count(answer, "\r\nm=") != len(o.sections) || strings.Count(answer, "\n") != strings.Count(answer, "\r\n") {
			t.Errorf("the answer is broken:\n%s", answer)
		}
		var d sdp.SessionDescription
		if err := d.UnmarshalString(answer); err != nil {
			t.Errorf("the answer cannot be read: %v\n%s", err, answer)
		}
	})
}

// FuzzFragment: a fragment is understood or ErrSyntax, and bounded.
func FuzzFragment(f *testing.F) {
	f.Add("a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2 127.0.0.1 41760 typ host\r\na=end-of-candidates\r\n")
	f.Add("a=\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		got, err := readFragment(body)
		if err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("no status for %v", err)
		}
		if len(got.candidates) > maxCandidates || (got.ufrag == "") != (got.pwd == "") && err == nil {
			t.Errorf("%d candidates, user fragment %q", len(got.candidates), got.ufrag)
		}
	})
}

// FuzzIfMatch: the wildcard and the tag itself match, whatever else the field
// has; a field without the tag never matches.
func FuzzIfMatch(f *testing.F) {
	const etag = `"0123456789abcdef"`
	f.Add("*")
	f.Add(`"x", W/"y"`)
	f.Add(etag)
	f.Fuzz(func(t *testing.T, field string) {
		wildcard, err := match([]string{field}, etag)
		if err == nil && !wildcard && !strings.Contains(field, etag) {
			t.Errorf("%q matches", field)
		}
		if err != nil && !errors.Is(err, ErrStale) {
			t.Errorf("%q: %v", field, err)
		}
	})
}

// FuzzPost: whatever is posted, it is never the server's fault, and a refusal
// leaves no session.
func FuzzPost(f *testing.F) {
	f.Add([]byte(basic))
	for _, name := range recordings {
		f.Add([]byte(recorded(f, name)))
	}
	s := newTestServer(f, func(c *Config) { c.PostRate = 1e6 })
	f.Fuzz(func(t *testing.T, body []byte) {
		r := ask(s, "POST", "/whep", string(body), "Content-Type", "application/sdp")
		switch {
		case r.StatusCode == http.StatusCreated:
			if d := ask(s, "DELETE", r.Header.Get("Location"), ""); d.StatusCode != http.StatusOK {
				t.Errorf("DELETE: %s", d.Status)
			}
			s.running.Wait()
		case r.StatusCode < 400 || r.StatusCode >= 500:
			t.Errorf("%s", r.Status)
		case r.Header.Get("Location") != "":
			t.Error("a refusal has a Location")
		}
		if n := s.Viewers(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}
