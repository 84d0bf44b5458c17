package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"deskwhep/whep/relaytest"
)

// paths is a site whose HTTP goes to a program as it is, while each session's
// media takes a UDP path of its own, which can be made silent.
type paths struct {
	url string

	mu     sync.Mutex
	events []string           // "POST" with the answer 201, "DELETE"
	list   []*relaytest.Relay // of the POSTs, in order
	hold   chan struct{}
	gone   bool // POSTs are refused as in a full house
}

func startPaths(t testing.TB, to string) *paths {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	media, err := net.ResolveUDPAddr("udp4", target.Host)
	if err != nil {
		t.Fatal(err)
	}
	p := &paths{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Header.Del("Origin") },
		ModifyResponse: func(r *http.Response) error {
			switch {
			case r.Request.Method == http.MethodDelete:
				p.note("DELETE", nil)
			case r.Request.Method == http.MethodPost && r.StatusCode == http.StatusCreated:
				one, err := relaytest.Open(media, relaytest.Link{}, 1)
				if err != nil {
					return err
				}
				p.note("POST", one)
				return rewrite(r, one.Port)
			}
			return nil
		},
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			p.mu.Lock()
			hold, gone := p.hold, p.gone
			p.mu.Unlock()
			if gone {
				http.Error(w, "", http.StatusServiceUnavailable)
				return
			}
			if hold != nil {
				p.note("held", nil)
				<-hold
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		site.Close()
		for _, one := range p.list {
			one.Close()
		}
		if t.Failed() {
			t.Logf("the page did %v", p.seen())
		}
	})
	p.url = site.URL
	return p
}

func (p *paths) note(event string, one *relaytest.Relay) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event)
	if one != nil {
		p.list = append(p.list, one)
	}
}

func (p *paths) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

func (p *paths) path(i int) *relaytest.Relay {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list[i]
}

// change changes what becomes of POSTs.
func (p *paths) change(hold chan struct{}, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold, p.gone = hold, gone
}

// candidates of an answer, but those over UDP.
var (
	candidateTCP = regexp.MustCompile(`(?mi)^a=candidate:\S+ \d+ tcp .*\r?\n`)
	candidateUDP = regexp.MustCompile(`(?mi)^(a=candidate:\S+ \d+ udp \d+ \S+) \d+ `)
)

// rewrite lets an answer name the port of a path, and no other.
func rewrite(r *http.Response, port uint16) error {
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	answer = candidateTCP.ReplaceAll(answer, nil)
	answer = candidateUDP.ReplaceAll(answer, fmt.Appendf(nil, "${1} %d ", port))
	r.Body = io.NopCloser(bytes.NewReader(answer))
	r.ContentLength = int64(len(answer))
	r.Header.Del("Content-Length")
	return nil
}

// playsOn waits until the page shows pictures that are newer than now.
func playsOn(t testing.TB, tab context.Context) {
	t.Helper()
	before := frames(t, tab)
	eventually(t, "it plays on", func() bool { return frames(t, tab) > before+5 })
}

// noteStates has the page collect the states that it shows from now on.
func noteStates(t testing.TB, tab context.Context) {
	t.Helper()
	evaluate[bool](t, tab, `(() => {
		window.states = [];
		new MutationObserver(() => states.push(document.getElementById("state").dataset.state)).observe(document.getElementById("state"), { attributes: true });
		return true;
	})()`)
}

// TestSilentPath takes a viewer's media away while the server still answers: a
// second session plays before the first is ended, and the page never stops.
func TestSilentPath(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	site := startPaths(t, p.url)
	tab := startBrowser(t)()
	watch(t, tab, site.url)
	playsOn(t, tab)
	noteStates(t, tab)
	begun := time.Now()
	site.path(0).Dead.Store(true)
	eventually(t, "the first session is ended", func() bool { return slices.Contains(site.seen(), "DELETE") })
	t.Logf("the second session took over after %.2f s", time.Since(begun).Seconds())
	playsOn(t, tab)
	if got := site.seen(); !slices.Equal(got, []string{"POST", "POST", "DELETE"}) {
		t.Errorf("the page did %v", got)
	}
	for _, state := range evaluate[[]string](t, tab, `states`) {
		if state != "playing" {
			t.Errorf("the page was %s", state)
		}
	}
	eventually(t, "the measured latency is of the new session", func() bool {
		return evaluate[string](t, tab, `document.getElementById("latency").textContent`) != ""
	})
}

// TestSilenceThatEnds takes the media away for a while: the attempt at a second
// session, or the answer that there is no place for one, does the first no harm.
func TestSilenceThatEnds(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	site := startPaths(t, p.url)
	tab := startBrowser(t)()
	watch(t, tab, site.url)
	playsOn(t, tab)
	session := viewersOf(t, p.url)[0].Session
	noteStates(t, tab)

	hold := make(chan struct{})
	site.change(hold, false)
	site.path(0).Dead.Store(true)
	eventually(t, "a second session is asked for", func() bool { return slices.Contains(site.seen(), "held") })
	site.path(0).Dead.Store(false)
	playsOn(t, tab)
	close(hold)
	eventually(t, "the second session is ended", func() bool { return slices.Contains(site.seen(), "DELETE") })
	if got := site.seen(); !slices.Equal(got, []string{"POST", "held", "POST", "DELETE"}) {
		t.Errorf("the page did %v", got)
	}
	playsOn(t, tab)
	eventually(t, "one watches", func() bool { return len(viewersOf(t, p.url)) == 1 })
	if now := viewersOf(t, p.url)[0].Session; now != session {
		t.Errorf("the session is %s, and was %s", now, session)
	}
	if states := evaluate[[]string](t, tab, `states`); len(states) > 0 {
		t.Errorf("the page was %v", states)
	}
}

// TestSilenceInTheBackground takes the media away from a page that nobody sees:
// it makes no second session beside the first, and comes back all the same.
// So does a page that finds no place for a second.
func TestSilenceInTheBackground(t *testing.T) {
	t.Parallel() // it waits most of the time
	p := startProgram(t, "", "--source", "card")
	browser := startBrowser(t)
	for _, hidden := range []bool{true, false} {
		site := startPaths(t, p.url)
		tab := browser()
		watch(t, tab, site.url)
		playsOn(t, tab)
		if hidden {
			evaluate[bool](t, tab, `(() => { Object.defineProperty(document, "hidden", { get: () => true }); return true; })()`)
		} else {
			site.change(nil, true)
		}
		site.path(0).Dead.Store(true)
		eventually(t, "the first session is ended", func() bool { return slices.Contains(site.seen(), "DELETE") })
		site.change(nil, false)
		playsOn(t, tab)
		if got := site.seen(); !slices.Equal(got, []string{"POST", "DELETE", "POST"}) {
			t.Errorf("hidden %v: the page did %v", hidden, got)
		}
	}
}

// BenchmarkSilentPath measures how long a viewer sees no new picture when the
// path goes silent while the server still answers: p50 and p95, in s.
func BenchmarkSilentPath(b *testing.B) {
	p := startProgram(b, "", "--source", "card")
	browser := startBrowser(b)
	var outages []float64
	for b.Loop() {
		site := startPaths(b, p.url)
		tab := browser()
		watch(b, tab, site.url)
		playsOn(b, tab)
		evaluate[bool](b, tab, `(() => {
			window.gap = 0;
			let last = performance.now();
			const next = (now) => { gap = Math.max(gap, now - last); last = now; video.requestVideoFrameCallback(next); };
			video.requestVideoFrameCallback(next);
			return true;
		})()`)
		playsOn(b, tab)
		site.path(0).Dead.Store(true)
		eventually(b, "the first session is ended", func() bool { return slices.Contains(site.seen(), "DELETE") })
		playsOn(b, tab)
		outages = append(outages, evaluate[float64](b, tab, `gap`)/1000)
		_, _ = chromedp.Run(tab, chromedp.Navigate("about:blank"))
	}
	sort.Float64s(outages)
	b.Logf("outages in s: %.2f", outages)
	b.ReportMetric(outages[len(outages)/2], "p50-s")
	b.ReportMetric(outages[(len(outages)*95+99)/100-1], "p95-s")
	b.ReportMetric(0, "ns/op")
}
