package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pion/webrtc/v4"
)

// offer is an offer with the peer whose credentials it carries.
type offer struct {
	*description
	peer *peer
}

// template is the offer of a real PeerConnection: video and audio, recvonly, in
// one BUNDLE group.
func template() (*description, error) {
	m := &webrtc.MediaEngine{}
	if err := m.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	for _, uri := range []string{
		"urn:ietf:params:rtp-hdrext:sdes:mid",
		"http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
		"http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
	} {
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind); err != nil {
				return nil, err
			}
		}
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		if err != nil {
			return nil, err
		}
	}
	d, err := pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	offer, err := parse(d.SDP)
	if err != nil {
		return nil, err
	}
	// The tester's SRTP does not encrypt headers (RFC 9335), so it must not offer to.
	offer.lines = append(without(offer.lines, "ice-options", "cryptex"), "a=ice-options:trickle ice2")
	for _, m := range offer.media {
		m.remove("cryptex")
		m.add("rtcp-mux-only")
	}
	return offer, nil
}

// offer is the base offer with a new peer's credentials and all its candidates.
func (t *T) offer() *offer {
	o := t.bareOffer()
	o.gather()
	return o
}

// bareOffer is the base offer without candidates, as of a player that trickles.
func (t *T) bareOffer() *offer {
	return dress(t.template.clone(), t.newPeer(anyAddr))
}

// dress replaces what belongs to a transport by that of the peer.
func dress(d *description, p *peer) *offer {
	d.lines = without(d.lines, "ice-ufrag", "ice-pwd", "fingerprint", "setup")
	for _, m := range d.media {
		setup := m.get("setup")
		if setup == "" {
			setup = "actpass"
		}
		m.remove("candidate", "end-of-candidates", "ice-ufrag", "ice-pwd", "fingerprint", "setup", "rtcp")
		m.add("ice-ufrag:"+p.local.ufrag, "ice-pwd:"+p.local.pwd, "fingerprint:"+p.fingerprint(), "setup:"+setup)
	}
	return &offer{d, p}
}

// gather writes the peer's candidates into the first section.
func (o *offer) gather() {
	o.media[0].add(o.peer.local.candidates()...)
	o.media[0].add("end-of-candidates")
}

// kindFirst makes the sections of a kind the first ones.
func (o *offer) kindFirst(kind string) *offer {
	slices.SortStableFunc(o.media, func(a, b *section) int {
		switch {
		case a.kind == b.kind:
			return 0
		case a.kind == kind:
			return -1
		default:
			return 1
		}
	})
	candidates := o.peer.local.candidates()
	for _, m := range o.media {
		m.remove("candidate", "end-of-candidates")
	}
	o.media[0].add(append(candidates, "end-of-candidates")...)
	o.bundle()
	return o
}

// with applies a change and returns the offer.
func (o *offer) with(change func(*offer)) *offer {
	change(o)
	return o
}

// directAll gives all sections a direction.
func directAll(direction string) func(*offer) {
	return func(o *offer) {
		for _, m := range o.media {
			m.direct(direction)
		}
	}
}

// removeAll removes attributes everywhere.
func removeAll(names ...string) func(*offer) {
	return func(o *offer) {
		o.lines = without(o.lines, names...)
		for _, m := range o.media {
			m.remove(names...)
		}
	}
}

// setAll gives an attribute of all sections a value.
func setAll(name, value string) func(*offer) {
	return func(o *offer) {
		for _, m := range o.media {
			m.set(name, value)
		}
	}
}

// only keeps one kind of section.
func only(kind string) func(*offer) {
	return func(o *offer) {
		o.keep(kind)
		if !o.media[0].has("candidate") {
			o.gather()
		}
	}
}

// unsupported replaces the codecs of a kind with one that nobody has.
func unsupported(kind string) func(*offer) {
	return func(o *offer) {
		for _, m := range o.media {
			if m.kind != kind {
				continue
			}
			m.only(func(int, codec) bool { return false })
			m.formats = []string{"99"}
			m.remove("rtpmap", "fmtp", "rtcp-fb")
			m.add("rtpmap:99 x-nobody-has-this/90000")
		}
	}
}

// renamed gives the sections other mids.
func renamed(mids ...string) func(*offer) {
	return func(o *offer) {
		for i, m := range o.media {
			m.set("mid", mids[i])
		}
		o.bundle()
	}
}

// addData appends a data-channel section.
func addData(o *offer) {
	m := &section{kind: "application", port: "9", proto: "UDP/DTLS/SCTP", formats: []string{"webrtc-datachannel"}}
	m.lines = append(m.lines, "c=IN IP4 0.0.0.0")
	for _, name := range []string{"setup", "ice-ufrag", "ice-pwd", "fingerprint"} {
		m.add(name + ":" + o.media[0].get(name))
	}
	m.add(fmt.Sprintf("mid:%d", len(o.media)), "sctp-port:5000", "max-message-size:262144")
	o.media = append(o.media, m)
	o.bundle()
}

// h264Only leaves one H.264 payload type with the given parameters, or none.
func h264Only(fmtp string) func(*offer) {
	return func(o *offer) {
		m := o.kind("video")
		m.only(func(int, codec) bool { return false })
		m.formats = []string{"102"}
		m.remove("rtpmap", "fmtp", "rtcp-fb")
		m.add("rtpmap:102 H264/90000", "rtcp-fb:102 nack", "rtcp-fb:102 nack pli")
		if fmtp != "" {
			m.add("fmtp:102 " + fmtp)
		}
	}
}

// list splits a comma-separated header field into lower-case items.
func list(fields []string) (items []string) {
	for _, f := range fields {
		for item := range strings.SplitSeq(f, ",") {
			if item = strings.ToLower(strings.TrimSpace(item)); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}
