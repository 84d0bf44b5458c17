package whep

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxCandidates bounds the candidates in one offer and in one fragment.
const maxCandidates = 128

// fragment is the body of a PATCH (RFC 8840, 9): a client's candidates, and its
// credentials, which are new for an ICE restart.
type fragment struct {
	ufrag, pwd string   // empty when the fragment has none
	candidates []string // values of a=candidate that UDP can reach, without "candidate:"
}

// readFragment reads an application/trickle-ice-sdpfrag body. Errors are
// ErrSyntax. Candidates over other transports and with names instead of
// addresses are dropped silently (WHEP 4.5.2). MediaMTX writes the name twice,
// a=candidate:candidate:, and leaves when that is refused.
func readFragment(body string) (f fragment, err error) {
	media, seen := false, false
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "" || line == "a=":
			continue
		case len(line) < 3 || line[1] != '=':
			return f, syntax("%q is no SDP line; send an application/trickle-ice-sdpfrag body", clip(line))
		}
		seen = true
		name, value, _ := strings.Cut(line[2:], ":")
		switch {
		case line[0] == 'm':
			media = true
		case line[0] != 'a':
			return f, syntax("a fragment has a= and m= lines only, not %q", clip(line))
		case name == "ice-ufrag":
			err = credential(&f.ufrag, value, 4)
		case name == "ice-pwd":
			err = credential(&f.pwd, value, 22)
		case name == "candidate" && !media:
			return f, syntax("a=candidate must follow an m= line")
		case name == "candidate":
			var usable bool
			value = strings.TrimPrefix(value, "candidate:")
			if usable, err = readCandidate(value); usable && len(f.candidates) < maxCandidates {
				f.candidates = append(f.candidates, value)
			}
		}
		if err != nil {
			return f, err
		}
	}
	if !seen {
		return f, syntax("the fragment is empty")
	}
	if (f.ufrag == "") != (f.pwd == "") {
		return f, syntax("a=ice-ufrag and a=ice-pwd come together")
	}
	return f, nil
}

// credential sets an ICE credential of at least least characters (RFC 8839,
// 5.4); two different ones in a body are an error.
func credential(to *string, value string, least int) error {
	if len(value) < least || len(value) > 256 || strings.Trim(value, iceChars) != "" {
		return syntax("an ICE credential has %d to 256 characters of A-Z a-z 0-9 + /", least)
	}
	if *to != "" && *to != value {
		return syntax("there are two different ICE user fragments or passwords")
	}
	*to = value
	return nil
}

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	iceChars     = alphanumeric + "+/"
	tokenChars   = alphanumeric + "!#$%&'*+-.^_`{|}~"
)

// readCandidate checks the grammar of a candidate (RFC 8839, 5.1) and reports
// whether UDP can reach it at an address.
func readCandidate(value string) (usable bool, err error) {
	f := strings.Fields(value)
	if len(f) < 8 || f[6] != "typ" || strings.Trim(f[0], iceChars) != "" || len(f[0]) > 32 {
		return false, syntax("a=candidate:%s is no candidate", clip(value))
	}
	component, err1 := strconv.ParseUint(f[1], 10, 9)
	_, err2 := strconv.ParseUint(f[3], 10, 32)
	_, err3 := strconv.ParseUint(f[5], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil || component == 0 {
		return false, syntax("a=candidate:%s has a bad component, priority or port", clip(value))
	}
	addr, err := netip.ParseAddr(f[4])
	return strings.EqualFold(f[2], "udp") && component == 1 && err == nil && !addr.IsUnspecified() && !addr.IsMulticast(), nil
}

func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
