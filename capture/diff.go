package capture

import (
	"bytes"
	"image"
)

// tile is the side of the squares that Diff compares, in pixels.
const tile = 64

// Diff is where b differs from a, in tiles, for sources whose system does not
// report damage. The whole frame is damaged when a is nil or of another size or
// format.
func Diff(a, b *Frame) (d Damage) {
	if a == nil || a.Size != b.Size || a.Format != b.Format {
		return Everywhere()
	}
	for y := 0; y < b.Size.Y; y += tile {
		run := image.Rectangle{} // neighbours in a row become one rectangle
		for x := 0; x < b.Size.X; x += tile {
			r := image.Rect(x, y, min(x+tile, b.Size.X), min(y+tile, b.Size.Y))
			if equal(a, b, r) {
				d.Add(run)
				run = image.Rectangle{}
				continue
			}
			run = run.Union(r)
		}
		d.Add(run)
	}
	return d
}

func equal(a, b *Frame, r image.Rectangle) bool {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		pa := a.Pix[y*a.Stride+4*r.Min.X : y*a.Stride+4*r.Max.X]
		pb := b.Pix[y*b.Stride+4*r.Min.X : y*b.Stride+4*r.Max.X]
		if !bytes.Equal(pa, pb) {
			return false
		}
	}
	return true
}
