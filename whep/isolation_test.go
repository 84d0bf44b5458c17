package whep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"deskwhep/encode/encodetest"
	"deskwhep/interceptors"
)

// watcher is a player that notes which packets and key frames reach it.
type watcher struct {
	joined int // key frames that came while the good viewers joined

	pc        *webrtc.PeerConnection
	connected chan struct{}
	once      sync.Once

	mu       sync.Mutex
	ssrc     webrtc.SSRC
	first    uint64 // extended sequence number of the first key frame
	last     uint64
	seen     map[uint64]bool
	keys     map[uint32]bool // RTP times of key frames
	pictures map[uint32]int  // packets by RTP time
	whole    map[uint32]bool // RTP times of frames with their last packet
}

// follow plays an endpoint. via rewrites the answer's candidates, nil for the
// direct way.
func follow(t testing.TB, url string, via func(answer string) string) *watcher {
	t.Helper()
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	var media webrtc.MediaEngine
	var registry interceptor.Registry
	err := errors.Join(media.RegisterDefaultCodecs(), webrtc.RegisterDefaultInterceptors(&media, &registry))
	if err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media), webrtc.WithInterceptorRegistry(&registry)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{pc: pc, connected: make(chan struct{}), seen: map[uint64]bool{}, keys: map[uint32]bool{}, pictures: map[uint32]int{}, whole: map[uint32]bool{}}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { w.read(track) })
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			w.once.Do(func() { close(w.connected) })
		}
	})
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	if err := play(pc, url, via); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.connected:
	case <-time.After(20 * time.Second):
		t.Fatal("the player does not connect")
	}
	return w
}

func (w *watcher) read(track *webrtc.TrackRemote) {
	var newest uint64
	var asked time.Time
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		w.mu.Lock()
		if newest == 0 {
			newest = 1<<16 + uint64(p.SequenceNumber)
		}
		seq := newest + uint64(int64(int16(p.SequenceNumber-uint16(newest))))
		newest = max(newest, seq)
		var v codecs.VP8Packet
		if payload, err := v.Unmarshal(p.Payload); err == nil && v.S == 1 && len(payload) > 0 && payload[0] == encodetest.KeyMark {
			w.keys[p.Timestamp] = true
			if w.first == 0 {
				w.first = seq
			}
		}
		if w.first == 0 && time.Since(asked) > 300*time.Millisecond { // as one who cannot decode
			asked = time.Now()
			_ = w.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
		}
		w.ssrc = track.SSRC()
		if !w.seen[seq] {
			w.pictures[p.Timestamp]++
		}
		w.seen[seq] = true
		w.last = newest
		if p.Marker {
			w.whole[p.Timestamp] = true
		}
		w.mu.Unlock()
	}
}

// count tells of the packets from the first key frame on.
func (w *watcher) count() (came, missing, keys int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == 0 {
		return 0, 0, 0
	}
	for seq := w.first; seq <= w.last; seq++ {
		if w.seen[seq] {
			came++
		} else {
			missing++
		}
	}
	return came, missing, len(w.keys)
}

func (w *watcher) send(t testing.TB, p rtcp.Packet) {
	t.Helper()
	if err := w.pc.WriteRTCP([]rtcp.Packet{p}); err != nil {
		t.Error(err)
	}
}

func (w *watcher) media() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return uint32(w.ssrc)
}

var candidateLine = regexp.MustCompile(`(?m)^a=candidate:.*\r\n`)

// via makes an answer lead through a relay.
func (r *relay) via(answer string) string {
	done := false
	return candidateLine.ReplaceAllStringFunc(answer, func(string) string {
		if done {
			return ""
		}
		done = true
		return fmt.Sprintf("a=candidate:1 1 udp 2130706431 127.0.0.1 %d typ host\r\n", r.addr.Port)
	})
}

func (r *tcpRelay) via(answer string) string {
	done := false
	return candidateLine.ReplaceAllStringFunc(answer, func(string) string {
		if done {
			return ""
		}
		done = true
		return fmt.Sprintf("a=candidate:1 1 tcp 1671430143 127.0.0.1 %d typ host tcptype passive\r\n", r.listener.Addr().(*net.TCPAddr).Port)
	})
}

// udp is the server's media address on loopback.
func (in *insideServer) udp() *net.UDPAddr {
	return net.UDPAddrFromAddrPort(in.Addr())
}

// stream makes 30 frames per second until stop is called.
func stream(t testing.TB, s *encodetest.Source) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(time.Second / 30)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				s.Tick() // if the machine is too busy, one frame less
			case <-done:
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() { close(done); <-ended })
	t.Cleanup(stop)
	return stop
}

// good checks the viewers that must not notice: no packet missing, and key
// frames only as often as is allowed.
func good(t *testing.T, viewers []*watcher, lasted time.Duration) {
	t.Helper()
	for i, w := range viewers {
		came, missing, keys := w.count()
		if came == 0 || missing > 0 {
			t.Errorf("good viewer %d misses %d packets beside %d", i, missing, came)
		}
		keys -= w.joined
		if most := 2 + int(lasted/(2*time.Second)); keys > most {
			t.Errorf("good viewer %d was sent %d key frames in %v; %d are allowed", i, keys, lasted.Round(time.Second), most)
		}
	}
}

// followMany starts viewers on the direct way.
func followMany(t testing.TB, in *insideServer, n int) (list []*watcher) {
	for range n {
		list = append(list, follow(t, in.url, nil))
	}
	eventually(t, "all good viewers have a key frame", func() bool {
		return !slices.ContainsFunc(list, func(w *watcher) bool { _, _, keys := w.count(); return keys == 0 })
	})
	for _, w := range list {
		_, _, w.joined = w.count()
	}
	return list
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

const watchFor = 5 * time.Second

// small is a stream of about a Mbit/s.
func small() *encodetest.Source { return encodetest.New(20000, 4000) }

// TestLossyViewer has one viewer behind a path that loses, delays and reorders,
// beside good ones. It must be repaired, and nobody else may notice.
func TestLossyViewer(t *testing.T) {
	for _, loss := range []float64{0.01, 0.05, 0.20} {
		t.Run(fmt.Sprintf("%.0f%%", 100*loss), func(t *testing.T) {
			src := small()
			in := startInside(t, src)
			stop := stream(t, src)
			began := time.Now()
			others := followMany(t, in, 4)
			r := startRelay(t, in.udp(), linkTo{loss: loss, delay: 15 * time.Millisecond, jitter: 5 * time.Millisecond, late: 0.01}, 7)
			bad := follow(t, in.url, r.via)
			time.Sleep(watchFor)
			stop()
			time.Sleep(500 * time.Millisecond) // for the last repairs
			lasted := time.Since(began)
			good(t, others, lasted)
			came, missing, _ := bad.count()
			if came == 0 || missing > came/20 {
				t.Errorf("with %.0f %% loss %d packets came and %d are missing", 100*loss, came, missing)
			}
			st := status(t, in, func(v ViewerStatus) bool { return v.Nacked > 0 })
			if st.Repaired == 0 {
				t.Errorf("%+v", st)
			}
			t.Logf("%d came, %d missing; %d asked for, %d repaired, %d refused, %d lost; key frames %v",
				came, missing, st.Nacked, st.Repaired, st.Refused, st.Lost, in.hub.Status().KeyReasons)
		})
	}
}

// status is the status of the one viewer for whom is is true.
func status(t testing.TB, in *insideServer, is func(ViewerStatus) bool) ViewerStatus {
	t.Helper()
	list := slices.DeleteFunc(in.ViewerStatus(), func(v ViewerStatus) bool { return !is(v) })
	if len(list) == 0 {
		t.Fatalf("no viewer is as looked for: %+v", in.ViewerStatus())
	}
	return list[0]
}

// TestFloodOfRequests has one viewer ask for 50 key frames a second, and for
// thousands of packets.
func TestFloodOfRequests(t *testing.T) {
	src := small()
	in := startInside(t, src)
	stream(t, src)
	others := followMany(t, in, 3)
	r := startRelay(t, in.udp(), linkTo{}, 1)
	bad := follow(t, in.url, r.via)
	eventually(t, "the bad viewer is served", func() bool { return bad.media() != 0 })
	time.Sleep(time.Second) // what the joins cost is over
	_, _, before := others[0].count()
	began, bytes, sent := time.Now(), r.bytes.Load(), in.hub.Status().Bytes
	nack := &rtcp.TransportLayerNack{MediaSSRC: bad.media()}
	for i := range uint16(250) {
		nack.Nacks = append(nack.Nacks, rtcp.NackPair{PacketID: 17 * i, LostPackets: 0xffff})
	}
	for time.Since(began) < watchFor {
		bad.send(t, &rtcp.PictureLossIndication{MediaSSRC: bad.media()})
		for i := range nack.Nacks { // all numbers in turn
			nack.Nacks[i].PacketID += 250 * 17
		}
		bad.send(t, nack)
		time.Sleep(20 * time.Millisecond)
	}
	lasted := time.Since(began)
	good(t, others, lasted+time.Hour) // only what is missing; key frames are counted here
	_, _, after := others[0].count()
	if most := 1 + int(lasted/(2*time.Second)); after-before > most {
		t.Errorf("a flood of requests cost the others %d key frames in %v; %d are allowed", after-before, lasted.Round(time.Second), most)
	}
	media := float64(in.hub.Status().Bytes - sent)
	if out := float64(r.bytes.Load() - bytes); out > 1.3*media+1e6/8*(lasted.Seconds()+1) {
		t.Errorf("a flood of requests drew %.0f bytes; the stream had %.0f", out, media)
	}
	st := status(t, in, func(v ViewerStatus) bool { return v.Asked > 10 })
	t.Logf("%d key frames for %d requests, %d of them answered from what was kept; %d packets asked for, %d repaired, %d refused",
		after-before, st.Asked, st.FromCache, st.Nacked, st.Repaired, st.Refused)
}

// TestViewerThatVanishes falls silent without a word.
func TestViewerThatVanishes(t *testing.T) {
	t.Parallel()
	src := small()
	in := startInside(t, src)
	stream(t, src)
	began := time.Now()
	others := followMany(t, in, 3)
	r := startRelay(t, in.udp(), linkTo{}, 1)
	follow(t, in.url, r.via)
	r.dead.Store(true)
	eventually(t, "the session ends", func() bool { return in.Viewers() == len(others) })
	good(t, others, time.Since(began))
}

// TestNarrowPath has one viewer behind a path that carries a third of the
// stream, with a short queue. It must still be shown pictures, and nobody else
// may notice.
func TestNarrowPath(t *testing.T) {
	src := encodetest.New(20000, 8000) // 2 Mbit/s
	in := startInside(t, src)
	stream(t, src)
	began := time.Now()
	others := followMany(t, in, 3)
	r := startRelay(t, in.udp(), linkTo{rate: 0.7e6, queue: 20000, delay: 10 * time.Millisecond}, 1)
	bad := follow(t, in.url, r.via)
	time.Sleep(2 * watchFor)
	good(t, others, time.Since(began))
	bad.mu.Lock()
	whole := 0
	for at := range bad.keys {
		if bad.whole[at] && bad.pictures[at] >= 20000/1160 {
			whole++
		}
	}
	keys := len(bad.keys)
	bad.mu.Unlock()
	if whole < 2 {
		t.Errorf("%d of %d key frames came through a narrow path whole", whole, keys)
	}
	st := status(t, in, func(v ViewerStatus) bool { return v.Dropped > 0 })
	if !st.Narrow || st.Path > 2e6 || !st.Lean {
		t.Errorf("%+v", st)
	}
	t.Logf("%d of %d key frames came whole; estimate %.0f kbit/s, %d pictures dropped, %d of %d repaired; key frames %v",
		whole, keys, st.Path/1e3, st.Dropped, st.Repaired, st.Nacked, in.hub.Status().KeyReasons)
}

// TestStalledTCPViewer plays over TCP, stops reading, and goes on.
func TestStalledTCPViewer(t *testing.T) {
	t.Parallel()
	src := encodetest.New(30000, 30000) // 7 Mbit/s, to fill its buffers long before ICE gives up
	in := startInside(t, src)
	stream(t, src)
	began := time.Now()
	others := followMany(t, in, 3)
	r := startTCPRelay(t, in.Addr().String())
	bad := follow(t, in.url, r.via)
	eventually(t, "the TCP viewer is served", func() bool { came, _, _ := bad.count(); return came > 50 })
	if st := status(t, in, func(v ViewerStatus) bool { return v.Transport == "tcp4" }); !st.Connected {
		t.Errorf("%+v", st)
	}
	r.stall()
	eventually(t, "pictures are dropped", func() bool {
		for _, v := range in.ViewerStatus() {
			if v.Dropped > 0 {
				return true
			}
		}
		return false
	})
	good(t, others, time.Since(began))
	_, _, before := bad.count()
	r.release()
	eventually(t, "the viewer is shown a new key frame when it reads again", func() bool {
		_, _, keys := bad.count()
		return keys > before
	})
	good(t, others, time.Since(began))
}

// TestRetransmissionIsNegotiated reads an answer.
func TestRetransmissionIsNegotiated(t *testing.T) {
	const media = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc\r\n"
	extensions := fmt.Sprintf("a=extmap:3 %s\r\na=extmap:4 %s\r\n", interceptors.TransportCCURI, interceptors.AbsCaptureTimeURI)
	const rtx = "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
	for _, c := range []struct {
		name, media string
		want        []string
		not         []string
	}{
		{"with RTX", media + extensions + rtx,
			[]string{"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n", "a=rtpmap:97 rtx/90000\r\n", "a=fmtp:97 apt=96\r\n", "a=ssrc-group:FID ",
				"a=rtcp-fb:96 transport-cc\r\n", "a=extmap:3 ", "a=extmap:4 "}, nil},
		{"without RTX", strings.Replace(media, "96 97", "96", 1) + extensions,
			[]string{"m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "a=rtcp-fb:96 nack\r\n"},
			[]string{"rtx", "FID", "transport-cc", "a=extmap:3 ", "a=extmap:4 "}}, // each would make repairs differ
		{"RTX of another format", strings.Replace(media+extensions+rtx, "apt=96", "apt=98", 1), nil, []string{"rtx", "FID"}},
		{"RTX without NACK", strings.Replace(media+extensions+rtx, "a=rtcp-fb:96 nack\r\n", "", 1), []string{"transport-cc"}, []string{"rtx", "FID"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestServer(t, nil)
			offer := "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n" +
				"a=fingerprint:sha-256 " + strings.TrimSuffix(strings.Repeat("AB:", 32), ":") + "\r\na=setup:actpass\r\n" + c.media
			r := ask(s, http.MethodPost, "/whep", offer, "Content-Type", sdpType)
			answer := text(t, r)
			if r.StatusCode != http.StatusCreated {
				t.Fatalf("%s: %s", r.Status, answer)
			}
			for _, w := range c.want {
				if !strings.Contains(answer, w) {
					t.Errorf("%q is missing in\n%s", w, answer)
				}
			}
			for _, n := range c.not {
				if strings.Contains(answer, n) {
					t.Errorf("%q is in\n%s", n, answer)
				}
			}
		})
	}
}

// TestExtensionsOnTheWire looks at each packet: transport-wide numbers without a
// gap, the capture time of its picture, no playout
// delay.
func TestExtensionsOnTheWire(t *testing.T) {
	var media webrtc.MediaEngine
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	media.RegisterFeedback(webrtc.RTCPFeedback{Type: "transport-cc"}, webrtc.RTPCodecTypeVideo)
	for _, uri := range extensionURIs {
		if err := media.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo); err != nil {
			t.Fatal(err)
		}
	}
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	packets, ids := make(chan *rtp.Packet, 1000), make(chan map[string]uint8, 1)
	pc.OnTrack(func(track *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		list := map[string]uint8{}
		for _, e := range r.GetParameters().HeaderExtensions {
			list[e.URI] = uint8(e.ID)
		}
		ids <- list
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			packets <- p
		}
	})
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	src := small()
	in := startInside(t, src)
	stream(t, src)
	if err := play(pc, in.url, nil); err != nil {
		t.Fatal(err)
	}
	next := func() *rtp.Packet {
		select {
		case p := <-packets:
			return p
		case <-time.After(20 * time.Second):
			t.Fatal("no packet comes")
			return nil
		}
	}
	id, p := <-ids, next()
	number := binary.BigEndian.Uint16(p.GetExtension(id[interceptors.TransportCCURI]))
	captured := func(p *rtp.Packet) uint64 { // in 2^-32 s
		b := p.GetExtension(id[interceptors.AbsCaptureTimeURI])
		if len(b) != 8 {
			t.Fatalf("the capture time is %x", b)
		}
		return binary.BigEndian.Uint64(b)
	}
	began, base := captured(p), p.Timestamp
	for range 100 {
		// The RTP time is capture time too.
		ticks := int64((captured(p) - began) * 90000 >> 32)
		if d := ticks - int64(p.Timestamp-base); d < -1 || d > 1 {
			t.Fatalf("the capture time is %d ticks after the first, the RTP time %d", ticks, p.Timestamp-base)
		}
		if got := p.GetExtension(id[interceptors.PlayoutDelayURI]); !bytes.Equal(got, []byte{0, 0, 0}) {
			t.Fatalf("the playout delay is %x", got)
		}
		if got := p.GetExtension(id[interceptors.TransportCCURI]); !bytes.Equal(got, binary.BigEndian.AppendUint16(nil, number)) {
			t.Fatalf("the transport-wide number is %x, not %x", got, number)
		}
		p, number = next(), number+1
	}
}
