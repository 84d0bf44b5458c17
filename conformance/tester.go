package conformance

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base32"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
)

// run is the state that the cases of one Run share. Its goroutine owns it, and
// the goroutine of the current case borrows it.
type run struct {
	opt      Options
	client   *http.Client
	cert     tls.Certificate // of all the tester's peers
	template *description

	base *exchange   // the one exchange that the checks of answers look at
	log  []*exchange // every answer of the run, for the rows that judge all
}

// maxLog bounds the answers kept for the rows that judge all of them.
const maxLog = 2000

func newRun(o Options) (*run, error) {
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return nil, err
	}
	offer, err := template()
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil) // sticky sessions of load balancers
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	if o.Insecure {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // asked for
	}
	return &run{opt: o, cert: cert, template: offer, client: &http.Client{
		Transport: transport,
		Jar:       jar,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}, nil
}

func (r *run) close() { r.client.CloseIdleConnections() }

// caseTimeout bounds a case that does not say that it waits for a timer.
const caseTimeout = 90 * time.Second

// do runs one case, ends the sessions it made, and returns its result.
func (r *run) do(ctx context.Context, c Case) Result {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, caseTimeout+r.opt.Limits.Consent+r.opt.Limits.Setup)
	defer cancel()
	t := &T{run: r, ctx: ctx, c: c}
	done := make(chan struct{})
	go func() { // so that a check can end itself by Goexit
		defer close(done)
		defer t.recover()
		if c.Destructive && !r.opt.Destructive {
			t.skip("floods or waits long; run with the destructive option")
		}
		c.check(t)
	}()
	<-done
	if err := ctx.Err(); err != nil { // what was found then is no fault of the target
		t.findings = nil
		t.find(SKIP, nil, "not finished: %v", err)
	}
	t.cleanup()
	result := Result{
		ID: c.ID, Section: c.Section, Level: c.Level, Requires: c.Requires, Verdict: PASS,
		Findings: t.findings, Evidence: t.evidence(), Took: time.Since(started),
	}
	for _, f := range t.findings {
		if f.Verdict.rank() > result.Verdict.rank() {
			result.Verdict = f.Verdict
		}
	}
	return result
}

// T is what a check gets: the target, and a place for its findings. Its methods
// are for the goroutine of the check, except where they say otherwise.
type T struct {
	*run
	ctx context.Context
	c   Case

	findings []Finding
	seen     []*exchange // the exchanges of this case
	saw      []string    // what else it observed
	urls     []string    // session URLs to delete at the end
	peers    []*peer
}

// maxFindings bounds the findings of one case.
const maxFindings = 8

func (t *T) find(v Verdict, e evidence, format string, args ...any) {
	if len(t.findings) >= maxFindings {
		return
	}
	f := Finding{Verdict: v, Fix: printable(fmt.Sprintf(format, args...))}
	if e != nil {
		f.Evidence = e.evidence()
	}
	t.findings = append(t.findings, f)
}

// require judges by the level of the row when ok is false, and returns ok.
func (t *T) require(ok bool, e evidence, fix string, args ...any) bool {
	if !ok {
		t.find(t.c.Level.violated(), e, fix, args...)
	}
	return ok
}

func (t *T) fail(e evidence, fix string, args ...any) { t.find(FAIL, e, fix, args...) }
func (t *T) warn(e evidence, fix string, args ...any) { t.find(WARN, e, fix, args...) }
func (t *T) note(e evidence, fix string, args ...any) { t.find(INFO, e, fix, args...) }

// skip ends the case: it cannot be judged. What was found so far stays.
func (t *T) skip(reason string, args ...any) {
	t.find(SKIP, nil, reason, args...)
	t.stop()
}

// stop ends the case with what was found so far.
func (t *T) stop() { runtime.Goexit() }

// observed adds a line to the evidence of the case.
func (t *T) observed(format string, args ...any) {
	t.saw = append(t.saw, printable(fmt.Sprintf(format, args...)))
}

// profile tells whether the run uses one of the profiles.
func (t *T) profile(names ...string) bool { return slices.Contains(names, t.opt.Profile) }

// sleep waits, and ends the case when the run does.
func (t *T) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
		t.skip("interrupted: %v", t.ctx.Err())
	}
}

// wait polls until ok or until the time is over, and returns the last ok.
func (t *T) wait(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); ; {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		t.sleep(min(20*time.Millisecond, limit))
	}
}

// recover turns a panic of a check into a finding about the tester, so that a
// hostile answer cannot end the run.
func (t *T) recover() {
	if p := recover(); p != nil {
		t.find(FAIL, line(string(debug.Stack())), "the tester itself broke on this answer: %v; please report it", p)
	}
}

// evidence are the last exchanges of the case and what else was seen.
func (t *T) evidence() (lines []string) {
	const last = 4
	for _, e := range t.seen[max(0, len(t.seen)-last):] {
		lines = append(lines, e.evidence()...)
	}
	return append(lines, t.saw...)
}

// cleanup ends all that the case began, also after ctx has ended.
func (t *T) cleanup() {
	for _, p := range t.peers {
		p.close()
	}
	silent := 0
	for _, u := range t.urls {
		if e := t.send(t.ctx, request{method: http.MethodDelete, url: u}); e.err != nil {
			if silent++; silent == 3 {
				return // nobody is there any more
			}
		}
	}
}

// evidence is what a finding shows.
type evidence interface{ evidence() []string }

// line is evidence of one or more lines.
type line string

func (l line) evidence() []string { return strings.Split(printable(string(l)), "\n") }

func linef(format string, args ...any) line { return line(fmt.Sprintf(format, args...)) }

// nobody returns an address where nobody is, so that a target which sends to it
// harms nobody: of its own loopback if it is on this machine, else one for
// documentation (RFC 5737).
func (t *T) nobody(n int) netip.Addr {
	u, _ := url.Parse(t.opt.URL) // Run has parsed it
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
		return netip.AddrFrom4([4]byte{127, 77, 1, byte(1 + n%250)})
	}
	return netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + n%250)})
}

// random returns a token nobody can have chosen.
func random() string {
	b := make([]byte, 15)
	_, _ = rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}

// stranger is a session URL of the same form whose id nobody has: letters and
// digits of the id's second half become others of their kind.
func stranger(sessionURL string) string {
	b := []byte(sessionURL)
	start := strings.LastIndex(sessionURL, "/") + 1
	noise := make([]byte, len(b))
	_, _ = rand.Read(noise) // never fails
	for i := start + (len(b)-start)/2; i < len(b); i++ {
		switch c := b[i]; {
		case c >= '0' && c <= '9':
			b[i] = '0' + noise[i]%10
		case c >= 'a' && c <= 'f', c >= 'A' && c <= 'F': // stays a hexadecimal digit
			b[i] = c&^0x1f + 1 + noise[i]%6
		case c > 'f' && c <= 'z', c > 'F' && c <= 'Z':
			b[i] = c&^0x1f + 7 + noise[i]%20
		}
	}
	return string(b)
}

// orNone names an empty value in a sentence.
func orNone(s string) string { return cmp.Or(s, "(none)") }
