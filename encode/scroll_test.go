package encode

import (
	"bytes"
	"image"
	"slices"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// TestTerminalScrollsByLines has a page move up and down by whole lines. H.264
// finds where it came from, though lines that lie on other lines look alike; what
// is changed for that in one picture is as it was when Encode returns, and is
// mended by the next picture.
func TestTerminalScrollsByLines(t *testing.T) {
	if !slices.Contains(Available(), H264) {
		t.Skip("this build has no H.264")
	}
	for name, lines := range map[string][]int{"up": {1, 1, 1}, "down": {-1, -1, -1}} {
		t.Run(name, func(t *testing.T) {
			e, _, err := NewEncoder(H264, 4e6, 30)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			r := &recording{codec: H264}
			d := newDesk(image.Pt(960, 540))
			d.page(d.img.Rect)
			window := image.Rect(37, 61, 901, 500)
			var p yuv.Picture
			at := time.Now()
			coded := func(damage *capture.Damage) int {
				at = at.Add(time.Second / 30)
				before := bytes.Clone(p.Y)
				r.encode(t, e, &p, damage, false, at)
				if !bytes.Equal(p.Y, before) {
					t.Errorf("picture %d was not given back as it was", len(r.data))
				}
				return len(r.data[len(r.data)-1])
			}
			show := func() int {
				yuv.Convert(&p, d.frame, &d.damage)
				n := coded(&d.damage)
				d.damage.Clear()
				return n
			}
			all := show()
			for range passes {
				coded(&capture.Damage{})
			}
			for i, n := range lines {
				if n > 0 {
					d.scroll(window, n*lineHeight)
				} else {
					d.scrollDown(window, -n*lineHeight)
				}
				if got := show(); got > all/6 {
					t.Errorf("scrolling %d of %v took %d bytes, the whole picture %d", i, lines, got, all)
				}
			}
			for range passes {
				coded(&capture.Damage{})
			}
			got := r.decode(t)
			last := &got[len(got)-1]
			for y := 0; y+16 <= p.Size.Y; y += 16 {
				for x := 0; x+16 <= p.Size.X; x += 16 {
					if v := psnr(p.Y[y*p.StrideY+x:], p.StrideY, last.Y[y*last.StrideY+x:], last.StrideY, image.Pt(16, 16)); v < 36 {
						t.Errorf("the block at %d,%d is left with %.1f dB", x, y, v)
					}
				}
			}
		})
	}
}
