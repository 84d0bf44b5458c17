package yuv

import (
	"bytes"
	"image"
	"math/rand/v2"
	"testing"

	"deskwhep/capture"
)

// convertSlowly is the slow twin of Convert: BT.601 limited range in weights of
// 1/256, each chroma sample from the average of the pixels that it covers.
func convertSlowly(dst *Picture, f *capture.Frame) {
	dst.Reset(f.Size)
	rgb := func(x, y int) [3]int {
		x, y = min(x, f.Size.X-1), min(y, f.Size.Y-1)
		p := f.Pix[y*f.Stride+4*x:]
		if f.Format == capture.BGRX {
			return [3]int{int(p[2]), int(p[1]), int(p[0])}
		}
		return [3]int{int(p[0]), int(p[1]), int(p[2])}
	}
	average := func(a, b [3]int) [3]int {
		return [3]int{(a[0] + b[0] + 1) / 2, (a[1] + b[1] + 1) / 2, (a[2] + b[2] + 1) / 2}
	}
	weigh := func(c [3]int, r, g, b, offset int) byte {
		return byte((c[0]*r + c[1]*g + c[2]*b + 256*offset + 128) >> 8)
	}
	for y := range f.Size.Y {
		for x := range f.Size.X {
			dst.Y[y*dst.StrideY+x] = weigh(rgb(x, y), 66, 129, 25, 16)
		}
	}
	for y := 0; y < f.Size.Y; y += 2 {
		for x := 0; x < f.Size.X; x += 2 {
			c := average(average(rgb(x, y), rgb(x, y+1)), average(rgb(x+1, y), rgb(x+1, y+1)))
			dst.U[y/2*dst.StrideC+x/2] = weigh(c, -38, -74, 112, 128)
			dst.V[y/2*dst.StrideC+x/2] = weigh(c, 112, -94, -18, 128)
		}
	}
}

func scribble(f *capture.Frame, r image.Rectangle, rnd *rand.Rand) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := 4 * r.Min.X; x < 4*r.Max.X; x++ {
			f.Pix[y*f.Stride+x] = byte(rnd.Uint32())
		}
	}
}

func frame(size image.Point, format capture.PixelFormat, rnd *rand.Rand) *capture.Frame {
	f := capture.NewFrame(func(*capture.Frame) {})
	f.Size, f.Format, f.Stride = size, format, 4*size.X+12
	f.Pix = make([]byte, f.Stride*size.Y)
	scribble(f, image.Rectangle{Max: size}, rnd)
	return f
}

// compare fails the test where got and want differ by more than tolerance.
func compare(t *testing.T, got, want *Picture, tolerance int) {
	t.Helper()
	plane := func(name string, g, w []byte, stride, width, height int) {
		for y := range height {
			for x := range width {
				a, b := int(g[y*stride+x]), int(w[y*stride+x])
				if a-b > tolerance || b-a > tolerance {
					t.Fatalf("%v: %s at %d,%d is %d, want %d", got.Size, name, x, y, a, b)
				}
			}
		}
	}
	w, h := got.Size.X, got.Size.Y
	plane("Y", got.Y, want.Y, got.StrideY, w, h)
	plane("U", got.U, want.U, got.StrideC, (w+1)/2, (h+1)/2)
	plane("V", got.V, want.V, got.StrideC, (w+1)/2, (h+1)/2)
}

func TestConvertLikeItsSlowTwin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, format := range []capture.PixelFormat{capture.BGRX, capture.RGBX} {
		var got, want Picture // reused, as a hub does
		for _, size := range []image.Point{{1, 1}, {2, 2}, {16, 16}, {17, 33}, {319, 201}, {640, 360}, {63, 1}} {
			f := frame(size, format, rnd)
			all := capture.Everywhere()
			Convert(&got, f, &all)
			convertSlowly(&want, f)
			compare(t, &got, &want, 1)
		}
	}
}

func TestConvertOnlyDamage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	size := image.Pt(203, 117)
	f := frame(size, capture.BGRX, rnd)
	all := capture.Everywhere()
	var part, whole Picture
	Convert(&part, f, &all)
	for range 200 {
		var d capture.Damage
		for range 1 + rnd.IntN(4) {
			r := image.Rect(rnd.IntN(size.X), rnd.IntN(size.Y), rnd.IntN(size.X+1), rnd.IntN(size.Y+1))
			scribble(f, r, rnd)
			d.Add(r)
		}
		Convert(&part, f, &d)
		Convert(&whole, f, &all)
		compare(t, &part, &whole, 1) // vector and tail code may round differently
	}

	before := append([]byte(nil), part.Y...)
	scribble(f, image.Rectangle{Max: size}, rnd)
	var d capture.Damage
	d.Add(image.Rect(31, 11, 40, 20))
	Convert(&part, f, &d)
	for y := range size.Y {
		for x := range size.X {
			changed := part.Y[y*part.StrideY+x] != before[y*part.StrideY+x]
			if changed && !image.Pt(x, y).In(image.Rect(30, 10, 40, 20)) {
				t.Fatalf("pixel %d,%d outside the damage was converted", x, y)
			}
		}
	}
}

func TestPadRepeatsTheLastColumnAndRow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	for _, size := range []image.Point{{1, 1}, {17, 33}, {64, 3}, {63, 64}, {18, 20}} {
		var p Picture
		all := capture.Everywhere()
		Convert(&p, frame(size, capture.BGRX, rnd), &all)
		u, v := bytes.Clone(p.U), bytes.Clone(p.V)
		even := p.Pad()
		if even != image.Pt((size.X+1)&^1, (size.Y+1)&^1) {
			t.Errorf("%v becomes %v", size, even)
		}
		for y := range even.Y {
			for x := range even.X {
				if p.Y[y*p.StrideY+x] != p.Y[min(y, size.Y-1)*p.StrideY+min(x, size.X-1)] {
					t.Fatalf("%v: (%d,%d) does not repeat its neighbour", size, x, y)
				}
			}
		}
		if !bytes.Equal(u, p.U) || !bytes.Equal(v, p.V) {
			t.Errorf("%v: chroma has changed", size)
		}
	}
}
