//go:build linux

package x11

import (
	"context"
	"fmt"
	"image"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kbinani/screenshot"

	"deskwhep/capture"
)

// BenchmarkCapture measures the capture of content that changes 60 times a
// second, as the encoders get it, out of a feed; beside it, in the same run,
// kbinani/screenshot and ffmpeg's x11grab. CPU is the client's and the X
// server's, less that of the painting. The age of a picture is the time from
// its stamp, which its painter takes just before the painting, until its pixels
// are in our memory; of it, painting is the time until the server has painted
// it, which is timed for some pictures of the same run. The rest is ours. A
// table of all follows the figures of a size.
func BenchmarkCapture(b *testing.B) {
	for _, size := range []image.Point{{1280, 720}, {1920, 1080}, {3840, 2160}} {
		b.Run(fmt.Sprintf("%dp", size.Y), func(b *testing.B) {
			var rows []row
			for _, content := range contents {
				b.Run(content, func(b *testing.B) {
					var r row
					for b.Loop() {
						r = measure(b, size, content)
					}
					r.report(b)
					rows = append(rows, r)
				})
			}
			printTable(size, rows)
		})
	}
}

// row is what was measured of one content.
type row struct {
	content          string
	at60, at30       run
	polled           run // without damage events
	kbinani, x11grab run
}

// run is what was measured of one way to capture.
type run struct {
	painted, seen int     // pictures
	frames        int     // what the capture gave
	cpu           float64 // ms a frame
	client        float64 // the client's part of it
	core          float64 // % of one
	bytes         float64 // allocated a frame
	p50, p95      float64 // age, ms
	painting      float64 // the median part of the age in which it is painted, ms
	handed        float64 // median age when the encoder has it, ms
}

const rate60, rate30 = time.Second / 60, time.Second / 30

func measure(b *testing.B, size image.Point, content string) row {
	x := startX(b, fmt.Sprintf("%dx%dx24", size.X, size.Y))
	scene := newScene(b, x, size, content)
	idle60 := scene.load(x, rate60)
	r := row{content: content}
	r.at60 = scene.capture(b, x, rate60, 240, idle60, false)
	r.at30 = scene.capture(b, x, rate30, 60, scene.load(x, rate30), false)
	r.polled = scene.capture(b, x, rate60, 90, idle60, true)
	r.kbinani = scene.kbinani(b, x, idle60)
	if _, err := exec.LookPath("ffmpeg"); err == nil {
		r.x11grab = scene.ffmpeg(b, x, idle60)
	}
	return r
}

// load is the CPU time per second that the painting alone costs the server.
func (s *scene) load(x *xvfb, every time.Duration) (load float64) {
	if s.content == "still" {
		return 0
	}
	s.play(every, func() {
		began, server := time.Now(), cpu(x.cmd.Process.Pid)
		time.Sleep(time.Second)
		load = (cpu(x.cmd.Process.Pid) - server).Seconds() / time.Since(began).Seconds()
	})
	return load
}

// capture measures ours, for as long as so many intervals take.
func (s *scene) capture(b *testing.B, x *xvfb, every time.Duration, intervals int, idle float64, polled bool) (r run) {
	ctx, cancel := context.WithCancel(b.Context())
	fps := float64(time.Second / every)
	feed := capture.NewFeed(capture.FeedConfig{FPS: fps, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Open: func(ctx context.Context) (capture.Source, error) {
			src, err := Open(ctx, Options{Display: x.display, MaxFPS: fps})
			if err == nil && polled {
				src.unsubscribeDamage()
			}
			return src, err
		}})
	ended := make(chan error)
	go func() { ended <- feed.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	tap := feed.Watch()
	defer tap.Close()
	take := func(ctx context.Context) (painted time.Duration, n int, captured, handed time.Duration) {
		u, err := tap.Next(ctx)
		if err != nil {
			return 0, 0, 0, 0
		}
		defer u.Frame.Release()
		handed = clock()
		painted, n = stamp(func(x int) uint32 { return le.Uint32(u.Frame.Pix[4*x:]) })
		return painted, n, handed - time.Since(u.Frame.Captured), handed
	}
	take(ctx)
	ages, handed := make([]float64, 0, 2*intervals), make([]float64, 0, 2*intervals)
	r.painting = s.play(every, func() {
		time.Sleep(20 * every) // until caches and heuristics are warm
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ctx, done := context.WithTimeout(ctx, time.Duration(intervals)*every)
		defer done()
		first, last := 0, 0
		began, client, server := time.Now(), cpu(0), cpu(x.cmd.Process.Pid)
		for {
			painted, n, captured, given := take(ctx)
			if ctx.Err() != nil {
				break
			}
			if r.frames++; n != last {
				r.seen++
				if last = n; !timed(n) {
					ages, handed = append(ages, ms(captured-painted)), append(handed, ms(given-painted))
				}
			}
			if first == 0 {
				first = n
			}
		}
		r.painted = last - first + 1
		client, server = cpu(0)-client, cpu(x.cmd.Process.Pid)-server
		took := time.Since(began).Seconds()
		runtime.ReadMemStats(&after)
		net := client.Seconds() + server.Seconds() - idle*took
		r.core = 100 * net / took
		r.cpu, r.client = 1e3*net/float64(r.frames), ms(client)/float64(r.frames)
		if polled { // it works for each look, whatever it finds
			r.cpu = 1e3 * net / (took / every.Seconds())
		}
		r.bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(max(1, r.frames))
	})
	r.ages(ages)
	slices.Sort(handed)
	r.handed = quantile(handed, 50)
	return r
}

// kbinani measures the reference at 60 frames a second, or as many as it makes.
func (s *scene) kbinani(b *testing.B, x *xvfb, idle float64) (r run) {
	cmd := reference(b, x, image.Rectangle{Max: s.size}, 2*time.Second)
	var own time.Duration
	s.play(rate60, func() {
		began, server := time.Now(), cpu(x.cmd.Process.Pid)
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		server = cpu(x.cmd.Process.Pid) - server
		if _, err := fmt.Sscan(string(out), &r.frames, &own, &r.bytes, &r.p50, &r.p95); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		r.cpu = 1e3 * (own.Seconds() + server.Seconds() - idle*time.Since(began).Seconds()) / float64(r.frames)
		r.core = r.cpu / ms(rate60) * 100
	})
	return r
}

// measureReference captures for a while, in a process of its own, and prints
// what kbinani reads.
func measureReference(area image.Rectangle, d time.Duration) error {
	var r run
	var ages []float64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	last, spent := 0, cpu(0)
	for tick, end := time.Now(), time.Now().Add(d); time.Now().Before(end); r.frames++ {
		img, err := screenshot.CaptureRect(area)
		if err != nil {
			return err
		}
		now := clock()
		painted, n := stamp(func(x int) uint32 {
			p := img.Pix[4*x:]
			return uint32(p[0])<<16 | uint32(p[1])<<8 | uint32(p[2])
		})
		if n != last {
			last = n
			if !timed(n) {
				ages = append(ages, ms(now-painted))
			}
		}
		tick = tick.Add(rate60)
		time.Sleep(time.Until(tick))
	}
	spent = cpu(0) - spent
	runtime.ReadMemStats(&after)
	r.ages(ages)
	_, err := fmt.Println(r.frames, int64(spent), (after.TotalAlloc-before.TotalAlloc)/uint64(r.frames), r.p50, r.p95)
	return err
}

// ffmpeg measures x11grab at 60 frames a second, less its start.
func (s *scene) ffmpeg(b *testing.B, x *xvfb, idle float64) (r run) {
	spent := func(frames int) (spent time.Duration) {
		cmd := exec.CommandContext(b.Context(), "ffmpeg", "-v", "fatal", "-nostdin", "-f", "x11grab", "-draw_mouse", "0", "-framerate", "60",
			"-video_size", fmt.Sprintf("%dx%d", s.size.X, s.size.Y), "-i", x.display, "-frames:v", strconv.Itoa(frames), "-f", "null", "-")
		cmd.Env = append(os.Environ(), "XAUTHORITY="+x.authority)
		cmd.Stderr = os.Stderr
		s.play(rate60, func() {
			server, began := cpu(x.cmd.Process.Pid), time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
			server = cpu(x.cmd.Process.Pid) - server - time.Duration(idle*float64(time.Since(began)))
			spent = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() + server
		})
		return spent
	}
	r.frames = 100
	start := spent(1)
	r.cpu = ms(spent(r.frames+1)-start) / float64(r.frames)
	r.core = r.cpu / ms(rate60) * 100
	return r
}

func (r *run) ages(ages []float64) {
	slices.Sort(ages)
	r.p50, r.p95 = quantile(ages, 50), quantile(ages, 95)
}

func quantile(sorted []float64, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)*percent/100]
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// report gives the figures that there are budgets for.
func (r row) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(r.at60.core, "%core")
	if r.content == "still" {
		b.ReportMetric(float64(r.at60.frames), "frames")
		return
	}
	b.ReportMetric(r.at60.cpu, "cpu-ms/frame")
	b.ReportMetric(r.kbinani.cpu/r.at60.cpu, "x-less-than-kbinani")
	b.ReportMetric(r.at60.p50, "age-p50-ms")
	b.ReportMetric(r.at60.p50-r.at60.painting, "age-once-painted-p50-ms")
	b.ReportMetric(r.at60.bytes, "B/frame")
}

// printTable prints one line for each content.
func printTable(size image.Point, rows []row) {
	var out strings.Builder
	fmt.Fprintf(&out, `
%dx%d; CPU: client and X server, without the painting; age: from the stamp before the painting until the pixels are in our memory
                     CPU, ms  of it   %% of a core  age, ms      of it     once      to the   bytes  comparing pictures  kbinani: CPU            %% at        age, ms          x11grab
content        seen  a frame  client  at 30  at 60  p50    p95   painting  painted  encoder  a frame  ms a look  age p50  ms a frame      times  60     fps  p50    p95    kB     ms a frame
`, size.X, size.Y)
	for _, r := range rows {
		o, p, k := r.at60, r.polled, r.kbinani
		seen := fmt.Sprintf("%d of %d", o.seen, o.painted)
		if r.content == "still" {
			seen = fmt.Sprintf("%d frames", o.frames)
		}
		fmt.Fprintf(&out, "%-9s %10s", r.content, seen)
		for _, c := range []struct {
			width   int
			value   float64
			painted bool // says nothing of a still picture
		}{
			{9, o.cpu, true}, {8, o.client, true}, {7, r.at30.core, false}, {7, o.core, false},
			{6, o.p50, true}, {7, o.p95, true}, {9, o.painting, true}, {10, o.p50 - o.painting, true}, {9, o.handed, true}, {9, o.bytes, true},
			{10, p.cpu, false}, {9, p.p50, true},
			{12, k.cpu, false}, {11, k.cpu / o.cpu, true}, {6, k.core, false}, {6, float64(k.frames) / 2, false},
			{7, k.p50, true}, {7, k.p95, true}, {7, k.bytes / 1e3, false},
			{10, r.x11grab.cpu, false},
		} {
			if c.painted && r.content == "still" {
				fmt.Fprintf(&out, "%*s", c.width, "-")
			} else {
				fmt.Fprintf(&out, "%*.*f", c.width, decimals(c.value), c.value)
			}
		}
		fmt.Fprintln(&out)
	}
	fmt.Println(out.String())
}

// decimals are enough for two or three digits.
func decimals(f float64) int {
	switch {
	case f >= 100:
		return 0
	case f >= 10:
		return 1
	}
	return 2
}
