package main

import (
	"context"
	"image"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/encode"
	"deskwhep/whep"
	"deskwhep/whep/player"
)

// cardStream streams a film on the test card in one codec until the test ends.
func cardStream(t *testing.T, codec encode.Codec, size image.Point) *encode.Stream {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	const fps = 20
	open := func(context.Context) (capture.Source, error) {
		return film{card.New(card.Options{Size: size, FPS: fps, Reason: func() string { return "A test is watching." }})}, nil
	}
	feed := capture.NewFeed(capture.FeedConfig{Open: open, FPS: fps, Linger: time.Second, Log: log,
		Card: func(image.Point, func() string) capture.Source { s, _ := open(t.Context()); return s }})
	stream := encode.NewStream(encode.StreamConfig{
		Watch:  func() encode.Tap { return feed.Watch() },
		Size:   func() image.Point { return size },
		Codecs: []encode.Codec{codec}, FPS: fps, Bitrate: 2e6, Linger: time.Second, Log: log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { feed.Run(ctx) })
	running.Go(func() { stream.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return stream
}

// lastViewer remembers the viewer that joined last.
type lastViewer struct {
	whep.Stream
	viewer chan *encode.Viewer
}

func (l lastViewer) Join(wants []encode.Want) (*encode.Viewer, encode.Codec, error) {
	v, codec, err := l.Stream.Join(wants)
	if err == nil {
		l.viewer <- v
	}
	return v, codec, err
}

// TestLayersInChromium takes the top layer from one of two viewers and gives it
// back: that one sees half of the frames meanwhile, and neither misses anything
// or asks for a key frame.
func TestLayersInChromium(t *testing.T) {
	tab := startBrowser(t)
	for _, codec := range []encode.Codec{encode.VP8, encode.VP9} {
		t.Run(string(codec), func(t *testing.T) {
			slow := lastViewer{cardStream(t, codec, image.Pt(640, 360)), make(chan *encode.Viewer, 1)}
			server := startInside(t, image.Pt(640, 360), func(c *whep.Config) {
				c.Streams = map[string]whep.Stream{"card": slow.Stream, "slow": slow}
				c.Pages = player.Handler()
			})
			measure := playBoth(t, tab(), server, [2]string{"/whep/card", "/whep/slow"}, 0)
			viewer := <-slow.viewer
			begin := measure()
			var all, some [encode.TopLayer + 1]int // frames of both, by the highest layer
			for _, highest := range []uint8{0, encode.TopLayer, 0, encode.TopLayer, 0} {
				viewer.SetLayers(highest)
				before := measure()
				var now [2]inbound
				eventually(t, "40 frames", func() bool { now = measure(); return now[0].FramesDecoded >= before[0].FramesDecoded+40 })
				all[highest] += now[0].FramesDecoded - before[0].FramesDecoded
				some[highest] += now[1].FramesDecoded - before[1].FramesDecoded
			}
			if some[0] < all[0]*2/5 || some[0] > all[0]*3/5 {
				t.Errorf("without the top layer %d of %d frames were decoded", some[0], all[0])
			}
			if top := encode.TopLayer; some[top] < all[top]*9/10 || some[top] > all[top]*11/10 {
				t.Errorf("with all layers %d of %d frames were decoded", some[top], all[top])
			}
			var end [2]inbound
			eventually(t, "what was received is decoded", func() bool {
				end = measure()
				return end[0].FramesReceived <= end[0].FramesDecoded+2 && end[1].FramesReceived <= end[1].FramesDecoded+2
			})
			for i, c := range end {
				// A gap in the numbers would be asked for with each frame left out.
				if c.PliCount > 0 || c.PacketsLost > 0 || c.NackCount > 2 || c.KeyFramesDecoded != begin[i].KeyFramesDecoded {
					t.Errorf("viewer %d had trouble: %+v, at first %+v", i, c, begin[i])
				}
			}
			for _, s := range server.ViewerStatus() {
				if s.Lean || s.Dropped > 0 {
					t.Errorf("on loopback a viewer was served like this: %+v", s)
				}
			}
		})
	}
}
