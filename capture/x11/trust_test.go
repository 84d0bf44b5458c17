//go:build linux

package x11

import (
	"image"
	"os"
	"strings"
	"testing"
	"time"
)

// TestBlindDamage paints behind the server's back, in its memory: the check
// finds it, and the second time DAMAGE is no longer believed.
func TestBlindDamage(t *testing.T) {
	for _, args := range [][]string{nil, {"-extension", "MIT-SHM"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) { testBlindDamage(t, args...) })
	}
}

func testBlindDamage(t *testing.T, args ...string) {
	x, secretly := startBlindX(t, args...)
	v := open(t, Options{Display: x.display, Verify: 50 * time.Millisecond, MaxFPS: 60})
	v.settled()
	for i := range 3 {
		v.finds(secretly, byte(50+i))
		if info := v.src.Info(); info.DamageEvents != (i == 0) || (info.Notice == "") != (i == 0) {
			t.Fatalf("after change %d: %+v", i, info)
		}
	}
	v.src.turn.Lock()
	if v.src.damage != 0 {
		t.Error("DAMAGE is asked for still")
	}
	v.src.turn.Unlock()
	paint := newPainter(t, x)
	paint.fill(paint.root, image.Rect(5, 5, 300, 200), 0x123456)
	paint.done()
	v.sees(screen(t, x, image.Rect(0, 0, 320, 240)))
}

// TestTrustComesBack paints behind the server's back again and again, with many
// checks between that find nothing: DAMAGE stays believed.
func TestTrustComesBack(t *testing.T) {
	x, secretly := startBlindX(t)
	v := open(t, Options{Display: x.display, Verify: 5 * time.Millisecond})
	v.settled()
	for i := range 2 * enoughDoubts {
		v.finds(secretly, byte(50+i))
		if v.src.trust.doubts != 1 {
			t.Fatalf("change %d was found by %d checks", i, v.src.trust.doubts)
		}
		for until := time.Now().Add(patience); v.src.trust.doubts > 0; {
			if v.next(50*time.Millisecond) || time.Now().After(until) {
				t.Fatalf("the doubt stays: %+v", v.src.trust)
			}
		}
	}
	if info := v.src.Info(); !info.DamageEvents || info.Notice != "" {
		t.Errorf("%+v", info)
	}
}

// finds waits until the picture has what is painted secretly.
func (v *viewer) finds(secretly func(red byte) (x, y int), red byte) {
	v.tb.Helper()
	x, y := secretly(red)
	for until := time.Now().Add(patience); v.pix[v.stride*y+4*x+2] != red; {
		if !v.next(time.Until(until)) {
			v.tb.Fatalf("the change to %d is not seen", red)
		}
	}
}

// startBlindX starts a server of 320x240 pixels, and tells how to paint a pixel
// in its memory without that it notices.
func startBlindX(t *testing.T, args ...string) (x *xvfb, secretly func(red byte) (x, y int)) {
	t.Helper()
	dir := t.TempDir()
	x = startX(t, "320x240x24", append(args, "-fbdir", dir, "-nocursor")...)
	file, err := os.OpenFile(dir+"/Xvfb_screen0", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	head := make([]byte, 100)
	if _, err := file.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	be := func(i int) int64 {
		return int64(head[i])<<24 | int64(head[i+1])<<16 | int64(head[i+2])<<8 | int64(head[i+3])
	}
	pixels, stride := be(0)+12*be(76), be(48) // xwd: header size, 12 bytes for each color, bytes per line
	return x, func(red byte) (int, int) {
		const x, y = 70, 100
		if _, err := file.WriteAt([]byte{200, 100, red, 0}, pixels+stride*y+4*x); err != nil {
			t.Fatal(err)
		}
		return x, y
	}
}
