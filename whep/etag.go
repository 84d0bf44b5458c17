package whep

import (
	"fmt"
	"regexp"
	"strings"
)

// entityTag is one element of If-Match (RFC 9110, 8.8.3).
var entityTag = regexp.MustCompile(`^[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)`)

// match evaluates If-Match for an ICE session's entity-tag: nil when one of the
// tags in the field is etag by strong comparison (RFC 9110, 13.1.1). any is
// true for the wildcard, which WHEP's text spells * and its example "*".
//
// Errors: ErrPreconditionRequired without the field (RFC 6585, 3), ErrStale
// when nothing matches or the field cannot be read.
func match(ifMatch []string, etag string) (wildcard bool, err error) {
	if len(ifMatch) == 0 {
		return false, fmt.Errorf("%w: send the ETag of the 201, or * to restart ICE", ErrPreconditionRequired)
	}
	field := strings.TrimSpace(strings.Join(ifMatch, ","))
	if field == "*" || field == `"*"` {
		return true, nil
	}
	for rest := field; rest != ""; {
		m := entityTag.FindStringSubmatch(rest)
		if m == nil {
			return false, fmt.Errorf("%w: If-Match is neither * nor a list of quoted entity-tags", ErrStale)
		}
		if m[1] == "" && m[2] == etag {
			return false, nil
		}
		rest = rest[len(m[0]):]
	}
	return false, fmt.Errorf("%w: use the ETag of the 201 or of the last ICE restart", ErrStale)
}
