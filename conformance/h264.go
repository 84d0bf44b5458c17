package conformance

import (
	"encoding/binary"
	"slices"
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
