package conformance

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Group L: ICE server hints.

// link is one value of a Link field.
type link struct {
	target string
	rels   []string
	params map[string]string
	order  []string
	line   string
}

var (
	linkValue = regexp.MustCompile(`<([^>]*)>((?:\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,"]*))?)*)`)
	linkParam = regexp.MustCompile(`;\s*([^\s=;,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,"]*)))?`)
)

// links parses the Link fields of an answer (RFC 8288 3).
func (e *exchange) links() (found []link) {
	for _, field := range e.header.Values("Link") {
		for _, v := range linkValue.FindAllStringSubmatch(field, -1) {
			l := link{target: v[1], params: map[string]string{}, line: field}
			for _, p := range linkParam.FindAllStringSubmatch(v[2], -1) {
				name := strings.ToLower(p[1])
				if _, again := l.params[name]; again {
					continue
				}
				l.params[name] = p[2] + strings.TrimSpace(p[3])
				l.order = append(l.order, name)
			}
			l.rels = strings.Fields(l.params["rel"])
			found = append(found, l)
		}
	}
	return found
}

func (e *exchange) iceServers() []link {
	return slices.DeleteFunc(e.links(), func(l link) bool { return !slices.Contains(l.rels, "ice-server") })
}

// hints are the ICE servers of the shared answer; without any the case is skipped.
func (t *T) hints() (*exchange, []link) {
	e, _ := t.exchangeBase()
	servers := e.iceServers()
	if len(servers) == 0 {
		t.skip("the server names no ICE servers")
	}
	return e, servers
}

var iceURI = regexp.MustCompile(`^(stuns?:[^/?][^?]*|turns?:[^/?][^?]*(\?transport=[a-z]+)?)$`)

func checkICEServers(t *T) {
	_, servers := t.hints()
	for _, l := range servers {
		if !iceURI.MatchString(l.target) { // a browser throws on it
			t.warn(line("Link: "+l.line), "write the target as stun:host:port or turn:host:port, without slashes")
		}
	}
}

func checkTURNCredentials(t *T) {
	_, servers := t.hints()
	turn := 0
	for _, l := range servers {
		if !strings.HasPrefix(l.target, "turn") {
			continue
		}
		turn++
		for _, name := range []string{"username", "credential"} {
			t.require(l.params[name] != "", line("Link: "+withoutSecrets(l.line)), "give the TURN server a %s", name)
		}
		if typ, ok := l.params["credential-type"]; ok {
			t.require(typ == "password" || typ == "oauth", line("Link: "+withoutSecrets(l.line)), "make credential-type password")
		}
	}
	if turn == 0 {
		t.skip("the server names no TURN servers")
	}
}

func checkPreflightLinks(t *T) {
	p := t.preflight("", http.MethodPost, "authorization,content-type")
	t.require(len(p.iceServers()) == 0, p, "send no ICE servers with a preflight: it is not authenticated")
	bare := t.options("")
	if n := len(bare.iceServers()); n > 0 {
		e, _ := t.exchangeBase()
		if n != len(e.iceServers()) {
			t.note(bare, "name the same ICE servers on OPTIONS and on 201")
		}
	}
}

func checkLinkForm(t *T) {
	e, servers := t.hints()
	if len(e.links()) > len(e.header.Values("Link")) {
		t.note(e, "write each link as a header line of its own: several players parse by pattern")
	}
	usual := []string{"rel", "username", "credential", "credential-type"}
	for _, l := range servers {
		rank := -1
		for _, name := range l.order {
			if i := slices.Index(usual, name); i >= 0 && i < rank {
				t.note(line("Link: "+withoutSecrets(l.line)), "write the attributes in the order rel, username, credential, credential-type")
				break
			} else if i >= 0 {
				rank = i
			}
		}
		for _, name := range usual[1:] {
			if strings.ContainsAny(l.params[name], `,;"'`) {
				t.note(line("Link: "+withoutSecrets(l.line)), "keep , ; and quotes out of %s: several players parse by pattern", name)
			}
		}
	}
}

// Group M: extensions.

const extensionURN = "urn:ietf:params:whep:ext"

func extensions(e *exchange) (rels []string, all []link) {
	for _, l := range e.links() {
		for _, rel := range l.rels {
			if strings.HasPrefix(rel, extensionURN) {
				rels, all = append(rels, rel), append(all, l)
			}
		}
	}
	return rels, all
}

func checkExtensions(t *T) {
	e, _ := t.exchangeBase()
	rels, all := extensions(e)
	if len(rels) == 0 {
		t.skip("the server announces no extensions")
	}
	base, _ := url.Parse(e.sent.url)
	for i, rel := range rels {
		t.require(slices.Index(rels, rel) == i, e, "announce %s once", rel)
		t.require(strings.HasPrefix(rel, extensionURN+":"), e, "name the extension after %s:", extensionURN)
		_, err := base.Parse(all[i].target)
		t.require(err == nil && all[i].target != "", e, "give %s a target that is a URL", rel)
	}
}

func checkExtensionsFree(t *T) {
	e, _, err := t.tryMedia(t.offer())
	if !e.ok() {
		t.skip("POST does not succeed: %d (see WHEP-OFFER-01)", e.status)
	}
	rels, _ := extensions(e)
	if len(rels) == 0 {
		t.skip("the server announces no extensions")
	}
	t.require(err == nil, e, "play for clients that ignore extensions: %v", err)
}

func checkOptionsLinks(t *T) {
	for _, e := range []*exchange{t.options(""), t.preflight("", http.MethodPost, "content-type")} {
		for _, l := range e.links() {
			if !slices.Contains(l.rels, "ice-server") {
				t.warn(e, "send only ice-server links on OPTIONS: a bundled player throws on others")
			}
		}
	}
}
