package capture

import (
	"image"
	"math/rand/v2"
	"testing"
	"time"
)

// TestDamageKeepsEveryPixel adds many rectangles and compares what is covered
// with a bitmap: merging may add pixels, never lose one.
func TestDamageKeepsEveryPixel(t *testing.T) {
	size := image.Pt(200, 150)
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		var d, other Damage
		want := map[image.Point]bool{}
		for i := range 100 {
			at := image.Pt(r.IntN(220)-10, r.IntN(170)-10)
			rect := image.Rectangle{Min: at, Max: at.Add(image.Pt(r.IntN(12), r.IntN(12)))}
			if i%2 == 0 {
				d.Add(rect)
			} else {
				other.Add(rect)
			}
			rect = rect.Intersect(image.Rectangle{Max: size})
			for y := rect.Min.Y; y < rect.Max.Y; y++ {
				for x := rect.Min.X; x < rect.Max.X; x++ {
					want[image.Pt(x, y)] = true
				}
			}
		}
		d.Union(&other)
		rects := d.Rects(size)
		if len(rects) > MaxRects {
			t.Fatalf("%d rectangles", len(rects))
		}
		for p := range want {
			covered := false
			for _, rect := range rects {
				covered = covered || p.In(rect)
			}
			if !covered {
				t.Fatalf("%v is lost", p)
			}
		}
		if b := d.Bounds(size); !b.In(image.Rectangle{Max: size}) {
			t.Errorf("bounds %v leave the frame", b)
		}
	}
}

func TestDamageEverywhere(t *testing.T) {
	var d Damage
	if !d.Empty() || len(d.Rects(image.Pt(5, 5))) != 0 {
		t.Error("the zero value is not empty")
	}
	full := Everywhere()
	d.Add(image.Rect(1, 1, 2, 2))
	d.Union(&full)
	if rects := d.Rects(image.Pt(7, 3)); len(rects) != 1 || rects[0] != image.Rect(0, 0, 7, 3) || !d.Full() {
		t.Errorf("%v", rects)
	}
	d.Clear()
	if !d.Empty() {
		t.Error("damage stays after Clear")
	}
	if n := testing.AllocsPerRun(100, func() { d.Add(image.Rect(0, 0, 9, 9)); d.Rects(image.Pt(5, 5)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFrameIsReturnedOnce(t *testing.T) {
	returned := 0
	f := NewFrame(func(*Frame) { returned++ })
	f.Lend()
	f.Retain()
	f.Release()
	if returned != 0 {
		t.Error("returned while it is lent")
	}
	f.Release()
	if returned != 1 {
		t.Errorf("returned %d times", returned)
	}
	defer func() {
		if recover() == nil {
			t.Error("a third Release goes unnoticed")
		}
	}()
	f.Release()
}

// TestDiffFindsEveryChange changes single pixels, also in the last odd ones.
func TestDiffFindsEveryChange(t *testing.T) {
	size := image.Pt(193, 130)
	frame := func() *Frame {
		return &Frame{Pix: make([]byte, 800*size.Y), Stride: 800, Size: size, Format: BGRX}
	}
	a, b := frame(), frame()
	if d := Diff(a, b); !d.Empty() {
		t.Error("equal frames differ")
	}
	for _, p := range []image.Point{{0, 0}, {64, 63}, {192, 129}, {100, 70}} {
		b.Pix[p.Y*b.Stride+4*p.X+1]++
		d := Diff(a, b)
		found := false
		for _, r := range d.Rects(size) {
			found = found || p.In(r)
		}
		if !found || d.Full() {
			t.Errorf("%v is not found in %v", p, d.Rects(size))
		}
	}
	b.Pix[4*size.X] = 1 // between the rows
	b.Size.X--
	if d := Diff(a, b); !d.Full() {
		t.Error("another size is not damaged everywhere")
	}
	if d := Diff(nil, b); !d.Full() {
		t.Error("a first frame is not damaged everywhere")
	}
}

// TestPaceOfUnevenContent feeds the pacer content of several rates, on its own
// clock: never two captures within 0.8 of the interval, never more than the
// rate and 1 % over a while, and content at the rate passes whole.
func TestPaceOfUnevenContent(t *testing.T) {
	const every = 10 * time.Millisecond
	for name, c := range map[string]struct {
		interval time.Duration
		least    int // of 1000 pictures of content
	}{
		"slower":      {25 * time.Millisecond, 1000},
		"at the rate": {every, 1000},
		"a bit more":  {every * 994 / 1000, 1000},
		"twice":       {every / 2, 495},
		"uncapped":    {every / 10, 98},
	} {
		r := rand.New(rand.NewPCG(3, 4))
		begin := time.Unix(100, 0)
		p := pacer{every: every}
		captures, last := 0, time.Time{}
		painted, end := begin, begin.Add(1000*c.interval)
		for painted.Before(end) {
			now := painted.Add(time.Duration(r.Int64N(int64(every / 8)))) // the machine is late
			if due := p.due(); due.After(now) {
				now = due
			}
			if captures > 0 && now.Sub(last) < every*8/10 {
				t.Fatalf("%s: captures %v apart", name, now.Sub(last))
			}
			p.captured(now)
			captures, last = captures+1, now
			for !painted.After(now) {
				painted = painted.Add(c.interval)
			}
		}
		most := int(end.Sub(begin)/(every*99/100)) + slack + 2
		if captures < c.least || captures > most {
			t.Errorf("%s: %d captures, want %d to %d", name, captures, c.least, most)
		}
	}
}
