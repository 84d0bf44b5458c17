//go:build linux

package screen

import (
	"bufio"
	"context"
	"errors"
	"image"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"deskwhep/capture"
)

// patience bounds every wait of the tests.
const patience = 30 * time.Second

// startX starts an X server, which becomes the display of this process until
// the test ends.
func startX(t *testing.T) *exec.Cmd {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "320x240x24", "-noreset", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Xvfb (Debian package xvfb): %v", err)
	}
	w.Close()
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb did not come up: %v", err)
	}
	t.Setenv("DISPLAY", ":"+strings.TrimSpace(number))
	t.Setenv("XDG_SESSION_TYPE", "x11")
	return cmd
}

func fill(t *testing.T, color string) {
	t.Helper()
	if out, err := exec.Command("xsetroot", "-solid", color).CombinedOutput(); err != nil {
		t.Fatalf("xsetroot (Debian package x11-xserver-utils): %v\n%s", err, out)
	}
}

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func next(t *testing.T, s *Source) *capture.Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestScreen watches a screen that changes, stands still, and goes.
func TestScreen(t *testing.T) {
	server := startX(t)
	fill(t, "#102030")
	s := open(t, Options{FPS: 30})
	f := next(t, s)
	if f.Size != image.Pt(320, 240) || f.Format != capture.RGBX || !f.Damage.Full() || f.Captured.IsZero() {
		t.Errorf("the first frame: %v, format %d, damage %v", f.Size, f.Format, f.Damage.Rects(f.Size))
	}
	if info := s.Info(); info.Size != f.Size || info.Cursor != capture.CursorHidden || info.DamageEvents || info.Notice == "" {
		t.Errorf("%+v", info)
	}
	is := func(f *capture.Frame, want [3]byte) bool {
		for i := 0; i < len(f.Pix); i += 4 {
			if [3]byte(f.Pix[i:]) != want {
				return false
			}
		}
		return true
	}
	if !is(f, [3]byte{0x10, 0x20, 0x30}) {
		t.Errorf("the first pixel is %x", f.Pix[:4])
	}

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	if f, err := s.Next(ctx); err == nil {
		t.Errorf("a frame of a still screen, damage %v", f.Damage.Rects(f.Size))
	}
	cancel()
	s.Refresh()
	again := next(t, s)
	if !again.Damage.Empty() {
		t.Errorf("after Refresh of a still screen the damage is %v", again.Damage.Rects(again.Size))
	}
	again.Release()
	fill(t, "#a0b0c0")
	for changed := next(t, s); ; changed = next(t, s) {
		whole := is(changed, [3]byte{0xa0, 0xb0, 0xc0})
		changed.Release()
		if whole {
			break
		}
	}
	if !is(f, [3]byte{0x10, 0x20, 0x30}) {
		t.Error("a lent frame was written to")
	}
	f.Release()

	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		f, err := s.Next(ctx)
		if err == nil {
			f.Release()
			continue
		}
		if !errors.Is(err, capture.ErrNoDisplay) && !errors.Is(err, capture.ErrLost) {
			t.Errorf("the server died: %v", err)
		}
		break
	}
}

func TestNoDisplay(t *testing.T) {
	t.Setenv("DISPLAY", ":59002")
	t.Setenv("XDG_SESSION_TYPE", "x11")
	if _, err := Open(t.Context(), Options{FPS: 30}); !errors.Is(err, capture.ErrNoDisplay) {
		t.Error(err)
	}
}

// TestCheck asks whether the display can be captured: at Open and later.
func TestCheck(t *testing.T) {
	startX(t)
	odd := errors.New("16 bits")
	if _, err := Open(t.Context(), Options{FPS: 30, Check: func(context.Context) error { return odd }}); !errors.Is(err, odd) {
		t.Errorf("open: %v", err)
	}
	var wrong atomic.Bool
	s := open(t, Options{FPS: 30, Check: func(context.Context) error {
		if wrong.Load() {
			return odd
		}
		return nil
	}})
	next(t, s).Release()
	wrong.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.Next(ctx); !errors.Is(err, odd) {
		t.Errorf("later: %v", err)
	}
}

func TestClose(t *testing.T) {
	startX(t)
	s := open(t, Options{FPS: 30})
	next(t, s).Release()
	time.AfterFunc(20*time.Millisecond, func() { s.Close() })
	if _, err := s.Next(t.Context()); !errors.Is(err, capture.ErrClosed) {
		t.Error(err)
	}
}
