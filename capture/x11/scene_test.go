//go:build linux

package x11

import (
	"fmt"
	"image"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scene is content that changes at a steady rate, the same in each run.
type scene struct {
	*painter
	size    image.Point
	content string
	n       int
	pages   [2]uint32
}

// contents are what scenes can show.
var contents = []string{"still", "typing", "scrolling", "video", "motion"}

func newScene(tb testing.TB, x *xvfb, size image.Point, content string) *scene {
	s := &scene{painter: newPainter(tb, x), size: size, content: content}
	if content == "video" || content == "motion" {
		const createPixmap = 53
		for i := range s.pages {
			s.pages[i] = s.id()
			s.put(createPixmap, s.depth, s.pages[i], s.root, pair(size.X, size.Y))
			for y := 0; y < size.Y; y += 20 {
				for x := 0; x < size.X; x += 20 {
					s.fill(s.pages[i], image.Rect(x, y, x+20, y+20), uint32((x*7919+y*104729+i*31)&0xffffff))
				}
				s.done()
			}
		}
	}
	return s
}

// paint paints the next picture, and at last the time before it as two colors
// of the first eight pixels.
func (s *scene) paint() {
	began := clock()
	s.n++
	switch s.content {
	case "still":
		return
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
	s.fill(s.root, image.Rect(0, 0, 4, 4), uint32(us)&0xffffff)
	s.fill(s.root, image.Rect(4, 0, 8, 4), uint32(us>>24)&0xffffff)
	if err := s.flush(); err != nil {
		s.tb.Error(err)
	}
}

// stamp is when the picture was painted whose first eight pixels have these
// colors.
func stamp(low, high uint32) time.Duration {
	return time.Duration(uint64(low&0xffffff)|uint64(high&0xffffff)<<24) * time.Microsecond
}

// play paints every interval for as long as during runs.
func (s *scene) play(every time.Duration, during func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	defer func() { close(stop); <-stopped }()
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.paint()
			case <-stop:
				return
			}
		}
	}()
	during()
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
