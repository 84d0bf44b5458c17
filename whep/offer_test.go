package whep

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"deskwhep/encode"
	"deskwhep/whep/peer"
)

// recorded reads an offer that was recorded from a real player.
func recorded(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "conformance", "offers", name+".sdp"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var recordings = []string{"aiortc", "chromium-raw", "firefox-raw", "go2rtc", "gst-webrtcbin", "mediamtx"}

// basic is the smallest offer of a browser's kind.
const basic = `v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuv
a=fingerprint:sha-256 F4:16:79:1C:04:5C:4E:E3:3A:CF:BF:E2:27:0E:68:03:F2:7A:A8:CF:02:CD:B7:21:81:66:96:26:14:E9:3A:3C
a=setup:actpass
a=mid:0
a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid
a=recvonly
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 H264/90000
a=fmtp:97 packetization-mode=1;profile-level-id=42e01f
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuv
a=fingerprint:sha-256 F4:16:79:1C:04:5C:4E:E3:3A:CF:BF:E2:27:0E:68:03:F2:7A:A8:CF:02:CD:B7:21:81:66:96:26:14:E9:3A:3C
a=setup:actpass
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
`

// TestRecordedOffersAreServed reads what real players send.
func TestRecordedOffersAreServed(t *testing.T) {
	want := map[string][]encode.Codec{
		"aiortc":        {encode.VP8, encode.H264},
		"chromium-raw":  {encode.VP8, encode.VP9, encode.H264, encode.AV1},
		"firefox-raw":   {encode.VP8, encode.VP9, encode.H264, encode.AV1},
		"go2rtc":        {encode.H264},
		"gst-webrtcbin": {encode.H264, encode.VP8, encode.VP9},
		"mediamtx":      {encode.AV1, encode.VP9, encode.VP8, encode.H264},
	}
	for _, name := range recordings {
		o, err := readOffer([]byte(recorded(t, name)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		video, audio, err := o.plan()
		if err != nil || video < 0 {
			t.Errorf("%s: video in section %d: %v", name, video, err)
			continue
		}
		if wantAudio := strings.Contains(recorded(t, name), "m=audio"); wantAudio != (audio >= 0) {
			t.Errorf("%s: audio in section %d", name, audio)
		}
		var got []encode.Codec
		for _, f := range o.sections[video].formats {
			if !slices.Contains(got, f.codec) {
				got = append(got, f.codec)
			}
		}
		for _, c := range want[name] {
			if !slices.Contains(got, c) {
				t.Errorf("%s: %s is not recognised among %v", name, c, got)
			}
		}
	}
}

// TestAnswersOfRecordedOffers checks what an answer must be to any offer.
func TestAnswersOfRecordedOffers(t *testing.T) {
	for _, name := range append(recordings, "basic") {
		text := basic
		if name != "basic" {
			text = recorded(t, name)
		}
		o, err := readOffer([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		video, audio, err := o.plan()
		if err != nil {
			t.Fatal(err)
		}
		list := []served{{index: video, format: o.sections[video].formats[0], ssrc: 7}}
		if audio >= 0 {
			list = append(list, served{index: audio, format: o.sections[audio].formats[0], ssrc: 8})
		}
		answer := writeAnswer(o, list, transport{
			Local:       peer.Local{Ufrag: "uuuu", Pwd: "pppppppppppppppppppppp", Candidates: []string{"1 1 udp 1 127.0.0.1 9 typ host"}},
			fingerprint: "sha-256 AA", setup: "passive",
		}, 1, true)
		var d sdp.SessionDescription
		if err := d.UnmarshalString(answer); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, answer)
		}
		if len(d.MediaDescriptions) != len(o.sections) {
			t.Errorf("%s: %d sections for %d", name, len(d.MediaDescriptions), len(o.sections))
		}
		for i, m := range d.MediaDescriptions {
			if mid, _ := m.Attribute("mid"); mid != o.sections[i].mid || m.MediaName.Media != o.sections[i].kind {
				t.Errorf("%s: section %d is %s %s", name, i, m.MediaName.Media, mid)
			}
			accepted := find(list, i) != nil
			if _, sendonly := m.Attribute("sendonly"); sendonly != accepted || (m.MediaName.Port.Value != 0) != accepted {
				t.Errorf("%s: section %d: accepted %v, sendonly %v, port %d", name, i, accepted, sendonly, m.MediaName.Port.Value)
			}
		}
		if n := strings.Count(answer, "a=candidate"); n != 1 {
			t.Errorf("%s: candidates stand in %d places", name, n)
		}
	}
}

// TestOffersThatAreRefused changes the basic offer in one place each.
func TestOffersThatAreRefused(t *testing.T) {
	const fp = "a=fingerprint:sha-256 F4:16:79:1C:04:5C:4E:E3:3A:CF:BF:E2:27:0E:68:03:F2:7A:A8:CF:02:CD:B7:21:81:66:96:26:14:E9:3A:3C\n"
	for _, c := range []struct {
		name, old, new string
		want           error
	}{
		{"nothing", basic, "", ErrSyntax},
		{"only a version", basic, "v=0\r\n", ErrSyntax},
		{"json", basic, `{"type":"offer"}`, ErrSyntax},
		{"no section", basic[strings.Index(basic, "m=video"):], "", ErrSyntax},
		{"no ufrag", "a=ice-ufrag:abcd\n", "", ErrSyntax},
		{"no password", "a=ice-pwd:abcdefghijklmnopqrstuv\n", "", ErrSyntax},
		{"short password", "abcdefghijklmnopqrstuv", "abc", ErrSyntax},
		{"no fingerprint", fp, "", ErrSyntax},
		{"weak fingerprint", "sha-256 F4", "sha-1 F4", ErrUnservable},
		{"no mid", "a=mid:0\n", "", ErrSyntax},
		{"same mid", "a=mid:1\n", "a=mid:0\n", ErrSyntax},
		{"mid with a line break inside", "a=mid:0\n", "a=mid:0\x00\n", ErrSyntax},
		{"no rtcp-mux", "a=rtcp-mux\n", "", ErrUnservable},
		{"no bundle", "a=group:BUNDLE 0 1\n", "", ErrUnservable},
		{"sendonly", "a=recvonly", "a=sendonly", ErrUnservable},
		{"inactive", "a=recvonly", "a=inactive", ErrUnservable},
		{"holdconn", "a=setup:actpass", "a=setup:holdconn", ErrSyntax},
		{"plain RTP", "UDP/TLS/RTP/SAVPF", "RTP/AVP", ErrUnservable},
		{"extension id 0", "a=extmap:9", "a=extmap:0", ErrSyntax},
		{"extension id 300", "a=extmap:9", "a=extmap:300", ErrSyntax},
		{"payload type 200", "SAVPF 111", "SAVPF 200", ErrSyntax},
		{"unknown codecs", "VP8/90000\n", "VP1/90000\n", nil}, // H.264 is left
		{"two fragments", "a=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuv\na=fingerprint", "a=ice-ufrag:abcd\na=ice-ufrag:efgh\na=ice-pwd:abcdefghijklmnopqrstuv\na=fingerprint", ErrSyntax},
		{"disabled section", "m=video 9", "m=video 0", nil}, // audio is left
		{"bundle-only section", "m=audio 9 UDP/TLS/RTP/SAVPF 111\n", "m=audio 0 UDP/TLS/RTP/SAVPF 111\na=bundle-only\n", nil},
		{"credentials at session level", "t=0 0\n", "t=0 0\na=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuv\n", nil},
		{"sendrecv", "a=recvonly", "a=sendrecv", nil},
		{"extension id 20", "a=extmap:9", "a=extmap:20", nil},
		{"CRLF", "\n", "\r\n", nil},
	} {
		text := strings.ReplaceAll(basic, c.old, c.new)
		if c.old != "\n" && text == basic {
			t.Fatalf("%s changes nothing", c.name)
		}
		o, err := readOffer([]byte(text))
		if err == nil {
			_, _, err = o.plan()
		}
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	many := basic + strings.Repeat("m=video 0 UDP/TLS/RTP/SAVPF 96\nc=IN IP4 0.0.0.0\na=mid:x\n", 9)
	if _, err := readOffer([]byte(many)); !errors.Is(err, ErrUnservable) {
		t.Errorf("eleven sections: %v", err)
	}
}

// TestOnlyOneSectionOfAKind offers two video sections.
func TestOnlyOneSectionOfAKind(t *testing.T) {
	second := basic[strings.Index(basic, "m=video"):strings.Index(basic, "m=audio")]
	text := strings.ReplaceAll(basic, "BUNDLE 0 1", "BUNDLE 0 1 2") + strings.ReplaceAll(second, "a=mid:0", "a=mid:2")
	o, err := readOffer([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	video, audio, err := o.plan()
	if err != nil || video != 0 || audio != 1 {
		t.Errorf("video %d, audio %d: %v", video, audio, err)
	}
	if got := o.group([]served{{index: video}, {index: audio}}); got != " 0 1" {
		t.Errorf("group is %q", got)
	}
}

// TestH264Matching: we send constrained baseline in packetization mode 1.
func TestH264Matching(t *testing.T) {
	for _, c := range []struct {
		params map[string]string
		rank   int
		ok     bool
	}{
		{map[string]string{"packetization-mode": "1", "profile-level-id": "42e01f"}, 0, true},
		{map[string]string{"packetization-mode": "1", "profile-level-id": "42C02A"}, 0, true},
		{map[string]string{"packetization-mode": "1", "profile-level-id": "42001f"}, 1, true},
		{map[string]string{"packetization-mode": "1", "profile-level-id": "4d001f"}, 2, true},
		{map[string]string{"packetization-mode": "1", "profile-level-id": "640c1f"}, 3, true},
		{map[string]string{"packetization-mode": "1", "profile-level-id": "64001f"}, 4, true},
		{map[string]string{"packetization-mode": "0", "profile-level-id": "42e01f"}, 0, false},
		{map[string]string{"profile-level-id": "42e01f"}, 0, false}, // absent is mode 0
		{map[string]string{"packetization-mode": "1"}, 0, false},
		{map[string]string{"packetization-mode": "1", "profile-level-id": "f4001f"}, 0, false},
		{map[string]string{"packetization-mode": "1", "profile-level-id": "42e0"}, 0, false},
	} {
		f, ok := recognise(rtpmap{pt: 100, name: "h264", clock: 90000, params: c.params})
		if ok != c.ok || f.rank != c.rank {
			t.Errorf("%v: %v, rank %d", c.params, ok, f.rank)
		}
	}
}

// TestOpusWithoutChannels: GStreamer pipelines offer OPUS/48000, as the usual
// caps of whepsrc have no encoding-params. With that section refused, which is
// the first of the bundle, they do not connect.
func TestOpusWithoutChannels(t *testing.T) {
	o, err := readOffer([]byte(strings.Replace(basic, "opus/48000/2", "OPUS/48000", 1)))
	if err != nil {
		t.Fatal(err)
	}
	_, audio, err := o.plan()
	if err != nil || audio != 1 {
		t.Fatalf("audio in section %d: %v", audio, err)
	}
	list := []served{{index: audio, format: o.sections[audio].formats[0]}}
	if answer := writeAnswer(o, list, transport{}, 1, true); !strings.Contains(answer, "a=rtpmap:111 opus/48000/2\r\n") {
		t.Errorf("the answer has another format:\n%s", answer)
	}
}
