package interceptors_test

import (
	"log"
	"net"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"deskwhep/interceptors"
	"deskwhep/interceptors/gso"
)

// A program that sends with pion gives each connection its own Viewer, and all
// of them one socket.
func Example() {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		log.Fatal(err)
	}
	bursts, err := gso.New(socket, gso.Segments)
	if err != nil {
		log.Fatal(err)
	}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: bursts})
	defer mux.Close()
	var settings webrtc.SettingEngine
	settings.SetICEUDPMux(mux)

	began := time.Now()
	viewer := interceptors.New(interceptors.Config{
		Keyframe: func(reason string) { log.Print("the encoder owes a key frame: ", reason) },
		RTPTime: func(at time.Time, clockRate uint32) uint32 {
			return uint32(at.Sub(began).Seconds() * float64(clockRate))
		},
		Sent: bursts.Flush,
	})
	var media webrtc.MediaEngine
	if err := media.RegisterDefaultCodecs(); err != nil {
		log.Fatal(err)
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media), webrtc.WithInterceptorRegistry(viewer.Registry()))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		log.Fatal(err)
	}
	defer pc.Close()

	// With each frame: all packets to one viewer, then the next viewer's.
	send := func(w webrtc.TrackLocalWriter, h *rtp.Header, payloads [][]byte, key bool) error {
		if key {
			viewer.Keyframe(h.SSRC)
		}
		for _, p := range payloads {
			if _, err := w.WriteRTP(h, p); err != nil {
				return err
			}
			h.SequenceNumber++
		}
		bursts.Flush()
		return nil
	}
	_ = send
	// Output:
}
