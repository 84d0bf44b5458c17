package mask

import (
	"context"
	"image"
	"math/rand/v2"
	"testing"
	"time"

	"deskwhep/capture"
)

// scribble is a source that changes a few rectangles of a picture with each
// frame, and its size now and then.
type scribble struct {
	rnd  *rand.Rand
	size image.Point
	pix  []byte
	back chan struct{}
}

func (s *scribble) Next(context.Context) (*capture.Frame, error) {
	f := capture.NewFrame(func(*capture.Frame) { s.back <- struct{}{} })
	if s.pix == nil || s.rnd.IntN(10) == 0 {
		s.size = image.Pt(20+s.rnd.IntN(30), 20+s.rnd.IntN(30))
		s.pix = make([]byte, (4*s.size.X+8)*s.size.Y)
		f.Damage = capture.Everywhere()
	}
	stride := 4*s.size.X + 8
	for range s.rnd.IntN(4) {
		r := image.Rect(s.rnd.IntN(s.size.X), s.rnd.IntN(s.size.Y), s.rnd.IntN(s.size.X), s.rnd.IntN(s.size.Y))
		f.Damage.Add(r)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := 4 * r.Min.X; x < 4*r.Max.X; x++ {
				s.pix[y*stride+x] = byte(1 + s.rnd.IntN(255))
			}
		}
	}
	f.Pix, f.Stride, f.Size, f.Format = s.pix, stride, s.size, capture.BGRX
	f.Lend()
	return f, nil
}

func (s *scribble) Refresh()           {}
func (s *scribble) Info() capture.Info { return capture.Info{Backend: "scribble"} }
func (s *scribble) Close() error       { return nil }

// TestHiddenPixels compares every pixel of many frames, of which some are still
// lent while others come, with those of the source.
func TestHiddenPixels(t *testing.T) {
	inner := &scribble{rnd: rand.New(rand.NewPCG(1, 2)), back: make(chan struct{}, 1)}
	hidden := []image.Rectangle{image.Rect(3, 4, 10, 9), image.Rect(15, 0, 1000, 2)}
	s := New(inner, hidden)
	defer s.Close()
	var lent []*capture.Frame
	for range 500 {
		for len(lent) == buffers || len(lent) > 0 && inner.rnd.IntN(2) == 0 {
			lent[0].Release()
			lent = lent[1:]
		}
		f, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-inner.back
		lent = append(lent, f)
		for y := range f.Size.Y {
			for x := range f.Size.X {
				want := inner.pix[y*(4*f.Size.X+8)+4*x:][:4]
				for _, r := range hidden {
					if image.Pt(x, y).In(r) {
						want = []byte{0, 0, 0, 0}
					}
				}
				if got := f.Pix[y*f.Stride+4*x:][:4]; string(got) != string(want) {
					t.Fatalf("pixel %d,%d is %v, want %v", x, y, got, want)
				}
			}
		}
	}
}

// punctual is a source that keeps a pace by itself.
type punctual struct {
	scribble
	notBefore time.Time
}

func (p *punctual) Pace(notBefore time.Time) { p.notBefore = notBefore }

// TestPace: who hides parts of a source leaves its pace to it, if it keeps one.
func TestPace(t *testing.T) {
	inner := &punctual{}
	masked, ok := New(inner, nil).(capture.Paced)
	if !ok {
		t.Fatal("the pace of the source is lost")
	}
	due := time.Now()
	if masked.Pace(due); inner.notBefore != due {
		t.Errorf("the source paces itself by %v, want %v", inner.notBefore, due)
	}
	if _, ok := New(&scribble{}, nil).(capture.Paced); ok {
		t.Error("a source that keeps no pace is said to")
	}
}

// TestNoBufferLeft closes a source whose frames are all lent.
func TestNoBufferLeft(t *testing.T) {
	s := New(&scribble{rnd: rand.New(rand.NewPCG(1, 2)), back: make(chan struct{}, 9)}, nil)
	for range buffers {
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error)
	go func() { _, err := s.Next(context.Background()); failed <- err }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Error("a closed source gives frames")
	}
}

// TestParse reads rectangles, right and wrong.
func TestParse(t *testing.T) {
	if r, err := Parse("1, 2,3,4"); err != nil || r != image.Rect(1, 2, 4, 6) {
		t.Errorf("got %v, %v", r, err)
	}
	for _, wrong := range []string{"", "1,2,3", "1,2,3,4,5", "1,2,0,4", "-1,2,3,4", "1,2,3,x", "1,2,3,99999999999"} {
		if r, err := Parse(wrong); err == nil {
			t.Errorf("%q is taken for %v", wrong, r)
		}
	}
}
