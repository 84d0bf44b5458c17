package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pion/webrtc/v4"
)

// finishAnswer makes pion's answer what the WHEP text wants, but for the defect.
func (s *served) finishAnswer(d *description) {
	f := s.f
	var candidates []string
	for i, m := range d.media {
		o := s.original.media[i]
		m.proto = o.proto
		for _, c := range m.all("candidate") {
			two := strings.Fields(c)[1] == "2"
			if (!two || f.is("component-2")) && !slices.Contains(candidates, "candidate:"+c) {
				candidates = append(candidates, "candidate:"+c)
			}
		}
		m.remove("candidate", "end-of-candidates")
		if o.kind == "audio" && f.is("reject-audio", "rejected-candidates") {
			m.port = "0"
		}
		if m.kind == "video" && s.video == nil || m.kind == "audio" && s.audio == nil {
			m.port = "0"
		}
		if !o.live() && !f.is("revives-port-0") || o.port == "0" && f.is("port-0-rejected") || f.is("rejects-all") {
			m.port = "0"
		}
		if m.port == "0" {
			m.set("mid", o.get("mid"))
			m.direct("inactive")
			m.remove("msid", "ssrc")
			continue
		}
		m.add("rtcp-mux-only")
		s.spoil(i, m, o)
	}
	d.lines = append(without(d.lines, "ice-options", "msid-semantic"), "a=ice-options:trickle ice2")
	if f.is("no-ice-options") {
		d.lines = without(d.lines, "ice-options")
	}
	if f.is("mute-ice") {
		d.lines = without(d.lines, "ice-lite")
	}
	if f.is("lite-srflx") {
		d.lines = append(d.lines, "a=ice-lite")
		candidates = append(candidates, "candidate:9 1 udp 1694498815 192.0.2.9 9 typ srflx raddr 0.0.0.0 rport 0")
	}
	group := d.accepted()
	if f.is("rejected-in-bundle") {
		group = d.media
	}
	(&description{media: group}).bundle()
	d.lines = slices.DeleteFunc(d.lines, func(l string) bool { return strings.HasPrefix(l, "a=group:") })
	if len(group) > 0 {
		line := "a=group:BUNDLE"
		for _, m := range group {
			line += " " + m.get("mid")
		}
		d.lines = append(d.lines, line)
	}
	to := first(d.accepted())
	if f.is("rejected-candidates") {
		to = d.media[0]
	}
	if to != nil && !f.is("no-candidates") {
		to.add(append(candidates, "end-of-candidates")...)
	}
	if f.is("missing-section") {
		d.media = d.media[:1]
	}
}

// spoil puts a defect into an accepted section.
func (s *served) spoil(i int, m, o *section) {
	switch f := s.f; {
	case f.is("echo-direction") && s.original.direction(o) == "sendrecv":
		m.direct("sendrecv")
	case f.is("mids-renamed"):
		m.set("mid", fmt.Sprintf("m%d", i))
	case f.is("no-mux"):
		m.remove("rtcp-mux")
	case f.is("no-mux-only"):
		m.remove("rtcp-mux-only")
	case f.is("no-msid"):
		m.remove("msid")
	case f.is("actpass"):
		m.set("setup", "actpass")
	case f.is("wrong-print"):
		m.remove("fingerprint")
		m.add("fingerprint:sha-256" + strings.Replace(strings.Repeat(":CD", 32), ":", " ", 1))
	case f.is("short-pwd"):
		m.set("ice-pwd", "short")
	case f.is("different-transport") && i > 0:
		m.set("ice-ufrag", "other")
	case f.is("fixed-pt") && m.kind == "video":
		m.formats = []string{"96"}
		m.remove("rtpmap", "fmtp", "rtcp-fb")
		m.add("rtpmap:96 VP8/90000")
	case f.is("mode-mixed") && m.has("fmtp"):
		v := m.get("fmtp")
		m.remove("fmtp")
		m.add("fmtp:" + strings.ReplaceAll(v, "packetization-mode=0", "packetization-mode=1"))
	case f.is("echo-bundle-only") && o.has("bundle-only"):
		m.add("bundle-only")
	case f.is("extra-extmap"):
		m.add("extmap:12 urn:x-not-offered")
	case f.is("large-answer"):
		m.add(padding()...)
	}
}

// counterOffer makes the session's own offer.
func (s *served) counterOffer() error {
	offer, err := s.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(s.pc)
	if err := s.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	d, err := parse(s.pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	for _, m := range d.media {
		m.direct("sendonly")
		switch {
		case s.f.is("counter-active"):
			m.set("setup", "active")
		case s.f.is("counter-recvonly"):
			m.direct("recvonly")
		}
	}
	s.text = d.String()
	return nil
}
