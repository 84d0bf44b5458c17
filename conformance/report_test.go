package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// sample is a report with one result of each verdict and text from a hostile target.
func sample() *Report {
	r := &Report{URL: "http://127.0.0.1/whep", Profile: "main", Started: time.Now(), Took: time.Second}
	for i, v := range verdicts {
		result := Result{ID: fmt.Sprintf("WHEP-SDP-%02d", i), Level: MUST, Section: "4", Requires: "what <it> requires", Verdict: v}
		if v != PASS {
			result.Findings = []Finding{{Verdict: v, Fix: "do & so", Evidence: []string{"POST /whep", "-> 500 \x1b[31m\x00"}}}
		}
		r.Results = append(r.Results, result)
	}
	return r
}

func TestTableSaysWhatToFix(t *testing.T) {
	var b bytes.Buffer
	r := sample()
	for id, reason := range map[string]string{"WHEP-CTR-01": "do & so", "WHEP-EXT-01": "no extensions"} {
		r.Results = append(r.Results, Result{ID: id, Section: "-", Verdict: SKIP, Findings: []Finding{{Verdict: SKIP, Fix: reason}}})
	}
	r.Results = append(r.Results, Result{ID: "WHEP-TOL-01", Section: "-", Verdict: INFO, Findings: []Finding{{Verdict: INFO, Fix: "see & so"}}})
	if err := WriteTable(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Must be fixed:\n  WHEP-SDP-03 (4): do & so\n      POST /whep", "\n  WHEP-TOL-01: see & so\n",
		"Not checked:\n", "\n  do & so:\n      WHEP-SDP-04, WHEP-CTR-01\n", "\n  no extensions:\n      WHEP-EXT-01\n",
		"1 PASS, 2 INFO, 1 WARN, 1 FAIL, 3 SKIP",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestJSONKeepsTheReport(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Results) != len(verdicts) || !back.Failed() || back.Results[3].Findings[0].Fix != "do & so" {
		t.Errorf("read back: %+v", back)
	}
}

func TestJUnitIsReadByItsReaders(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJUnit(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		XMLName  xml.Name `xml:"testsuite"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Cases    []struct {
			Name    string  `xml:"name,attr"`
			Class   string  `xml:"classname,attr"`
			Failure *string `xml:"failure"`
			Skipped *string `xml:"skipped"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b.Bytes(), &suite); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	failures, skipped := 0, 0
	for _, c := range suite.Cases {
		if c.Failure != nil {
			failures++
		}
		if c.Skipped != nil {
			skipped++
		}
	}
	if suite.Tests != len(verdicts) || failures != suite.Failures || skipped != suite.Skipped || failures != 1 || skipped != 1 {
		t.Errorf("%+v", suite)
	}
	if suite.Cases[0].Class != "whep.SDP" {
		t.Errorf("class %s", suite.Cases[0].Class)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for want, o := range map[string]Options{
		"endpoint":      {URL: "ftp://x"},
		"profile":       {URL: "http://127.0.0.1:1/whep", Profile: "99"},
		"no such case":  {URL: "http://127.0.0.1:1/whep", Only: []string{"WHEP-NO-01"}},
		"player":        {URL: "http://127.0.0.1:1/whep", Player: "vlc"},
		"excludes":      {URL: "http://127.0.0.1:1/whep", Profile: "00", Only: []string{"WHEP-DISC-01"}},
		"reach http://": {URL: "http://127.0.0.1:1/whep"},
	} {
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

func TestOlderDraftsWantOtherThings(t *testing.T) {
	f := startFixture(t, fixtureOptions{})
	r, err := Run(context.Background(), Options{URL: f.endpoint(), Profile: "01", Only: []string{"WHEP-HTTP-01", "WHEP-OFFER-02", "WHEP-DISC", "WHEP-CTR"}, Limits: quick})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Verdict{}
	for _, result := range r.Results {
		got[result.ID] = result.Verdict
	}
	// GET was reserved then, 415 literal, and HEAD and counter-offers unknown.
	if len(got) != 2 || got["WHEP-HTTP-01"] != FAIL || got["WHEP-OFFER-02"] != PASS {
		t.Errorf("%v", got)
	}
}

// TestInterruptedRun ends a run inside a case: what it made must be gone.
func TestInterruptedRun(t *testing.T) {
	f := startFixture(t, fixtureOptions{defect: "ignores-pli"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			f.mu.Lock()
			n := len(f.sessions)
			f.mu.Unlock()
			if n > 0 {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	r, err := Run(ctx, Options{URL: f.endpoint(), Only: []string{"WHEP-MED-02", "WHEP-MED-01"}, Limits: quick})
	if !errors.Is(err, context.Canceled) || r == nil {
		t.Fatalf("report %v, error %v", r, err)
	}
	if len(r.Results) != 1 || r.Results[0].Verdict != SKIP {
		t.Errorf("an interrupted case must be skipped: %+v", r.Results)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sessions) != 0 {
		t.Errorf("%d sessions are left", len(f.sessions))
	}
}

// TestOneDefectIsReportedOnce runs cases that need a session against a server
// that refuses all: only the one about that fails.
func TestOneDefectIsReportedOnce(t *testing.T) {
	f := startFixture(t, fixtureOptions{defect: "post-500"})
	r, err := Run(context.Background(), Options{URL: f.endpoint(), Limits: quick, Only: []string{
		"WHEP-OFFER", "WHEP-AVAIL", "WHEP-ANS", "WHEP-SDP", "WHEP-TRK", "WHEP-RST", "WHEP-ICE", "WHEP-DEL", "WHEP-MED", "WHEP-EXT",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range r.Results {
		if result.ID != "WHEP-OFFER-01" && result.Verdict.rank() > INFO.rank() {
			t.Errorf("%s is %s: %+v", result.ID, result.Verdict, result.Findings)
		}
	}
	if r.Count(FAIL) != 1 {
		t.Errorf("%d failures, want the one of WHEP-OFFER-01", r.Count(FAIL))
	}
}

// TestWrongTokenIsTold: without the token nothing can be checked, and the
// reason is no finding among many.
func TestWrongTokenIsTold(t *testing.T) {
	f := startFixture(t, fixtureOptions{token: "sesame"})
	for _, token := range []string{"", "wrong"} {
		r, err := Run(context.Background(), Options{URL: f.endpoint(), Token: token, Limits: quick})
		if r != nil || err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("with token %q: %v, %v", token, r, err)
		}
	}
	if _, err := Run(context.Background(), Options{URL: f.endpoint(), Token: "sesame", Only: []string{"WHEP-HTTP-01"}, Limits: quick}); err != nil {
		t.Errorf("with the token: %v", err)
	}
}

// TestTokensStayOutOfReports looks for the secrets of a run in what it wrote.
func TestTokensStayOutOfReports(t *testing.T) {
	f := startFixture(t, fixtureOptions{token: "sesame42"})
	r, err := Run(context.Background(), Options{
		URL: f.endpoint() + "?token=sesame42", Token: "sesame42", Only: []string{"WHEP-ANS", "WHEP-TURN", "WHEP-AUTH", "WHEP-TOL-02"}, Limits: quick,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"table": func(b *bytes.Buffer) error { return WriteTable(b, r) },
		"json":  func(b *bytes.Buffer) error { return WriteJSON(b, r) },
		"junit": func(b *bytes.Buffer) error { return WriteJUnit(b, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"sesame42", "abc123"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s shows %s", name, secret)
			}
		}
	}
}

// TestServerExplainsItself shows what a refusal says, without the token that it
// repeats, nor all of it.
func TestServerExplainsItself(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.Error(w, "no room\n\tfor "+q.Header.Get("Authorization")+strings.Repeat("!", 5000), http.StatusBadRequest)
	}))
	defer server.Close()
	r, err := Run(context.Background(), Options{URL: server.URL, Token: "sesame42", Limits: quick, Only: []string{"WHEP-OFFER-01"}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteTable(&b, r); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "\n         no room for Bearer ...!!") || strings.Contains(got, "sesame42") || len(got) > 2000 {
		t.Errorf("%s", got)
	}
}

// TestStrangeServers must neither hang nor break the tester.
func TestStrangeServers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"says yes to all": func(http.ResponseWriter, *http.Request) {},
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", typeSDP)
			w.Header().Set("Location", "::::")
			w.Header().Set("Link", `<stun:x>; rel="ice-server`)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=candidate:1 1 udp 1 x y typ\r\n")
		},
		"no sections": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", typeSDP)
			w.Header().Set("Location", "/whep/1")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, "v=0\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(h)
			defer srv.Close()
			limits := quick
			limits.Connect, limits.Media = 300*time.Millisecond, 300*time.Millisecond
			r, err := Run(context.Background(), Options{URL: srv.URL + "/whep", Limits: limits})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Failed() {
				t.Error("nothing failed")
			}
			for _, result := range r.Results {
				for _, f := range result.Findings {
					if strings.Contains(f.Fix, "the tester itself broke") {
						t.Errorf("%s: %s %v", result.ID, f.Fix, f.Evidence)
					}
				}
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"chromium-raw", "gst-webrtcbin", "mediamtx"} {
		b, err := offers.ReadFile("offers/" + name + ".sdp")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(_ *testing.T, text string) {
		d, err := parse(text)
		if err != nil {
			return
		}
		for _, m := range d.media {
			m.codecs()
			m.evidence()
			d.direction(m)
		}
		d.groups()
		again, err := parse(d.String())
		if err != nil || len(again.media) != len(d.media) {
			panic(fmt.Sprintf("does not parse again: %v", err))
		}
	})
}

func FuzzPayload(f *testing.F) {
	f.Add([]byte{0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a})
	f.Add([]byte{0x78, 0x00, 0x02, 0x67, 0x42, 0x00, 0x01, 0x65})
	f.Add([]byte{0x7c, 0x85, 0x88})
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, name := range videoCodecs {
			isKey(name, b)
		}
		s := &stream{nals: map[int]int{}}
		s.h264(b)
	})
}
