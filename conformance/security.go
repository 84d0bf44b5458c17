package conformance

import (
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Group N: security and resource control.

func checkPostRate(t *T) {
	const rate, seconds = 200, 3
	victim := t.watch(t.offer())
	body := t.offer().String()
	answers := make(chan *exchange, rate*seconds)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for range rate * seconds {
		<-tick.C
		if t.ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			e := t.send(t.ctx, request{method: http.MethodPost, contentType: typeSDP, body: body})
			if u := e.location(); e.ok() && u != "" { // so that few are open at once
				t.send(t.ctx, request{method: http.MethodDelete, url: u})
			}
			answers <- e
		})
	}
	wg.Wait()
	close(answers)
	statuses := map[int]int{}
	for e := range answers {
		if statuses[e.status]++; statuses[e.status] == 1 {
			t.record(e)
		}
	}
	t.observed("statuses of %d POSTs: %v", rate*seconds, statuses)
	t.require(statuses[http.StatusTooManyRequests]+statuses[http.StatusServiceUnavailable] > 0, linef("statuses: %v", statuses),
		"limit the rate of POST by 429 or 503")
	if !victim.flows() {
		t.fail(linef("statuses: %v", statuses), "do not let a flood of POSTs stop a playing viewer")
	}
	if e := t.options(""); !e.ok() {
		t.fail(e, "stay responsive in a flood of POSTs")
	}
}

func checkGuessing(t *T) {
	n := 12
	if t.opt.Destructive {
		n = 50
	}
	ids := make([]string, 0, n)
	for range n {
		o := t.bareOffer()
		o.peer.vanish() // only the credentials are needed
		e := t.post(o.description)
		u, err := url.Parse(e.location())
		if e.status != http.StatusCreated || err != nil || u.Path == "" {
			t.skip("needs Locations: POST is answered with %d (see WHEP-ANS-03)", e.status)
		}
		ids = append(ids, u.RequestURI())
		t.delete(e.location())
	}
	prefix, suffix := common(ids)
	for i, id := range ids {
		ids[i] = id[len(prefix) : len(id)-len(suffix)]
	}
	t.observed("ids such as %.60s", ids[0])
	bits := entropy(ids)
	t.require(bits >= 100, linef("Locations differ in %q, %q, ...: about %d bits", ids[0], ids[1], bits),
		"make session URLs from at least 122 random bits")
	if counted(ids) {
		t.require(false, linef("%q, %q, %q", ids[0], ids[1], ids[2]), "do not count sessions in their URLs")
	}
}

// common returns what all strings begin and end with.
func common(s []string) (prefix, suffix string) {
	prefix, suffix = s[0], s[0]
	for _, v := range s[1:] {
		for !strings.HasPrefix(v, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
		for !strings.HasSuffix(v, suffix) {
			suffix = suffix[1:]
		}
	}
	if shortest := min(len(s[0]), len(s[len(s)-1])); len(prefix)+len(suffix) >= shortest {
		suffix = ""
	}
	return prefix, suffix
}

// entropy estimates the random bits of ids: positions that vary, times the bits
// of the alphabet they use.
func entropy(ids []string) int {
	shortest := len(ids[0])
	for _, id := range ids {
		shortest = min(shortest, len(id))
	}
	alphabet, varying := map[byte]bool{}, 0
	for i := range shortest {
		here := map[byte]bool{}
		for _, id := range ids {
			here[id[i]] = true
			alphabet[id[i]] = true
		}
		if len(here) > 4 { // few values are a version, not chance
			varying++
		}
	}
	return varying * (big.NewInt(int64(len(alphabet))).BitLen() - 1)
}

// counted tells whether the ids, read as hexadecimal numbers, mostly grow in
// small steps.
func counted(ids []string) bool {
	small := 0
	for i := 1; i < len(ids); i++ {
		a, okA := new(big.Int).SetString(strings.ReplaceAll(ids[i-1], "-", ""), 16)
		b, okB := new(big.Int).SetString(strings.ReplaceAll(ids[i], "-", ""), 16)
		if !okA || !okB {
			return false
		}
		if d := new(big.Int).Sub(b, a); d.Sign() > 0 && d.BitLen() < 48 {
			small++
		}
	}
	return small > len(ids)/2
}

func checkFloods(t *T) {
	victim := t.watch(t.offer())
	other := t.open(t.offer())
	body := other.fragment("end-of-candidates")
	const n = 500
	broken := make(chan *exchange, 2*n)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range n / 8 {
				for _, q := range []request{
					{method: http.MethodDelete, url: stranger(victim.url)},
					{method: http.MethodPatch, url: other.url, contentType: typeFrag, ifMatch: other.tag(), body: body},
				} {
					if e := t.send(t.ctx, q); e.status == 0 || e.status >= 500 && e.status != http.StatusServiceUnavailable {
						broken <- e
					}
				}
			}
		})
	}
	wg.Wait()
	close(broken)
	for e := range broken {
		t.fail(e, "survive a flood of DELETE and PATCH: refuse with 429 if need be")
	}
	if !victim.flows() {
		t.fail(line("RTP stopped"), "do not let a flood of DELETE and PATCH stop a playing viewer")
	}
	if e := t.options(""); !e.ok() {
		t.fail(e, "stay responsive in a flood of DELETE and PATCH")
	}
}

func checkCandidateFlood(t *T) {
	victim := t.watch(t.offer())
	s := t.trickles(t.offer())
	const batches, each = 100, 100
	var last *exchange
	for b := range batches {
		attrs := make([]string, each)
		for i := range attrs {
			n := b*each + i
			attrs[i] = candidate(n+1, netip.AddrPortFrom(t.nobody(n), uint16(1024+n/250)))
		}
		last = t.send(t.ctx, request{method: http.MethodPatch, url: s.url, contentType: typeFrag, ifMatch: s.tag(), body: s.fragment(attrs...)})
		if !last.ok() {
			break
		}
	}
	t.record(last)
	switch {
	case last.ok():
		t.observed("%d candidates were taken without a word", batches*each)
	case last.refused() || last.busy():
		t.observed("stopped with %d", last.status)
	default:
		t.fail(last, "bound the candidates of a session, silently or with 4xx")
	}
	if last.took > 2*time.Second {
		t.require(false, linef("the last PATCH took %v", last.took.Round(time.Millisecond)), "bound the work per candidate")
	}
	if !victim.flows() {
		t.fail(last, "do not let a flood of candidates stop another viewer")
	}
}

func checkCrossStream(t *T) {
	if t.opt.OtherURL == "" {
		t.skip("give the endpoint of another stream of the same server")
	}
	s := t.watch(t.offer())
	id := s.url[strings.LastIndex(s.url, "/")+1:]
	here, err := url.Parse(t.opt.OtherURL)
	if err != nil {
		t.skip("the other endpoint is not a URL: %v", err)
	}
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		u := *here
		u.Path = strings.TrimSuffix(u.Path, "/") + "/" + id
		e := t.do(request{method: method, url: u.String(), contentType: typeFrag, ifMatch: s.tag(), body: s.fragment("end-of-candidates")})
		t.require(e.refused(), e, "refuse %s on a session under another stream with 404", method)
	}
	t.require(s.flows(), linef("session %s", id), "a session must not end under another stream's URL")
}
