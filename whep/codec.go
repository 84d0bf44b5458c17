package whep

import (
	"slices"
	"strconv"
	"strings"

	"deskwhep/encode"
)

// format is one payload type of an offer that we could send.
type format struct {
	codec encode.Codec // empty for audio
	pt    uint8
	name  string // encoding name as in our answer
	clock uint32
	chans uint16
	fmtp  string // for our answer; empty for none
	rank  int    // among the offer's payload types of one codec: the lower the better

	nack, pli, fir bool // feedback that the offer names
	transportCC    bool
	rtx            uint8 // payload type of its retransmissions (RFC 4588); 0 for none
	maxFS          int   // macroblocks per frame that the player can decode; 0 is no limit
}

// rtpmap is an offered payload type before it is judged.
type rtpmap struct {
	pt     uint8
	name   string // lower case
	clock  uint32
	chans  uint16
	params map[string]string // of its fmtp, names in lower case
	fb     []string
}

// recognise tells whether we could send an offered payload type, and what our
// answer says of it. Values are matched as their payload formats ask: RFC 7741
// (VP8), RFC 9628 (VP9), RFC 6184 (H.264), the AV1 RTP specification, RFC 7587
// (Opus), RFC 3551 (PCMU).
func recognise(m rtpmap) (format, bool) {
	f := format{pt: m.pt, clock: m.clock}
	f.maxFS, _ = strconv.Atoi(m.params["max-fs"])
	f.nack = slices.Contains(m.fb, "nack")
	f.pli = slices.Contains(m.fb, "nack pli")
	f.fir = slices.Contains(m.fb, "ccm fir")
	f.transportCC = slices.Contains(m.fb, "transport-cc")
	switch {
	case m.name == "vp8" && m.clock == 90000:
		f.codec, f.name = encode.VP8, "VP8"
	case m.name == "vp9" && m.clock == 90000 && absentOr(m.params["profile-id"], "0"):
		f.codec, f.name, f.fmtp = encode.VP9, "VP9", "profile-id=0"
	case m.name == "av1" && m.clock == 90000 && absentOr(m.params["profile"], "0"):
		f.codec, f.name = encode.AV1, "AV1"
	case m.name == "h264" && m.clock == 90000:
		rank, ok := constrainedBaseline(m.params["profile-level-id"])
		if !ok || m.params["packetization-mode"] != "1" {
			return f, false
		}
		f.codec, f.name, f.rank = encode.H264, "H264", rank
		f.fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=" + strings.ToLower(m.params["profile-level-id"])
	case m.name == "opus" && m.clock == 48000 && m.chans <= 2: // GStreamer forgets the two channels
		f.name, f.chans = "opus", 2
	case m.name == "pcmu" && m.clock == 8000 && m.chans <= 1:
		f.name, f.rank = "PCMU", 1
	default:
		return f, false
	}
	return f, true
}

// constrainedBaseline tells whether a decoder of the given profile-level-id
// (RFC 6184, 8.1) decodes constrained baseline, and how well the profile
// describes that: the stream is a valid stream of each of these profiles.
func constrainedBaseline(id string) (rank int, ok bool) {
	v, err := strconv.ParseUint(id, 16, 24)
	if err != nil || len(id) != 6 {
		return 0, false
	}
	profile, constraints := byte(v>>16), byte(v>>8)
	switch {
	case profile == 0x42 && constraints&0x40 != 0: // constrained baseline
		return 0, true
	case profile == 0x42: // baseline
		return 1, true
	case profile == 0x4d: // main
		return 2, true
	case profile == 0x64 && constraints&0x0c == 0x0c: // constrained high
		return 3, true
	case profile == 0x64: // high
		return 4, true
	}
	return 0, false
}

func absentOr(value, want string) bool { return value == "" || value == want }
