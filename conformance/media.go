package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/rtcp"
)

// Group O: media.

func checkMedia(t *T) {
	e, s, err := t.try(t.offer())
	if s == nil {
		t.skip("needs a session: %v", err)
	}
	if !t.require(err == nil, e, "let the player connect: %v", err) {
		return
	}
	if !t.require(s.flows(), e, "send RTP within %v", t.opt.Limits.Media) {
		return
	}
	real, received, err := t.reference()
	if err == nil { // else see WHEP-ANS-05
		t.require(received, real, "send RTP to a real PeerConnection too")
	}
	for _, m := range s.answer.accepted() {
		arrived := t.wait(t.opt.Limits.Media, func() bool { _, ok := s.stream(m.kind); return ok })
		if !arrived && m.kind == "audio" {
			t.note(m, "no RTP came on the audio section: silence is fine when the stream has no sound")
			continue
		}
		t.require(arrived, m, "send RTP on every accepted section: none came on %s", m.kind)
	}
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	ssrcs := map[string]int{}
	for _, st := range s.peer.media.streams {
		ssrcs[st.kind]++
	}
	for kind, n := range ssrcs {
		t.require(n == 1, e, "keep to one SSRC per section: %d came for %s", n, kind)
	}
	t.require(len(s.peer.media.unknown) == 0, e, "send only negotiated payload types, not %v", s.peer.media.unknown)
	t.require(s.peer.secure.undecoded == 0, linef("%d packets", s.peer.secure.undecoded), "send only SRTP with the keys of the handshake")
}

// videoCodecs whose key frames are recognised.
var videoCodecs = []string{"vp8/90000", "vp9/90000", "av1/90000", "h264/90000", "h265/90000"}

func checkKeyframes(t *T) {
	s := t.watch(t.offer())
	st := s.video()
	if !slices.Contains(videoCodecs, st.codec) {
		t.skip("key frames of %s are not known to the tester", st.codec)
	}
	first := t.wait(2*time.Second, func() bool { st, _ = s.stream("video"); return len(st.keys) > 0 })
	t.require(first, linef("%s, %d packets", st.codec, st.packets), "send a key frame to a new viewer at once")
	h264 := st.codec == "h264/90000"
	if h264 && first {
		t.require(st.nals[7] > 0 && st.nals[8] > 0, linef("NAL unit types %v", st.nals), "send SPS and PPS in band with the key frame")
	}
	if first && !st.startsKey && !h264 {
		t.note(linef("%s", st.codec), "begin with a key frame: what comes before it cannot be decoded")
	}

	// A server may hold back a key frame that follows another closely.
	t.sleep(time.Second)
	before := len(s.keyframes())
	asked := time.Time{}
	yielded := t.wait(3*time.Second, func() bool {
		if time.Since(asked) > 700*time.Millisecond {
			asked = time.Now()
			s.pli()
		}
		return len(s.keyframes()) > before
	})
	t.require(yielded, linef("%d key frames before the PLI, %d after", before, len(s.keyframes())), "answer PLI with a key frame")
}

func (s *session) keyframes() []time.Time {
	st, _ := s.stream("video")
	return st.keys
}

func checkFeedback(t *T) {
	s := t.watch(t.offer())
	st := s.video()
	reported := t.wait(t.opt.Limits.Media, func() bool {
		s.peer.mu.Lock()
		defer s.peer.mu.Unlock()
		return s.peer.media.reports[st.ssrc] > 0
	})
	t.require(reported, linef("SSRC %d", st.ssrc), "send sender reports for each SSRC within %v", t.opt.Limits.Media)

	m := s.answer.kind("video")
	if !slices.Contains(m.all("rtcp-fb"), fmt.Sprintf("%d nack", st.pt)) && !slices.Contains(m.all("rtcp-fb"), "* nack") {
		t.observed("NACK was not negotiated")
		return
	}
	asked := time.Time{}
	again := t.wait(t.opt.Limits.Media, func() bool {
		st, _ = s.stream("video")
		if time.Since(asked) > 300*time.Millisecond {
			asked = time.Now()
			s.pli() // so that there is something new to ask for
			seq := st.seqs[len(st.seqs)-1]
			s.peer.feedback(&rtcp.TransportLayerNack{MediaSSRC: st.ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{seq})})
		}
		return s.repeats()
	})
	t.require(again, linef("SSRC %d: NACKs for the latest packets brought no retransmission", st.ssrc), "answer NACK, as it was negotiated")
}

// repeats tells whether a packet came twice.
func (s *session) repeats() bool {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	for _, st := range s.peer.media.streams {
		if len(st.repeated) > 0 {
			return true
		}
	}
	return false
}

func checkH264(t *T) {
	fmtp := "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
	_, s, err := t.tryMedia(t.offer().with(only("video")).with(h264Only(fmtp)))
	if s == nil || err != nil {
		t.skip("needs H.264: %v", err)
	}
	got := t.wait(t.opt.Limits.Media, func() bool { st, _ := s.stream("video"); return len(st.sps) > 3 && len(st.stamps) > 5 })
	st, _ := s.stream("video")
	if len(st.sps) <= 3 {
		t.require(got, linef("NAL unit types %v", st.nals), "send the SPS in band")
		return
	}
	id := s.answer.kind("video").codecs()[int(st.pt)].fmtp["profile-level-id"]
	want, err := strconv.ParseUint(orDefault(id, "42000a"), 16, 32)
	if err != nil {
		t.skip("the answer's profile-level-id is no number (see WHEP-SDP-12)")
	}
	profile, constraints, level := st.sps[1], st.sps[2], st.sps[3]
	shown := linef("SPS %02x%02x%02x, answered %s", profile, constraints, level, strings.ToLower(id))
	t.require(profile == byte(want>>16), shown, "encode the negotiated profile")
	t.require(level <= byte(want) || s.answer.kind("video").codecs()[int(st.pt)].fmtp["level-asymmetry-allowed"] == "1", shown, "keep to the negotiated level")
	t.require(st.bSlices == 0, linef("%d B slices", st.bSlices), "encode without B-frames: WebRTC players show frames in the order they come")
	backwards := 0
	for i := 1; i < len(st.stamps); i++ {
		if int32(st.stamps[i]-st.stamps[i-1]) < 0 {
			backwards++
		}
	}
	t.require(backwards == 0, linef("%d timestamps go back", backwards), "send frames in the order they are shown")
}

func checkDemux(t *T) {
	s := t.watch(t.offer())
	st := s.video()
	if audio, ok := s.stream("audio"); ok {
		t.require(audio.ssrc != st.ssrc, linef("SSRC %d", st.ssrc), "use an SSRC of its own for each section")
	}
	for _, m := range s.answer.accepted() {
		if m.kind != "video" {
			continue
		}
		id := 0
		for _, v := range m.all("extmap") {
			if f := strings.Fields(v); len(f) > 1 && f[1] == "urn:ietf:params:rtp-hdrext:sdes:mid" {
				n, _, _ := strings.Cut(f[0], "/")
				id, _ = strconv.Atoi(n)
			}
		}
		if id == 0 {
			t.observed("the MID extension was not negotiated")
			return
		}
		mid := string(st.extensions[uint8(id)])
		t.require(mid == m.get("mid"), linef("header extension %d is %q, mid is %s", id, mid, m.get("mid")),
			"send the MID extension on the first packets, as it was negotiated")
	}
}
