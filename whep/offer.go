package whep

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"deskwhep/whep/peer"
)

// Limits on an offer. Browsers' largest offers use about half of each.
const (
	maxSections   = 8
	maxFormats    = 128 // payload types in a section
	maxExtensions = 32  // header extensions in a section
	maxMid        = 64  // characters
	lastShortID   = 14  // of a header extension in one-byte form (RFC 8285, 4.2)
)

// offer is what we understand of a player's offer. Nothing else of it reaches
// the connection or an answer.
type offer struct {
	sections     []section // all of the offer's, in its order
	bundle       []string  // mids of the group, in its order; empty without a group
	ufrag, pwd   string
	fingerprints []string // "sha-256 AB:CD:...", of hash functions that we know
	setup        string   // actpass, active or passive
	lite         bool
	candidates   []string // as in fragment
}

// section is one m= section of an offer.
type section struct {
	kind, proto, mid string
	first            string // its first format as written, to name in a refusal
	live             bool   // its port is not 0, or it is bundle-only (RFC 9143, 6)
	receives         bool   // recvonly or sendrecv
	mux, rsize       bool
	formats          []format         // those that we could send, the offer's order
	extensions       map[string]uint8 // URI to id, one-byte form only
}

var protos = []string{
	"UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVP", // RFC 9429, 5.1.2
	"UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP",
}

// readOffer reads and judges an SDP offer. Errors are ErrSyntax for what no
// server could use and ErrUnservable for what this one does not serve.
func readOffer(body []byte) (*offer, error) {
	var d sdp.SessionDescription
	if err := d.Unmarshal(body); err != nil {
		return nil, syntax("the body is no SDP: %v", err)
	}
	switch n := len(d.MediaDescriptions); {
	case n == 0:
		return nil, syntax("the offer has no m= section; a player sends its own offer")
	case n > maxSections:
		return nil, unservable("the offer has %d m= sections; at most %d are looked at", n, maxSections)
	}
	o := &offer{}
	if group, ok := d.Attribute("group"); ok {
		if f := strings.Fields(group); len(f) > 0 && f[0] == "BUNDLE" {
			o.bundle = f[1:]
		}
	}
	_, o.lite = d.Attribute("ice-lite")
	for _, m := range d.MediaDescriptions {
		s, err := readSection(m, &d)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(o.sections, func(t section) bool { return t.mid == s.mid }) {
			return nil, syntax("two sections have a=mid:%s", s.mid)
		}
		o.sections = append(o.sections, s)
	}
	if err := o.readTransport(&d); err != nil {
		return nil, err
	}
	return o, nil
}

func readSection(m *sdp.MediaDescription, d *sdp.SessionDescription) (section, error) {
	s := section{kind: m.MediaName.Media, proto: strings.Join(m.MediaName.Protos, "/"), extensions: map[string]uint8{}}
	s.mid, _ = m.Attribute("mid")
	switch {
	case s.mid == "":
		return s, syntax("the m=%s section has no a=mid", clip(s.kind))
	case len(s.mid) > maxMid || strings.Trim(s.mid, tokenChars) != "":
		return s, syntax("a=mid:%s is no token of at most %d characters", clip(s.mid), maxMid)
	case !slices.Contains([]string{"audio", "video", "application"}, s.kind):
		return s, unservable("m=%s sections are not known", clip(s.kind))
	case !slices.Contains(protos, s.proto):
		return s, unservable("%s is not a transport of WebRTC", clip(s.proto))
	case len(m.MediaName.Formats) == 0:
		return s, syntax("the m=%s section has no format", s.kind)
	case len(m.MediaName.Formats) > maxFormats:
		return s, unservable("the m=%s section has %d payload types; at most %d are looked at", s.kind, len(m.MediaName.Formats), maxFormats)
	}
	s.first = m.MediaName.Formats[0]
	_, only := m.Attribute("bundle-only")
	s.live = m.MediaName.Port.Value != 0 || only
	s.receives = receives(m, d)
	_, s.mux = m.Attribute("rtcp-mux")
	_, s.rsize = m.Attribute("rtcp-rsize")
	if s.kind == "application" {
		if strings.Trim(s.first, tokenChars) != "" {
			return s, syntax("%q is no format", clip(s.first))
		}
		return s, nil
	}
	if err := s.readExtensions(m); err != nil {
		return s, err
	}
	maps, err := readFormats(m)
	if err != nil {
		return s, err
	}
	for _, f := range maps {
		if known, ok := recognise(f); ok && (known.codec != "") == (s.kind == "video") {
			known.rtx = repairs(maps, f)
			s.formats = append(s.formats, known)
		}
	}
	return s, nil
}

// receives tells whether the section's direction lets the player receive; the
// default is sendrecv (RFC 8866, 6.7).
func receives(m *sdp.MediaDescription, d *sdp.SessionDescription) bool {
	for _, attributes := range [][]sdp.Attribute{m.Attributes, d.Attributes} {
		for _, a := range attributes {
			switch a.Key {
			case "recvonly", "sendrecv":
				return true
			case "sendonly", "inactive":
				return false
			}
		}
	}
	return true
}

// readExtensions takes the header extensions with ids of the one-byte form;
// larger ids are legal and not used.
func (s *section) readExtensions(m *sdp.MediaDescription) error {
	n := 0
	for _, a := range m.Attributes {
		if a.Key != "extmap" {
			continue
		}
		if n++; n > maxExtensions {
			return unservable("the m=%s section has more than %d header extensions", s.kind, maxExtensions)
		}
		f := strings.Fields(a.Value)
		if len(f) < 2 {
			return syntax("a=extmap:%s has no URI", clip(a.Value))
		}
		number, _, _ := strings.Cut(f[0], "/")
		id, err := strconv.ParseUint(number, 10, 16)
		switch {
		case err != nil || id == 0 || id > 255 && id < 4096 || id > 4351: // RFC 8285, 5
			return syntax("a=extmap:%s has no id of 1 to 255", clip(a.Value))
		case id <= lastShortID:
			s.extensions[f[1]] = uint8(id)
		}
	}
	return nil
}

// staticFormats are payload types that need no rtpmap (RFC 3551, 6).
var staticFormats = map[uint8]rtpmap{0: {name: "pcmu", clock: 8000, chans: 1}}

// readFormats joins the rtpmap, fmtp and rtcp-fb lines of a section's payload
// types.
func readFormats(m *sdp.MediaDescription) ([]rtpmap, error) {
	var maps []rtpmap
	index := map[string]int{}
	for _, text := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(text, 10, 7)
		if err != nil {
			return nil, syntax("%q is no payload type", clip(text))
		}
		if _, twice := index[text]; twice {
			return nil, syntax("payload type %d is listed twice", pt)
		}
		f := staticFormats[uint8(pt)]
		f.pt, f.params = uint8(pt), map[string]string{}
		index[text] = len(maps)
		maps = append(maps, f)
	}
	for _, a := range m.Attributes {
		pt, value, _ := strings.Cut(a.Value, " ")
		i, known := index[pt]
		switch {
		case a.Key == "rtcp-fb" && pt == "*":
			for i := range maps {
				maps[i].fb = append(maps[i].fb, strings.ToLower(strings.TrimSpace(value)))
			}
		case !known:
		case a.Key == "rtcp-fb":
			maps[i].fb = append(maps[i].fb, strings.ToLower(strings.TrimSpace(value)))
		case a.Key == "fmtp":
			for p := range strings.SplitSeq(value, ";") {
				k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
				maps[i].params[strings.ToLower(k)] = strings.TrimSpace(v)
			}
		case a.Key == "rtpmap":
			f := strings.Split(value, "/")
			if len(f) < 2 {
				return nil, syntax("a=rtpmap:%s has no clock rate", clip(a.Value))
			}
			clock, err := strconv.ParseUint(f[1], 10, 32)
			if err != nil {
				return nil, syntax("a=rtpmap:%s has no clock rate", clip(a.Value))
			}
			maps[i].name, maps[i].clock, maps[i].chans = strings.ToLower(strings.TrimSpace(f[0])), uint32(clock), 1
			if len(f) > 2 {
				chans, err := strconv.ParseUint(f[2], 10, 8)
				if err != nil {
					return nil, syntax("a=rtpmap:%s has a bad channel count", clip(a.Value))
				}
				maps[i].chans = uint16(chans)
			}
		}
	}
	return maps, nil
}

// repairs is the payload type that is offered for retransmissions of m, 0 for
// none (RFC 4588, 8.6).
func repairs(maps []rtpmap, m rtpmap) uint8 {
	apt := strconv.Itoa(int(m.pt))
	for _, x := range maps {
		if x.name == "rtx" && x.clock == m.clock && x.params["apt"] == apt && slices.Contains(m.fb, "nack") {
			return x.pt
		}
	}
	return 0
}

// readTransport takes the ICE and DTLS attributes. They may stand in the tagged
// section, at session level, or in any other bundled section (RFC 9429, 5.2.1);
// each is taken from the first of these that has it, since sections that could
// still be unbundled have their own.
func (o *offer) readTransport(d *sdp.SessionDescription) error {
	tagged := o.tagged()
	levels := [][]sdp.Attribute{d.MediaDescriptions[tagged].Attributes, d.Attributes}
	for i, m := range d.MediaDescriptions {
		if i != tagged && o.sections[i].live && o.bundled(o.sections[i].mid) {
			levels = append(levels, m.Attributes)
		}
	}
	weak := false
	for _, attributes := range levels {
		var level offer
		for _, a := range attributes {
			if err := level.readAttribute(a); err != nil {
				return err
			}
			weak = weak || a.Key == "fingerprint"
		}
		o.ufrag, o.pwd = cmp.Or(o.ufrag, level.ufrag), cmp.Or(o.pwd, level.pwd)
		o.setup = cmp.Or(o.setup, level.setup)
		if len(o.fingerprints) == 0 {
			o.fingerprints = level.fingerprints
		}
		if len(o.candidates) == 0 {
			o.candidates = level.candidates
		}
	}
	switch {
	case o.ufrag == "" || o.pwd == "":
		return syntax("the offer has no a=ice-ufrag or no a=ice-pwd")
	case len(o.fingerprints) == 0 && weak:
		return unservable("no a=fingerprint uses sha-256 or a stronger hash")
	case len(o.fingerprints) == 0:
		return syntax("the offer has no a=fingerprint")
	case len(o.candidates) > maxCandidates:
		return unservable("the offer has %d candidates; at most %d are looked at", len(o.candidates), maxCandidates)
	case o.setup == "":
		o.setup = "actpass" // mandatory in an offer (RFC 8842, 5.2); its absence harms nobody
	}
	return nil
}

// tagged is the section whose transport the bundle will use: the first in the
// group that can be served, else the first.
func (o *offer) tagged() int {
	for _, mid := range o.bundle {
		for i, s := range o.sections {
			if s.mid == mid && s.live && s.receives && len(s.formats) > 0 {
				return i
			}
		}
	}
	return 0
}

// readAttribute takes one attribute of a level.
func (o *offer) readAttribute(a sdp.Attribute) error {
	switch a.Key {
	case "ice-ufrag":
		return credential(&o.ufrag, a.Value, 4)
	case "ice-pwd":
		return credential(&o.pwd, a.Value, 22)
	case "setup":
		return o.readSetup(a.Value)
	case "fingerprint":
		return o.readFingerprint(a.Value)
	case "candidate":
		usable, err := readCandidate(a.Value)
		if usable && !slices.Contains(o.candidates, a.Value) {
			o.candidates = append(o.candidates, a.Value)
		}
		return err
	}
	return nil
}

func (o *offer) readSetup(value string) error {
	if value != "actpass" && value != "active" && value != "passive" {
		return syntax("a=setup:%s cannot be offered; use actpass", clip(value))
	}
	if o.setup != "" && o.setup != value {
		return syntax("there are two different a=setup")
	}
	o.setup = value
	return nil
}

// hashes are the hash functions for certificates (RFC 8122, 5) that are still
// safe, with the length of their values in bytes.
var hashes = map[string]int{"sha-256": 32, "sha-384": 48, "sha-512": 64}

func (o *offer) readFingerprint(value string) error {
	name, digest, _ := strings.Cut(value, " ")
	name = strings.ToLower(name)
	size, known := hashes[name]
	if !known {
		return nil
	}
	parts := strings.Split(strings.TrimSpace(digest), ":")
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 16, 8); err != nil || len(p) != 2 {
			return syntax("a=fingerprint:%s is no list of bytes in hexadecimal", clip(value))
		}
	}
	if len(parts) != size {
		return syntax("a=fingerprint has %d bytes for %s", len(parts), name)
	}
	if f := name + " " + strings.ToUpper(strings.Join(parts, ":")); !slices.Contains(o.fingerprints, f) {
		o.fingerprints = append(o.fingerprints, f)
	}
	return nil
}

// bundled tells whether a section takes part in the one transport. Without a
// group only the first section does.
func (o *offer) bundled(mid string) bool {
	if len(o.bundle) == 0 {
		return mid == o.sections[0].mid
	}
	return slices.Contains(o.bundle, mid)
}

// plan picks the sections to serve: at most one video and one audio section
// (WHEP 4.6.2); -1 where there is none. The error is ErrUnservable.
func (o *offer) plan() (video, audio int, err error) {
	video, audio = -1, -1
	media, directed := 0, 0
	for i := range o.sections {
		s := &o.sections[i]
		if s.kind == "application" || !s.live {
			continue
		}
		media++
		if !s.receives {
			continue
		}
		directed++
		pick := &video
		if s.kind == "audio" {
			pick = &audio
		}
		if *pick < 0 && len(s.formats) > 0 && o.bundled(s.mid) {
			*pick = i
		}
	}
	switch {
	case media == 0:
		return video, audio, unservable("the offer has neither a video nor an audio section")
	case directed == 0:
		return video, audio, unservable("the player must offer to receive: a=recvonly")
	case media > 1 && len(o.bundle) == 0:
		return video, audio, unservable("several sections need a=group:BUNDLE")
	case video < 0 && audio < 0:
		return video, audio, unservable("no offered section has a codec that is served here: VP8, VP9, AV1, or H264 with packetization-mode=1 for video; opus or PCMU for audio")
	}
	for _, i := range []int{video, audio} {
		if i >= 0 && !o.sections[i].mux {
			return video, audio, unservable("section %s needs a=rtcp-mux", o.sections[i].mid)
		}
	}
	return video, audio, nil
}

// remote is the player's end of the transport.
func (o *offer) remote() peer.Remote {
	return peer.Remote{Ufrag: o.ufrag, Pwd: o.pwd, Fingerprints: o.fingerprints, Passive: o.setup == "passive", Lite: o.lite}
}

// write writes the lines that tell of a format.
func (f *format) write(line func(string, ...any)) {
	if f.chans > 1 {
		line("a=rtpmap:%d %s/%d/%d", f.pt, f.name, f.clock, f.chans)
	} else {
		line("a=rtpmap:%d %s/%d", f.pt, f.name, f.clock)
	}
	if f.fmtp != "" {
		line("a=fmtp:%d %s", f.pt, f.fmtp)
	}
	for _, fb := range f.feedback() {
		line("a=rtcp-fb:%d %s", f.pt, fb)
	}
	if f.rtx != 0 {
		line("a=rtpmap:%d rtx/%d", f.rtx, f.clock)
		line("a=fmtp:%d apt=%d", f.rtx, f.pt)
	}
}

// types lists the format's payload types for an m= line.
func (f *format) types() string {
	if f.rtx != 0 {
		return fmt.Sprintf("%d %d", f.pt, f.rtx)
	}
	return strconv.Itoa(int(f.pt))
}

// feedback lists the RTCP feedback of a format that both sides know.
func (f *format) feedback() (list []string) {
	if f.nack {
		list = append(list, "nack")
	}
	if f.pli {
		list = append(list, "nack pli")
	}
	if f.fir {
		list = append(list, "ccm fir")
	}
	if f.numbered() {
		list = append(list, "transport-cc")
	}
	return list
}

// distinct tells whether packets may carry what differs each time that they are
// sent. Without RTX a repair is the same packet once more.
func (f *format) distinct() bool { return f.rtx != 0 || !f.nack }

// numbered tells whether packets may carry transport-wide numbers.
func (f *format) numbered() bool { return f.transportCC && f.distinct() }
