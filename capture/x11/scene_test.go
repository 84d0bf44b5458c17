//go:build linux

package x11

import (
	"bufio"
	"context"
	"fmt"
	"image"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scene is content that changes at a steady rate, the same in each run. It is
// painted by a process of its own, as on a real desktop.
type scene struct {
	tb       testing.TB
	size     image.Point
	content  string
	commands io.Writer
	done     *bufio.Reader
}

// contents are what scenes can show.
var contents = []string{"still", "typing", "scrolling", "video", "motion"}

func newScene(tb testing.TB, x *xvfb, size image.Point, content string) *scene {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "X11_SCENE="+content, "DISPLAY="+x.display, "XAUTHORITY="+x.authority, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { in.Close(); cmd.Wait() })
	s := &scene{tb, size, content, in, bufio.NewReader(out)}
	s.every(0) // until all is prepared
	return s
}

// every sets how often a new picture is painted; 0: never. It returns how long
// the pictures so far took, from their stamp until the server had painted them:
// the median in ms, 0 if none was timed.
func (s *scene) every(d time.Duration) (painting float64) {
	s.tb.Helper()
	fmt.Fprintln(s.commands, int64(d))
	line, err := s.done.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &painting)
	}
	if err != nil {
		s.tb.Fatalf("the painting process: %v", err)
	}
	return painting
}

// play paints every interval for as long as during runs; it returns how long
// the painting took, as every does.
func (s *scene) play(every time.Duration, during func()) (painting float64) {
	s.every(every)
	defer func() { painting = s.every(0) }()
	during()
	return 0
}

// serveScene is the painting process.
func serveScene(content string) error {
	c, err := connect(context.Background(), os.Getenv("DISPLAY"), os.Getenv("XAUTHORITY"))
	if err != nil {
		return err
	}
	defer c.Close()
	a := &artist{painter: &painter{conn: c, gc: c.createGC(c.root)}, size: c.size, content: content}
	if err := a.prepare(); err != nil {
		return err
	}
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	commands := make(chan int64)
	go func() {
		defer close(commands)
		for {
			var every int64
			if _, err := fmt.Scanln(&every); err != nil {
				return
			}
			commands <- every
		}
	}()
	for {
		select {
		case every, ok := <-commands:
			if !ok {
				return nil
			}
			if every == 0 {
				every = int64(time.Hour)
			}
			tick.Reset(time.Duration(every))
			slices.Sort(a.painting)
			fmt.Println(quantile(a.painting, 50))
			a.painting = a.painting[:0]
		case <-tick.C:
			if err := a.paint(); err != nil {
				return err
			}
		}
	}
}

// artist paints a scene.
type artist struct {
	*painter
	size    image.Point
	content string
	n       int
	pages   [2]uint32

	painting []float64 // ms, of the timed pictures
	reply    time.Duration
}

// timed tells which pictures the painter waits for, to tell how long they took.
// Their age is not measured, as both clients wake at once.
func timed(n int) bool { return n%8 == 0 }

func (s *artist) prepare() error {
	if err := s.timeReply(); err != nil {
		return err
	}
	if s.content != "video" && s.content != "motion" {
		return nil
	}
	for i := range s.pages {
		const createPixmap = 53
		s.pages[i] = s.id()
		s.put(createPixmap, s.depth, s.pages[i], s.root, pair(s.size.X, s.size.Y))
		for y := 0; y < s.size.Y; y += 20 {
			for x := 0; x < s.size.X; x += 20 {
				s.fill(s.pages[i], image.Rect(x, y, x+20, y+20), uint32((x*7919+y*104729+i*31)&0xffffff))
			}
			if err := s.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// timeReply finds out how long a reply takes on its way: half of a round trip
// for which the server has nothing to do, at the pace of the painting.
func (s *artist) timeReply() error {
	var halves []time.Duration
	for range 21 {
		time.Sleep(rate60)
		began := clock()
		if err := s.sync(); err != nil {
			return err
		}
		halves = append(halves, (clock()-began)/2)
	}
	slices.Sort(halves)
	s.reply = halves[len(halves)/2]
	return nil
}

// paint paints the next picture, and at last, as colors of the first pixels, the
// time before it and its number.
func (s *artist) paint() error {
	began := clock()
	s.n++
	switch s.content {
	case "still":
		return nil
	case "typing":
		at := image.Pt(s.n%100*8, 100+s.n/100%30*16)
		s.fill(s.root, image.Rectangle{at, at.Add(image.Pt(7, 14))}, 0xffffff)
	case "scrolling": // a terminal of half the screen, by a line
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
	us := began.Microseconds()
	for i, color := range []int64{us, us >> 24, int64(s.n)} {
		s.fill(s.root, image.Rect(4*i, 0, 4*i+4, 4), uint32(color)&0xffffff)
	}
	if !timed(s.n) {
		return s.flush()
	}
	err := s.sync()
	s.painting = append(s.painting, ms(clock()-began-s.reply))
	return err
}

// stamp tells when a picture was painted, and its number. color gives the color
// of a pixel of the first row, with anything above its 24 bits.
func stamp(color func(x int) uint32) (painted time.Duration, n int) {
	part := func(i int) uint64 { return uint64(color(4*i) & 0xffffff) }
	return time.Duration(part(0)|part(1)<<24) * time.Microsecond, int(part(2))
}

// clock is the machine's monotonic clock, the same in all processes.
func clock() time.Duration { return clockGettime(unix.CLOCK_MONOTONIC) }

// cpu is the CPU time that a process has used; 0: this one.
func cpu(pid int) time.Duration {
	const scheduled = 2
	return clockGettime(int32(^pid)<<3 | scheduled)
}

func clockGettime(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(fmt.Sprintf("clock %d: %v", id, err))
	}
	return time.Duration(t.Nano())
}
