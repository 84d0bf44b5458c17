package card

import (
	"image"
	"math/rand/v2"
	"testing"
	"time"

	"deskwhep/capture"
)

// luma is the brightness of a pixel of a frame.
func luma(f *capture.Frame) func(x, y int) uint8 {
	return func(x, y int) uint8 { return f.Pix[y*f.Stride+4*x+1] }
}

// TestStampInEverySize reads the stamp of consecutive frames, which are as many
// and as far apart as asked for.
func TestStampInEverySize(t *testing.T) {
	for _, size := range []image.Point{{88, 24}, {160, 90}, {401, 301}, {1280, 720}, {3840, 2160}} {
		c := New(Options{Size: size, FPS: 100, Reason: func() string { return "a reason of several words that has to be broken into lines" }})
		var before Stamp
		for i := range 5 {
			f, err := c.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s, err := ReadStamp(size, luma(f))
			if err != nil {
				t.Fatalf("%v: %v", size, err)
			}
			if age := time.Since(s.Time); age < 0 || age > time.Minute {
				t.Errorf("%v: %v old", size, age)
			}
			if i > 0 && (s.Frame != before.Frame+1 || !s.Time.After(before.Time)) {
				t.Errorf("%v: %v after %v", size, s, before)
			}
			if i == 0 != f.Damage.Full() {
				t.Errorf("%v: frame %d: full damage %v", size, i, f.Damage.Full())
			}
			before = s
			f.Release()
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Next(t.Context()); err != capture.ErrClosed {
			t.Errorf("Next after Close: %v", err)
		}
	}
}

// TestDamageCoversWhatMoved compares consecutive frames pixel by pixel.
func TestDamageCoversWhatMoved(t *testing.T) {
	size := image.Pt(640, 360)
	reason := "first"
	c := New(Options{Size: size, FPS: 200, Reason: func() string { return reason }})
	defer c.Close()
	var last []byte
	for i := range 12 {
		if i == 8 {
			reason = "second"
		}
		f, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for y := 0; y < size.Y && last != nil; y++ {
			for x := range size.X {
				o := y*f.Stride + 4*x
				if [3]byte(f.Pix[o:o+3]) == [3]byte(last[o:o+3]) {
					continue
				}
				covered := false
				for _, r := range f.Damage.Rects(size) {
					covered = covered || image.Pt(x, y).In(r)
				}
				if !covered {
					t.Fatalf("frame %d: %d,%d changed outside of the damage", i, x, y)
				}
			}
		}
		last = append(last[:0], f.Pix...)
		f.Release()
	}
}

// TestStampSurvivesNoise: strong noise and blur, as of lossy video, and damage
// beyond repair is noticed.
func TestStampSurvivesNoise(t *testing.T) {
	size := image.Pt(640, 360)
	c := New(Options{Size: size, Reason: func() string { return "" }})
	defer c.Close()
	f, err := c.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	r := rand.New(rand.NewPCG(1, 9))
	clean := luma(f)
	noisy := func(x, y int) uint8 {
		return uint8(min(max(int(clean(x, y))*6/10+50+r.IntN(120)-60, 0), 255))
	}
	if _, err := ReadStamp(size, noisy); err != nil {
		t.Error(err)
	}
	for name, wrong := range map[string]func(x, y int) uint8{
		"black":    func(int, int) uint8 { return 0 },
		"white":    func(int, int) uint8 { return 255 },
		"inverted": func(x, y int) uint8 { return 255 - clean(x, y) },
		"half":     func(x, y int) uint8 { return clean(x, y) * uint8(y&1) },
		"a cell":   func(x, y int) uint8 { return clean(x, y) ^ map[bool]uint8{true: 255}[x/14 == 10 && y/14 == 2] },
	} {
		if s, err := ReadStamp(size, wrong); err != ErrNoStamp {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}
