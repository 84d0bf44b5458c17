package main

import (
	"image"
	"syscall"
	"testing"
	"time"
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
