package conformance

import (
	"encoding/binary"
	"slices"
	"strings"
)

// NAL unit types of RFC 6184 that are containers.
const (
	stapA = 24
	fuA   = 28
)

// h264NALs are the NAL units that begin in a payload; of a fragmented one only
// the beginning.
func h264NALs(b []byte) (nals [][]byte) {
	switch b[0] & 31 {
	case stapA:
		for b = b[1:]; len(b) > 2; {
			n := int(binary.BigEndian.Uint16(b))
			if n == 0 || len(b) < 2+n {
				break
			}
			nals = append(nals, b[2:2+n])
			b = b[2+n:]
		}
	case fuA:
		if len(b) > 2 && b[1]&0x80 != 0 {
			nals = append(nals, append([]byte{b[0]&0xe0 | b[1]&31}, b[2:]...))
		}
	default:
		nals = append(nals, b)
	}
	return nals
}

// h264 notes what a payload holds.
func (s *stream) h264(b []byte) {
	if len(b) == 0 {
		return
	}
	if t := int(b[0] & 31); t >= stapA {
		s.nals[t]++
	}
	for _, nal := range h264NALs(b) {
		t := int(nal[0] & 31)
		s.nals[t]++
		switch {
		case t == 7 && len(nal) > 3:
			s.sps = slices.Clone(nal)
		case (t == 1 || t == 5) && isB(nal[1:]):
			s.bSlices++
		}
	}
}

// isB reads first_mb_in_slice and slice_type (ITU-T H.264 7.3.3).
func isB(b []byte) bool {
	bit := 0
	next := func() int {
		if bit/8 >= len(b) {
			return 1
		}
		v := int(b[bit/8] >> (7 - bit%8) & 1)
		bit++
		return v
	}
	golomb := func() int {
		zeros := 0
		for next() == 0 && zeros < 32 {
			zeros++
		}
		v := 1
		for range zeros {
			v = v<<1 | next()
		}
		return v - 1
	}
	golomb()
	return golomb()%5 == 1
}

func checkH264Modes(t *T) {
	t.exchangeBase()
	served := 0
	for _, v := range []struct{ what, mode, profile, fmtp string }{
		{"packetization-mode 1, baseline", "1", "42", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
		{"packetization-mode 0, baseline", "0", "42", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"},
		{"no parameters", "0", "42", ""},
		{"only the High profile", "1", "64", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f"},
	} {
		e, s, err := t.begin(t.offer().with(only("video")).with(h264Only(v.fmtp)))
		if s == nil {
			t.judgeRefusal("an H.264 offer with "+v.what+" that it does not serve", e)
			continue
		}
		m := s.answer.kind("video")
		if m == nil || m.port == "0" {
			continue
		}
		served++
		got := m.codecs()[102]
		t.require(got.name == "h264/90000", m, "answer payload type 102 as H.264")
		t.require(orDefault(got.fmtp["packetization-mode"], "0") == v.mode, m, "keep the packetization-mode of the offer, %s", v.mode)
		id := strings.ToLower(orDefault(got.fmtp["profile-level-id"], "42000a"))
		t.require(strings.HasPrefix(id, v.profile), m, "keep the profile of the offer, %s: the answer says %s", v.profile, id)
		if v.mode == "0" && err == nil && s.connect() == nil && s.flows() {
			st, _ := s.stream("video")
			t.require(st.nals[stapA] == 0 && st.nals[fuA] == 0, linef("%d STAP-A, %d FU-A", st.nals[stapA], st.nals[fuA]),
				"send only single NAL units in packetization-mode 0, offered with %s", v.what)
		}
		s.finish()
	}
	if served == 0 {
		t.skip("the server does not serve H.264")
	}
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
