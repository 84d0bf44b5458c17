//go:build linux

package x11

import (
	"context"
	"image"
	"log/slog"
	"strings"
	"testing"

	"deskwhep/capture"
	"deskwhep/capture/card"
)

// feed runs a feed of a display until the test ends; without a picture it shows
// the card.
func feed(t *testing.T, o Options, fps float64) (*capture.Feed, *capture.Tap) {
	t.Helper()
	f := capture.NewFeed(capture.FeedConfig{FPS: fps, Log: slog.New(slog.DiscardHandler),
		Open: func(ctx context.Context) (capture.Source, error) { return Open(ctx, o) },
		Card: func(_ image.Point, reason func() string) capture.Source {
			return card.New(card.Options{Size: image.Pt(64, 48), FPS: 10, Reason: reason})
		}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	tap := f.Watch()
	t.Cleanup(func() {
		tap.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, tap
}

// await takes frames until one is as wanted.
func await(t *testing.T, tap *capture.Tap, what string, wanted func(*capture.Frame) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		u, err := tap.Next(ctx)
		if err != nil {
			t.Fatalf("never: %s", what)
		}
		ok := wanted(u.Frame)
		u.Frame.Release()
		if ok {
			return
		}
	}
}

// TestLastOfABurst paints faster than the feed's rate and stops: the last
// picture is seen, whenever it was painted.
func TestLastOfABurst(t *testing.T) {
	x := startX(t, "320x240x24")
	paint := newPainter(t, x)
	_, tap := feed(t, Options{Display: x.display, Verify: -1}, 30) // no check that would find it
	for burst := range 20 {
		var color uint32
		for i := range 1 + 7*burst {
			color = uint32(burst<<16 | i + 1)
			paint.fill(paint.root, image.Rect(0, 0, 320, 240), color)
			paint.done()
		}
		await(t, tap, "the last picture of a burst", func(f *capture.Frame) bool {
			return f.Size == image.Pt(320, 240) && le.Uint32(f.Pix)&0xffffff == color
		})
	}
}

// TestTargetGoesAndComesBack unplugs the watched monitor and closes the watched
// window: the card says so; a monitor that is plugged in again is seen again.
func TestTargetGoesAndComesBack(t *testing.T) {
	x := startX(t, "640x480x24")
	plug := func(size string) { x.run(t, "xrandr", "--setmonitor", "right", size+"+320+0", "none") }
	plug("200/60x300/90")
	f, tap := feed(t, Options{Display: x.display, Target: Target{Monitor: "right"}}, 30)
	of := func(size image.Point) func(*capture.Frame) bool {
		return func(f *capture.Frame) bool { return f.Size == size }
	}
	isCard := of(image.Pt(64, 48))
	await(t, tap, "the monitor", of(image.Pt(200, 300)))
	x.run(t, "xrandr", "--delmonitor", "right")
	await(t, tap, "the card", isCard)
	await(t, tap, "the reason", func(*capture.Frame) bool {
		return strings.Contains(f.Status().Trouble, `no monitor "right", there is screen`)
	})
	plug("240/60x300/90")
	await(t, tap, "the monitor again", of(image.Pt(240, 300)))
	if s := f.Status(); s.Trouble != "" || s.Info.Target != "monitor right" {
		t.Errorf("%+v", s)
	}

	p := newPainter(t, x)
	w := p.window(image.Rect(10, 10, 110, 90), 0, 0xff0000)
	f, tap = feed(t, Options{Display: x.display, Target: Target{Window: w}}, 30)
	await(t, tap, "the window", of(image.Pt(100, 80)))
	p.put(reqDestroyWindow, 0, w)
	p.done()
	await(t, tap, "the card", isCard)
	if s := f.Status(); !strings.Contains(s.Trouble, capture.ErrGone.Error()) {
		t.Errorf("%+v", s)
	}
}
