package main

import (
	"context"
	"image"
	"image/color"
	"math"
	"syscall"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/capture/card"
)

// TestPause pauses the streams under a viewer: the screen is not to be seen any
// more, by newcomers neither, until the owner goes on.
func TestPause(t *testing.T) {
	d := startDesktop(t, image.Pt(800, 600))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display)
	tab := startBrowser(t)
	viewer := tab()
	watch(t, viewer, p.url)
	eventually(t, "the desktop is shown", func() bool { return isPattern(t, viewer) })

	toggle := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	toggle()
	eventually(t, "the card is shown", func() bool { _, err := cardStamp(t, viewer); return err == nil })
	screenshot(t, viewer, "player-paused")
	var health struct{ Paused bool }
	if get(t, p.url+"/healthz", 200, &health); !health.Paused {
		t.Error("the health does not tell of the pause")
	}
	time.Sleep(2 * time.Second) // what newcomers begin with is replaced meanwhile
	newcomer := tab()
	watch(t, newcomer, p.url)
	for range 10 {
		if isPattern(t, newcomer) {
			t.Fatal("a newcomer sees the desktop in the pause")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, err := cardStamp(t, newcomer); err != nil {
		t.Errorf("a newcomer does not see the card: %v", err)
	}
	toggle()
	for _, v := range []struct {
		who string
		see func() bool
	}{{"the viewer", func() bool { return isPattern(t, viewer) }}, {"the newcomer", func() bool { return isPattern(t, newcomer) }}} {
		eventually(t, v.who+" sees the desktop again", v.see)
	}
	p.stop(t)
}

// TestMask hides a corner and the middle of the desktop.
func TestMask(t *testing.T) {
	d := startDesktop(t, image.Pt(800, 600))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display, "--mask", "0,0,200,200", "--mask", "200,200,200,200", "--cursor", "hidden")
	tab := startBrowser(t)()
	watch(t, tab, p.url)
	eventually(t, "two places are hidden and the others are not", func() bool {
		_, colours := pixels(t, tab)
		for y := range patternRows {
			for x := range patternColumns {
				want := patternColour(0, x, y)
				if y == x && x < 2 {
					want = color.RGBA{}
				}
				for i, w := range []uint8{want.R, want.G, want.B} {
					if math.Abs(colours[y][x][i]-float64(w)) > 14 {
						return false
					}
				}
			}
		}
		return true
	})
	screenshot(t, tab, "player-masked")
}

// TestOnlyChangesAreTold opens a source, which replaces no picture, and pauses,
// which does.
func TestOnlyChangesAreTold(t *testing.T) {
	told := 0
	d := &discreet{privacy: newPrivacy(), changed: func() { told++ }, open: func(context.Context) (capture.Source, error) {
		return card.New(card.Options{Size: image.Pt(320, 240), FPS: 100, Reason: func() string { return "" }}), nil
	}}
	defer d.Close()
	frames := func() {
		for range 2 * afterChange {
			f, err := d.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.Release()
		}
	}
	if frames(); told != 0 {
		t.Errorf("%d changes before there was one", told)
	}
	d.privacy.toggle()
	if frames(); told != afterChange {
		t.Errorf("after a pause %d frames were told of, not %d", told, afterChange)
	}
}
