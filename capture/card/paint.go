package card

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"strings"
	"time"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"deskwhep/capture"
)

var (
	paper = color.RGBA{0x14, 0x1a, 0x22, 0xff}
	ink   = color.RGBA{0xe8, 0xed, 0xf2, 0xff}
	faint = color.RGBA{0x8a, 0x97, 0xa6, 0xff}
	bars  = []color.RGBA{
		{0xff, 0xff, 0xff, 0xff}, {0xff, 0xff, 0x00, 0xff}, {0x00, 0xff, 0xff, 0xff}, {0x00, 0xff, 0x00, 0xff},
		{0xff, 0x00, 0xff, 0xff}, {0xff, 0x00, 0x00, 0xff}, {0x00, 0x00, 0xff, 0xff}, {0x00, 0x00, 0x00, 0xff},
	}
)

// canvas is one of the card's buffers.
type canvas struct {
	frame  *capture.Frame
	img    *image.RGBA
	reason string // what is painted on it
	drawn  bool
}

func newCanvas(size image.Point, free chan *canvas) *canvas {
	cv := &canvas{img: image.NewRGBA(image.Rectangle{Max: size})}
	cv.frame = capture.NewFrame(func(*capture.Frame) { free <- cv })
	cv.frame.Pix, cv.frame.Stride = cv.img.Pix, cv.img.Stride
	cv.frame.Size, cv.frame.Format = size, capture.RGBX
	return cv
}

// painter knows where things lie in a card of one size.
type painter struct {
	size                image.Point
	title, text, digits font.Face
	clock, track, chart image.Rectangle
	before              string // the reason on the frame before
	started             bool
}

func newPainter(size image.Point) painter {
	w, h := size.X, size.Y
	unit := max(1, min(w/40, h/22))
	return painter{
		size:   size,
		title:  face(gomonobold.TTF, 2.2*float64(unit)),
		text:   face(gomono.TTF, 1.1*float64(unit)),
		digits: face(gomonobold.TTF, 1.6*float64(unit)),
		clock:  image.Rect(2*unit, h-10*unit, w-2*unit, h-8*unit),
		track:  image.Rect(2*unit, h-7*unit, w-2*unit, h-5*unit),
		chart:  image.Rect(0, h-3*unit, w, h),
	}
}

// face makes a face of one of the fonts that are compiled in; they parse.
func face(ttf []byte, size float64) font.Face {
	f, err := opentype.Parse(ttf)
	if err != nil {
		panic(err)
	}
	fc, err := opentype.NewFace(f, &opentype.FaceOptions{Size: max(size, 4), DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		panic(err)
	}
	return fc
}

// paint paints the picture of now on cv and lends its frame.
func (p *painter) paint(cv *canvas, now time.Time, count uint16, reason string) *capture.Frame {
	if !cv.drawn || cv.reason != reason {
		p.still(cv.img, reason)
		cv.drawn, cv.reason = true, reason
	}
	p.moving(cv.img, now, count)
	f := cv.frame
	f.Damage.Clear()
	if !p.started || p.before != reason {
		f.Damage = capture.Everywhere()
	}
	p.started, p.before = true, reason
	for _, r := range []image.Rectangle{stampBounds(p.size), p.clock, p.track} {
		f.Damage.Add(r)
	}
	f.Painted, f.Captured = now, now
	f.Lend()
	return f
}

// still paints what stays.
func (p *painter) still(img *image.RGBA, reason string) {
	fill(img, img.Rect, paper)
	for i, c := range bars {
		r := p.chart
		r.Min.X, r.Max.X = p.size.X*i/len(bars), p.size.X*(i+1)/len(bars)
		fill(img, r, c)
	}
	left := p.clock.Min.X
	y := stampBounds(p.size).Max.Y + p.title.Metrics().Height.Ceil()
	write(img, p.title, ink, left, y, "deskwhep")
	y += p.text.Metrics().Height.Ceil()
	for _, line := range wrap(p.text, reason, p.clock.Dx()) {
		if y += p.text.Metrics().Height.Ceil(); y < p.clock.Min.Y {
			write(img, p.text, faint, left, y, line)
		}
	}
}

// moving paints what changes with each frame.
func (p *painter) moving(img *image.RGBA, now time.Time, count uint16) {
	fill(img, p.clock, paper)
	write(img, p.digits, ink, p.clock.Min.X, p.clock.Max.Y-p.digits.Metrics().Descent.Ceil(),
		fmt.Sprintf("%s  #%05d", now.Format("15:04:05.000"), count))
	fill(img, p.track, color.RGBA{0x24, 0x2d, 0x38, 0xff})
	box := p.track.Dy()
	const lap = 4 * time.Second
	way := 2 * (p.track.Dx() - box)
	x := int(int64(way) * (now.UnixNano() % int64(lap)) / int64(lap))
	x = min(x, way-x)
	fill(img, image.Rect(p.track.Min.X+x, p.track.Min.Y, p.track.Min.X+x+box, p.track.Max.Y), color.RGBA{0x4c, 0xc3, 0x8a, 0xff})
	Stamp{Time: now, Frame: count}.paint(img, p.size) // last: in a tiny picture it lies over the rest
}

func fill(img *image.RGBA, r image.Rectangle, c color.RGBA) {
	draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

func write(img *image.RGBA, f font.Face, c color.RGBA, x, y int, text string) {
	d := font.Drawer{Dst: img, Src: image.NewUniform(c), Face: f, Dot: fixed.P(x, y)}
	d.DrawString(text)
}

// wrap breaks text between words into lines of at most width pixels.
func wrap(f font.Face, text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && font.MeasureString(f, longer).Ceil() > width {
			lines = append(lines, line)
			longer = word
		}
		line = longer
	}
	return append(lines, line)
}
