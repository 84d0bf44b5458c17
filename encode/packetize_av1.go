package encode

import (
	"errors"
)

// AV1Packetizer makes payloads after the AV1 RTP specification 1.0 section 4:
// the OBUs of a temporal unit without their sizes and without the temporal
// delimiter, all but the last of them in the first packet. The data is OBUs
// with sizes. The zero value is ready.
type AV1Packetizer struct{}

const (
	av1Continues = 0x80 // Z: the first element continues one of the packet before
	av1Continued = 0x40 // Y: the last element continues in the next packet
	av1Count     = 4    // W: the place of the number of elements
	av1NewSeries = 0x08 // N: a coded video sequence begins

	obuHasSize           = 0x02
	obuHasExtension      = 0x04
	obuTypeShift         = 3
	obuTypeMask          = 0x0f
	obuTemporalDelimiter = 2
	obuTileList          = 8
	obuPadding           = 15
)

var errOBU = errors.New("packetize AV1: the data is not a temporal unit as expected")

// Packetize implements Packetizer.
func (AV1Packetizer) Packetize(data []byte, key bool, _ uint8) ([][]byte, error) {
	var before, last []byte // the elements in front of the last one, with their sizes
	count := 0
	for len(data) > 0 {
		obu, kind, rest, err := nextOBU(data)
		if err != nil {
			return nil, err
		}
		data = rest
		switch kind {
		case obuTemporalDelimiter, obuTileList, obuPadding:
			continue
		}
		if count > 0 {
			before = append(appendLEB128(before, len(last)), last...)
		}
		last = obu
		count++
	}
	if count == 0 || count > 3 || len(before) > MaxPayload/4 {
		return nil, errOBU
	}
	return split(last, 1, len(before), func(b []byte, first, end bool) {
		b[0] = 1 << av1Count
		if first {
			b[0] = byte(count) << av1Count
			copy(b[1:], before)
			if key {
				b[0] |= av1NewSeries
			}
		} else {
			b[0] |= av1Continues
		}
		if !end {
			b[0] |= av1Continued
		}
	}), nil
}

// nextOBU cuts the first OBU off data and returns it without its size field.
func nextOBU(data []byte) (obu []byte, kind byte, rest []byte, err error) {
	kind = data[0] >> obuTypeShift & obuTypeMask
	header := 1
	if data[0]&obuHasExtension != 0 {
		header = 2
	}
	size, n := 0, 0
	for ; ; n++ {
		if n == 4 || header+n >= len(data) {
			return nil, 0, nil, errOBU
		}
		b := data[header+n]
		size |= int(b&0x7f) << (7 * n)
		if b&0x80 == 0 {
			n++
			break
		}
	}
	if data[0]&obuHasSize == 0 || len(data) < header+n+size {
		return nil, 0, nil, errOBU
	}
	obu = append([]byte{data[0] &^ obuHasSize}, data[1:header]...)
	obu = append(obu, data[header+n:header+n+size]...)
	return obu, kind, data[header+n+size:], nil
}

func appendLEB128(b []byte, v int) []byte {
	for v >= 0x80 {
		b, v = append(b, byte(v)|0x80), v>>7
	}
	return append(b, byte(v))
}
