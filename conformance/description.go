package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// description is SDP as lines, so that a check can look at, and spoil, every
// one of them.
type description struct {
	lines []string // session level
	media []*section
	eol   string
}

// section is one m= section.
type section struct {
	kind, port, proto string
	formats           []string
	lines             []string // without the m= line
}

func parse(text string) (*description, error) {
	d := &description{eol: "\r\n"}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
	if lines[0] != "v=0" {
		return nil, errors.New("SDP does not begin with v=0")
	}
	for n, l := range lines {
		if len(l) < 2 || l[1] != '=' {
			return nil, fmt.Errorf("line %d of the SDP is not type=value: %.40q", n+1, l)
		}
		switch {
		case strings.HasPrefix(l, "m="):
			f := strings.Fields(l[2:])
			if len(f) < 4 {
				return nil, fmt.Errorf("line %d of the SDP is not a complete m= line: %.40q", n+1, l)
			}
			d.media = append(d.media, &section{kind: f[0], port: f[1], proto: f[2], formats: f[3:]})
		case len(d.media) == 0:
			d.lines = append(d.lines, l)
		default:
			m := d.media[len(d.media)-1]
			m.lines = append(m.lines, l)
		}
	}
	return d, nil
}

func (d *description) String() string {
	lines := slices.Clone(d.lines)
	for _, m := range d.media {
		lines = append(append(lines, m.line()), m.lines...)
	}
	return strings.Join(lines, d.eol) + d.eol
}

func (d *description) clone() *description {
	c := &description{lines: slices.Clone(d.lines), eol: d.eol}
	for _, m := range d.media {
		c.media = append(c.media, m.clone())
	}
	return c
}

func (m *section) clone() *section {
	c := *m
	c.formats, c.lines = slices.Clone(m.formats), slices.Clone(m.lines)
	return &c
}

func (m *section) line() string {
	return fmt.Sprintf("m=%s %s %s %s", m.kind, m.port, m.proto, strings.Join(m.formats, " "))
}

// Attributes are written "name" or "name:value".

func values(lines []string, name string) (found []string) {
	for _, l := range lines {
		if l == "a="+name {
			found = append(found, "")
		} else if v, ok := strings.CutPrefix(l, "a="+name+":"); ok {
			found = append(found, v)
		}
	}
	return found
}

func without(lines []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			return l == "a="+name || strings.HasPrefix(l, "a="+name+":")
		})
	})
}

func (m *section) all(name string) []string { return values(m.lines, name) }
func (m *section) has(name string) bool     { return len(m.all(name)) > 0 }
func (m *section) remove(names ...string)   { m.lines = without(m.lines, names...) }
func (m *section) add(attrs ...string) {
	for _, a := range attrs {
		m.lines = append(m.lines, "a="+a)
	}
}

// get returns the first value of an attribute, or "".
func (m *section) get(name string) string { return first(m.all(name)) }

// first of a slice, or the zero value.
func first[E any](s []E) (e E) {
	if len(s) > 0 {
		e = s[0]
	}
	return e
}

// set replaces an attribute.
func (m *section) set(name, value string) {
	m.remove(name)
	m.add(name + ":" + value)
}

// either returns an attribute of the section, or else of the session.
func (d *description) either(m *section, name string) string {
	if m == nil {
		return first(values(d.lines, name))
	}
	if v := m.all(name); len(v) > 0 {
		return v[0]
	}
	return first(values(d.lines, name))
}

var directions = []string{"sendrecv", "sendonly", "recvonly", "inactive"}

// direction of a section; sendrecv when it has none (RFC 8866 6.7).
func (d *description) direction(m *section) string {
	for _, lines := range [][]string{m.lines, d.lines} {
		for _, name := range directions {
			if len(values(lines, name)) > 0 {
				return name
			}
		}
	}
	return "sendrecv"
}

func (m *section) direct(direction string) {
	m.remove(directions...)
	m.add(direction)
}

// live tells whether the section is neither rejected nor disabled: bundle-only
// makes port 0 live (RFC 9143 6).
func (m *section) live() bool { return m.port != "0" || m.has("bundle-only") }

// accepted are the sections of an answer that were not rejected.
func (d *description) accepted() (live []*section) {
	for _, m := range d.media {
		if m.port != "0" {
			live = append(live, m)
		}
	}
	return live
}

// kind returns the first section of a kind, or nil.
func (d *description) kind(kind string) *section {
	for _, m := range d.media {
		if m.kind == kind {
			return m
		}
	}
	return nil
}

// plays tells whether a section of the kind was accepted.
func (d *description) plays(kind string) bool {
	return slices.ContainsFunc(d.accepted(), func(m *section) bool { return m.kind == kind })
}

// keep leaves only the sections of a kind.
func (d *description) keep(kind string) {
	d.media = slices.DeleteFunc(d.media, func(m *section) bool { return m.kind != kind })
	d.bundle()
}

// bundle writes the BUNDLE group over all sections anew.
func (d *description) bundle() {
	d.lines = slices.DeleteFunc(d.lines, func(l string) bool { return strings.HasPrefix(l, "a=group:BUNDLE") })
	group := "a=group:BUNDLE"
	for _, m := range d.media {
		group += " " + m.get("mid")
	}
	d.lines = append(d.lines, group)
}

// groups are the BUNDLE groups, as lists of mids.
func (d *description) groups() (groups [][]string) {
	for _, g := range values(d.lines, "group") {
		if mids := strings.Fields(g); len(mids) > 0 && mids[0] == "BUNDLE" {
			groups = append(groups, mids[1:])
		}
	}
	return groups
}

// codec is what a payload type stands for.
type codec struct {
	name string // lower case, with clock rate: "vp8/90000"
	fmtp map[string]string
}

var static = map[string]string{"0": "pcmu/8000", "8": "pcma/8000", "9": "g722/8000", "13": "cn/8000"}

// codecs maps the payload types of a section.
func (m *section) codecs() map[int]codec {
	found := map[int]codec{}
	for _, f := range m.formats {
		pt, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		c := codec{name: static[f], fmtp: map[string]string{}}
		for _, v := range m.all("rtpmap") {
			if n, name, ok := strings.Cut(v, " "); ok && n == f {
				c.name = strings.ToLower(strings.TrimSpace(name))
			}
		}
		for _, v := range m.all("fmtp") {
			n, params, _ := strings.Cut(v, " ")
			if n != f {
				continue
			}
			for p := range strings.SplitSeq(params, ";") {
				k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
				c.fmtp[strings.ToLower(k)] = v
			}
		}
		found[pt] = c
	}
	return found
}

// only leaves the payload types that keep says, and the RTX of those.
func (m *section) only(keep func(pt int, c codec) bool) {
	codecs := m.codecs()
	kept := func(f string) bool {
		pt, err := strconv.Atoi(f)
		if err != nil {
			return false
		}
		c := codecs[pt]
		if apt, err := strconv.Atoi(c.fmtp["apt"]); err == nil {
			return keep(apt, codecs[apt])
		}
		return keep(pt, c)
	}
	m.formats = slices.DeleteFunc(slices.Clone(m.formats), func(f string) bool { return !kept(f) })
	m.lines = slices.DeleteFunc(slices.Clone(m.lines), func(l string) bool {
		for _, name := range []string{"a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"} {
			if v, ok := strings.CutPrefix(l, name); ok {
				f, _, _ := strings.Cut(v, " ")
				return f != "*" && !slices.Contains(m.formats, f)
			}
		}
		return false
	})
}

// telling are the attributes of a section that are shown as evidence.
var telling = []string{
	"mid", "sendonly", "recvonly", "sendrecv", "inactive", "setup", "msid", "bundle-only", "rtcp-mux", "rtcp-mux-only", "rtpmap", "fmtp",
}

// evidence shows the m= line and the attributes that matter for a connection.
func (m *section) evidence() []string {
	const most = 12
	lines := []string{printable(m.line())}
	for _, l := range m.lines {
		name, _, _ := strings.Cut(strings.TrimPrefix(l, "a="), ":")
		if slices.Contains(telling, name) && len(lines) < most {
			lines = append(lines, printable(l))
		}
	}
	return lines
}
