package encode

import (
	"context"
	"fmt"
	"image"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// stops are materials that move, and then stand still for as long as a viewer
// needs to see them sharp.
var stops = []material{
	materials[1], // typing
	{"scroll", func(d *desk, i int) { d.scroll(image.Rect(200, 100, 1720, 1060), 14) }},
	{"terminal", func(d *desk, i int) { d.scroll(d.img.Rect, lineHeight) }},
	materials[3], // drag
	{"window", func(d *desk, i int) {
		if i == stopFrames-1 {
			d.page(image.Rect(300, 200, 1100, 800))
		}
	}},
	{"page", func(d *desk, i int) {
		if i == stopFrames-1 {
			d.page(d.img.Rect)
		}
	}},
}

const stopFrames = 75

// stopped is what a viewer got of a material, through a hub.
type stopped struct {
	codec   Codec
	units   []received
	data    [][]byte    // of the units
	screen  yuv.Picture // at the end
	stopped time.Time   // when it last changed
	shown   int         // pictures while it moved
}

type received struct {
	at    time.Time
	bytes int
	key   bool
}

// stop shows a material to a hub in the time that it is called in: two seconds
// of the first picture, what moves, and more than a second after.
func (m material) stop(tb testing.TB, codec Codec, bitrate int) stopped {
	feed, r := make(screen, 1), &recording{codec: codec}
	h := NewHub(HubConfig{
		Watch: func() Tap { return feed },
		Open: func() (Encoder, Packetizer, error) {
			e, p, err := NewEncoder(codec, bitrate, 30)
			return e, &tee{p, r}, err
		},
		FPS: 30, Bitrate: bitrate, KeyInterval: KeyInterval(codec),
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended, drained := make(chan error, 1), make(chan struct{})
	go func() { ended <- h.Run(ctx) }()
	got := stopped{codec: codec}
	v := h.Join()
	go func() {
		defer close(drained)
		for u, err := v.Next(ctx); err == nil; u, err = v.Next(ctx) {
			got.units = append(got.units, received{time.Now(), u.Bytes, u.Key})
		}
	}()
	d := newDesk(image.Pt(1920, 1080))
	d.page(d.img.Rect)
	feed.show(d)
	time.Sleep(2 * time.Second)
	begin := time.Now()
	for i := range stopFrames {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / 30)))
		m.paint(d, i)
		if !d.damage.Empty() {
			got.stopped = time.Now()
			got.shown++
			feed.show(d)
		}
	}
	time.Sleep(1300 * time.Millisecond)
	cancel()
	<-drained
	if err := <-ended; err != nil {
		tb.Fatal(err)
	}
	all := capture.Everywhere()
	yuv.Convert(&got.screen, d.frame, &all)
	got.data = r.data
	return got
}

// show makes the desk's picture the newest frame.
func (s screen) show(d *desk) {
	u := capture.Update{Frame: d.copied(), Damage: d.damage}
	d.damage.Clear()
	select {
	case late := <-s:
		u.Damage.Union(&late.Damage)
		late.Frame.Release()
	default:
	}
	s <- u
}

// sharpness is how like the screen the text is that a viewer sees so long after
// the last change.
func (s *stopped) sharpness(tb testing.TB, after time.Duration) (psnr, ssim float64) {
	n := 0
	for n < len(s.units) && s.units[n].at.Sub(s.stopped) <= after {
		n++
	}
	next, stop := decodeStream(tb, s.codec, s.data[:n])
	defer stop()
	var last yuv.Picture
	for range n {
		last = next(s.screen.Size)
	}
	return textPSNR(&s.screen, &last), textSSIM(&s.screen, &last)
}

// peak is the most that left in any second in bit, key frames apart.
func (s *stopped) peak() (bits int) {
	for i, first := range s.units {
		sum := 0
		for _, u := range s.units[i:] {
			if u.at.Sub(first.at) < time.Second && !u.key {
				sum += 8 * u.bytes
			}
		}
		bits = max(bits, sum)
	}
	return bits
}

// moved counts the units that left while the screen changed, for each change one
// at most.
func (s *stopped) moved() (n int) {
	for _, u := range s.units {
		if d := s.stopped.Sub(u.at); d >= -time.Second/30 && d < stopFrames*time.Second/30 && !u.key {
			n++
		}
	}
	return min(n, s.shown)
}

// TestTextAfterMotion has text move on a screen of 1920x1080 and stand still,
// and looks at what a viewer sees of it a second later at 4 Mbit/s, and at what
// that has cost.
func TestTextAfterMotion(t *testing.T) {
	const bitrate = 4_000_000
	for codec, want := range map[Codec]struct {
		floor     float64 // dB
		materials []string
	}{
		VP9:  {44, []string{"typing", "scroll", "terminal", "drag", "page"}},
		AV1:  {44, []string{"typing", "scroll", "page"}},
		VP8:  {44, []string{"scroll"}},
		H264: {44, []string{"scroll", "terminal"}},
	} {
		for _, m := range stops {
			if !slices.Contains(Available(), codec) || !slices.Contains(want.materials, m.name) {
				continue
			}
			t.Run(string(codec)+"/"+m.name, func(t *testing.T) {
				var got stopped
				synctest.Test(t, func(t *testing.T) { got = m.stop(t, codec, bitrate) })
				p, s := got.sharpness(t, time.Second)
				t.Logf("%.1f dB, SSIM %.4f, %.2f Mbit in the worst second, %d of %d pictures", p, s, float64(got.peak())/1e6, got.moved(), got.shown)
				if p < want.floor {
					t.Errorf("text has %.1f dB a second after the last change, want %.0f", p, want.floor)
				}
				if got.peak() > bitrate*115/100 {
					t.Errorf("%d bits left in one second", got.peak())
				}
				if n := got.moved(); n < got.shown*85/100 {
					t.Errorf("%d of %d pictures left", n, got.shown)
				}
			})
		}
	}
}

// TestNewTextIsRefinedInParts has a page change, and refines it with little room
// each time. No picture takes much more, as what changes then waits for it, and
// each leaves alone what it does not refine.
func TestNewTextIsRefinedInParts(t *testing.T) {
	if !slices.Contains(Available(), VP9) {
		t.Skip("VP9 has been left out of this build")
	}
	const room = 60_000
	e, _, err := NewEncoder(VP9, 4_000_000, 30)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r := &recording{codec: VP9}
	d := newDesk(image.Pt(1920, 1080))
	var p yuv.Picture
	at := time.Now()
	var begun int // pictures of the first page
	for range 2 {
		begun = len(r.data)
		d.page(d.img.Rect)
		yuv.Convert(&p, d.frame, &d.damage)
		r.encode(t, e, &p, &d.damage, false, at)
		d.damage.Clear()
		for more := true; more; {
			at = at.Add(time.Second / 5)
			var data []byte
			if data, more, err = e.Refine(&p, room, at); err != nil {
				t.Fatal(err)
			}
			r.data = append(r.data, slices.Clone(data))
			if len(r.data) > begun+30 {
				t.Fatal("refining does not end")
			}
		}
	}
	next, stop := decodeStream(t, VP9, r.data)
	defer stop()
	luma := func(a, b *yuv.Picture, top, bottom int) float64 {
		return psnr(a.Y[top*a.StrideY:], a.StrideY, b.Y[top*b.StrideY:], b.StrideY, image.Pt(p.Size.X, bottom-top))
	}
	var last yuv.Picture
	for i, data := range r.data {
		got := next(p.Size)
		if i > begun {
			if len(data) > 2*room {
				t.Errorf("picture %d takes %d bytes, there is room for %d", i-begun, len(data), room)
			}
			if same := luma(&last, &got, p.Size.Y/2, p.Size.Y); i == begun+1 && same < 60 {
				t.Errorf("the lower half changed with the first band: %.1f dB", same)
			}
			if sharper := luma(&p, &got, 0, 64); sharper < 42 {
				t.Errorf("picture %d: the first band has %.1f dB", i-begun, sharper)
			}
		}
		last = got
	}
	if s := textPSNR(&p, &last); s < 45 {
		t.Errorf("text has %.1f dB at the end", s)
	}
	for _, c := range [][2][]byte{{p.U, last.U}, {p.V, last.V}} {
		if s := psnr(c[0], p.StrideC, c[1], last.StrideC, p.Size.Div(2)); s < 44 {
			t.Errorf("colours have %.1f dB at the end", s)
		}
	}
}

// BenchmarkTextAfterMotion is TestTextAfterMotion in real time, with more.
func BenchmarkTextAfterMotion(b *testing.B) {
	for _, codec := range Available() {
		for _, m := range stops {
			b.Run(fmt.Sprintf("%s/%s", codec, m.name), func(b *testing.B) {
				var got stopped
				for b.Loop() {
					got = m.stop(b, codec, 4_000_000)
				}
				early, _ := got.sharpness(b, 300*time.Millisecond)
				p, s := got.sharpness(b, time.Second)
				b.ReportMetric(early, "dB-after-0.3s")
				b.ReportMetric(p, "dB-after-1s")
				b.ReportMetric(s, "SSIM-after-1s")
				b.ReportMetric(float64(got.peak())/1e6, "Mbit-worst-s")
				b.ReportMetric(100*float64(got.moved())/float64(got.shown), "%-shown")
			})
		}
	}
}
