package main

import (
	"context"
	"fmt"
	"image"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"deskwhep/capture/card"
)

// contents are programs whose windows cover the display.
var contents = []struct {
	name string
	run  []string // nothing: the bare root window
}{
	{"still", []string{"xterm", "-geometry", "300x100+0+0", "-e", "seq 200; sleep 1000"}},
	{"typing", []string{"xterm", "-geometry", "300x100+0+0", "-e", "while :; do printf x; sleep .1; done"}},
	{"scrolling", []string{"xterm", "-geometry", "300x100+0+0", "-e", "i=0; while :; do i=$((i+1)); echo $i the quick brown fox jumps over the lazy dog $i; sleep .02; done"}},
}

// show runs a program on the display until the benchmark ends.
func (d *desktop) show(b *testing.B, args []string) {
	b.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "DISPLAY="+d.display)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	time.Sleep(time.Second) // until its window is up
}

// cpu is the CPU time that a process has used.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		b.Fatalf("%v %v", err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// resident is a process's resident memory in MiB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// BenchmarkViewer measures the whole program with one viewer in Chromium, 720p
// and 1080p at 30 fps: percent of a core, frames per second at the viewer,
// memory. An operation is a second.
func BenchmarkViewer(b *testing.B) {
	for _, size := range []image.Point{{1280, 720}, {1920, 1080}} {
		for _, c := range contents {
			b.Run(fmt.Sprintf("%dp/%s", size.Y, c.name), func(b *testing.B) {
				d := startDesktop(b, size)
				d.show(b, c.run)
				p := startProgram(b, d.display)
				v := startBrowser(b)()
				watch(b, v, p.url)
				time.Sleep(3 * time.Second) // the top-off ends
				frame, used, begun := frames(b, v), cpu(b, p.cmd.Process.Pid), time.Now()
				for b.Loop() {
					time.Sleep(time.Second)
				}
				took := time.Since(begun)
				b.ReportMetric(100*(cpu(b, p.cmd.Process.Pid)-used).Seconds()/took.Seconds(), "%core")
				b.ReportMetric(float64(frames(b, v)-frame)/took.Seconds(), "fps")
				b.ReportMetric(resident(b, p.cmd.Process.Pid), "MiB")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkJoin measures how long a viewer in Chromium waits on a still desktop:
// from just before its offer to the first frame that is presented.
func BenchmarkJoin(b *testing.B) {
	d := startDesktop(b, image.Pt(1920, 1080))
	d.show(b, contents[0].run)
	p := startProgram(b, d.display)
	v := startBrowser(b)()
	if _, err := chromedp.Run(v, chromedp.Navigate(p.url+"/")); err != nil {
		b.Fatal(err)
	}
	watch(b, v, p.url)
	var waits []float64
	for b.Loop() {
		waits = append(waits, evaluate[float64](b, v, `(async () => {
			const video = document.createElement("video");
			video.muted = video.autoplay = true;
			document.body.append(video);
			const shown = new Promise((resolve) => video.requestVideoFrameCallback(() => resolve(performance.now())));
			const posted = performance.now(); // a moment before
			const { pc, location } = await (`+plainWHEP+`)(video, "/whep");
			const wait = await shown - posted;
			pc.close();
			video.remove();
			await fetch(location, { method: "DELETE" });
			return wait;
		})()`))
	}
	slices.Sort(waits)
	b.ReportMetric(waits[len(waits)/2], "p50-ms")
	b.ReportMetric(waits[len(waits)*95/100], "p95-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkGlassToGlass reads a time stamp off the frames that Chromium
// presents: from painting to the page, both on this machine; and from the last
// packet received to the page. The stamp is the test card's, or it is painted on
// a 1080p X display that shows text which scrolls 30 times a second; some are
// then captured while they are being painted, and not counted.
func BenchmarkGlassToGlass(b *testing.B) {
	for _, c := range []struct {
		name  string
		start func(b *testing.B) *program
	}{
		{"card", func(b *testing.B) *program { return startProgram(b, "", "--source", "card") }},
		{"scrolling", func(b *testing.B) *program {
			d := startDesktop(b, image.Pt(1920, 1080))
			d.paintScrolling(b, time.Second/30)
			return startProgram(b, d.display)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := c.start(b)
			v := startBrowser(b)()
			watch(b, v, p.url)
			time.Sleep(3 * time.Second) // the first key frame is over
			ages, waits := glass(b, v, 200)
			for b.Loop() {
			}
			b.ReportMetric(ages[len(ages)/2], "p50-ms")
			b.ReportMetric(ages[len(ages)*95/100], "p95-ms")
			b.ReportMetric(waits[len(waits)/2], "received-p50-ms")
			b.ReportMetric(waits[len(waits)*95/100], "received-p95-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// paintScrolling scrolls text over the whole display each interval, with the
// test card's stamp in the corner, until the benchmark ends.
func (d *desktop) paintScrolling(b *testing.B, interval time.Duration) {
	b.Helper()
	c, err := xgb.NewConnDisplay(d.display)
	if err != nil {
		b.Fatal(err)
	}
	screen := xproto.Setup(c).DefaultScreen(c)
	win, _ := xproto.NewWindowId(c)
	page, _ := xproto.NewPixmapId(c)
	gc, _ := xproto.NewGcontextId(c)
	font, _ := xproto.NewFontId(c)
	width, height := uint16(d.size.X), uint16(d.size.Y)
	xproto.OpenFont(c, font, uint16(len("fixed")), "fixed")
	xproto.CreateWindow(c, screen.RootDepth, win, screen.Root, 0, 0, width, height, 0,
		xproto.WindowClassInputOutput, screen.RootVisual, xproto.CwOverrideRedirect, []uint32{1})
	xproto.CreatePixmap(c, screen.RootDepth, page, xproto.Drawable(screen.Root), width, 2*height)
	xproto.CreateGC(c, gc, xproto.Drawable(win), xproto.GcForeground|xproto.GcFont|xproto.GcGraphicsExposures, []uint32{0xf8f8f8, uint32(font), 0})
	xproto.PolyFillRectangle(c, xproto.Drawable(page), gc, []xproto.Rectangle{{Width: width, Height: 2 * height}})
	xproto.ChangeGC(c, gc, xproto.GcForeground|xproto.GcBackground, []uint32{0x202020, 0xf8f8f8})
	const line = 16 // pixels
	for y := 0; y < 2*d.size.Y; y += line {
		for x := 0; x < d.size.X; x += 480 {
			text := fmt.Sprintf("%5d  the quick brown fox jumps over the lazy dog %x", y%d.size.Y/line, 7919*(y%d.size.Y+x))
			xproto.ImageText8(c, byte(len(text)), xproto.Drawable(page), gc, int16(x+8), int16(y+12), text)
		}
	}
	if err := xproto.MapWindowChecked(c, win).Check(); err != nil {
		b.Fatal(err)
	}
	var cells image.Rectangle
	card.Stamp{}.Cells(d.size, func(r image.Rectangle, _ bool) { cells = cells.Union(r) })
	corner := cells.Max.Add(cells.Min) // with a margin
	paint := func(s card.Stamp) error {
		fill := func(pixel uint32, list ...xproto.Rectangle) {
			xproto.ChangeGC(c, gc, xproto.GcForeground, []uint32{pixel})
			xproto.PolyFillRectangle(c, xproto.Drawable(win), gc, list)
		}
		var black, white []xproto.Rectangle
		s.Cells(d.size, func(r image.Rectangle, isWhite bool) {
			to := &black
			if isWhite {
				to = &white
			}
			*to = append(*to, xproto.Rectangle{X: int16(r.Min.X), Y: int16(r.Min.Y), Width: uint16(r.Dx()), Height: uint16(r.Dy())})
		})
		xproto.CopyArea(c, xproto.Drawable(page), xproto.Drawable(win), gc, 0, int16(int(s.Frame)*line%d.size.Y), 0, 0, width, height)
		fill(0x808080, xproto.Rectangle{Width: uint16(corner.X), Height: uint16(corner.Y)})
		fill(0, black...)
		fill(0xffffff, white...)
		_, err := xproto.GetInputFocus(c).Reply() // wait until it is painted
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var painting sync.WaitGroup
	painting.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for frame := uint16(0); ctx.Err() == nil; frame++ {
			<-tick.C
			if paint(card.Stamp{Time: time.Now(), Frame: frame}) != nil {
				return // the display has been ended
			}
		}
	})
	b.Cleanup(func() { cancel(); painting.Wait(); c.Close() })
}

// glass collects of n presented frames the ages, and the times since their last
// packet was received, in ms, sorted. The cells of the stamp are read off a
// canvas.
func glass(b *testing.B, v context.Context, n int) (ages, waits []float64) {
	b.Helper()
	got := evaluate[[2][]float64](b, v, fmt.Sprintf(`new Promise((resolve) => {
		const v = document.getElementById("video"), ages = [], waits = [];
		const canvas = new OffscreenCanvas(1, 1), g = canvas.getContext("2d", { willReadFrequently: true });
		const next = (now, meta) => {
			const shown = performance.timeOrigin + meta.presentationTime;
			const w = v.videoWidth, h = v.videoHeight;
			const c = Math.max(4, Math.min(32, Math.floor(w / 44), Math.floor(h / 24)) & ~1);
			canvas.width = 22 * c; canvas.height = 6 * c;
			g.drawImage(v, 0, 0, 22 * c, 6 * c, 0, 0, 22 * c, 6 * c);
			const d = g.getImageData(0, 0, 22 * c, 6 * c).data;
			const bytes = new Uint8Array(10);
			for (let i = 0; i < 80; i++) {
				const x = (1 + i %% 20) * c + c / 2, y = (1 + Math.floor(i / 20)) * c + c / 2;
				bytes[i >> 3] |= (d[4 * (y * 22 * c + x) + 1] >= 128) << (7 - i %% 8);
			}
			let us = 0, crc = 0xff;
			for (const byte of bytes.subarray(0, 7)) us = us * 256 + byte;
			for (const byte of bytes) {
				crc ^= byte;
				for (let i = 0; i < 8; i++) crc = (crc << 1 ^ (crc & 0x80 ? 7 : 0)) & 0xff;
			}
			if (crc === 0) {
				ages.push(shown - us / 1000);
				waits.push(meta.presentationTime - meta.receiveTime);
			}
			if (ages.length < %d) v.requestVideoFrameCallback(next); else resolve([ages, waits]);
		};
		v.requestVideoFrameCallback(next);
	})`, n))
	slices.Sort(got[0])
	slices.Sort(got[1])
	return got[0], got[1]
}
