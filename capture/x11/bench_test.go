//go:build linux

package x11

import (
	"context"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kbinani/screenshot"

	"deskwhep/capture"
)

// BenchmarkCapture measures one frame of 60 updates a second: the CPU time of
// client and server, less that of the painting; the age, from a stamp in the
// pixels to the pixels being ours; the bytes allocated. Beside it, in the same
// run, kbinani/screenshot and ffmpeg's x11grab.
func BenchmarkCapture(b *testing.B) {
	for _, size := range []image.Point{{1280, 720}, {1920, 1080}, {3840, 2160}} {
		for _, content := range []string{"still", "typing", "scrolling", "video", "motion"} {
			b.Run(fmt.Sprintf("%dp/%s", size.Y, content), func(b *testing.B) { benchmark(b, size, content) })
		}
	}
}

const rate = time.Second / 60

func benchmark(b *testing.B, size image.Point, content string) {
	x := startX(b, fmt.Sprintf("%dx%dx24", size.X, size.Y))
	scene := newScene(newPainter(b, x), size, content)
	screen := image.Rectangle{Max: size}

	// What the painting alone costs a second.
	idle := scene.play(b, x, time.Second, func() {})

	src, err := Open(b.Context(), Options{Display: x.display, MaxFPS: 60})
	if err != nil {
		b.Fatal(err)
	}
	next := func(ctx context.Context) (age time.Duration, ok bool) {
		f, err := src.Next(ctx)
		if err != nil {
			return 0, false
		}
		defer f.Release()
		return f.Captured.Sub(scene.stampIn(f)), true
	}
	next(b.Context())
	ages := make([]time.Duration, 0, 1<<16)
	var before, after runtime.MemStats
	runtime.GC()
	spent, began, frames := cpu(b, "self", x), time.Now(), 0
	runtime.ReadMemStats(&before)
	if content == "still" {
		ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
		for {
			if _, ok := next(ctx); !ok {
				break
			}
			frames++
		}
		cancel()
		for b.Loop() {
		}
	} else {
		for tick := time.Now(); b.Loop(); frames++ {
			tick = tick.Add(rate)
			time.Sleep(time.Until(tick))
			scene.paint()
			age, ok := next(b.Context())
			if !ok {
				b.Fatal("no frame")
			}
			ages = append(ages, age)
		}
	}
	runtime.ReadMemStats(&after)
	took := time.Since(began)
	spent = cpu(b, "self", x) - spent
	src.Close()
	b.ReportMetric(0, "ns/op")
	if content == "still" {
		b.ReportMetric(float64(frames), "frames")
		b.ReportMetric(100*spent.Seconds()/took.Seconds(), "cpu-%")
		return
	}
	ours := perFrame(spent, took, idle, frames)
	slices.Sort(ages)
	b.ReportMetric(ours, "cpu-ms/frame")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(frames), "B/frame")
	b.ReportMetric(idle.server*rate.Seconds()*1e3, "paint-ms") // a part of the age
	b.ReportMetric(ages[len(ages)/2].Seconds()*1e3, "age-p50-ms")
	b.ReportMetric(ages[len(ages)*9/10].Seconds()*1e3, "age-p90-ms")

	// The reference says how many frames it made, and at what cost of its own.
	const while = 2 * time.Second
	var n int
	var own time.Duration
	server := cpu(b, "", x)
	began = time.Now()
	cmd := reference(b, x, screen, while)
	scene.while(cmd, func(out string) { fmt.Sscan(out, &n, &own) })
	server = cpu(b, "", x) - server
	theirs := (own.Seconds() + server.Seconds() - idle.server*time.Since(began).Seconds()) * 1e3 / float64(n)
	b.ReportMetric(theirs, "kbinani-cpu-ms/frame")
	b.ReportMetric(theirs/ours, "x-less-than-kbinani")

	if _, err := exec.LookPath("ffmpeg"); err == nil {
		b.ReportMetric(grabFFmpeg(b, x, scene, size, idle), "x11grab-cpu-ms/frame")
	}
}

// grabFFmpeg measures x11grab at the same rate, less its start.
func grabFFmpeg(b *testing.B, x *xvfb, scene *scene, size image.Point, idle load) float64 {
	run := func(frames int) time.Duration {
		cmd := exec.CommandContext(b.Context(), "ffmpeg", "-v", "fatal", "-nostdin", "-f", "x11grab", "-draw_mouse", "0", "-framerate", "60",
			"-video_size", fmt.Sprintf("%dx%d", size.X, size.Y), "-i", x.display, "-frames:v", strconv.Itoa(frames), "-f", "null", "-")
		server, began := cpu(b, "", x), time.Now()
		scene.while(cmd, func(string) {})
		server = cpu(b, "", x) - server
		took := time.Since(began).Seconds()
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() + server - time.Duration(idle.server*took*float64(time.Second))
	}
	const n = 120
	start := run(1)
	return (run(n+1) - start).Seconds() * 1e3 / n
}

// measureReference captures for a while, in a process of its own.
func measureReference(r image.Rectangle, d time.Duration) error {
	began, n := time.Now(), 0
	spent, err := schedstat("self")
	if err != nil {
		return err
	}
	for ; time.Since(began) < d; n++ {
		if _, err := screenshot.CaptureRect(r); err != nil {
			return err
		}
	}
	now, err := schedstat("self")
	fmt.Println(n, int64(now-spent))
	return err
}

// load is CPU time per second.
type load struct{ client, server float64 }

func perFrame(spent, took time.Duration, idle load, frames int) float64 {
	return (spent.Seconds() - (idle.client+idle.server)*took.Seconds()) * 1e3 / float64(frames)
}

// cpu is what a process (none: "") and the server have used so far.
func cpu(b *testing.B, pid string, x *xvfb) time.Duration {
	total, err := schedstat(strconv.Itoa(x.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	if pid != "" {
		own, err := schedstat(pid)
		if err != nil {
			b.Fatal(err)
		}
		total += own
	}
	return total
}

func schedstat(pid string) (total time.Duration, err error) {
	tasks, err := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ns)
	}
	return total, err
}

// scene is content that changes 60 times a second, the same in each run.
type scene struct {
	*painter
	size    image.Point
	content string
	epoch   time.Time
	n       int
	pages   [2]uint32
}

func newScene(p *painter, size image.Point, content string) *scene {
	s := &scene{painter: p, size: size, content: content, epoch: time.Now()}
	if content == "video" || content == "motion" {
		const createPixmap = 53
		for i := range s.pages {
			s.pages[i] = p.id()
			p.put(createPixmap, p.depth, s.pages[i], p.root, pair(size.X, size.Y))
			for y := 0; y < size.Y; y += 20 {
				for x := 0; x < size.X; x += 20 {
					p.fill(s.pages[i], image.Rect(x, y, x+20, y+20), uint32((x*7919+y*104729+i*31)&0xffffff))
				}
				p.done()
			}
		}
	}
	p.done()
	return s
}

// paint paints the next picture, and the time in microseconds as two colors of
// the first eight pixels.
func (s *scene) paint() {
	s.n++
	switch s.content {
	case "still":
		return
	case "typing":
		at := image.Pt(s.n%100*8, 100+s.n/100%30*16)
		s.fill(s.root, image.Rectangle{at, at.Add(image.Pt(7, 14))}, uint32(0xffffff))
	case "scrolling":
		term := image.Rect(100, 100, s.size.X*3/4, s.size.Y*3/4)
		s.put(opCopyArea, 0, s.root, s.root, s.gc, pair(term.Min.X, term.Min.Y+16), pair(term.Min.X, term.Min.Y), pair(term.Dx(), term.Dy()-16))
		s.fill(s.root, image.Rect(term.Min.X, term.Max.Y-16, term.Max.X, term.Max.Y), 0)
		for i := range 60 {
			x := term.Min.X + i*8
			s.fill(s.root, image.Rect(x, term.Max.Y-14, x+1+(s.n*7+i*13)%7, term.Max.Y-2), 0xffffff)
		}
	case "video": // a window of 640x360
		s.put(opCopyArea, 0, s.pages[s.n%2], s.root, s.gc, 0, pair(200, 200), pair(640, 360))
	case "motion":
		s.put(opCopyArea, 0, s.pages[s.n%2], s.root, s.gc, 0, 0, pair(s.size.X, s.size.Y))
	}
	now := time.Since(s.epoch).Microseconds()
	s.fill(s.root, image.Rect(0, 0, 4, 4), uint32(now)&0xffffff)
	s.fill(s.root, image.Rect(4, 0, 8, 4), uint32(now>>24)&0xffffff)
	if err := s.flush(); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *scene) stampIn(f *capture.Frame) time.Time {
	us := int64(le.Uint32(f.Pix)&0xffffff) | int64(le.Uint32(f.Pix[16:])&0xffffff)<<24
	return s.epoch.Add(time.Duration(us) * time.Microsecond)
}

// play paints for a while and measures the load.
func (s *scene) play(b *testing.B, x *xvfb, d time.Duration, each func()) load {
	client, server, began := cpu(b, "self", x), cpu(b, "", x), time.Now()
	for tick := began; time.Since(began) < d; each() {
		tick = tick.Add(rate)
		time.Sleep(time.Until(tick))
		s.paint()
	}
	took := time.Since(began).Seconds()
	server = cpu(b, "", x) - server
	client = cpu(b, "self", x) - client - server
	return load{client.Seconds() / took, server.Seconds() / took}
}

// while paints as long as a command runs, and hands over what it prints.
func (s *scene) while(cmd *exec.Cmd, print func(string)) {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for tick := time.Now(); ; {
		select {
		case err := <-done:
			if err != nil {
				s.tb.Fatal(err)
			}
			print(out.String())
			return
		default:
		}
		tick = tick.Add(rate)
		time.Sleep(time.Until(tick))
		s.paint()
	}
}
