package main

import (
	"context"
	"fmt"
	"image"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/encode"
	"deskwhep/whep"
	"deskwhep/whep/player"
)

// cardStream streams the test card in one codec until the test ends.
func cardStream(t *testing.T, codec encode.Codec, size image.Point) *encode.Stream {
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
			v := tab()
			page := fmt.Sprintf("http://%s/player/whep.js", server.Addr()) // for its origin
			if _, err := chromedp.Run(v, chromedp.Navigate(page)); err != nil {
				t.Fatal(err)
			}
			evaluate[bool](t, v, `(async () => {
				window.players = [];
				for (const name of ["card", "slow"]) {
					const video = document.createElement("video");
					video.muted = video.autoplay = true;
					document.body.append(video);
					players.push(await (`+plainWHEP+`)(video, "/whep/" + name));
				}
				window.measure = () => Promise.all(players.map(async ({ pc }) => {
					for (const r of (await pc.getStats()).values()) if (r.type === "inbound-rtp" && r.kind === "video") return r;
					return {};
				}));
				return true;
			})()`)
			type trouble struct{ KeyFramesDecoded, PacketsLost, PliCount, NackCount int }
			type counts struct {
				FramesReceived, FramesDecoded int
				trouble
			}
			measure := func() [2]counts { return evaluate[[2]counts](t, v, `measure()`) }
			eventually(t, "both play", func() bool {
				c := measure()
				return c[0].FramesDecoded > 20 && c[1].FramesDecoded > 20
			})
			viewer := <-slow.viewer
			for _, highest := range []uint8{0, encode.TopLayer, 0} {
				viewer.SetLayers(highest)
				// On a busy machine a frame may be late: one window without is enough.
				eventually(t, fmt.Sprintf("40 frames with layers up to %d", highest), func() bool {
					before := measure()
					var now [2]counts
					eventually(t, "40 frames", func() bool { now = measure(); return now[0].FramesDecoded >= before[0].FramesDecoded+40 })
					all, some := now[0].FramesDecoded-before[0].FramesDecoded, now[1].FramesDecoded-before[1].FramesDecoded
					low, high := all/3, all*2/3
					if highest == encode.TopLayer {
						low, high = all-5, all+5
					}
					well := some >= low && some <= high
					for i, c := range now {
						well = well && c.KeyFramesDecoded > 0 && c.trouble == before[i].trouble && c.FramesReceived <= c.FramesDecoded+2
					}
					return well
				})
			}
		})
	}
}
