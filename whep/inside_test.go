package whep

import (
	"context"
	"crypto/rand"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"deskwhep/capture"
	"deskwhep/encode"
	"deskwhep/encode/yuv"
)

// source is a hub's tap and encoder in one: each tick makes a unit of random
// bytes.
type source struct {
	ticks      chan struct{}
	key, delta []byte
	frame      *capture.Frame
}

func newSource(key, delta int) *source {
	s := &source{ticks: make(chan struct{}, 1), key: make([]byte, key), delta: make([]byte, delta)}
	rand.Read(s.key)
	rand.Read(s.delta)
	s.frame = capture.NewFrame(func(*capture.Frame) {})
	s.frame.Size, s.frame.Stride, s.frame.Format = image.Pt(16, 16), 64, capture.BGRX
	s.frame.Pix = make([]byte, 64*16)
	return s
}

func (s *source) tick() { s.ticks <- struct{}{} }

// Next implements encode.Tap.
func (s *source) Next(ctx context.Context) (capture.Update, error) {
	select {
	case <-s.ticks:
	case <-ctx.Done():
		return capture.Update{}, ctx.Err()
	}
	s.frame.Lend()
	s.frame.Captured = time.Now()
	return capture.Update{Frame: s.frame, Damage: capture.Everywhere()}, nil
}

// Encode implements encode.Encoder.
func (s *source) Encode(_ *yuv.Picture, _ *capture.Damage, key bool, _ time.Time) ([]byte, bool, error) {
	if key {
		return marked(s.key, isKey), true, nil
	}
	return marked(s.delta, isKey+1), false, nil
}

func (s *source) SetBitrate(int) error { return nil }

// Close implements encode.Tap.
func (s *source) Close() {}

// encoder is the source as an encode.Encoder.
type encoder struct{ *source }

func (encoder) Close() error { return nil }

// Join implements Stream.
type oneHub struct{ hub *encode.Hub }

func (o oneHub) Join([]encode.Want) (*encode.Viewer, encode.Codec, error) {
	return o.hub.Join(), encode.VP8, nil
}

// insideServer is a server in this process.
type insideServer struct {
	*Server
	url string
	hub *encode.Hub
}

// startInside starts a server that streams src. It ends with the test.
func startInside(t testing.TB, src *source, change func(*Config)) *insideServer {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	hub := encode.NewHub(encode.HubConfig{
		Watch: func() encode.Tap { return src },
		Open: func() (encode.Encoder, encode.Packetizer, error) {
			return encoder{src}, &encode.VP8Packetizer{}, nil
		},
		FPS: 1000, Linger: time.Minute, Log: log,
	})
	cfg := Config{Streams: map[string]Stream{"s": oneHub{hub}}, Default: "s", Log: log, RTCPMuxOnly: true, MaxViewers: 1000, PostRate: 1000}
	if change != nil {
		change(&cfg)
	}
	server, err := New("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, part := range []func(context.Context) error{hub.Run, server.Run} {
		running.Go(func() {
			if err := part(ctx); err != nil {
				t.Errorf("a part of the server ended with: %v", err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return &insideServer{Server: server, url: "http://" + server.Addr().String() + "/whep", hub: hub}
}

// play posts a connection's offer and sets the answer.
func play(pc *webrtc.PeerConnection, url string) error {
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		return err
	}
	resp, err := http.Post(url, sdpType, strings.NewReader(offer.SDP))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("POST: %s: %s", resp.Status, answer)
	}
	return pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)})
}

const isKey = 0x10 // the first byte of a key frame of source

func marked(data []byte, first byte) []byte {
	data[0] = first
	return data
}
