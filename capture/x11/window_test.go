//go:build linux

package x11

import (
	"bytes"
	"context"
	"errors"
	"image"
	"testing"
	"time"

	"deskwhep/capture"
)

const (
	reqDestroyWindow   = 4
	reqUnmapWindow     = 10
	reqMapWindow       = 8
	reqConfigureWindow = 12
	cwWidthHeight      = 1<<2 | 1<<3
)

// TestWindow covers, resizes, hides, shows and closes a captured window.
func TestWindow(t *testing.T) {
	for _, way := range []string{"pixmaps", "MIT-SHM", "DAMAGE"} {
		t.Run(way, func(t *testing.T) {
			var args []string
			if way != "pixmaps" {
				args = []string{"-extension", way}
			}
			x := startX(t, "640x480x24", args...)
			p := newPainter(t, x)
			at := image.Rect(100, 80, 400, 280)
			w := p.window(at, 3, 0x204060)
			p.fill(w, image.Rect(10, 10, 60, 50), 0xffff00)
			p.done()
			inside := at.Add(image.Pt(3, 3))
			v := open(t, Options{Display: x.display, Target: Target{Window: w}, MaxFPS: 60})
			v.sees(screen(t, x, inside))

			p.fill(w, image.Rect(200, 100, 290, 190), 0xff00ff)
			p.done()
			want := screen(t, x, inside)
			cover := p.window(image.Rect(0, 0, 640, 480), 0, 0)
			v.sees(want)
			p.fill(w, image.Rect(0, 0, 5, 5), 0xffffff) // while covered
			p.done()
			want.fill(image.Rect(0, 0, 5, 5), 0xffffff)
			v.sees(want)

			p.put(reqDestroyWindow, 0, cover)
			p.put(reqConfigureWindow, 0, w, cwWidthHeight, 500, 350)
			p.fill(w, image.Rect(400, 300, 480, 340), 0x00ff00)
			p.done()
			want = screen(t, x, image.Rectangle{inside.Min, inside.Min.Add(image.Pt(500, 350))})
			v.sees(want)

			p.put(reqUnmapWindow, 0, w)
			p.done()
			v.settled()
			v.src.Refresh()
			if !v.next(patience) || v.wrong(want) != 0 {
				t.Error("the hidden window's last picture is lost")
			}
			p.put(reqMapWindow, 0, w)
			p.fill(w, image.Rect(50, 50, 100, 100), 0x0000ff)
			p.done()
			v.sees(screen(t, x, image.Rectangle{inside.Min, inside.Min.Add(image.Pt(500, 350))}))

			p.put(reqDestroyWindow, 0, w)
			p.done()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := error(nil)
			for err == nil {
				var f *capture.Frame
				if f, err = v.src.Next(ctx); err == nil {
					f.Release()
				}
			}
			if !errors.Is(err, capture.ErrGone) {
				t.Errorf("the window was closed: %v", err)
			}
			if _, err := Open(t.Context(), Options{Display: x.display, Target: Target{Window: w}}); !errors.Is(err, capture.ErrGone) {
				t.Errorf("open a closed window: %v", err)
			}
		})
	}
}

// TestPointer moves the pointer over painting, and compares with what a picture
// without it and the shape give.
func TestPointer(t *testing.T) {
	for _, way := range []string{"pixmaps", "MIT-SHM", "DAMAGE"} {
		t.Run(way, func(t *testing.T) {
			var args []string
			if way != "pixmaps" {
				args = []string{"-extension", way}
			}
			x := startX(t, "320x240x24", args...)
			p := newPainter(t, x)
			x.run(t, "xdotool", "mousemove", "100", "100")
			v := open(t, Options{Display: x.display, Cursor: capture.CursorEmbedded, MaxFPS: 60, Verify: 100 * time.Millisecond})
			clean := open(t, Options{Display: x.display, MaxFPS: 60})
			v.settled() // with the shape that the server has at first
			x.run(t, "xsetroot", "-cursor_name", "left_ptr")
			const badAccess = 10
			if _, err := p.reply(p.fixes(fixesGetCursorImage)); !isX(err, badAccess) {
				t.Fatalf("the shape of a client that has gone is not refused: %v", err)
			}
			for i, at := range []struct{ x, y string }{{"50", "60"}, {"0", "0"}, {"319", "239"}, {"200", "100"}, {"200", "100"}} {
				x.run(t, "xdotool", "mousemove", at.x, at.y)
				p.fill(p.root, image.Rect(40*i, 30*i, 40*i+90, 30*i+90), 0x102030*uint32(i+1))
				p.done()
				want := screen(t, x, image.Rect(0, 0, 320, 240))
				clean.sees(want)
				var to image.Point
				for d := range []byte(at.x) {
					to.X = 10*to.X + int(at.x[d]-'0')
				}
				for d := range []byte(at.y) {
					to.Y = 10*to.Y + int(at.y[d]-'0')
				}
				v.seesPointer(want, to)
			}
			v.settled() // a pointer at rest is no change, for the check either
			v.src.turn.Lock()
			doubts := v.src.trust.doubts
			v.src.turn.Unlock()
			if doubts != 0 {
				t.Errorf("the pointer in the picture raised %d doubts", doubts)
			}
		})
	}
}

// seesPointer waits for the picture with the pointer at a place.
func (v *viewer) seesPointer(clean picture, at image.Point) {
	v.tb.Helper()
	for until := time.Now().Add(patience); ; {
		if v.size == clean.size {
			v.src.turn.Lock()
			pointer := v.src.pointer
			v.src.turn.Unlock()
			want := picture{bytes.Clone(clean.pix), clean.size}
			pointer.at = at
			pointer.draw(want.pix, 4*want.size.X, want.size)
			if v.wrong(want) == 0 && v.wrong(clean) > 0 {
				return
			}
		}
		if left := time.Until(until); left <= 0 || !v.next(left) {
			v.tb.Fatalf("the pointer is not seen at %v", at)
		}
	}
}

// TestPointerShape shows that a living client's shape is taken.
func TestPointerShape(t *testing.T) {
	x := startX(t, "320x240x24")
	p := newPainter(t, x)
	x.run(t, "xdotool", "mousemove", "100", "100")
	v := open(t, Options{Display: x.display, Cursor: capture.CursorEmbedded})
	v.settled()
	serial := func() uint32 {
		v.src.turn.Lock()
		defer v.src.turn.Unlock()
		return v.src.pointer.shape.serial
	}
	before := serial()
	// A cursor of 8x8 from one bitmap: all red, all opaque.
	const createPixmap, createCursor, changeAttributes, cursorAttribute = 53, 93, 2, 1 << 14
	bitmap, cursor := p.id(), p.id()
	p.put(createPixmap, 1, bitmap, p.root, pair(8, 8))
	gc := p.createGC(bitmap)
	const changeGC, polyFillRectangle, foreground = 56, 70, 1 << 2
	p.put(changeGC, 0, gc, foreground, 1)
	p.put(polyFillRectangle, 0, bitmap, gc, 0, pair(8, 8))
	p.put(createCursor, 0, cursor, bitmap, 0, pair(0xffff, 0), pair(0, 0), pair(0, 0), pair(0, 2))
	p.put(changeAttributes, 0, p.root, cursorAttribute, cursor)
	p.done()
	red := func(x, y int) bool {
		i := v.stride*y + 4*x
		return v.pix[i+2] == 255 && v.pix[i+1] == 0 && v.pix[i] == 0
	}
	for until := time.Now().Add(patience); serial() == before || !red(100, 100) || !red(107, 105); {
		if !v.next(time.Until(until)) {
			t.Fatal("the new shape is not seen")
		}
	}
}
