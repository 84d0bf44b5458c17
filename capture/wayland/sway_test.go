//go:build linux

package wayland

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"deskwhep/capture"
)

// patience bounds every wait of the tests.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desktop is a running compositor of the test's own.
type desktop struct {
	dir, socket string
	cmd         *exec.Cmd
	as          *syscall.SysProcAttr
	env         []string
}

// start starts a compositor without a screen. They refuse root, who gives way
// to nobody.
func start(t testing.TB, name string, args ...string) *desktop {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is missing (Debian packages sway weston)", name)
	}
	dir, err := os.MkdirTemp("", "wayland")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &desktop{dir: dir, as: &syscall.SysProcAttr{}}
	if os.Getuid() == 0 {
		const nobody = 65534
		d.as.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	d.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "SWAYSOCK=" + dir + "/sway.sock", "LC_ALL=C.UTF-8",
		"WLR_BACKENDS=headless", "WLR_RENDERER=pixman", "WLR_LIBINPUT_NO_DEVICES=1", "WLR_HEADLESS_OUTPUTS=2"}
	var log bytes.Buffer
	d.cmd = d.command(name, args...)
	d.cmd.Stderr = &log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { d.cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-ended
	})
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		sockets, _ := filepath.Glob(dir + "/wayland-*[0-9]")
		if len(sockets) > 0 {
			d.socket = sockets[0]
			d.env = append(d.env, "WAYLAND_DISPLAY="+filepath.Base(d.socket))
			return d
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", name, log.String())
		default:
		}
		if time.Now().After(until) {
			t.Fatalf("%s made no socket", name)
		}
	}
}

func sway(t testing.TB) *desktop {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	text := "output HEADLESS-1 mode 640x480\noutput HEADLESS-2 mode 320x240\nxwayland disable\ndefault_border none\n" +
		"output * bg #204060 solid_color\nseat * hide_cursor 1\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(config); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	return start(t, "sway", "-c", config)
}

func (d *desktop) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.SysProcAttr, cmd.Dir, cmd.WaitDelay = d.env, d.as, d.dir, time.Second
	return cmd
}

// tell gives sway a command.
func (d *desktop) tell(t testing.TB, args ...string) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := d.command("swaymsg", args...).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("swaymsg %v: %v\n%s", args, err, out)
		}
	}
}

// screen is the picture that grim takes: red, green and blue for each pixel.
func (d *desktop) screen(t *testing.T, output string) (rgb []byte, size image.Point) {
	t.Helper()
	out, err := d.command("grim", "-t", "ppm", "-o", output, "-").Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("grim is missing (Debian package grim)")
	}
	if err != nil {
		t.Fatalf("grim: %v", err)
	}
	var depth int
	if _, err := fmt.Sscanf(string(out[:min(len(out), 40)]), "P6\n%d %d\n%d", &size.X, &size.Y, &depth); err != nil {
		t.Fatal(err)
	}
	return out[len(out)-3*size.X*size.Y:], size
}

// viewer keeps a picture as an encoder does: by the damage of each frame.
type viewer struct {
	t      *testing.T
	src    *Source
	pix    []byte
	stride int
	size   image.Point
}

func (d *desktop) open(t *testing.T, output string) *viewer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	src, err := Open(ctx, Options{Display: d.socket, Output: output})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &viewer{t: t, src: src}
}

// next takes one frame, or nothing within the time.
func (v *viewer) next(within time.Duration) bool {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), within)
	defer cancel()
	f, err := v.src.Next(ctx)
	if err != nil && ctx.Err() != nil {
		return false
	}
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Release()
	if f.Format != capture.BGRX {
		v.t.Fatalf("format %d", f.Format)
	}
	if f.Size != v.size {
		if !f.Damage.Full() {
			v.t.Fatalf("the first frame of %v has the damage %v", f.Size, f.Damage.Rects(f.Size))
		}
		v.size, v.stride = f.Size, f.Stride
		v.pix = make([]byte, len(f.Pix))
	}
	for _, r := range f.Damage.Rects(f.Size) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			from, to := y*f.Stride+4*r.Min.X, y*f.Stride+4*r.Max.X
			copy(v.pix[from:to], f.Pix[from:to])
		}
	}
	if !bytes.Equal(v.pix, f.Pix) {
		v.t.Fatalf("the frame differs from the one before outside of its damage %v", f.Damage.Rects(f.Size))
	}
	return true
}

func (v *viewer) settled() {
	v.t.Helper()
	for until := time.Now().Add(patience); v.next(500 * time.Millisecond); {
		if time.Now().After(until) {
			v.t.Fatal("frames do not end")
		}
	}
}

// sees waits until a pixel has a color.
func (v *viewer) sees(at image.Point, color [3]byte) {
	v.t.Helper()
	for until := time.Now().Add(patience); ; {
		if at.In(image.Rectangle{Max: v.size}) {
			if p := v.pix[at.Y*v.stride+4*at.X:]; color == [3]byte{p[2], p[1], p[0]} {
				return
			}
		}
		if left := time.Until(until); left <= 0 || !v.next(left) {
			v.t.Fatalf("%v is never seen at %v of %v", color, at, v.size)
		}
	}
}

func (v *viewer) equals(rgb []byte, size image.Point) {
	v.t.Helper()
	if size != v.size {
		v.t.Fatalf("a picture of %v, the reference has %v", v.size, size)
	}
	for y := range size.Y {
		for x := range size.X {
			p, want := v.pix[y*v.stride+4*x:], rgb[3*(y*size.X+x):]
			if p[2] != want[0] || p[1] != want[1] || p[0] != want[2] {
				v.t.Fatalf("at %d,%d: %v, the reference has %v", x, y, p[:3], want[:3])
			}
		}
	}
}

// TestSway watches a desktop: still, then a terminal writes, then the output
// changes its size, and at last it goes.
func TestSway(t *testing.T) {
	d := sway(t)
	v := d.open(t, "HEADLESS-1")
	v.sees(image.Pt(320, 240), [3]byte{0x20, 0x40, 0x60})
	v.settled()
	if v.next(time.Second) {
		t.Error("a frame of a still desktop")
	}
	v.src.Refresh()
	if !v.next(patience) {
		t.Error("no frame after Refresh")
	}

	text := d.terminal(t)
	v.sees(image.Pt(600, 440), [3]byte{0, 0, 0})
	v.settled()
	for i := range 5 {
		fmt.Fprintf(text, "\033[4%dm line %d \033[0m\r\n", i+1, i)
		if !v.next(patience) {
			t.Fatalf("line %d is not seen", i)
		}
		v.settled() // also what was written while nobody waited
		rgb, size := d.screen(t, "HEADLESS-1")
		v.equals(rgb, size)
	}

	d.tell(t, "output", "HEADLESS-1", "mode", "800x600")
	for until := time.Now().Add(patience); v.size != image.Pt(800, 600); {
		if !v.next(time.Until(until)) {
			t.Fatal("the new size is not seen")
		}
	}
	v.settled()
	rgb, size := d.screen(t, "HEADLESS-1")
	v.equals(rgb, size)
	if v.src.Info().Size != size {
		t.Errorf("%+v", v.src.Info())
	}
}

func TestOutputs(t *testing.T) {
	d := sway(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	list, err := Outputs(ctx, Options{Display: filepath.Base(d.socket), RuntimeDir: d.dir})
	if err != nil || len(list) != 2 || list[0].Name == list[1].Name || list[0].Scale != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := Open(ctx, Options{Display: d.socket, Output: "DP-7"}); !errors.Is(err, capture.ErrGone) || !strings.Contains(err.Error(), "HEADLESS-2") {
		t.Errorf("an output that is not there: %v", err)
	}
	d.tell(t, "output", "HEADLESS-2", "bg", "#ff8000", "solid_color")
	v := d.open(t, "HEADLESS-2")
	v.sees(image.Pt(10, 10), [3]byte{0xff, 0x80, 0})
	if v.size != image.Pt(320, 240) {
		t.Errorf("an output of %v", v.size)
	}
	// This compositor cannot unplug an output; its word for it can be read.
	v.settled()
	const registry = display + 1
	v.src.conn.event(registry, evRegistryGlobalRemove, ne.AppendUint32(nil, v.src.output.name))
	if err := v.end(); !errors.Is(err, capture.ErrGone) {
		t.Errorf("the output was unplugged: %v", err)
	}
}

// end takes frames until there is an error.
func (v *viewer) end() error {
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	for {
		f, err := v.src.Next(ctx)
		if err != nil {
			return err
		}
		f.Release()
	}
}

// TestBusyViewer keeps frames: Refresh still gives one, Close ends a wait, and
// what is lent stays readable.
func TestBusyViewer(t *testing.T) {
	d := sway(t)
	v := d.open(t, "0")
	v.sees(image.Pt(320, 240), [3]byte{0x20, 0x40, 0x60})
	v.settled()
	var held []*capture.Frame
	for range 5 {
		v.src.Refresh()
		f, err := v.src.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !f.Damage.Empty() {
			t.Errorf("damage of a still desktop: %v", f.Damage.Rects(f.Size))
		}
		held = append(held, f)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := v.end(); !errors.Is(err, capture.ErrClosed) {
			t.Errorf("Next at Close: %v", err)
		}
	})
	v.src.Close()
	running.Wait()
	for _, f := range held {
		if f.Pix[0] != 0x60 {
			t.Errorf("a lent frame changed to %d", f.Pix[0])
		}
		f.Release()
	}
	if held[0].Pix != nil && v.src.newest != nil {
		t.Error("memory stays after Close")
	}
}

func TestCompositorKilled(t *testing.T) {
	d := sway(t)
	v := d.open(t, "")
	v.settled()
	time.AfterFunc(20*time.Millisecond, func() { d.cmd.Process.Kill() })
	if err := v.end(); !errors.Is(err, capture.ErrLost) {
		t.Errorf("the compositor died: %v", err)
	}
}

func TestNoScreencopy(t *testing.T) {
	d := start(t, "weston", "--backend=headless-backend.so", "--idle-time=0", "--no-config")
	_, err := Open(t.Context(), Options{Display: d.socket})
	if !errors.Is(err, capture.ErrUnsupported) || !strings.Contains(err.Error(), "zwlr_screencopy_manager_v1") {
		t.Errorf("weston: %v", err)
	}
}

func TestNoCompositor(t *testing.T) {
	for _, o := range []Options{{}, {RuntimeDir: t.TempDir()}, {Display: "/nowhere"}} {
		if _, err := Open(t.Context(), o); !errors.Is(err, capture.ErrNoDisplay) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestUpsideDown(t *testing.T) {
	pix := []byte("aaaabbbbccccddddeeee")
	if flip(pix, 4); string(pix) != "eeeeddddccccbbbbaaaa" {
		t.Errorf("%s", pix)
	}
	var f flight
	f.event(evFrameFlags, []byte{1, 0, 0, 0})
	if !f.flip {
		t.Error("the flag is not seen")
	}
}
