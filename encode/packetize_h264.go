package encode

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// H264Packetizer makes payloads after RFC 6184 in packetization mode 1:
// parameter sets together in a STAP-A, other NAL units whole or as FU-As. The
// data is in Annex B. The zero value is ready.
type H264Packetizer struct{}

const (
	nalTypeMask = 0x1f
	nalRefMask  = 0x60
	nalSPS      = 7
	nalPPS      = 8
	nalAUD      = 9
	nalSTAPA    = 24
	nalFUA      = 28

	fuStart = 0x80
	fuEnd   = 0x40
)

var (
	errAnnexB       = errors.New("packetize H.264: no start code where one must be")
	errParameterSet = errors.New("packetize H.264: parameter sets of an impossible size")
)

// Packetize implements Packetizer.
func (H264Packetizer) Packetize(data []byte, _ bool, _ uint8) ([][]byte, error) {
	var payloads [][]byte
	sets := []byte{nalSTAPA}
	for len(data) > 0 {
		var nal []byte
		if nal, data = nextNAL(data); len(nal) == 0 {
			return nil, errAnnexB
		}
		switch nal[0] & nalTypeMask {
		case nalAUD: // RTP has its own delimiter
		case nalSPS, nalPPS:
			sets[0] |= nal[0] & nalRefMask
			sets = binary.BigEndian.AppendUint16(sets, uint16(len(nal)))
			sets = append(sets, nal...)
		default:
			if len(sets) > 1 {
				payloads = append(payloads, sets)
				sets = []byte{nalSTAPA}
			}
			payloads = append(payloads, fragments(nal)...)
		}
	}
	for _, p := range payloads {
		if len(p) > MaxPayload {
			return nil, errParameterSet
		}
	}
	return payloads, nil
}

func fragments(nal []byte) [][]byte {
	if len(nal) <= MaxPayload {
		return [][]byte{bytes.Clone(nal)}
	}
	return split(nal[1:], 2, 0, func(b []byte, first, last bool) {
		b[0] = nal[0]&nalRefMask | nalFUA
		b[1] = nal[0] & nalTypeMask
		if first {
			b[1] |= fuStart
		}
		if last {
			b[1] |= fuEnd
		}
	})
}

// nextNAL cuts the first NAL unit off data, which begins with a start code. The
// unit is empty if it does not.
func nextNAL(data []byte) (nal, rest []byte) {
	start := bytes.Index(data, []byte{0, 0, 1})
	if start < 0 || start > 1 {
		return nil, nil
	}
	nal = data[start+3:]
	if end := bytes.Index(nal, []byte{0, 0, 1}); end >= 0 {
		nal, rest = nal[:end], nal[end:]
	}
	return bytes.TrimRight(nal, "\x00"), rest
}
