package whep

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestIfMatch(t *testing.T) {
	const etag = `"abc"`
	for _, c := range []struct {
		field    []string
		wildcard bool
		err      error
	}{
		{nil, false, ErrPreconditionRequired},
		{[]string{etag}, false, nil},
		{[]string{" " + etag + " "}, false, nil},
		{[]string{`"x", "abc"`}, false, nil},
		{[]string{`"x"`, `"abc"`}, false, nil},
		{[]string{`"x,y" , W/"abc","abc"`}, false, nil},
		{[]string{"*"}, true, nil},
		{[]string{`"*"`}, true, nil},
		{[]string{`W/"abc"`}, false, ErrStale},
		{[]string{`"nope"`}, false, ErrStale},
		{[]string{"abc"}, false, ErrStale},
		{[]string{`"abc`}, false, ErrStale},
		{[]string{""}, false, ErrStale},
		{[]string{`"x" "abc"`}, false, ErrStale},
	} {
		wildcard, err := match(c.field, etag)
		if wildcard != c.wildcard || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%q: %v, %v", c.field, wildcard, err)
		}
	}
}

func TestFragments(t *testing.T) {
	const (
		candidate = "a=candidate:1 1 udp 2113937151 127.0.0.1 41760 typ host\r\n"
		creds     = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
		media     = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
	)
	for _, c := range []struct {
		name, body string
		candidates int
		ok         bool
	}{
		{"credentials at session level", creds + media + candidate, 1, true},
		{"credentials at media level", media + creds + candidate + "a=end-of-candidates\r\n", 1, true},
		{"with a group and options", "a=group:BUNDLE 0\r\na=ice-options:trickle\r\n" + creds + media + candidate + "a=\r\n", 1, true},
		{"a video section", creds + "m=video 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\n" + candidate, 1, true},
		{"only the end", "a=end-of-candidates\r\n", 0, true},
		{"no credentials", media + candidate, 1, true},
		{"a candidate with its name twice", media + creds + strings.Replace(candidate, "candidate:", "candidate:candidate:", 1), 1, true},
		{"what cannot be reached is dropped", media + candidate +
			"a=candidate:2 1 tcp 1 127.0.0.1 9 typ host tcptype active\r\n" +
			"a=candidate:3 1 foo 1 127.0.0.1 9 typ host\r\n" +
			"a=candidate:4 1 udp 1 x.local 9 typ host\r\n" +
			"a=candidate:5 1 udp 1 2001:db8::1 9 typ host\r\n" +
			"a=candidate:6 1 udp 1 0.0.0.0 9 typ host\r\n", 2, true},
		{"nothing", "", 0, false},
		{"json", `{"candidate":""}`, 0, false},
		{"binary", "\x00\x01\x02", 0, false},
		{"a candidate before the section", candidate + media, 0, false},
		{"a broken candidate", media + "a=candidate:1 1 udp\r\n", 0, false},
		{"a candidate with a bad port", media + "a=candidate:1 1 udp 1 127.0.0.1 99999 typ host\r\n", 0, false},
		{"a fragment without a password", "a=ice-ufrag:abcd\r\n" + media, 0, false},
		{"a whole SDP", "v=0\r\n" + media, 0, false},
	} {
		f, err := readFragment(c.body)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrSyntax) || len(f.candidates) != c.candidates && c.ok {
			t.Errorf("%s: %d candidates, %v", c.name, len(f.candidates), err)
		}
	}
	flood := media + strings.Repeat(candidate, 10_000)
	if f, err := readFragment(flood); err != nil || len(f.candidates) != maxCandidates {
		t.Errorf("10,000 candidates: kept %d, %v", len(f.candidates), err)
	}
}

func TestLimitsByAddress(t *testing.T) {
	const perSecond = 10
	l := newLimits(perSecond)
	now := time.Unix(1000, 0)
	flood := func(from string, at time.Time, n int) (passed int) {
		for range n {
			if l.allow(netip.MustParseAddr(from), true, at) == nil {
				passed++
			}
		}
		return passed
	}
	if n := flood("192.0.2.1", now, 1000); n != burst*perSecond {
		t.Errorf("%d POSTs at once passed", n)
	}
	if n := flood("::ffff:192.0.2.1", now, 10); n != 0 {
		t.Errorf("%d more passed in the address's other spelling", n)
	}
	if n := flood("192.0.2.1", now.Add(time.Second), 1000); n != perSecond {
		t.Errorf("%d POSTs passed a second later", n)
	}
	if n := flood("2001:db8::1", now.Add(time.Second), 10) + flood("2001:db8::2:1", now.Add(time.Second), 1000); n != burst*perSecond {
		t.Errorf("%d POSTs of one /64 passed", n)
	}
	later := now.Add(10 * time.Second)
	total := 0
	for i := range 250 {
		total += flood(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String(), later, 5)
	}
	if total != crowd*burst*perSecond {
		t.Errorf("%d POSTs of many addresses passed", total)
	}
	if l.allow(netip.MustParseAddr("192.0.2.9"), false, later) != nil {
		t.Error("a flood of POSTs holds up a DELETE")
	}
}

func TestRTPTimeInIntegers(t *testing.T) {
	epoch := time.Now()
	c := clock{epoch: epoch, base: 1 << 31, rate: 90000}
	for at, want := range map[time.Duration]uint32{
		0:                         0,
		time.Second / 90000 * 3:   2, // 33.333 us is a bit less than 3 ticks
		516700 * time.Microsecond: 46503,
		24 * time.Hour:            3481032704, // 7,776,000,000 modulo 2^32
	} {
		if got := c.rtp(epoch.Add(at)) - 1<<31; got != want {
			t.Errorf("%v is %d ticks, want %d", at, got, want)
		}
	}
}
