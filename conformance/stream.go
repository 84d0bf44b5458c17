package conformance

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// media is what a peer received. The peer's mu guards it.
type media struct {
	codecs  map[int]codec  // payload types of the answer
	kinds   map[int]string // audio or video
	streams map[uint32]*stream
	unknown map[uint8]int  // packets with payload types that were not negotiated
	reports map[uint32]int // sender reports by SSRC
	bye     map[uint32]bool
	total   int
	last    time.Time
}

// stream is one SSRC.
type stream struct {
	ssrc        uint32
	pt          uint8
	codec, kind string
	packets     int
	first, last time.Time
	seqs        []uint16 // the latest, oldest first
	repeated    map[uint16]bool
	extensions  map[uint8][]byte // the first value of each id
	stamps      []uint32         // RTP timestamps in the order of arrival, changes only
	keys        []time.Time      // key frames
	keyAt       uint32           // RTP timestamp of the last of them
	startsKey   bool             // the first packet begins a key frame
	nals        map[int]int      // H.264 NAL unit types
	sps         []byte
	bSlices     int
}

// clone copies what came so far.
func (s *stream) clone() stream {
	c := *s
	c.seqs, c.keys, c.stamps = slices.Clone(s.seqs), slices.Clone(s.keys), slices.Clone(s.stamps)
	c.repeated, c.extensions, c.nals = maps.Clone(s.repeated), maps.Clone(s.extensions), maps.Clone(s.nals)
	return c
}

// learn takes the payload types of an answer.
func (m *media) learn(d *description) {
	m.codecs, m.kinds = map[int]codec{}, map[int]string{}
	m.unknown, m.reports, m.bye = map[uint8]int{}, map[uint32]int{}, map[uint32]bool{}
	for _, s := range d.accepted() {
		for pt, c := range s.codecs() {
			m.codecs[pt], m.kinds[pt] = c, s.kind
		}
	}
}

const maxSeqs = 512

func (m *media) rtp(packet []byte) {
	var p rtp.Packet
	if p.Unmarshal(packet) != nil {
		return
	}
	now := time.Now()
	m.total++
	m.last = now
	c, known := m.codecs[int(p.PayloadType)]
	if !known {
		m.unknown[p.PayloadType]++
		return
	}
	if c.name == "rtx/90000" {
		m.rtx(p)
		return
	}
	s := m.streams[p.SSRC]
	fresh := s == nil
	if fresh {
		s = &stream{
			ssrc: p.SSRC, pt: p.PayloadType, codec: c.name, kind: m.kinds[int(p.PayloadType)], first: now,
			repeated: map[uint16]bool{}, extensions: map[uint8][]byte{}, nals: map[int]int{},
		}
		m.streams[p.SSRC] = s
	}
	if slices.Contains(s.seqs, p.SequenceNumber) {
		s.repeated[p.SequenceNumber] = true
		return
	}
	s.packets++
	s.last, s.pt = now, p.PayloadType
	if s.seqs = append(s.seqs, p.SequenceNumber); len(s.seqs) > maxSeqs {
		s.seqs = s.seqs[1:]
	}
	for _, id := range p.GetExtensionIDs() {
		if _, have := s.extensions[id]; !have {
			s.extensions[id] = slices.Clone(p.GetExtension(id))
		}
	}
	if n := len(s.stamps); (n == 0 || s.stamps[n-1] != p.Timestamp) && n < maxSeqs {
		s.stamps = append(s.stamps, p.Timestamp)
	}
	if c.name == "h264/90000" {
		s.h264(p.Payload)
	}
	if isKey(c.name, p.Payload) {
		if len(s.keys) == 0 || p.Timestamp != s.keyAt {
			s.keys = append(s.keys, now)
			s.keyAt = p.Timestamp
		}
		s.startsKey = s.startsKey || s.packets == 1
	}
}

// rtx notes which packet a retransmission repeats (RFC 4588). Its stream is the
// only one of video.
func (m *media) rtx(p rtp.Packet) {
	if len(p.Payload) < 2 {
		return
	}
	seq := binary.BigEndian.Uint16(p.Payload)
	for _, s := range m.streams {
		if s.kind == "video" {
			s.repeated[seq] = true
		}
	}
}

func (m *media) rtcp(packet []byte) {
	packets, err := rtcp.Unmarshal(packet)
	if err != nil {
		return
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			m.reports[p.SSRC]++
		case *rtcp.Goodbye:
			for _, ssrc := range p.Sources {
				m.bye[ssrc] = true
			}
		}
	}
}

// isKey tells whether the payload of a packet begins a picture that needs no
// other, by its payload header.
func isKey(codec string, b []byte) bool {
	if len(b) < 2 {
		return false
	}
	switch codec {
	case "vp8/90000": // RFC 7741 4.2, 4.3
		n := 1
		if b[0]&0x80 != 0 {
			x := b[1]
			n = 2
			if x&0x80 != 0 && len(b) > n {
				n += 1 + int(b[n]>>7)
			}
			n += int(x>>6&1) + int((x>>5|x>>4)&1)
		}
		return b[0]&0x17 == 0x10 && len(b) > n && b[n]&1 == 0
	case "vp9/90000": // RFC 9628 4.2: not P, and B
		return b[0]&0x48 == 0x08
	case "av1/90000": // N: first packet of a coded video sequence
		return b[0]&0x08 != 0
	case "h264/90000":
		for _, nal := range h264NALs(b) {
			if t := nal[0] & 31; t == 5 {
				return true
			}
		}
	case "h265/90000": // RFC 7798
		t := b[0] >> 1 & 63
		if t == 49 && len(b) > 2 && b[2]&0x80 != 0 {
			t = b[2] & 63
		}
		return t >= 16 && t <= 21 || t == 48 && len(b) > 4 && b[4]>>1&63 >= 16
	}
	return false
}
