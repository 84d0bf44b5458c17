package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
	"golang.org/x/image/vp8"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/encode"
	"deskwhep/whep"
)

// inside is a server in this process that streams the test card.
type inside struct {
	url    string // of the endpoint
	stream *encode.Stream
	*whep.Server
	stop func() // ends everything and waits
}

// startInside starts a server on a free port; it ends with the test.
func startInside(t *testing.T, size image.Point, change func(*whep.Config)) *inside {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	const fps = 20
	open := func(context.Context) (capture.Source, error) {
		return card.New(card.Options{Size: size, FPS: fps, Reason: func() string { return "A test is watching." }}), nil
	}
	feed := capture.NewFeed(capture.FeedConfig{Open: open, FPS: fps, Linger: time.Second, Log: log,
		Card: func(image.Point, func() string) capture.Source { s, _ := open(t.Context()); return s }})
	stream := encode.NewStream(encode.StreamConfig{
		Watch:  func() encode.Tap { return feed.Watch() },
		Size:   func() image.Point { return size },
		Codecs: []encode.Codec{encode.VP8, encode.H264}, FPS: fps, Bitrate: 1e6, Linger: time.Second, Log: log,
	})
	cfg := whep.Config{Streams: map[string]whep.Stream{"card": stream}, Default: "card", Log: log, RTCPMuxOnly: true}
	if change != nil {
		change(&cfg)
	}
	server, err := whep.New("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, part := range []func(context.Context) error{feed.Run, stream.Run, server.Run} {
		running.Go(func() {
			if err := part(ctx); err != nil {
				t.Errorf("a part of the server ended with: %v", err)
			}
		})
	}
	scheme := "http://"
	if cfg.TLS != nil {
		scheme = "https://"
	}
	in := &inside{url: scheme + server.Addr().String() + "/whep", stream: stream, Server: server}
	in.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(in.stop)
	return in
}

// pionPlayer is a WHEP player made of pion.
type pionPlayer struct {
	pc       *webrtc.PeerConnection
	location string
	etag     string
	ssrc     webrtc.SSRC
	packets  chan *rtp.Packet
	reports  chan *rtcp.SenderReport
	states   chan webrtc.PeerConnectionState
}

// startPlayer plays an endpoint until the test ends.
func startPlayer(t *testing.T, endpoint string, change func(*webrtc.SettingEngine)) *pionPlayer {
	t.Helper()
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	if change != nil {
		change(&settings)
	}
	var media webrtc.MediaEngine
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	p := &pionPlayer{pc: pc, packets: make(chan *rtp.Packet, 4096), reports: make(chan *rtcp.SenderReport, 64), states: make(chan webrtc.PeerConnectionState, 16)}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { p.states <- s })
	pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		if track.Kind() != webrtc.RTPCodecTypeVideo {
			return
		}
		p.ssrc = track.SSRC()
		go func() {
			for {
				list, _, err := receiver.ReadRTCP()
				if err != nil {
					return
				}
				for _, r := range list {
					if sr, ok := r.(*rtcp.SenderReport); ok {
						p.reports <- sr
					}
				}
			}
		}()
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				close(p.packets)
				return
			}
			p.packets <- packet
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	answer, header := post(t, endpoint, offer.SDP, http.StatusCreated)
	p.location, p.etag = endpoint[:strings.Index(endpoint, "/whep")]+header.Get("Location"), header.Get("ETag")
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatalf("the player refuses the answer: %v\n%s", err, answer)
	}
	return p
}

// post posts an offer and checks the status.
func post(t *testing.T, endpoint, offer string, want int) (body string, h http.Header) {
	t.Helper()
	return request(t, http.MethodPost, endpoint, "application/sdp", "", offer, want)
}

func request(t *testing.T, method, url, mediaType, ifMatch, body string, want int) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	if ifMatch != "" {
		r.Header.Set("If-Match", ifMatch)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Fatalf("%s %s: %s, want %d\n%s", method, url, resp.Status, want, got)
	}
	return string(got), resp.Header
}

// frame collects the packets of the next whole frame.
func (p *pionPlayer) frame(t *testing.T) (data []byte, key bool, timestamp uint32) {
	t.Helper()
	late := time.After(20 * time.Second)
	whole := false // the frame's first packet has been seen
	for {
		select {
		case packet, ok := <-p.packets:
			if !ok {
				t.Fatal("the track has ended")
			}
			var v codecs.VP8Packet
			payload, err := v.Unmarshal(packet.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if v.S == 1 && v.PID == 0 {
				data, whole, timestamp = nil, true, packet.Timestamp
			}
			if whole && packet.Timestamp != timestamp {
				t.Fatal("packets of one frame have different RTP times")
			}
			data = append(data, payload...)
			if packet.Marker && whole {
				return data, data[0]&1 == 0, timestamp
			}
		case <-late:
			t.Fatal("no frame arrives")
		}
	}
}

// keyframe waits for a key frame and decodes it; timestamp is its RTP time.
func (p *pionPlayer) keyframe(t *testing.T) (picture *image.YCbCr, timestamp uint32) {
	t.Helper()
	for range 200 {
		data, key, timestamp := p.frame(t)
		if !key {
			continue
		}
		d := vp8.NewDecoder()
		d.Init(bytes.NewReader(data), len(data))
		if _, err := d.DecodeFrameHeader(); err != nil {
			t.Fatal(err)
		}
		picture, err := d.DecodeFrame()
		if err != nil {
			t.Fatal(err)
		}
		return picture, timestamp
	}
	t.Fatal("200 frames without a key frame")
	return nil, 0
}

// stamp reads the card's stamp off a decoded picture.
func stamp(t *testing.T, picture *image.YCbCr, size image.Point) card.Stamp {
	t.Helper()
	s, err := card.ReadStamp(size, func(x, y int) uint8 { return picture.Y[picture.YOffset(x, y)] })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPlayerDecodesThePicture plays without a browser, also in an odd size: the
// first frame is a key frame, which carries the card's time stamp.
func TestPlayerDecodesThePicture(t *testing.T) {
	for _, size := range []image.Point{{640, 360}, {401, 301}} {
		in := startInside(t, size, nil)
		p := startPlayer(t, in.url, nil)
		_, key, _ := p.frame(t)
		if !key {
			t.Error("the first frame is no key frame")
		}
		if err := p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(p.ssrc)}}); err != nil {
			t.Fatal(err)
		}
		picture, _ := p.keyframe(t)
		if got := picture.Rect.Size(); got != size {
			t.Errorf("the picture is %v, want %v", got, size)
		}
		if age := time.Since(stamp(t, picture, size).Time); age < 0 || age > 30*time.Second {
			t.Errorf("the picture is %v old", age)
		}
	}
}

// TestRTPTimeIsCaptureTime has the pictures of a viewer who asks for key frames
// decoded, and compares the RTP time of each new one with the time that is
// painted into it: they differ by the same for all, to a tick. Pictures that are
// shown again have later times.
func TestRTPTimeIsCaptureTime(t *testing.T) {
	size := image.Pt(320, 240)
	in := startInside(t, size, nil)
	p := startPlayer(t, in.url, nil)
	var frames [][]byte
	var ticks []uint32
	for i := range 90 {
		if i%15 == 14 {
			fir := &rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: uint32(p.ssrc), SequenceNumber: uint8(i / 15)}}}
			if err := p.pc.WriteRTCP([]rtcp.Packet{fir}); err != nil {
				t.Fatal(err)
			}
		}
		data, _, timestamp := p.frame(t)
		frames, ticks = append(frames, data), append(ticks, timestamp)
	}
	stamps := decodeStamps(t, size, frames)
	var first, last card.Stamp
	var firstTicks, lastTicks uint32
	fresh := 0
	for i, s := range stamps {
		switch {
		case i == 0:
			first, firstTicks = s, ticks[0]
		case int32(ticks[i]-lastTicks) <= 0:
			t.Errorf("frame %d: RTP times do not increase", i)
		case s.Frame != last.Frame:
			fresh++
			painted := s.Time.Sub(first.Time) * 90000 / time.Second
			if d := int64(ticks[i]-firstTicks) - int64(painted); d < -2 || d > 2 {
				t.Errorf("frame %d: RTP time is %d ticks from the time of its picture", i, d)
			}
		}
		last, lastTicks = s, ticks[i]
	}
	if fresh < 60 {
		t.Errorf("only %d of %d frames have new pictures", fresh, len(frames))
	}
}

// decodeStamps has ffmpeg decode VP8 frames, and reads the stamp of each.
func decodeStamps(t *testing.T, size image.Point, frames [][]byte) []card.Stamp {
	t.Helper()
	le := binary.LittleEndian
	file := append([]byte("DKIF\x00\x00\x20\x00VP80"), byte(size.X), byte(size.X>>8), byte(size.Y), byte(size.Y>>8))
	file = le.AppendUint32(le.AppendUint32(file, 90000), 1)
	file = le.AppendUint64(file, uint64(len(frames)))
	for i, f := range frames {
		file = append(le.AppendUint64(le.AppendUint32(file, uint32(len(f))), uint64(i)), f...)
	}
	ffmpeg := exec.Command("ffmpeg", "-v", "error", "-f", "ivf", "-i", "-", "-fps_mode", "passthrough",
		"-pix_fmt", "yuv420p", "-f", "rawvideo", "-")
	ffmpeg.Stdin = bytes.NewReader(file)
	raw, err := ffmpeg.Output()
	if one := size.X * size.Y * 3 / 2; err != nil || len(raw) != one*len(frames) {
		t.Fatalf("ffmpeg: %v; %d bytes of %d pictures", err, len(raw), len(frames))
	}
	stamps := make([]card.Stamp, len(frames))
	for i := range stamps {
		picture := raw[i*size.X*size.Y*3/2:]
		if stamps[i], err = card.ReadStamp(size, func(x, y int) uint8 { return picture[y*size.X+x] }); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	return stamps
}

// TestSenderReports come, and match the RTP times.
func TestSenderReports(t *testing.T) {
	in := startInside(t, image.Pt(320, 240), nil)
	p := startPlayer(t, in.url, nil)
	_, _, ts := p.frame(t)
	select {
	case sr := <-p.reports:
		if sr.SSRC != uint32(p.ssrc) {
			t.Errorf("a report for SSRC %d, the track has %d", sr.SSRC, p.ssrc)
		}
		if d := int32(sr.RTPTime - ts); d < -90000*5 || d > 90000*5 {
			t.Errorf("the report's RTP time is %d ticks from the frame's", d)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no sender report")
	}
}

// TestThreeViewersOneEncoder plays three times at once.
func TestThreeViewersOneEncoder(t *testing.T) {
	in := startInside(t, image.Pt(320, 240), nil)
	players := []*pionPlayer{startPlayer(t, in.url, nil), startPlayer(t, in.url, nil), startPlayer(t, in.url, nil)}
	for _, p := range players {
		if _, key, _ := p.frame(t); !key {
			t.Error("the first frame is no key frame")
		}
	}
	if s := in.stream.Status(); len(s) != 1 || s[0].Viewers != 3 || !s[0].Running {
		t.Errorf("the encoders are %+v", s)
	}
	request(t, http.MethodDelete, players[0].location, "", "", "", http.StatusOK)
	request(t, http.MethodDelete, players[0].location, "", "", "", http.StatusNotFound)
	eventually(t, "the viewer who was deleted has left", func() bool { return in.stream.Status()[0].Viewers == 2 })
	players[1].frame(t)
}

// TestVanishedViewer stops a player's network without a word: its session ends,
// and the other one plays on.
func TestVanishedViewer(t *testing.T) {
	t.Parallel() // it waits most of the time
	in := startInside(t, image.Pt(320, 240), nil)
	stays := startPlayer(t, in.url, nil)
	var mux *ice.UDPMuxDefault
	vanishes := startPlayer(t, in.url, func(s *webrtc.SettingEngine) { mux = udpMux(t, s) })
	vanishes.frame(t)
	stays.frame(t)
	if err := mux.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the vanished viewer's session has ended", func() bool { return in.Viewers() == 1 })
	for len(stays.packets) > 0 {
		<-stays.packets
	}
	stays.frame(t)
	request(t, http.MethodDelete, vanishes.location, "", "", "", http.StatusNotFound)
}

// TestNothingIsLeft plays, ends the server, and looks for goroutines.
func TestNothingIsLeft(t *testing.T) {
	before := goleak.IgnoreCurrent()
	in := startInside(t, image.Pt(320, 240), nil)
	p := startPlayer(t, in.url, nil)
	p.frame(t)
	in.stop()
	for state := range p.states {
		if state == webrtc.PeerConnectionStateClosed {
			break // told by DTLS, not by a timeout
		}
	}
	if err := p.pc.GracefulClose(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// TestNeverConnects posts an offer and nothing more.
func TestNeverConnects(t *testing.T) {
	in := startInside(t, image.Pt(320, 240), func(c *whep.Config) { c.SetupTimeout = 300 * time.Millisecond })
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.GracefulClose()
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo); err != nil {
		t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, h := post(t, in.url, strings.ReplaceAll(offer.SDP, "a=sendrecv", "a=recvonly"), http.StatusCreated)
	eventually(t, "the session is given up", func() bool { return in.Viewers() == 0 })
	request(t, http.MethodGet, "http://"+in.Addr().String()+h.Get("Location"), "", "", "", http.StatusNotFound)
}

// TestTCPViewer plays over the HTTP port alone: a network that lets no UDP
// through.
func TestTCPViewer(t *testing.T) {
	in := startInside(t, image.Pt(320, 240), nil)
	p := startPlayer(t, in.url, func(s *webrtc.SettingEngine) {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	})
	_, key, _ := p.frame(t)
	if !key {
		t.Error("the first frame is no key frame")
	}
	pair, err := p.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil {
		t.Fatalf("no selected pair: %v", err)
	}
	if pair.Remote.Protocol != webrtc.ICEProtocolTCP || int(pair.Remote.Port) != int(in.Addr().Port()) {
		t.Errorf("the pair is %v", pair)
	}
}
