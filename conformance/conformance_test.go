package conformance

import (
	"context"
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

// TestEveryCaseCanFail sets one defect at a time, and wants the case to see it.
func TestEveryCaseCanFail(t *testing.T) {
	for _, c := range Cases() {
		if !slices.ContainsFunc(trials, func(x trial) bool { return x.id == c.ID && x.want != PASS && x.want != SKIP }) {
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
}
