package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"deskwhep/conformance"
)

// TestCheckTellsWhatIsWrong: a run that cannot be made says why, and how to.
func TestCheckTellsWhatIsWrong(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a certificate that nobody knows", []string{secure.URL}, "--insecure"},
		{"nobody there", []string{gone.URL}, "connection refused"},
		{"no URL", []string{"localhost:8080"}, "http or https URL"},
		{"no such case", []string{secure.URL, "--only", "WHEP-NONE"}, "no such case"},
		{"no such player", []string{secure.URL, "--player", "nobody"}, "chromium"},
		{"no such profile", []string{secure.URL, "--profile", "04"}, "must be one of"},
		{"a file that cannot be", []string{secure.URL, "--json", filepath.Join(t.TempDir(), "none", "x.json")}, "write the report"},
	} {
		var out strings.Builder
		err := run(t.Context(), append([]string{"check"}, c.args...), &out, &out)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
		if code := exitCode(err); code != 2 {
			t.Errorf("%s: the exit code is %d, want 2", c.name, code)
		}
	}
}

// TestCheckOfNoEndpoint checks a web server that knows no WHEP: the run fails,
// and the reports say so.
func TestCheckOfNoEndpoint(t *testing.T) {
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	dir := t.TempDir()
	asJSON, asJUnit := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.xml")
	var out strings.Builder
	err := run(t.Context(), []string{"check", site.URL, "--only", "WHEP-OFFER,WHEP-ANS", "--json", asJSON, "--junit", asJUnit}, &out, &out)
	if exitCode(err) != 1 {
		t.Errorf("%v, want exit code 1", err)
	}
	var report conformance.Report
	b, err := os.ReadFile(asJSON)
	if err == nil {
		err = json.Unmarshal(b, &report)
	}
	if err != nil || report.Count(conformance.FAIL) != 1 || report.Count(conformance.PASS) != 0 {
		t.Errorf("%d FAIL and %d PASS, want only that POST is not answered: %v\n%s",
			report.Count(conformance.FAIL), report.Count(conformance.PASS), err, out.String())
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
	}
	b, err = os.ReadFile(asJUnit)
	if err == nil {
		err = xml.Unmarshal(b, &suite)
	}
	if err != nil || suite.Tests != len(report.Results) || suite.Failures != 1 {
		t.Errorf("JUnit: %+v, %v", suite, err)
	}
}

// TestCheckInterrupted stops a run in its first case: what is done is reported.
func TestCheckInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			stop()
		}
		http.NotFound(w, r)
	}))
	defer site.Close()
	var out strings.Builder
	err := run(ctx, []string{"check", site.URL}, &out, &out)
	if !errors.Is(err, context.Canceled) || exitCode(err) != 2 || !strings.Contains(out.String(), "Not checked:") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestExitCodes runs the program as scripts do.
func TestExitCodes(t *testing.T) {
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	in := startInside(t, image.Pt(320, 240), nil)
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"check", in.url, "--only", "WHEP-HTTP-01"}, 0},
		{[]string{"check", site.URL, "--only", "WHEP-OFFER"}, 1},
		{[]string{"check"}, 2},
		{[]string{"check", site.URL, "--nonsense"}, 2},
		{[]string{"check", "http://127.0.0.1:1/whep"}, 2},
		{[]string{"doctor", "--nonsense"}, 2},
		{[]string{"--fps", "0"}, 2},
	} {
		cmd := exec.CommandContext(t.Context(), bin, c.args...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.want {
			t.Errorf("%v: exit code %d, want %d\n%s", c.args, got, c.want, out)
		}
	}
}
