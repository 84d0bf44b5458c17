package conformance

import (
	"embed"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

//go:embed offers/*.sdp
var offers embed.FS

// player is a recorded player and its habits on the wire.
type player struct {
	name, file    string
	options       bool // asks OPTIONS first
	preflights    bool // is a page on another origin
	bare          bool // offers without candidates
	mdns          bool // candidates are names of .local
	noLoopback    bool // never pairs with 127.0.0.1
	trickles      bool // sends its candidates one by one, each named twice, if OPTIONS named PATCH, and then wants an ETag
	staysUndelete bool // ends without DELETE
	// The codecs it can play, for the sentence on a refusal.
	codecs string
}

var players = []player{
	{name: "chromium", file: "chromium-raw.sdp", preflights: true, mdns: true, codecs: "VP8, VP9, H.264 or AV1"},
	{name: "firefox", file: "firefox-raw.sdp", preflights: true, noLoopback: true, codecs: "VP8, VP9, H.264 or AV1"},
	{name: "mediamtx", file: "mediamtx.sdp", options: true, bare: true, trickles: true, codecs: "AV1, VP9, VP8, H.265 or H.264"},
	{name: "gstreamer", file: "gst-webrtcbin.sdp", codecs: "H.264, VP8 or VP9"},
	{name: "aiortc", file: "aiortc.sdp", codecs: "VP8 or H.264"},
	{name: "go2rtc", file: "go2rtc.sdp", staysUndelete: true, codecs: "H.264 or H.265"},
}

// Players are the names that Options.Player takes.
func Players() (names []string) {
	for _, p := range players {
		names = append(names, p.name)
	}
	return names
}

func playerID(name string) string { return "PLAYER-" + strings.ToUpper(name) }

// replay returns the check that behaves as the player does.
func replay(name string) func(*T) {
	return func(t *T) {
		p := players[slices.IndexFunc(players, func(p player) bool { return p.name == name })]
		p.play(t)
	}
}

// offer is the recorded offer with the credentials and candidates of a new peer
// of the tester.
func (p player) offer(t *T) *offer {
	text, err := offers.ReadFile("offers/" + p.file)
	if err != nil {
		t.skip("needs the recorded offer: %v", err)
	}
	d, err := parse(string(text))
	if err != nil {
		t.skip("needs the recorded offer: %v", err)
	}
	keep := anyAddr
	if p.noLoopback {
		keep = func(ip netip.Addr) bool { return !ip.IsLoopback() }
	}
	o := dress(d, t.newPeer(keep))
	switch {
	case p.bare:
	case p.mdns:
		for i, s := range o.peer.local.sockets {
			o.media[0].add(fmt.Sprintf("candidate:%d 1 udp 2113937151 %s.local %d typ host", i+1, random(), s.addr.Port()))
		}
	default:
		o.gather()
	}
	return o
}

func (p player) play(t *T) {
	patch := false
	if p.options {
		e := t.options("")
		patch = slices.Contains(list(append(e.header.Values("Access-Control-Allow-Methods"), e.header.Values("Allow")...)), "patch")
	}
	if p.preflights {
		e := t.preflight("", http.MethodPost, "authorization,content-type")
		if !e.ok() {
			t.warn(e, "answer the preflight of a browser")
		}
	}
	o := p.offer(t)
	e, s, err := t.begin(o)
	if s == nil {
		t.warn(e, "serve %s, which plays %s: %v", p.name, p.codecs, err)
		return
	}
	p.judge(t, s)
	if patch && p.trickles {
		if s.etag == "" {
			t.warn(e, "send an ETag with 201: this player wants one when OPTIONS names PATCH")
		}
		for _, c := range o.peer.local.candidates() {
			if e := s.patch(s.etag, s.fragment("candidate:"+c)); e.status != http.StatusNoContent {
				t.warn(e, "take candidates that are named twice with 204: this player gives up otherwise")
				break
			}
		}
	}
	if err == nil {
		err = s.connect()
	}
	if err == nil && !s.flows() {
		err = errNoMedia
	}
	if err != nil {
		m := first(s.answer.accepted())
		if p.noLoopback && m != nil && len(s.peer.reachable(m.all("candidate"))) == 0 {
			t.warn(m, "advertise addresses beside loopback: this player does not pair with 127.0.0.1")
			return
		}
		t.warn(s.made, "let %s connect: %v", p.name, err)
	}
	if !p.staysUndelete && s.url != "" {
		if e := t.delete(s.url); e.status != http.StatusOK {
			t.warn(e, "answer DELETE with exactly 200")
		}
	}
}

// judge compares the answer with what any player's SDP parser needs.
func (p player) judge(t *T, s *session) {
	if len(s.answer.media) != len(s.offer.media) {
		t.warn(s.made, "answer every section: %d for %d", len(s.answer.media), len(s.offer.media))
		return
	}
	for i, m := range s.answer.media {
		offered := s.offer.media[i]
		if m.kind != offered.kind || m.get("mid") != offered.get("mid") {
			t.warn(m, "answer section %d as %s with mid %s", i, offered.kind, offered.get("mid"))
		}
		codecs := offered.codecs()
		for pt, c := range m.codecs() {
			if was, ok := codecs[pt]; m.port != "0" && (!ok || !sameCodec(was, c)) {
				t.warn(m, "keep the payload types of the offer: %d is %s there", pt, orNone(was.name))
			}
		}
	}
	video := s.answer.kind("video")
	if video == nil || video.port == "0" || !strings.HasPrefix(s.answer.direction(video), "send") {
		t.warn(s.made, "accept the video of this player, which plays %s", p.codecs)
	}
}
