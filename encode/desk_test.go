package encode

import (
	"image"
	"image/color"
	"math/rand/v2"
	"time"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"deskwhep/capture"
)

// desk paints desktops for tests and benchmarks: text in a real font, windows,
// and film.
type desk struct {
	frame  *capture.Frame
	img    *image.RGBA // shares frame.Pix: red and blue are swapped
	face   font.Face
	rnd    *rand.Rand
	damage capture.Damage // since it was last cleared
}

const lineHeight = 18

func newDesk(size image.Point) *desk {
	f := capture.NewFrame(func(*capture.Frame) {})
	f.Size, f.Stride, f.Format = size, 4*size.X, capture.BGRX
	f.Pix = make([]byte, f.Stride*size.Y)
	f.Captured = time.Now()
	parsed, err := opentype.Parse(gomono.TTF)
	if err != nil {
		panic(err)
	}
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: 14, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		panic(err)
	}
	return &desk{
		frame: f,
		img:   &image.RGBA{Pix: f.Pix, Stride: f.Stride, Rect: image.Rectangle{Max: size}},
		face:  face,
		rnd:   rand.New(rand.NewPCG(7, 7)),
	}
}

func (d *desk) fill(r image.Rectangle, c color.RGBA) {
	r = r.Intersect(d.img.Rect)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for i := d.img.PixOffset(r.Min.X, y); i < d.img.PixOffset(r.Max.X, y); i += 4 {
			d.img.Pix[i], d.img.Pix[i+1], d.img.Pix[i+2] = c.B, c.G, c.R
		}
	}
	d.damage.Add(r)
}

// text writes s with its top left corner at p.
func (d *desk) text(p image.Point, s string, c color.RGBA) {
	c.R, c.B = c.B, c.R
	w := font.Drawer{Dst: d.img, Src: image.NewUniform(c), Face: d.face, Dot: fixed.P(p.X, p.Y+14)}
	w.DrawString(s)
	d.damage.Add(image.Rect(p.X, p.Y, w.Dot.X.Ceil()+1, p.Y+lineHeight).Intersect(d.img.Rect))
}

var (
	paper = color.RGBA{250, 250, 246, 255}
	ink   = color.RGBA{24, 24, 32, 255}
	inks  = []color.RGBA{ink, {150, 30, 40, 255}, {20, 90, 160, 255}, {30, 110, 50, 255}}
)

// words makes a line of about n letters.
func (d *desk) words(n int) string {
	line := make([]byte, 0, n)
	for len(line) < n {
		for range 2 + d.rnd.IntN(9) {
			line = append(line, "etaoinshrdlucmfwypvbgkjqxz(){};=0123456789"[d.rnd.IntN(42)])
		}
		line = append(line, ' ')
	}
	return string(line)
}

// page fills r with lines of text.
func (d *desk) page(r image.Rectangle) {
	d.fill(r, paper)
	for y := r.Min.Y + 2; y < r.Max.Y; y += lineHeight {
		d.text(image.Pt(r.Min.X+4, y), d.words(d.rnd.IntN(max(r.Dx()/9, 1))), inks[d.rnd.IntN(len(inks))])
	}
	d.damage.Add(r)
}

// scroll moves r up by n lines of pixels and writes a line of text below if
// room has come for one.
func (d *desk) scroll(r image.Rectangle, n int) {
	for y := r.Min.Y; y < r.Max.Y-n; y++ {
		copy(d.img.Pix[d.img.PixOffset(r.Min.X, y):d.img.PixOffset(r.Max.X, y)], d.img.Pix[d.img.PixOffset(r.Min.X, y+n):])
	}
	below := r
	below.Min.Y = r.Max.Y - n
	d.page(below)
	d.damage.Add(r)
}

// scrollDown moves r down by n lines of pixels and writes text above.
func (d *desk) scrollDown(r image.Rectangle, n int) {
	for y := r.Max.Y - 1; y >= r.Min.Y+n; y-- {
		copy(d.img.Pix[d.img.PixOffset(r.Min.X, y):d.img.PixOffset(r.Max.X, y)], d.img.Pix[d.img.PixOffset(r.Min.X, y-n):])
	}
	above := r
	above.Max.Y = r.Min.Y + n
	d.page(above)
	d.damage.Add(r)
}

// film fills r with a moving picture with grain, at time step i.
func (d *desk) film(r image.Rectangle, i int) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		p := d.img.Pix[d.img.PixOffset(r.Min.X, y):d.img.PixOffset(r.Max.X, y)]
		for x := 0; x < len(p); x += 4 {
			u, v := x/4+3*i, y+2*i
			grain := int(d.rnd.Uint32() & 7)
			p[x] = byte(((u*v)>>9)&127 + 60 + grain)
			p[x+1] = byte((u+v)/3&127 + 60 + grain)
			p[x+2] = byte((u*u>>10+v)&127 + 60 + grain)
		}
	}
	d.damage.Add(r)
}

// copied is a frame of its own with the desk's picture, captured now.
func (d *desk) copied() *capture.Frame {
	f := capture.NewFrame(func(*capture.Frame) {})
	f.Size, f.Stride, f.Format, f.Captured = d.frame.Size, d.frame.Stride, d.frame.Format, time.Now()
	f.Pix = append([]byte(nil), d.frame.Pix...)
	f.Lend()
	return f
}
