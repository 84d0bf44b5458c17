package main

import (
	"bufio"
	"context"
	"fmt"
	"image"
	"image/color"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// bin is the program under test, built once.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "deskwhep")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = filepath.Join(dir, "deskwhep")
		if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// desktop is a private X server with a window that covers it.
type desktop struct {
	display string
	cmd     *exec.Cmd
	size    image.Point
}

func startDesktop(t testing.TB, size image.Point) *desktop {
	t.Helper()
	// Not the first free number: another test would take it while the server
	// is being restarted.
	d := &desktop{size: size, display: fmt.Sprintf(":%d", 1000+rand.IntN(30000))}
	d.start(t)
	t.Cleanup(func() { d.stop() })
	return d
}

// start starts the X server, again under the number that it had.
func (d *desktop) start(t testing.TB) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d.cmd = exec.Command("Xvfb", d.display, "-displayfd", "3", "-screen", "0", fmt.Sprintf("%dx%dx24", d.size.X, d.size.Y),
		"-noreset", "-nolisten", "tcp")
	d.cmd.ExtraFiles = []*os.File{w}
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("start Xvfb (Debian package xvfb): %v", err)
	}
	w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatalf("Xvfb did not come up: %v", err)
	}
}

func (d *desktop) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait()
}

// The pattern is a grid of colours that no codec mistakes for each other. With
// each step one place further is shown, so that a picture tells its step.
var patternColours = []color.RGBA{
	{0xd0, 0x20, 0x20, 0xff}, {0x20, 0xb0, 0x30, 0xff}, {0x20, 0x40, 0xd0, 0xff}, {0xe0, 0xd0, 0x20, 0xff},
	{0xf0, 0xf0, 0xf0, 0xff}, {0x10, 0x10, 0x10, 0xff}, {0xc0, 0x30, 0xc0, 0xff}, {0x20, 0xb0, 0xb0, 0xff},
}

const patternColumns, patternRows = 4, 3

func patternColour(step, x, y int) color.RGBA {
	return patternColours[(step+x+3*y)%len(patternColours)]
}

// paintPattern paints the pattern on the display, a step each interval (or just
// the first one for 0), until the returned func is called.
func (d *desktop) paintPattern(t testing.TB, interval time.Duration) (stop func()) {
	t.Helper()
	c, err := xgb.NewConnDisplay(d.display)
	if err != nil {
		t.Fatalf("connect to %s: %v", d.display, err)
	}
	screen := xproto.Setup(c).DefaultScreen(c)
	win, _ := xproto.NewWindowId(c)
	gc, _ := xproto.NewGcontextId(c)
	xproto.CreateWindow(c, screen.RootDepth, win, screen.Root, 0, 0, uint16(d.size.X), uint16(d.size.Y), 0,
		xproto.WindowClassInputOutput, screen.RootVisual, xproto.CwBackPixel|xproto.CwOverrideRedirect, []uint32{0, 1})
	xproto.CreateGC(c, gc, xproto.Drawable(win), 0, nil)
	xproto.MapWindow(c, win)
	canvas, _ := xproto.NewPixmapId(c) // copied whole, so that no half of a step is ever seen
	xproto.CreatePixmap(c, screen.RootDepth, canvas, xproto.Drawable(screen.Root), uint16(d.size.X), uint16(d.size.Y))
	paint := func(step int) error {
		for y := range patternRows {
			for x := range patternColumns {
				p := patternColour(step, x, y)
				xproto.ChangeGC(c, gc, xproto.GcForeground, []uint32{uint32(p.R)<<16 | uint32(p.G)<<8 | uint32(p.B)})
				r := cell(d.size, x, y)
				xproto.PolyFillRectangle(c, xproto.Drawable(canvas), gc, []xproto.Rectangle{{
					X: int16(r.Min.X), Y: int16(r.Min.Y), Width: uint16(r.Dx()), Height: uint16(r.Dy())}})
			}
		}
		xproto.CopyArea(c, xproto.Drawable(canvas), xproto.Drawable(win), gc, 0, 0, 0, 0, uint16(d.size.X), uint16(d.size.Y))
		_, err := xproto.GetInputFocus(c).Reply() // wait until it is painted
		return err
	}
	if err := paint(0); err != nil {
		t.Fatalf("paint: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var painting sync.WaitGroup
	if interval > 0 {
		painting.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for step := 1; ; step++ {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				if paint(step) != nil {
					return // the display has been ended
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		painting.Wait()
		c.Close()
	})
	t.Cleanup(stop)
	return stop
}

// cell is where a place of the pattern lies in a picture of the given size.
func cell(size image.Point, x, y int) image.Rectangle {
	return image.Rect(size.X*x/patternColumns, size.Y*y/patternRows, size.X*(x+1)/patternColumns, size.Y*(y+1)/patternRows)
}

// program is a running deskwhep.
type program struct {
	url string // of the player page, without the last slash; with the token, if any
	cmd *exec.Cmd
	log *lines
}

// lines collects a program's output for when a test fails.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startProgram starts deskwhep on a free port and waits for its address.
func startProgram(t testing.TB, display string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"--listen", "127.0.0.1:0", "--log-level", "debug"}, args...)...)
	cmd.Env = append(os.Environ(), "DISPLAY="+display, "XDG_SESSION_TYPE=x11")
	p := &program{cmd: cmd, log: &lines{}}
	cmd.Stderr = p.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the program's log:\n%s", p.log)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if _, url, ok := strings.Cut(scan.Text(), "Player:"); ok {
			p.url = strings.TrimSuffix(strings.TrimSpace(url), "/")
			go func() { // the pipe is drained until the program ends
				for scan.Scan() {
				}
			}()
			return p
		}
	}
	t.Fatalf("the program printed no player URL; its log:\n%s", p.log)
	return nil
}

// stop ends the program as Ctrl-C does, and reports whether it ended well.
func (p *program) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the program ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the program did not end after Ctrl-C")
	}
}

// eventually waits until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// udpMux gives a player one loopback socket of its own, which the test can
// close.
func udpMux(t *testing.T, s *webrtc.SettingEngine) *ice.UDPMuxDefault {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: c})
	t.Cleanup(func() { _ = mux.Close(); _ = c.Close() })
	s.SetICEUDPMux(mux)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	return mux
}
