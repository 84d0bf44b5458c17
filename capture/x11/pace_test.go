//go:build linux

package x11

import (
	"context"
	"errors"
	"image"
	"os"
	"path/filepath"
	"testing"
	"time"

	"deskwhep/capture"
)

func TestStillDesktop(t *testing.T) {
	x := startX(t, "640x480x24")
	v := open(t, Options{Display: x.display, Verify: 50 * time.Millisecond})
	v.settled()
	before := v.frames
	if v.next(500 * time.Millisecond) {
		t.Fatal("a frame of a still desktop")
	}
	v.src.Refresh()
	if !v.next(patience) {
		t.Fatal("no frame after Refresh")
	}
	if v.frames != before+1 {
		t.Fatalf("%d frames after Refresh", v.frames-before)
	}
}

// TestBusyViewer holds two of three frames: the third goes on, and with none
// left Next waits for one to come back.
func TestBusyViewer(t *testing.T) {
	x := startX(t, "320x240x24")
	paint := newPainter(t, x)
	v := open(t, Options{Display: x.display, Verify: -1})
	v.settled()
	var held []*capture.Frame
	for i := range nBuffers {
		paint.fill(paint.root, image.Rect(0, 0, 10, 10), uint32(i+1))
		paint.done()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		f, err := v.src.Next(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, f)
	}
	paint.fill(paint.root, image.Rect(0, 0, 10, 10), 99)
	paint.fill(paint.root, image.Rect(20, 20, 30, 30), 99)
	paint.done()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	if _, err := v.src.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with all frames lent: %v", err)
	}
	cancel()
	for i, f := range held {
		if f.Pix[0] != byte(i+1) {
			t.Fatalf("the lent frame %d was written to: %d", i, f.Pix[0])
		}
	}
	time.AfterFunc(20*time.Millisecond, held[0].Release)
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := v.src.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if f.Pix[0] != 99 || len(f.Damage.Rects(f.Size)) != 2 {
		t.Fatalf("after the wait the frame has %d and the damage %v", f.Pix[0], f.Damage.Rects(f.Size))
	}
	if err := v.src.Close(); err != nil {
		t.Fatal(err)
	}
	for i, f := range append(held[1:], f) {
		if f.Pix[0] == 0 {
			t.Errorf("frame %d is not readable after Close", i)
		}
		f.Release()
	}
}

// TestPieces shows that large damage settles if it comes in pieces, and only
// then.
func TestPieces(t *testing.T) {
	x := startX(t, "640x480x24")
	paint := newPainter(t, x)
	for _, pieces := range []int{1, 3} {
		v := open(t, Options{Display: x.display, Verify: -1, Settle: 50 * time.Millisecond})
		v.settled()
		settles := func() bool {
			for i := range 100 {
				for n := range pieces {
					paint.fill(paint.root, image.Rect(100*n, 0, 100*n+300, 480), uint32(i*pieces+n))
					paint.done()
					if !v.next(patience) {
						t.Fatal("no frame of a piece")
					}
				}
				if v.settled(); v.src.settling.left > 0 {
					return true
				}
			}
			return false
		}
		if pieces == 1 {
			for i := range 5 {
				paint.fill(paint.root, image.Rect(0, 0, 640, 480), uint32(i))
				paint.done()
				if v.settled(); v.src.settling.left > 0 {
					t.Error("a single piece is made to settle")
				}
			}
		} else if !settles() {
			t.Error("pieces do not settle")
		}
	}
}

// TestPrograms watches a terminal scroll, without and with a compositor.
func TestPrograms(t *testing.T) {
	for _, compositor := range []string{"", "xcompmgr"} {
		x := startX(t, "640x480x24")
		v := open(t, Options{Display: x.display, MaxFPS: 60})
		if compositor != "" {
			x.start(t, compositor)
		}
		done := filepath.Join(t.TempDir(), "done")
		x.start(t, "xterm", "-geometry", "80x24+20+20", "-e", "sh", "-c", "seq 1 3000; touch "+done+"; sleep 1000")
		for until := time.Now().Add(patience); ; v.next(20 * time.Millisecond) {
			if _, err := os.Stat(done); err == nil {
				break
			}
			if time.Now().After(until) {
				t.Fatal("the terminal does not come to its end")
			}
		}
		v.settled()
		v.sees(screen(t, x, image.Rect(0, 0, 640, 480)))
	}
}

// TestLongStill paints after more requests than their numbers can count, as
// the checks of a still desktop make within hours.
func TestLongStill(t *testing.T) {
	for _, args := range [][]string{nil, {"-extension", "MIT-SHM"}} {
		x := startX(t, "320x240x24", args...)
		paint := newPainter(t, x)
		v := open(t, Options{Display: x.display, Verify: 20 * time.Millisecond})
		v.settled()
		for _, n := range []int{1<<15 - 500, 1000} {
			v.src.turn.Lock()
			for range n {
				const noOperation = 127
				v.src.conn.put(noOperation, 0)
			}
			err := v.src.conn.check()
			v.src.turn.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			v.settled() // with checks
		}
		paint.fill(paint.root, image.Rect(10, 10, 50, 50), 0x123456)
		paint.done()
		v.sees(screen(t, x, image.Rect(0, 0, 320, 240)))
		if v.src.trust.doubts != 0 {
			t.Error("the damage was taken for one that was captured already")
		}
	}
}

// TestPace paints, and asks for a frame, before the time: the frame comes then,
// with all of it.
func TestPace(t *testing.T) {
	for _, args := range [][]string{nil, {"-extension", "DAMAGE"}} {
		x := startX(t, "320x240x24", args...)
		paint := newPainter(t, x)
		v := open(t, Options{Display: x.display, Verify: -1, MaxFPS: 100})
		v.settled()
		for _, refresh := range []bool{false, true} {
			due := time.Now().Add(200 * time.Millisecond)
			v.src.Pace(due)
			if refresh {
				v.src.Refresh()
			} else {
				for x, color := range []uint32{0x123456, 0xabcdef} {
					paint.fill(paint.root, image.Rect(50*x, 0, 50*x+10, 10), color)
					paint.done()
				}
			}
			if !v.next(patience) {
				t.Fatal("no frame")
			}
			if early := time.Until(due); early > 0 {
				t.Errorf("a frame %v before the time", early)
			}
			v.settled()
		}
		v.sees(screen(t, x, image.Rect(0, 0, 320, 240)))
	}
}

// TestEarlyWake wakes a connection that does not wait yet.
func TestEarlyWake(t *testing.T) {
	x := startX(t, "64x64x24")
	v := open(t, Options{Display: x.display, Verify: -1})
	v.settled()
	stuck := time.AfterFunc(patience, v.src.conn.HangUp)
	defer stuck.Stop()
	v.src.conn.Wake()
	if err := v.src.conn.wait(time.Time{}); err != nil {
		t.Error(err)
	}
}
