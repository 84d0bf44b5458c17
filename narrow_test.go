package main

import (
	"context"
	"fmt"
	"image"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"deskwhep/capture"
	"deskwhep/capture/card"
	"deskwhep/encode"
	"deskwhep/whep"
	"deskwhep/whep/player"
	"deskwhep/whep/relaytest"
)

// film is the test card with a square in the middle that is another one in each
// frame.
type film struct{ *card.Card }

// Next implements capture.Source.
func (f film) Next(ctx context.Context) (*capture.Frame, error) {
	frame, err := f.Card.Next(ctx)
	if err != nil {
		return nil, err
	}
	const side, block = 144, 8
	first := frame.Size.Y/2*frame.Stride + 4*(frame.Size.X/2)
	for y := range side {
		row := frame.Pix[first+y*frame.Stride:][:4*side]
		for x := 0; x < len(row) && y%block == 0; x++ {
			if row[x] = uint8(rand.Uint32()); x%(4*block) >= 4 {
				row[x] = row[x-4]
			}
		}
		if y%block > 0 {
			copy(row, frame.Pix[first+(y-1)*frame.Stride:])
		}
	}
	frame.Damage = capture.Everywhere()
	return frame, nil
}

// inbound is what Chromium's statistics tell of the video that it receives.
type inbound struct {
	FramesReceived, FramesDecoded, KeyFramesDecoded int
	PacketsLost, PliCount, NackCount, FreezeCount   int
}

// playBoth plays two endpoints in one page, the second one's media through a port
// unless that is 0, and gives their statistics.
func playBoth(t *testing.T, v context.Context, server *inside, endpoints [2]string, port uint16) (measure func() [2]inbound) {
	t.Helper()
	page := fmt.Sprintf("http://%s/player/whep.js", server.Addr()) // for its origin
	if _, err := chromedp.Run(v, chromedp.Navigate(page)); err != nil {
		t.Fatal(err)
	}
	evaluate[bool](t, v, fmt.Sprintf(`(async () => {
		window.players = [];
		for (const [endpoint, port] of [["%s", 0], ["%s", %d]]) {
			const video = document.createElement("video");
			video.muted = video.autoplay = true;
			document.body.append(video);
			players.push(await (`+plainWHEP+`)(video, endpoint, port));
		}
		window.measure = () => Promise.all(players.map(async ({ pc }) => {
			for (const r of (await pc.getStats()).values()) if (r.type === "inbound-rtp" && r.kind === "video") return r;
			return {};
		}));
		return true;
	})()`, endpoints[0], endpoints[1], port))
	measure = func() [2]inbound { return evaluate[[2]inbound](t, v, `measure()`) }
	eventually(t, "both play", func() bool {
		c := measure()
		return c[0].FramesDecoded > 20 && c[1].FramesDecoded > 20
	})
	return measure
}

// TestNarrowPathInChromium narrows the path of one of two viewers to less than the
// stream, and widens it again: the top layer is left out meanwhile and comes back
// without a key frame, and the other viewer notices nothing.
func TestNarrowPathInChromium(t *testing.T) {
	tab := startBrowser(t)
	for _, codec := range []encode.Codec{encode.VP8, encode.VP9} {
		t.Run(string(codec), func(t *testing.T) {
			t.Parallel() // it waits most of the time
			stream := cardStream(t, codec, image.Pt(640, 360))
			server := startInside(t, image.Pt(640, 360), func(c *whep.Config) {
				c.Streams = map[string]whep.Stream{"card": stream}
				c.Pages = player.Handler()
			})
			wide := relaytest.Link{Delay: 20 * time.Millisecond}
			relay := relaytest.Start(t, net.UDPAddrFromAddrPort(server.Addr()), wide, 1)
			measure := playBoth(t, tab(), server, [2]string{"/whep", "/whep"}, relay.Port)
			units := func() uint64 { return stream.Status()[0].Units }
			pass := func(n uint64) { // so many pictures
				from := units()
				eventually(t, "pictures come", func() bool { return units() >= from+n })
			}
			bad := func() whep.ViewerStatus { return server.ViewerStatus()[1] }

			begin, first, begun := measure(), stream.Status()[0], time.Now()
			var rate float64
			var lean [2]inbound
			narrow := wide
			for try := 1; ; try++ {
				before, since := stream.Status()[0].Bytes, time.Now()
				pass(40)
				rate = 8 * float64(stream.Status()[0].Bytes-before) / time.Since(since).Seconds()
				narrow.Rate, narrow.Queue = 0.7*rate, int(0.7*rate/8/5) // 0.2 s
				relay.Change(narrow)
				eventually(t, "the top layer is left out", func() bool { return bad().Lean })
				thin, from := measure(), units()
				eventually(t, "pictures come", func() bool { return units() >= from+60 || !bad().Lean })
				if lean = measure(); bad().Lean {
					if n := lean[1].FramesDecoded - thin[1].FramesDecoded; n < 15 || n > 50 {
						t.Errorf("on a path of %.0f kbit/s %d of 60 pictures were decoded; %+v", narrow.Rate/1e3, n, bad())
					}
					break
				}
				if try == 4 { // a busy machine makes fewer pictures, so that the path carries all of them
					t.Fatalf("the top layer does not stay away: %+v", bad())
				}
			}

			relay.Change(wide)
			eventually(t, "nothing waits and no key frame is owed", func() bool {
				s := stream.Status()[0]
				for _, n := range s.KeyReasons {
					s.Keys -= n // wraps, and comes back
				}
				return bad().Queue == 0 && s.Keys+s.KeysMerged+s.KeysCached == 0
			})
			pass(20)
			wider := measure()
			eventually(t, "the top layer is back", func() bool { return !bad().Lean })
			back := measure()
			pass(60)
			sent, lasted := stream.Status()[0], time.Since(begun)
			var end [2]inbound
			eventually(t, "what was sent is decoded", func() bool {
				end = measure()
				return end[0].FramesDecoded >= begin[0].FramesDecoded+int(sent.Units-first.Units)-2 && end[1].FramesReceived <= end[1].FramesDecoded+2
			})
			if n := end[1].FramesDecoded - back[1].FramesDecoded; bad().Lean || n < 50 {
				t.Errorf("on a wide path again %d of 60 pictures were decoded; %+v", n, bad())
			}
			calm := end[0].FreezeCount == wider[0].FreezeCount // on a busy machine both freeze
			if c, was := end[1], wider[1]; c.PliCount > was.PliCount || c.KeyFramesDecoded > was.KeyFramesDecoded || calm && c.FreezeCount > was.FreezeCount {
				t.Errorf("the top layer's return was not smooth: %+v, and before that %+v", c, was)
			}
			good := server.ViewerStatus()[0]
			if c := end[0]; c.PacketsLost > 0 || c.PliCount > 0 || good.Dropped > 0 || good.Lean || sent.Keys-first.Keys > 1+uint64(lasted/(2*time.Second)) {
				t.Errorf("the good viewer had trouble: %+v, %+v; %d key frames in %v", c, good, sent.Keys-first.Keys, lasted)
			}
			t.Logf("%.0f kbit/s, then a path of %.0f; the bad viewer without the top layer %+v, at the end %+v", rate/1e3, narrow.Rate/1e3, lean[1], end[1])
		})
	}
}
