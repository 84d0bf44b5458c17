//go:build linux

package x11

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"image"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kbinani/screenshot"
	"go.uber.org/goleak"

	"deskwhep/capture"
)

// patience bounds every wait of the tests.
const patience = 20 * time.Second

// TestMain is also the reference's process: kbinani/screenshot, on which xgb's
// globals forbid us to depend in the process of a capture. And it is the process
// that paints for the benchmark.
func TestMain(m *testing.M) {
	for name, serve := range map[string]func(job string) error{"X11_REFERENCE": serveReference, "X11_SCENE": serveScene} {
		if job := os.Getenv(name); job != "" {
			if err := serve(job); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	goleak.VerifyTestMain(m)
}

func serveReference(job string) error {
	var r image.Rectangle
	var d time.Duration
	if _, err := fmt.Sscan(job, &r.Min.X, &r.Min.Y, &r.Max.X, &r.Max.Y, &d); err != nil {
		return err
	}
	img, err := screenshot.CaptureRect(r)
	if err != nil {
		return err
	}
	if d == 0 {
		_, err = os.Stdout.Write(img.Pix)
		return err
	}
	return measureReference(r, d)
}

func reference(tb testing.TB, x *xvfb, r image.Rectangle, d time.Duration) *exec.Cmd {
	cmd := exec.CommandContext(tb.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "DISPLAY="+x.display, "XAUTHORITY="+x.authority, "XDG_SESSION_TYPE=x11", "GORACE=atexit_sleep_ms=0",
		fmt.Sprintf("X11_REFERENCE=%d %d %d %d %d", r.Min.X, r.Min.Y, r.Max.X, r.Max.Y, int64(d)))
	return cmd
}

// picture is what ought to be seen: blue, green, red and 0 for each pixel.
type picture struct {
	pix  []byte
	size image.Point
}

// screen is the reference's picture.
func screen(tb testing.TB, x *xvfb, r image.Rectangle) picture {
	tb.Helper()
	pix, err := reference(tb, x, r, 0).Output()
	if err != nil || len(pix) != 4*r.Dx()*r.Dy() {
		tb.Fatalf("reference picture: %d bytes, %v", len(pix), err)
	}
	for i := 0; i < len(pix); i += 4 {
		pix[i], pix[i+2], pix[i+3] = pix[i+2], pix[i], 0
	}
	return picture{pix, r.Size()}
}

// fill paints a rectangle.
func (p picture) fill(r image.Rectangle, color uint32) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			le.PutUint32(p.pix[4*(y*p.size.X+x):], color)
		}
	}
}

// xvfb is a running X server of the test's own.
type xvfb struct {
	display   string
	authority string
	cmd       *exec.Cmd
}

// startX starts Xvfb on a free display; it ends with the test.
func startX(tb testing.TB, size string, args ...string) *xvfb {
	tb.Helper()
	return startXvfb(tb, append([]string{"Xvfb", "-screen", "0", size}, args...)...)
}

func startXvfb(tb testing.TB, args ...string) *xvfb {
	tb.Helper()
	if _, err := exec.LookPath("Xvfb"); err != nil {
		tb.Fatal("Xvfb is missing (Debian package xvfb)")
	}
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	x := &xvfb{cmd: exec.Command(args[0], append(args[1:], "-displayfd", "3", "-noreset")...)}
	x.cmd.ExtraFiles = []*os.File{w}
	var log bytes.Buffer
	x.cmd.Stderr = &log
	if err := x.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	w.Close()
	tb.Cleanup(x.kill)
	r.SetReadDeadline(time.Now().Add(patience))
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		x.kill()
		tb.Fatalf("Xvfb did not start: %v\n%s", err, log.String())
	}
	x.display = ":" + strings.TrimSpace(number)
	return x
}

// kill ends the server in such a way that it removes its files, or else removes
// them.
func (x *xvfb) kill() {
	x.cmd.Process.Signal(syscall.SIGCONT)
	x.cmd.Process.Signal(syscall.SIGTERM)
	hard := time.AfterFunc(patience, func() { x.cmd.Process.Kill() })
	x.cmd.Wait()
	hard.Stop()
	lock := "/tmp/.X" + strings.TrimPrefix(x.display, ":") + "-lock"
	if pid, err := os.ReadFile(lock); err == nil && strings.TrimSpace(string(pid)) == strconv.Itoa(x.cmd.Process.Pid) {
		os.Remove(lock)
		os.Remove("/tmp/.X11-unix/X" + x.display[1:])
	}
}

// run runs an X program to its end.
func (x *xvfb) run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if _, err := exec.LookPath(name); err != nil {
		tb.Fatalf("%s is missing (Debian packages x11-apps x11-xserver-utils xdotool xterm xcompmgr)", name)
	}
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.Env = append(os.Environ(), "DISPLAY="+x.display, "XAUTHORITY="+x.authority)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// start starts an X program, which ends with the test.
func (x *xvfb) start(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if _, err := exec.LookPath(name); err != nil {
		tb.Fatalf("%s is missing (Debian packages x11-apps x11-xserver-utils xdotool xterm xcompmgr)", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DISPLAY="+x.display, "XAUTHORITY="+x.authority)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// painter is a client that paints.
type painter struct {
	tb testing.TB
	*conn
	gc uint32
}

func newPainter(tb testing.TB, x *xvfb) *painter {
	tb.Helper()
	c, err := connect(tb.Context(), x.display, x.authority)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	p := &painter{tb: tb, conn: c}
	p.gc = c.createGC(c.root)
	return p
}

// window makes a window without a manager and shows it.
func (p *painter) window(r image.Rectangle, border int, color uint32) uint32 {
	const createWindow, mapWindow, backPixel, borderPixel, overrideRedirect = 1, 8, 1 << 1, 1 << 3, 1 << 9
	id := p.id()
	p.put(createWindow, 0, id, p.root, pair(r.Min.X, r.Min.Y), pair(r.Dx(), r.Dy()), pair(border, 1), 0,
		backPixel|borderPixel|overrideRedirect, color, 0x0000ff, 1)
	p.put(mapWindow, 0, id)
	p.done()
	return id
}

// fill paints a rectangle.
func (p *painter) fill(drawable uint32, r image.Rectangle, color uint32) {
	const changeGC, polyFillRectangle, foreground = 56, 70, 1 << 2
	p.put(changeGC, 0, p.gc, foreground, color)
	p.put(polyFillRectangle, 0, drawable, p.gc, pair(r.Min.X, r.Min.Y), pair(r.Dx(), r.Dy()))
}

// done waits until the server has painted all.
func (p *painter) done() {
	p.tb.Helper()
	if err := p.check(); err != nil {
		p.tb.Fatal(err)
	}
}

// viewer keeps a picture as an encoder does: by the damage of each frame.
type viewer struct {
	tb     testing.TB
	src    *Source
	pix    []byte
	stride int
	size   image.Point
	frames int
}

func open(tb testing.TB, o Options) *viewer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	src, err := Open(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := src.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return &viewer{tb: tb, src: src}
}

// next takes one frame, or nothing within the time.
func (v *viewer) next(within time.Duration) bool {
	v.tb.Helper()
	ctx, cancel := context.WithTimeout(v.tb.Context(), within)
	defer cancel()
	f, err := v.src.Next(ctx)
	if err != nil && ctx.Err() != nil {
		return false
	}
	if err != nil {
		v.tb.Fatal(err)
	}
	defer f.Release()
	v.frames++
	if f.Size != v.size {
		if !f.Damage.Full() {
			v.tb.Fatalf("the first frame of %v has the damage %v", f.Size, f.Damage.Rects(f.Size))
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
	// What is outside of the damage must be as before.
	if !bytes.Equal(v.pix, f.Pix) {
		v.tb.Fatalf("frame %d differs from the one before outside of its damage %v", v.frames, f.Damage.Rects(f.Size))
	}
	return true
}

// sees waits until the picture is the reference's.
func (v *viewer) sees(want picture) {
	v.tb.Helper()
	until := time.Now().Add(patience)
	for wrong := -1; ; {
		if v.size == want.size {
			if wrong = v.wrong(want); wrong == 0 {
				return
			}
		}
		if left := time.Until(until); left <= 0 || !v.next(left) {
			v.tb.Fatalf("after %d frames the picture of %v has %d wrong pixels of %v", v.frames, v.size, wrong, want.size)
		}
	}
}

// wrong counts the pixels that differ; of a smaller picture, in the corner that
// it covers.
func (v *viewer) wrong(want picture) (n int) {
	for y := range want.size.Y {
		got, ref := v.pix[y*v.stride:][:4*want.size.X], want.pix[4*y*want.size.X:][:4*want.size.X]
		if bytes.Equal(got, ref) {
			continue
		}
		for i := 0; i < len(got); i += 4 {
			if [3]byte(got[i:]) != [3]byte(ref[i:]) {
				n++
			}
		}
	}
	return n
}

// settled waits until no frame comes any more.
func (v *viewer) settled() {
	v.tb.Helper()
	for until := time.Now().Add(patience); v.next(150 * time.Millisecond); {
		if time.Now().After(until) {
			v.tb.Fatal("frames do not end")
		}
	}
}

var _ capture.Source = (*Source)(nil)
