//go:build linux

package x11

import (
	"context"
	"errors"
	"image"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"deskwhep/capture"
)

func TestXauthority(t *testing.T) {
	if _, err := exec.LookPath("xauth"); err != nil {
		t.Fatal("xauth is missing (Debian package xauth)")
	}
	dir := t.TempDir()
	const cookie = "00112233445566778899aabbccddeeff"
	xauth := func(file, display, cookie string) string {
		file = filepath.Join(dir, file)
		if out, err := exec.Command("xauth", "-f", file, "add", display, ".", cookie).CombinedOutput(); err != nil {
			t.Fatalf("xauth: %v\n%s", err, out)
		}
		return file
	}
	x := startX(t, "64x64x24", "-auth", xauth("server", ":0", cookie), "-listen", "tcp")
	right := xauth("right", x.display, cookie)
	wrong := xauth("wrong", x.display, strings.Repeat("f", 32))
	for _, display := range []string{x.display, "127.0.0.1" + x.display} {
		if _, size, err := Probe(t.Context(), display, right); err != nil || size != image.Pt(64, 64) {
			t.Errorf("display %s with the cookie: %v, %v", display, size, err)
		}
		for name, file := range map[string]string{"no": "", "a wrong": wrong, "an absent": filepath.Join(dir, "absent")} {
			_, err := Open(t.Context(), Options{Display: display, Xauthority: file})
			if !errors.Is(err, capture.ErrPermission) {
				t.Errorf("display %s with %s cookie: %v", display, name, err)
			}
		}
	}
	if _, err := Open(t.Context(), Options{Display: x.display, Xauthority: dir}); err == nil {
		t.Error("a directory is an Xauthority file")
	}
}

func TestNoServer(t *testing.T) {
	for _, display := range []string{":59001", "127.0.0.1:59001", "", "nonsense"} {
		if _, err := Open(t.Context(), Options{Display: display}); !errors.Is(err, capture.ErrNoDisplay) {
			t.Errorf("display %q: %v", display, err)
		}
	}
}

// TestSilentServer accepts and says nothing.
func TestSilentServer(t *testing.T) {
	x := startX(t, "64x64x24")
	if err := x.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Options{Display: x.display}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open a stopped server: %v", err)
	}
}

func TestMonitors(t *testing.T) {
	x := startX(t, "800x600x24")
	list, err := Monitors(t.Context(), x.display, "")
	if err != nil || len(list) != 1 || list[0].Bounds != image.Rect(0, 0, 800, 600) || list[0].Name != "screen" || list[0].Scale != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	x.run(t, "xrandr", "--setmonitor", "*left", "400/100x600/150+0+0", "screen")
	x.run(t, "xrandr", "--setmonitor", "right", "400/100x500/150+400+100", "none")
	xrdb(t, x, "Xft.dpi: 144\n")
	if list, err = Monitors(t.Context(), x.display, ""); err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	byName := map[string]Monitor{}
	for _, m := range list {
		byName[m.Name] = m
	}
	if m := byName["right"]; m.Bounds != image.Rect(400, 100, 800, 600) || m.Primary || m.Scale != 1.5 {
		t.Errorf("right: %+v", m)
	}
	if m := byName["left"]; m.Bounds != image.Rect(0, 0, 400, 600) || !m.Primary {
		t.Errorf("left: %+v", m)
	}

	_, err = Open(t.Context(), Options{Display: x.display, Target: Target{Monitor: "middle"}})
	if !errors.Is(err, capture.ErrGone) || !strings.Contains(err.Error(), "left") || !strings.Contains(err.Error(), "right") {
		t.Errorf("a monitor that is not there: %v", err)
	}
	_, err = Open(t.Context(), Options{Display: x.display, Target: Target{Region: image.Rect(700, 500, 900, 700)}})
	if !errors.Is(err, capture.ErrUnsupported) || !strings.Contains(err.Error(), "800x600") {
		t.Errorf("a region off the screen: %v", err)
	}

	// The reference counts from the primary monitor, which is at 0,0 for that.
	// Paint on both; the capture of one sees only its own, also when it moves
	// and when it goes.
	paint := newPainter(t, x)
	v := open(t, Options{Display: x.display, Target: Target{Monitor: "right"}})
	paint.fill(paint.root, image.Rect(380, 80, 600, 300), 0xff8000)
	paint.done()
	v.sees(screen(t, x, image.Rect(400, 100, 800, 600)))
	v.settled()
	paint.fill(paint.root, image.Rect(0, 0, 400, 100), 0x00ff00)
	paint.done()
	if v.next(300 * time.Millisecond) {
		t.Error("a frame for what was painted on another monitor")
	}
	x.run(t, "xrandr", "--delmonitor", "right")
	x.run(t, "xrandr", "--setmonitor", "right", "300/100x200/150+350+50", "none")
	v.sees(screen(t, x, image.Rect(350, 50, 650, 250)))
	x.run(t, "xrandr", "--delmonitor", "right")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for err = nil; err == nil; {
		var f *capture.Frame
		if f, err = v.src.Next(ctx); err == nil {
			f.Release()
		}
	}
	if !errors.Is(err, capture.ErrGone) {
		t.Errorf("the monitor was unplugged: %v", err)
	}
}

// TestXwayland warns of a display that shows none of its programs.
func TestXwayland(t *testing.T) {
	x := startX(t, "320x240x24")
	if v := open(t, Options{Display: x.display}); v.src.Info().Notice != "" {
		t.Errorf("%+v", v.src.Info())
	}
	x.run(t, "xrandr", "--setmonitor", "XWAYLAND0", "320/80x240/60+0+0", "screen")
	if v := open(t, Options{Display: x.display}); !strings.Contains(v.src.Info().Notice, "Xwayland") {
		t.Errorf("%+v", v.src.Info())
	}
}

func xrdb(t *testing.T, x *xvfb, text string) {
	t.Helper()
	p := newPainter(t, x)
	const changeProperty, replace, resourceManager, stringType = 18, 0, 23, 31
	at := len(p.out)
	p.put(changeProperty, replace, p.root, resourceManager, stringType, 8, uint32(len(text)))
	p.out = pad(append(p.out, text...))
	le.PutUint16(p.out[at+2:], uint16((len(p.out)-at)/4))
	p.done()
}

// TestResize shrinks and grows the screen while it is painted on.
func TestResize(t *testing.T) {
	for _, way := range []string{"MIT-SHM", ""} {
		var args []string
		if way != "" {
			args = []string{"-extension", way}
		}
		x := startX(t, "800x600x24", args...)
		paint := newPainter(t, x)
		v := open(t, Options{Display: x.display})
		v.sees(screen(t, x, image.Rect(0, 0, 800, 600)))
		x.run(t, "xrandr", "--newmode", "small", "31.5", "640", "656", "720", "840", "480", "481", "484", "500")
		x.run(t, "xrandr", "--addmode", "screen", "small")
		for i, mode := range []string{"small", "800x600", "small"} {
			x.run(t, "xrandr", "--output", "screen", "--mode", mode)
			paint.fill(paint.root, image.Rect(i, 10*i, 500, 400), 0x305070*uint32(i+1))
			paint.done()
			size := image.Pt(640, 480)
			if mode != "small" {
				size = image.Pt(800, 600)
			}
			v.sees(screen(t, x, image.Rectangle{Max: size}))
			if info := v.src.Info(); info.Size != size {
				t.Fatalf("info of %v, frames of %v", info.Size, size)
			}
		}
	}
}
