package conformance

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// quick are limits for a fixture whose timers are short.
var quick = Limits{
	Request: 20 * time.Second, Connect: 5 * time.Second, Media: 2 * time.Second, Quiet: 500 * time.Millisecond,
	Consent: 8 * time.Second, Setup: 8 * time.Second, Counter: 2 * time.Second,
}

// place is where a case can be judged: the server's options and the tester's.
func place(id string) (fixtureOptions, func(f *fixture, o *Options)) {
	plain := func(f *fixture, o *Options) {
		o.URL, o.IdleURL, o.OtherURL = f.endpoint(), f.URL+"/idle", f.URL+"/other"
	}
	locked := func(f *fixture, o *Options) { plain(f, o); o.Token = "secret" }
	switch {
	case id == "WHEP-AUTH-07":
	case id == "WHEP-AUTH-06":
		return fixtureOptions{token: "secret"}, func(f *fixture, o *Options) { plain(f, o); o.URL += "?token=secret" }
	case strings.HasPrefix(id, "WHEP-AUTH"):
		return fixtureOptions{token: "secret"}, locked
	case id == "WHEP-CTR-05":
		return fixtureOptions{counter: true, pending: time.Second}, plain
	case strings.HasPrefix(id, "WHEP-CTR"):
		return fixtureOptions{counter: true}, plain
	case id == "WHEP-LB-02":
		return fixtureOptions{balance: true}, plain
	case id == "WHEP-HTTP-06":
		return fixtureOptions{tls: true}, func(f *fixture, o *Options) { plain(f, o); o.Insecure = true }
	case slices.Contains([]string{"WHEP-ICE-06", "WHEP-SEC-01", "WHEP-AVAIL-03"}, id):
		return fixtureOptions{setup: time.Second, burst: 40, viewers: 12}, plain
	}
	return fixtureOptions{}, plain
}

// judge runs one case against a fixture with one defect, or a good one.
func judge(t *testing.T, id, defect string) Result {
	t.Helper()
	options, aim := place(id)
	options.defect = defect
	if defect == "plain-http" {
		options.tls = false
	}
	f := startFixture(t, options)
	o := Options{Only: []string{id}, Destructive: true, Limits: quick}
	aim(f, &o)
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Errorf("%s on %q: %v", id, defect, err)
		return Result{}
	}
	f.mu.Lock()
	left := len(f.sessions)
	f.mu.Unlock()
	// A server that cannot delete, or hides its sessions, keeps them.
	if left > 0 && defect == "" {
		t.Errorf("%s left %d sessions behind", id, left)
	}
	return r.Results[0]
}

// inParallel calls f for each item, a few at once: most of the time they wait.
func inParallel[T any](items []T, f func(T)) {
	slots := make(chan struct{}, 6)
	var wg sync.WaitGroup
	for _, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(item)
		})
	}
	wg.Wait()
}

// TestGoodServer wants PASS for every case of the table.
func TestGoodServer(t *testing.T) {
	inParallel(Cases(), func(c Case) {
		if r := judge(t, c.ID, ""); r.Verdict != PASS {
			t.Errorf("%s is %s on a good server: %+v", c.ID, r.Verdict, r.Findings)
		}
	})
}

// trial is a defect and the verdict that a case must come to.
type trial struct {
	id, defect string
	want       Verdict
}

// TestEveryCaseCanFail sets one defect at a time, and wants the case to see it.
func TestEveryCaseCanFail(t *testing.T) {
	for _, c := range Cases() {
		if !slices.ContainsFunc(trials, func(x trial) bool { return x.id == c.ID }) {
			t.Errorf("%s has no defect that it catches", c.ID)
		}
	}
	inParallel(trials, func(x trial) {
		r := judge(t, x.id, x.defect)
		if r.Verdict != x.want {
			t.Errorf("%s on a server with %q is %s, want %s: %+v", x.id, x.defect, r.Verdict, x.want, r.Findings)
		}
		for _, f := range r.Findings {
			if f.Fix == "" {
				t.Errorf("%s on %q: a finding without a sentence", x.id, x.defect)
			}
		}
	})
	if t.Failed() {
		fmt.Fprintln(os.Stderr, "defects are in fixture_test.go and served_test.go")
	}
}

var trials = []trial{
	{"WHEP-HTTP-01", "get-body", FAIL},
	{"WHEP-HTTP-02", "session-get-405", FAIL},
	{"WHEP-HTTP-03", "plain-errors", INFO},
	{"WHEP-HTTP-03", "problem-status", WARN},
	{"WHEP-HTTP-04", "put-500", FAIL},
	{"WHEP-HTTP-04", "no-allow", WARN},
	{"WHEP-HTTP-05", "location-on-errors", FAIL},
	{"WHEP-HTTP-06", "plain-http", WARN},
	{"WHEP-DISC-01", "head-405", WARN},
	{"WHEP-DISC-02", "head-type", WARN},
	{"WHEP-DISC-03", "head-type", FAIL},
	{"WHEP-DISC-04", "head-body", FAIL},

	{"WHEP-OFFER-01", "post-500", FAIL},
	{"WHEP-OFFER-01", "status-200", FAIL},
	{"WHEP-OFFER-02", "any-type", FAIL},
	{"WHEP-OFFER-03", "exact-type", FAIL},
	{"WHEP-OFFER-04", "garbage-500", FAIL},
	{"WHEP-OFFER-05", "echo-direction", FAIL},
	{"WHEP-OFFER-06", "takes-sendonly", FAIL},
	{"WHEP-OFFER-07", "needs-candidates", FAIL},
	{"WHEP-OFFER-08", "two-videos", FAIL},
	{"WHEP-OFFER-09", "partial-500", FAIL},
	{"WHEP-OFFER-09", "rejected-in-bundle", FAIL},
	{"WHEP-OFFER-10", "all-rejected-201", FAIL},
	{"WHEP-OFFER-11", "data-500", WARN},
	{"WHEP-OFFER-12", "no-single-kind", FAIL},
	{"WHEP-OFFER-13", "no-mux-taken", FAIL},
	{"WHEP-OFFER-14", "no-bundle-taken", FAIL},
	{"WHEP-OFFER-15", "port-0-refused", FAIL},
	{"WHEP-OFFER-15", "port-0-rejected", FAIL},
	{"WHEP-OFFER-15", "revives-port-0", FAIL},
	{"WHEP-OFFER-16", "setup-always-active", FAIL},
	{"WHEP-OFFER-17", "media-level-only", FAIL},
	{"WHEP-OFFER-18", "incomplete-500", FAIL},
	{"WHEP-OFFER-19", "crlf-only", FAIL},
	{"WHEP-OFFER-19", "mids-renamed", FAIL},
	{"WHEP-OFFER-20", "wants-mux-only", WARN},
	{"WHEP-OFFER-21", "unbounded", WARN},
	{"WHEP-OFFER-21", "small-body", INFO},

	{"WHEP-ANS-01", "status-200", FAIL},
	{"WHEP-ANS-02", "answer-type", FAIL},
	{"WHEP-ANS-03", "no-location", FAIL},
	{"WHEP-ANS-03", "broken-location", FAIL},
	{"WHEP-ANS-04", "relative-location", WARN},
	{"WHEP-ANS-05", "missing-section", FAIL},
	{"WHEP-ANS-06", "no-candidates", FAIL},
	{"WHEP-ANS-06", "rejected-candidates", FAIL},
	{"WHEP-ANS-07", "star-etag", FAIL},
	{"WHEP-ANS-07", "weak-etag", FAIL},
	{"WHEP-ANS-07", "unquoted-etag", FAIL},
	{"WHEP-ANS-07", "no-etag", FAIL},
	{"WHEP-ANS-08", "one-session", FAIL},
	{"WHEP-ANS-09", "large-answer", INFO},

	{"WHEP-SDP-01", "echo-direction", FAIL},
	{"WHEP-SDP-02", "rejected-in-bundle", FAIL},
	{"WHEP-SDP-03", "mids-renamed", FAIL},
	{"WHEP-SDP-04", "no-mux", FAIL},
	{"WHEP-SDP-05", "no-mux-only", WARN},
	{"WHEP-SDP-06", "no-msid", FAIL},
	{"WHEP-SDP-06", "two-streams", FAIL},
	{"WHEP-SDP-07", "rejects-all", FAIL},
	{"WHEP-SDP-08", "actpass", FAIL},
	{"WHEP-SDP-09", "short-pwd", FAIL},
	{"WHEP-SDP-09", "wrong-print", FAIL},
	{"WHEP-SDP-10", "different-transport", FAIL},
	{"WHEP-SDP-11", "fixed-pt", FAIL},
	{"WHEP-SDP-12", "mode-mixed", FAIL},
	{"WHEP-SDP-13", "echo-bundle-only", WARN},
	{"WHEP-SDP-14", "extra-extmap", FAIL},
	{"WHEP-SDP-15", "reject-audio", WARN},
	{"WHEP-SDP-15", "rejected-candidates", FAIL},
	{"WHEP-SDP-16", "component-2", WARN},
	{"WHEP-SDP-17", "lite-srflx", WARN},
	{"WHEP-SDP-18", "no-ice-options", WARN},
	{"WHEP-SDP-19", "renegotiates", FAIL},

	{"WHEP-AVAIL-01", "idle-404", WARN},
	{"WHEP-AVAIL-01", "no-retry-after", FAIL},
	{"WHEP-AVAIL-02", "any-stream", FAIL},
	{"WHEP-AVAIL-03", "overload-500", INFO},
	{"WHEP-LB-01", "moved-301", FAIL},
	{"WHEP-LB-02", "redirect-302", WARN},
	{"WHEP-LB-03", "patch-307", FAIL},

	{"WHEP-CTR-01", "counter-no-sdp", WARN},
	{"WHEP-CTR-02", "counter-active", FAIL},
	{"WHEP-CTR-03", "counter-recvonly", FAIL},
	{"WHEP-CTR-04", "counter-bad-date", FAIL},
	{"WHEP-CTR-05", "counter-forever", FAIL},
	{"WHEP-CTR-06", "counter-200", FAIL},
	{"WHEP-CTR-07", "counter-garbage-204", FAIL},
	{"WHEP-CTR-08", "counter-twice", INFO},
	{"WHEP-CTR-09", "counter-no-etag", INFO},
	{"WHEP-CTR-10", "counter-delete-405", FAIL},

	{"WHEP-TRK-01", "no-patch", WARN},
	{"WHEP-TRK-01", "no-restart", WARN},
	{"WHEP-TRK-02", "patch-200", FAIL},
	{"WHEP-TRK-03", "any-patch-type", FAIL},
	{"WHEP-TRK-04", "broken-fragments", FAIL},
	{"WHEP-TRK-05", "lenient", WARN},
	{"WHEP-TRK-05", "no-if-match-400", FAIL},
	{"WHEP-TRK-06", "any-if-match", FAIL},
	{"WHEP-TRK-07", "if-match-literal", FAIL},
	{"WHEP-TRK-08", "no-restart-500", FAIL},
	{"WHEP-TRK-09", "unusable-400", FAIL},
	{"WHEP-TRK-10", "strict-fragments", FAIL},
	{"WHEP-TRK-11", "ignores-trickle", WARN},
	{"WHEP-TRK-12", "overlap-409", WARN},
	{"WHEP-TRK-13", "end-400", FAIL},
	{"WHEP-TRK-14", "patch-unknown-204", FAIL},
	{"WHEP-TRK-15", "no-accept-patch", INFO},

	{"WHEP-RST-01", "no-op-patch", FAIL},
	{"WHEP-RST-01", "restart-same-credentials", FAIL},
	{"WHEP-RST-02", "restart-no-etag", FAIL},
	{"WHEP-RST-02", "restart-same-etag", FAIL},
	{"WHEP-RST-03", "restart-no-candidates", WARN},
	{"WHEP-RST-04", "restart-no-options", FAIL},
	{"WHEP-RST-05", "no-quoted-star", FAIL},
	{"WHEP-RST-06", "restart-fake", FAIL},
	{"WHEP-RST-07", "restart-new-ssrc", FAIL},
	{"WHEP-RST-08", "half-restart-ends", FAIL},
	{"WHEP-RST-09", "restart-same-etag", FAIL},
	{"WHEP-RST-10", "never-expires", FAIL},

	{"WHEP-ICE-01", "mute-ice", WARN},
	{"WHEP-ICE-02", "never-expires", FAIL},
	{"WHEP-ICE-03", "ignores-close", FAIL},
	{"WHEP-ICE-04", "sends-after-delete", FAIL},
	{"WHEP-ICE-05", "any-fingerprint", FAIL},
	{"WHEP-ICE-06", "never-released", WARN},
	{"WHEP-DEL-01", "delete-204", WARN},
	{"WHEP-DEL-01", "delete-nothing", FAIL},
	{"WHEP-DEL-02", "delete-etag", FAIL},
	{"WHEP-DEL-03", "delete-twice-500", FAIL},
	{"WHEP-DEL-04", "delete-early-409", FAIL},

	{"WHEP-CORS-01", "preflight-token", FAIL},
	{"WHEP-CORS-01", "no-cors-headers", FAIL},
	{"WHEP-CORS-02", "accept-post-typo", WARN},
	{"WHEP-CORS-03", "session-preflight-405", FAIL},
	{"WHEP-CORS-04", "preflight-token", FAIL},
	{"WHEP-CORS-05", "cors-not-on-errors", FAIL},
	{"WHEP-CORS-06", "no-expose", FAIL},
	{"WHEP-CORS-07", "options-without-patch", INFO},

	{"WHEP-AUTH-01", "session-rejects-token", FAIL},
	{"WHEP-AUTH-02", "no-challenge", FAIL},
	{"WHEP-AUTH-03", "any-token", FAIL},
	{"WHEP-AUTH-04", "session-any-token", WARN},
	{"WHEP-AUTH-05", "bearer-case", FAIL},
	{"WHEP-AUTH-06", "session-needs-query", INFO},
	{"WHEP-AUTH-07", "needless-token-401", WARN},
	{"WHEP-AUTH-08", "token-late", WARN},

	{"WHEP-TURN-01", "ice-server-slashes", WARN},
	{"WHEP-TURN-02", "turn-no-credential", FAIL},
	{"WHEP-TURN-03", "preflight-links", WARN},
	{"WHEP-TURN-04", "links-joined", INFO},
	{"WHEP-EXT-01", "extension-twice", FAIL},
	{"WHEP-EXT-02", "no-rtp", FAIL},
	{"WHEP-EXT-03", "options-extension", WARN},

	{"WHEP-SEC-01", "no-rate-limit", WARN},
	{"WHEP-SEC-02", "counting-ids", WARN},
	{"WHEP-SEC-03", "flood-drops", FAIL},
	{"WHEP-SEC-04", "candidate-flood-500", FAIL},
	{"WHEP-SEC-05", "cross-stream", FAIL},

	{"WHEP-MED-01", "no-rtp", FAIL},
	{"WHEP-MED-02", "ignores-pli", FAIL},
	{"WHEP-MED-03", "no-sr", FAIL},
	{"WHEP-MED-03", "ignores-nack", FAIL},
	{"WHEP-MED-04", "b-frames", FAIL},
	{"WHEP-MED-04", "wrong-profile", FAIL},
	{"WHEP-MED-05", "no-mid-extension", FAIL},

	{"WHEP-TOL-01", "no-http10", WARN},
	{"WHEP-TOL-02", "moved-301", FAIL},
	{"WHEP-TOL-02", "slash-404", INFO},
	{"WHEP-TOL-03", "empty-post-500", FAIL},
	{"WHEP-TOL-04", "old-patch-500", FAIL},
	{"WHEP-TOL-05", "session-post-200", INFO},
	{"WHEP-TOL-06", "never-expires", FAIL},

	{"PLAYER-CHROMIUM", "preflight-token", WARN},
	{"PLAYER-FIREFOX", "loopback-only", WARN},
	{"PLAYER-MEDIAMTX", "star-412", WARN},
	{"PLAYER-GSTREAMER", "port-0-refused", WARN},
	{"PLAYER-AIORTC", "status-200", WARN},
	{"PLAYER-GO2RTC", "no-h264", WARN},
}
