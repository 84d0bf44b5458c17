package interceptors

import (
	"encoding/binary"

	"github.com/pion/interceptor"
)

// RTCP packet types and feedback formats (RFC 3550, RFC 4585, RFC 5104,
// draft-holmer-rmcat-transport-wide-cc-extensions).
const (
	typeSenderReport      = 200
	typeReceiverReport    = 201
	typeTransportFeedback = 205
	typePayloadFeedback   = 206

	formatNack        = 1
	formatTransportCC = 15
	formatPLI         = 1
	formatFIR         = 4
)

// control is one packet of a compound RTCP packet. body is what follows the
// four bytes of the common header.
type control struct {
	kind, format uint8 // format is the count in reports
	body         []byte
}

// compound is an RTCP packet of several.
type compound []byte

// all yields the packets, without their padding. It ends at what is no RTCP:
// one bad packet must not end the reading of what follows later.
func (b compound) all(yield func(control) bool) {
	for len(b) >= 4 && b[0]>>6 == 2 {
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return
		}
		body := b[4:n]
		if b[0]&0x20 != 0 && n > 4 { // RFC 3550, 6.4.1: the last byte counts the padding
			body = body[:max(len(body)-int(body[len(body)-1]), 0)]
		}
		if !yield(control{b[1], b[0] & 0x1f, body}) {
			return
		}
		b = b[n:]
	}
}

// feedback is the media SSRC of a feedback message, and what follows it.
func (c control) feedback() (media uint32, rest []byte, ok bool) {
	if len(c.body) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(c.body[4:]), c.body[8:], true
}

// block is a report block (RFC 3550, 6.4.1).
type block struct {
	ssrc      uint32
	lost      uint8  // in 1/256 since the last report
	jitter    uint32 // in RTP ticks
	lastSR    uint32 // middle of the NTP time of our report; zero without
	sinceLast uint32 // from there to this report, in 1/65536 s
}

// blocks yields the report blocks of a sender or receiver report.
func (c control) blocks(yield func(block) bool) {
	skip := 4
	switch c.kind {
	case typeSenderReport:
		skip = 24
	case typeReceiverReport:
	default:
		return
	}
	for i := range int(c.format) {
		at := skip + 24*i
		if at+24 > len(c.body) {
			return
		}
		b := c.body[at:]
		u32 := binary.BigEndian.Uint32
		if !yield(block{u32(b), b[4], u32(b[12:]), u32(b[16:]), u32(b[20:])}) {
			return
		}
	}
}

// nack is the entries of a generic NACK (RFC 4585, 6.2.1).
type nack []byte

// most yields the sequence numbers, at most so many as are kept.
func (entries nack) most(yield func(uint16) bool) {
	limit := historySize
	for ; len(entries) >= 4; entries = entries[4:] {
		seq := binary.BigEndian.Uint16(entries)
		following := uint32(binary.BigEndian.Uint16(entries[2:]))
		for mask := following<<1 | 1; mask != 0; mask, seq = mask>>1, seq+1 {
			if mask&1 == 0 {
				continue
			}
			if limit--; limit < 0 || !yield(seq) {
				return
			}
		}
	}
}

// listen lets look see each packet of RTCP that is read.
func listen(reader interceptor.RTCPReader, look func(c control)) interceptor.RTCPReader {
	return interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := reader.Read(b, a)
		if err == nil {
			for c := range compound(b[:n]).all {
				look(c)
			}
		}
		return n, a, err
	})
}
