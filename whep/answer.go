package whep

import (
	"fmt"
	"strings"

	"deskwhep/interceptors"
	"deskwhep/whep/peer"
)

// served is one section of an offer that the answer accepts.
type served struct {
	index  int // of the section in the offer
	format format
	ssrc   uint32
	rtx    uint32 // SSRC of retransmissions; 0 for none
}

// transport is our end of the one bundled transport.
type transport struct {
	peer.Local
	fingerprint string // "sha-256 AB:CD:..."
	setup       string // active or passive
}

// iceOptions is what the answer and a restart's fragment announce (RFC 8840,
// RFC 8445 10).
const iceOptions = "a=ice-options:trickle ice2"

const cname = "deskwhep" // of the one MediaStream, and its id

// extensionURIs are the header extensions that we send.
var extensionURIs = []string{interceptors.MidURI, interceptors.PlayoutDelayURI, interceptors.AbsCaptureTimeURI, interceptors.TransportCCURI}

// writeAnswer writes the answer (RFC 9429, 5.3.1) from our own values; of the
// offer it repeats only checked tokens. id names the session in o=.
func writeAnswer(o *offer, list []served, t transport, id uint64, rtcpMuxOnly bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=- %d 1 IN IP4 0.0.0.0", id>>1)
	line("s=-")
	line("t=0 0")
	if mids := o.group(list); mids != "" {
		line("a=group:BUNDLE%s", mids)
	}
	line("a=msid-semantic:WMS *")
	line(iceOptions)
	first := true
	for i := range o.sections {
		s := &o.sections[i]
		a := find(list, i)
		if a == nil {
			s.refuse(line)
			continue
		}
		line("m=%s 9 %s %s", s.kind, s.proto, a.format.types())
		line("c=IN IP4 0.0.0.0")
		line("a=mid:%s", s.mid)
		line("a=sendonly")
		line("a=msid:%s %s", cname, s.kind)
		line("a=rtcp-mux")
		if rtcpMuxOnly {
			line("a=rtcp-mux-only")
		}
		if s.rsize {
			line("a=rtcp-rsize")
		}
		line("a=ice-ufrag:%s", t.Ufrag)
		line("a=ice-pwd:%s", t.Pwd)
		line("a=fingerprint:%s", t.fingerprint)
		line("a=setup:%s", t.setup)
		s.writeExtensions(&a.format, line)
		a.format.write(line)
		if a.rtx != 0 {
			line("a=ssrc-group:FID %d %d", a.ssrc, a.rtx)
		}
		line("a=ssrc:%d cname:%s", a.ssrc, cname)
		if a.rtx != 0 {
			line("a=ssrc:%d cname:%s", a.rtx, cname)
		}
		if first {
			writeCandidates(line, t.Candidates)
		}
		first = false
	}
	return b.String()
}

// writeFragment writes the body of the answer to a restart (WHEP 4.5.3).
func writeFragment(o *offer, list []served, t transport) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	if mids := o.group(list); mids != "" {
		line("a=group:BUNDLE%s", mids)
	}
	line(iceOptions)
	line("a=ice-ufrag:%s", t.Ufrag)
	line("a=ice-pwd:%s", t.Pwd)
	s := &o.sections[list[0].index]
	line("m=%s 9 %s 0", s.kind, s.proto)
	line("a=mid:%s", s.mid)
	writeCandidates(line, t.Candidates)
	return b.String()
}

func writeCandidates(line func(string, ...any), candidates []string) {
	for _, c := range candidates {
		line("a=candidate:%s", c)
	}
	line("a=end-of-candidates")
}

// refuse writes a complete section on port 0: one that is only its m= line
// crashes a player.
func (s *section) refuse(line func(string, ...any)) {
	line("m=%s 0 %s %s", s.kind, s.proto, s.first)
	line("c=IN IP4 0.0.0.0")
	line("a=mid:%s", s.mid)
	line("a=inactive")
	if s.mux {
		line("a=rtcp-mux")
	}
}

// extension is the id of a header extension that both sides know.
func (s *section) extension(uri string, f *format) (uint8, bool) {
	switch {
	case uri == interceptors.MidURI && len(s.mid) > 16: // does not fit the one-byte form
		return 0, false
	case uri == interceptors.PlayoutDelayURI && s.kind != "video":
		return 0, false
	case uri == interceptors.AbsCaptureTimeURI && !f.distinct():
		return 0, false
	case uri == interceptors.TransportCCURI && !f.numbered():
		return 0, false
	}
	id, ok := s.extensions[uri]
	return id, ok
}

func (s *section) writeExtensions(f *format, line func(string, ...any)) {
	for _, uri := range extensionURIs {
		if id, ok := s.extension(uri, f); ok {
			line("a=extmap:%d %s", id, uri)
		}
	}
}

// group lists the served mids in the order of the offer's group, each after a
// space; it is empty when the offer has no group.
func (o *offer) group(list []served) (mids string) {
	for _, mid := range o.bundle {
		for _, s := range list {
			if o.sections[s.index].mid == mid {
				mids += " " + mid
			}
		}
	}
	return mids
}

func find(list []served, index int) *served {
	for i := range list {
		if list[i].index == index {
			return &list[i]
		}
	}
	return nil
}
