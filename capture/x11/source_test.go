//go:build linux

package x11

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"deskwhep/capture"
)

// TestPaths paints at random and compares, whatever the server lacks.
func TestPaths(t *testing.T) {
	paths := []struct {
		name    string
		server  []string
		proxy   *proxy
		tcp     bool
		way     way
		sharing sharing
		damage  bool
	}{
		{name: "pixmaps", way: wayPixmap, sharing: shareMemfd, damage: true},
		{name: "pixmaps SysV", proxy: &proxy{}, way: wayPixmap, sharing: shareSysV, damage: true},
		{name: "bands SysV", proxy: &proxy{noPixmaps: true}, way: wayBands, sharing: shareSysV, damage: true},
		{name: "no MIT-SHM", server: []string{"-extension", "MIT-SHM"}, way: wayImages, damage: true},
		{name: "TCP", server: []string{"-listen", "tcp", "-ac"}, tcp: true, way: wayImages, damage: true},
		{name: "no DAMAGE", server: []string{"-extension", "DAMAGE"}, way: wayPixmap, sharing: shareMemfd},
		{name: "no DAMAGE, bands", server: []string{"-extension", "DAMAGE"}, proxy: &proxy{noPixmaps: true}, way: wayBands, sharing: shareSysV},
		{name: "no DAMAGE, no MIT-SHM", server: []string{"-extension", "DAMAGE", "-extension", "MIT-SHM"}, way: wayImages},
	}
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			x := startX(t, "640x480x24", p.server...)
			o := Options{Display: x.display, MaxFPS: 60}
			if p.tcp {
				o.Display = "127.0.0.1" + x.display
			}
			if p.proxy != nil {
				o.Display = p.proxy.start(t, x)
			}
			paint := newPainter(t, x)
			for _, target := range []Target{{}, {Region: image.Rect(37, 51, 503, 410)}} {
				o.Target = target
				v := open(t, o)
				if v.src.way != p.way || v.src.sharing != p.sharing || v.src.Info().DamageEvents != p.damage {
					t.Fatalf("captures by way %d, sharing %d, %+v", v.src.way, v.src.sharing, v.src.Info())
				}
				at := target.Region
				if at.Empty() {
					at = image.Rect(0, 0, 640, 480)
				}
				for round := range 3 {
					random := rand.New(rand.NewPCG(1, uint64(round)))
					for range 40 {
						corner := image.Pt(random.IntN(640)-20, random.IntN(480)-20)
						r := image.Rectangle{corner, corner.Add(image.Pt(1+random.IntN(200), 1+random.IntN(100)))}
						paint.fill(paint.root, r, random.Uint32()&0xffffff)
						if random.IntN(4) == 0 {
							paint.done()
							v.next(time.Millisecond)
						}
					}
					paint.done()
					v.sees(screen(t, x, at))
				}
				v.settled()
			}
		})
	}
}

// TestContainer captures a server in another IPC namespace: by a descriptor if
// it can be passed, else through the socket.
func TestContainer(t *testing.T) {
	unshare := []string{"unshare", "--ipc"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--user", "--map-current-user")
	}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("the kernel lets nobody make an IPC namespace here: %v %s", err, out)
	}
	x := startXvfb(t, append(unshare, "Xvfb", "-screen", "0", "320x240x24")...)
	paint := newPainter(t, x)
	paint.fill(paint.root, image.Rect(20, 30, 200, 150), 0xabcdef)
	paint.done()
	// SysV segments of that namespace are out of reach, for the reference too.
	want := picture{make([]byte, 4*320*240), image.Pt(320, 240)}
	want.fill(image.Rect(20, 30, 200, 150), 0xabcdef)
	for display, ways := range map[string]struct {
		way
		sharing
	}{x.display: {wayPixmap, shareMemfd}, (&proxy{}).start(t, x): {wayImages, shareNothing}} {
		v := open(t, Options{Display: display})
		if v.src.way != ways.way || v.src.sharing != ways.sharing {
			t.Errorf("captures by way %d, sharing %d", v.src.way, v.src.sharing)
		}
		v.sees(want)
	}
}

// TestLeftovers opens and closes while frames are lent: no descriptor, segment
// or mapping stays.
func TestLeftovers(t *testing.T) {
	x := startX(t, "320x240x24")
	count := func() (fds, maps int) {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(open), strings.Count(string(text), "memfd:frame") + strings.Count(string(text), "SYSV")
	}
	displays := []string{x.display, (&proxy{noPixmaps: true}).start(t, x)}
	run := func() {
		for _, display := range displays {
			v := open(t, Options{Display: display, Cursor: capture.CursorEmbedded})
			f, err := v.src.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := v.src.Close(); err != nil {
				t.Fatal(err)
			}
			f.Release()
		}
	}
	run()
	fds, _ := count()
	for range 10 {
		run()
	}
	// The proxy ends its side in its own time.
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		now, maps := count()
		if now <= fds && maps == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d descriptors after %d, %d mappings", now, fds, maps)
		}
	}
}

// proxy stands between us and a server, and takes away from it: descriptors
// always, shared pixmaps if asked.
type proxy struct{ noPixmaps bool }

// start returns the proxy's display.
func (p *proxy) start(t *testing.T, x *xvfb) string {
	var l net.Listener
	var err error
	number := 4000 + os.Getpid()%30000
	for ; ; number++ {
		if l, err = net.Listen("unix", "@/tmp/.X11-unix/X"+strconv.Itoa(number)); err == nil {
			break
		} else if number > 59000 {
			t.Fatal(err)
		}
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { l.Close() })
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", "/tmp/.X11-unix/X"+x.display[1:])
			if err != nil {
				client.Close()
				return
			}
			running.Go(func() { pipe(server, client, nil) })
			running.Go(func() { pipe(client, server, p.edit()) })
		}
	})
	return ":" + strconv.Itoa(number)
}

// edit changes what the server says: in the setup, then in one reply of 32
// bytes after another, until the answer of MIT-SHM.
func (p *proxy) edit() func([]byte) {
	var seen []byte
	const shmVersion = nExtensions + 1
	return func(b []byte) {
		start := len(seen)
		seen = append(seen, b...)
		if len(seen) < 8 {
			return
		}
		at := 8 + 4*int(le.Uint16(seen[6:])) + 32*(shmVersion-1)
		if p.noPixmaps && at+1 >= start && at+1 < len(seen) {
			b[at+1-start] = 0
		}
	}
}

func pipe(to, from net.Conn, edit func([]byte)) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if n > 0 && edit != nil {
			edit(b[:n])
		}
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

func TestContextAndClose(t *testing.T) {
	x := startX(t, "320x240x24")
	v := open(t, Options{Display: x.display, Verify: -1})
	v.settled()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := v.src.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { v.src.Close() })
	if _, err := v.src.Next(t.Context()); !errors.Is(err, capture.ErrClosed) {
		t.Fatalf("closed: %v", err)
	}
	if _, err := v.src.Next(t.Context()); !errors.Is(err, capture.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

// TestServerKilled ends the server while frames flow.
func TestServerKilled(t *testing.T) {
	x := startX(t, "640x480x24")
	paint := newPainter(t, x)
	v := open(t, Options{Display: x.display})
	v.settled()
	var painting sync.WaitGroup
	defer painting.Wait()
	painting.Go(func() {
		for i := range uint32(1 << 30) {
			if paint.fill(paint.root, image.Rect(0, 0, 640, 480), i); paint.check() != nil {
				return
			}
		}
	})
	for n := 0; ; n++ {
		if n == 20 {
			x.cmd.Process.Kill()
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		f, err := v.src.Next(ctx)
		cancel()
		if err == nil {
			f.Release()
			continue
		}
		if n < 20 || !errors.Is(err, capture.ErrLost) {
			t.Fatalf("frame %d: %v", n, err)
		}
		return
	}
}

func TestEightSources(t *testing.T) {
	x := startX(t, "640x480x24")
	paint := newPainter(t, x)
	var viewers []*viewer
	for range 8 {
		viewers = append(viewers, open(t, Options{Display: x.display, Cursor: capture.CursorEmbedded}))
	}
	for i := range 30 {
		paint.fill(paint.root, image.Rect(10*i, 10*i, 10*i+100, 10*i+80), uint32(i)*0x70503)
	}
	paint.done()
	x.run(t, "xdotool", "mousemove", "600", "10")
	want := screen(t, x, image.Rect(0, 0, 550, 480))
	var running sync.WaitGroup
	for _, v := range viewers {
		running.Go(func() {
			for until := time.Now().Add(patience); time.Now().Before(until); v.next(100 * time.Millisecond) {
				if v.size.X > 0 && v.wrong(want) == 0 {
					return
				}
			}
			t.Error("a viewer does not see the picture")
		})
	}
	running.Wait()
}

func TestDepths(t *testing.T) {
	for _, depth := range []int{8, 16, 30} {
		x := startX(t, fmt.Sprintf("320x240x%d", depth))
		_, err := Open(t.Context(), Options{Display: x.display})
		if !errors.Is(err, capture.ErrUnsupported) || !strings.Contains(err.Error(), strconv.Itoa(depth)) {
			t.Errorf("depth %d: %v", depth, err)
		}
		got, size, err := Probe(t.Context(), x.display, "")
		if got != depth || size != image.Pt(320, 240) || err != nil {
			t.Errorf("Probe of depth %d: %d, %v, %v", depth, got, size, err)
		}
	}
}
