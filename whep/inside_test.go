package whep

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4"

	"deskwhep/encode"
	"deskwhep/encode/encodetest"
)

// oneHub is a stream of one hub.
type oneHub struct{ hub *encode.Hub }

// Join implements Stream.
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
func startInside(t testing.TB, src *encodetest.Source) *insideServer {
	t.Helper()
	return startInsideBy(t, src, func(cfg Config) (*Server, error) { return New("127.0.0.1:0", cfg) })
}

// startInsideBy is startInside with a server that listen makes.
func startInsideBy(t testing.TB, src *encodetest.Source, listen func(Config) (*Server, error)) *insideServer {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	hub := src.Hub(log)
	cfg := Config{Streams: map[string]Stream{"s": oneHub{hub}}, Default: "s", Log: log, RTCPMuxOnly: true, MaxViewers: 1000, PostRate: 1000}
	server, err := listen(cfg)
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

// play posts a connection's offer and sets the answer, after via has changed it
// unless that is nil.
func play(pc *webrtc.PeerConnection, url string, via func(answer string) string) error {
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
	if via == nil {
		via = func(answer string) string { return answer }
	}
	return pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: via(string(answer))})
}

// udp is the server's media address on loopback.
func (in *insideServer) udp() *net.UDPAddr { return net.UDPAddrFromAddrPort(in.Addr()) }
