package yuv

import (
	"image"
	"math/rand/v2"
	"testing"

	"deskwhep/capture"
)

func TestFit(t *testing.T) {
	for _, c := range []struct {
		size, max image.Point
		maxFS     int
		want      image.Point
	}{
		{image.Pt(1920, 1080), image.Point{}, 0, image.Pt(1920, 1080)},
		{image.Pt(1921, 1081), image.Point{}, 12288, image.Pt(1921, 1081)},
		{image.Pt(3840, 2160), image.Pt(1920, 1080), 0, image.Pt(1920, 1080)},
		{image.Pt(2560, 1440), image.Pt(1920, 1200), 0, image.Pt(1920, 1080)},
		{image.Pt(1080, 1920), image.Pt(1920, 1080), 0, image.Pt(606, 1080)},
		{image.Pt(100, 50), image.Pt(0, 25), 0, image.Pt(50, 24)},
		{image.Pt(4000, 10), image.Pt(400, 0), 0, image.Pt(400, 2)}, // 1 would not do
	} {
		if got := Fit(c.size, c.max, c.maxFS); got != c.want {
			t.Errorf("Fit(%v, %v, %d) = %v, want %v", c.size, c.max, c.maxFS, got, c.want)
		}
	}

	rnd := rand.New(rand.NewPCG(5, 5))
	for range 1000 {
		size, fs := image.Pt(1+rnd.IntN(8000), 1+rnd.IntN(5000)), 1+rnd.IntN(20000)
		got := Fit(size, image.Point{}, fs)
		switch {
		case !fits(got, image.Point{}, fs):
			t.Fatalf("Fit(%v, %d) = %v does not fit", size, fs, got)
		case got != size && (got.X|got.Y)&1 != 0:
			t.Fatalf("Fit(%v, %d) = %v is odd", size, fs, got)
		}
	}
	if got := Fit(image.Pt(2560, 1440), image.Point{}, 12288); got.X < 2300 {
		t.Errorf("1440p in 12288 macroblocks is %v; that wastes room", got)
	}
}

func TestScaledDamageCoversAllThatChanged(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
	f := frame(image.Pt(331, 227), capture.BGRX, rnd)
	to := Fit(f.Size, image.Pt(200, 0), 0)
	var s Scaler
	var p Picture
	all := capture.Everywhere()
	if d := s.Convert(&p, to, f, &all); !d.Full() || p.Size != to {
		t.Fatalf("the first picture is %v, damaged everywhere: %v", p.Size, d.Full())
	}
	for range 200 {
		before := Picture{Y: append([]byte(nil), p.Y...), U: append([]byte(nil), p.U...), V: append([]byte(nil), p.V...)}
		var d capture.Damage
		x, y := rnd.IntN(f.Size.X), rnd.IntN(f.Size.Y)
		r := image.Rect(x, y, min(x+1+rnd.IntN(60), f.Size.X), min(y+1+rnd.IntN(60), f.Size.Y))
		scribble(f, r, rnd)
		d.Add(r)
		scaled := s.Convert(&p, to, f, &d)
		within := scaled.Bounds(to)
		for y := range to.Y {
			for x := range to.X {
				i, c := y*p.StrideY+x, y/2*p.StrideC+x/2
				changed := p.Y[i] != before.Y[i] || p.U[c] != before.U[c] || p.V[c] != before.V[c]
				if changed && !image.Pt(x, y).In(image.Rect(within.Min.X&^1, within.Min.Y&^1, (within.Max.X+1)&^1, (within.Max.Y+1)&^1)) {
					t.Fatalf("damage %v changed %d,%d, which is not in %v", r, x, y, within)
				}
			}
		}
	}
}

func TestScaledPictureIsSharp(t *testing.T) {
	// Halving is the average of four pixels.
	rnd := rand.New(rand.NewPCG(8, 8))
	f := frame(image.Pt(64, 64), capture.BGRX, rnd)
	var s Scaler
	var p, full Picture
	all := capture.Everywhere()
	s.Convert(&p, image.Pt(32, 32), f, &all)
	Convert(&full, f, &all)
	for y := range 32 {
		for x := range 32 {
			o := 2*y*full.StrideY + 2*x
			want := (int(full.Y[o]) + int(full.Y[o+1]) + int(full.Y[o+full.StrideY]) + int(full.Y[o+full.StrideY+1]) + 2) / 4
			if got := int(p.Y[y*p.StrideY+x]); got < want-1 || got > want+1 {
				t.Fatalf("pixel %d,%d is %d, want %d", x, y, got, want)
			}
		}
	}
}
