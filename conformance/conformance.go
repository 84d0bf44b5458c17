package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Level says how strongly a requirement is worded, or where it comes from.
type Level string

// Levels. DERIVED follows from a document the text refers to; POLICY is what
// players in the field need.
const (
	MUST    Level = "MUST"
	SHOULD  Level = "SHOULD"
	MAY     Level = "MAY"
	DERIVED Level = "DERIVED"
	POLICY  Level = "POLICY"
)

// violated is the verdict on a requirement of this level that is not met.
func (l Level) violated() Verdict {
	switch l {
	case MUST, DERIVED:
		return FAIL
	case SHOULD:
		return WARN
	default:
		return INFO
	}
}

// Verdict is the outcome of a case.
type Verdict string

// Verdicts, from good to bad. SKIP means that the case could not be judged or
// that an optional feature is absent.
const (
	PASS Verdict = "PASS"
	SKIP Verdict = "SKIP"
	INFO Verdict = "INFO"
	WARN Verdict = "WARN"
	FAIL Verdict = "FAIL"
)

// Verdicts in the order in which reports count them.
var verdicts = []Verdict{PASS, INFO, WARN, FAIL, SKIP}

func (v Verdict) rank() int {
	return slices.Index([]Verdict{PASS, SKIP, INFO, WARN, FAIL}, v)
}

// Case is one row of the table.
type Case struct {
	ID          string
	Section     string // of the WHEP text, or of the document it refers to
	Level       Level
	Requires    string   // one sentence
	Profiles    []string // the profiles it applies to; nil: all
	Destructive bool     // floods, or waits for more than 10 s

	check func(*T)
}

func (c Case) applies(profile string) bool {
	return c.Profiles == nil || slices.Contains(c.Profiles, profile)
}

// Cases returns a copy of the table, in the order of the run.
func Cases() []Case { return slices.Clone(table) }

// Options of a run. Only URL is required.
type Options struct {
	URL     string // endpoint, http or https
	Token   string // bearer token, if the endpoint wants one
	Origin  string // of the foreign page the tester plays; default https://player.example, for a URL on loopback https://localhost:9
	IdleURL string // endpoint of a stream that is declared but not live
	// OtherURL is the endpoint of another stream of the same server, to see
	// that sessions do not cross.
	OtherURL    string
	Profile     string   // main (default), 03, 02, 01 or 00
	Only        []string // ids or prefixes of ids; nil: all
	Player      string   // run only the replay of this recorded player, see Players
	Destructive bool     // also cases that flood or wait long
	Insecure    bool     // accept any TLS certificate
	// Progress is called after each case, from the goroutine of Run.
	Progress func(done, of int, r Result)
	Limits   Limits
}

// Limits are the times a check may wait. A zero value means the default; shorter
// ones are of use only against a server whose own timers are known to be shorter.
type Limits struct {
	Request time.Duration // one HTTP exchange; 10 s
	Connect time.Duration // ICE and DTLS; 10 s
	Media   time.Duration // first or next RTP packet, STUN check, sender report; 5 s
	Quiet   time.Duration // for which nothing may arrive; 2 s
	Consent time.Duration // until a vanished player's session must be gone; 45 s
	Setup   time.Duration // until a session that never connects must be gone; 60 s
	Counter time.Duration // life of a counter-offer without valid-until; 35 s
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Request: cmp.Or(l.Request, 10*time.Second),
		Connect: cmp.Or(l.Connect, 10*time.Second),
		Media:   cmp.Or(l.Media, 5*time.Second),
		Quiet:   cmp.Or(l.Quiet, 2*time.Second),
		Consent: cmp.Or(l.Consent, 45*time.Second),
		Setup:   cmp.Or(l.Setup, 60*time.Second),
		Counter: cmp.Or(l.Counter, 35*time.Second),
	}
}

var profiles = []string{"main", "03", "02", "01", "00"}

// Run checks the endpoint and reports on every case that applies. It returns an
// error, and no report, when the options are wrong, when the endpoint cannot be
// reached at all or refuses the token, or when nothing was selected. When ctx ends it stops, and
// returns what it has with the error of ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.Profile = cmp.Or(o.Profile, "main")
	o.Limits = o.Limits.withDefaults()
	if !slices.Contains(profiles, o.Profile) {
		return nil, fmt.Errorf("profile %q: use one of %s", o.Profile, strings.Join(profiles, ", "))
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("endpoint %q: give an http or https URL", o.URL)
	}
	if host := u.Hostname(); host == "localhost" || net.ParseIP(host).IsLoopback() {
		o.Origin = cmp.Or(o.Origin, "https://localhost:9") // servers on loopback may refuse pages of elsewhere
	}
	o.Origin = cmp.Or(o.Origin, "https://player.example")
	selected, err := o.selected()
	if err != nil {
		return nil, err
	}
	r, err := newRun(o)
	if err != nil {
		return nil, fmt.Errorf("prepare the tester: %w", err)
	}
	defer r.close()
	if err := r.reach(ctx); err != nil {
		return nil, fmt.Errorf("reach %s: %w", withoutSecrets(o.URL), err)
	}

	report := &Report{URL: withoutSecrets(o.URL), Profile: o.Profile, Started: time.Now()}
	for i, c := range selected {
		if err := ctx.Err(); err != nil {
			report.Took = time.Since(report.Started)
			return report, err
		}
		result := r.do(ctx, c)
		report.Results = append(report.Results, result)
		if o.Progress != nil {
			o.Progress(i+1, len(selected), result)
		}
	}
	report.Took = time.Since(report.Started)
	return report, ctx.Err()
}

// selected are the rows that the options ask for.
func (o *Options) selected() ([]Case, error) {
	if o.Player != "" {
		id := playerID(o.Player)
		i := slices.IndexFunc(table, func(c Case) bool { return c.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("player %q: use one of %s", o.Player, strings.Join(Players(), ", "))
		}
		return table[i : i+1], nil
	}
	for _, id := range o.Only {
		if !slices.ContainsFunc(table, func(c Case) bool { return strings.HasPrefix(c.ID, id) }) {
			return nil, fmt.Errorf("case %q: no such case, nor a prefix of one", id)
		}
	}
	var selected []Case
	for _, c := range table {
		named := slices.ContainsFunc(o.Only, func(id string) bool { return strings.HasPrefix(c.ID, id) })
		if (named || o.Only == nil) && c.applies(o.Profile) {
			selected = append(selected, c)
		}
	}
	if len(selected) == 0 {
		return nil, errors.New("no case is left: the profile excludes all that were asked for")
	}
	return selected, nil
}

// reach fails when nothing answers HTTP at the endpoint's address, or when all
// that can be seen there is that the token is missing or wrong.
func (r *run) reach(ctx context.Context) error {
	if e := r.send(ctx, request{method: http.MethodOptions, token: noToken}); e.err != nil {
		return e.err
	}
	e := r.send(ctx, request{method: http.MethodPost, contentType: typeSDP}) // empty: makes no session
	switch {
	case e.status != http.StatusUnauthorized:
		return nil
	case r.opt.Token == "":
		return errors.New("it answers 401 to POST: give its token")
	default:
		return errors.New("it answers 401 to POST: the token is wrong")
	}
}
