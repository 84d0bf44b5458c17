//go:build !novpx && !noaom && !noopenh264

package encode

import (
	"image"
	"runtime"
	"slices"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/bare"
	"deskwhep/encode/yuv"
)

// BenchmarkBesideBareLibrary encodes the same scrolling pictures, all of them
// changed everywhere, through an Encoder and by C alone, in turns. It counts the
// CPU time of the process: of the libraries' threads and of Go's own as well. The
// first two pictures are not counted: in those the libraries touch most of their
// memory for the first time, and who finds it used before has less to do.
func BenchmarkBesideBareLibrary(b *testing.B) {
	const frames, counted = 40, 38
	size := image.Pt(1920, 1080)
	each := size.X * size.Y * 3 / 2
	memory := make([]byte, 0, frames*each)
	d := newDesk(size)
	d.page(d.img.Rect)
	pictures := make([]yuv.Picture, frames)
	for i := range pictures {
		var p yuv.Picture
		yuv.Convert(&p, d.frame, &d.damage)
		d.damage.Clear()
		start := len(memory)
		for y := range size.Y {
			memory = append(memory, p.Y[y*p.StrideY:][:size.X]...)
		}
		for _, c := range [][]byte{p.U, p.V} {
			for y := range size.Y / 2 {
				memory = append(memory, c[y*p.StrideC:][:size.X/2]...)
			}
		}
		m := memory[start:]
		luma, chroma := size.X*size.Y, size.X*size.Y/4
		pictures[i] = yuv.Picture{Y: m[:luma], U: m[luma:][:chroma], V: m[luma+chroma:][:chroma],
			StrideY: size.X, StrideC: size.X / 2, Size: size}
		d.scroll(d.img.Rect, 7) // so little that no encoder changes a picture for its library
		d.damage = capture.Everywhere()
	}
	for _, codec := range Available() {
		b.Run(string(codec), func(b *testing.B) {
			bounds := make([][2]int32, frames)
			alone := func() (time.Duration, int) {
				spent, bytes, err := bare.Encode(string(codec), size, 4e6, 30, memory, bounds, counted)
				if err != nil {
					b.Fatal(err)
				}
				return spent, bytes
			}
			through := func() (spent time.Duration, bytes int) {
				e, _, err := NewEncoder(codec, 4e6, 30)
				if err != nil {
					b.Fatal(err)
				}
				defer e.Close()
				at, begin := time.Now(), cpuTime()
				for i := range pictures {
					if i == frames-counted {
						begin = cpuTime()
					}
					all := capture.Everywhere()
					data, _, err := e.Encode(&pictures[i], &all, i == 0, at)
					if err != nil {
						b.Fatal(err)
					}
					bytes += len(data)
					least, most := e.(interface{ Bounds() (int, int) }).Bounds()
					bounds[i] = [2]int32{int32(least), int32(most)}
					at = at.Add(time.Second / 30)
				}
				return cpuTime() - begin, bytes
			}
			through() // tells the bounds
			var ours, theirs []time.Duration
			var ratios []float64
			for i := 0; b.Loop(); i++ {
				var spent [2]time.Duration
				var bytes [2]int
				for j := range 2 { // who comes first finds other memory than the second
					if who := (i + j) % 2; who == 0 {
						spent[who], bytes[who] = alone()
					} else {
						spent[who], bytes[who] = through()
					}
				}
				if bytes[0] != bytes[1] {
					b.Fatalf("%d bytes from C alone, %d through Go: this compares nothing", bytes[0], bytes[1])
				}
				theirs, ours = append(theirs, spent[0]/counted), append(ours, spent[1]/counted)
				ratios = append(ratios, float64(spent[1])/float64(spent[0]))
			}
			slices.Sort(ratios)
			b.ReportMetric(quantile(ours, 0.5), "ms/frame")
			b.ReportMetric(quantile(theirs, 0.5), "ms-bare/frame")
			b.ReportMetric(ratios[(len(ratios)-1)/2], "ratio")
		})
	}
}

// BenchmarkConvert converts whole frames, and those parts of them that change
// while somebody types, beside libyuv from C alone.
func BenchmarkConvert(b *testing.B) {
	size := image.Pt(1920, 1080)
	d := newDesk(size)
	d.page(d.img.Rect)
	var p yuv.Picture
	run := func(damage capture.Damage) time.Duration {
		const n = 20
		yuv.Convert(&p, d.frame, &damage)
		begin := cpuTime()
		for range n {
			yuv.Convert(&p, d.frame, &damage)
		}
		return (cpuTime() - begin) / n
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	whole, part, theirs := time.Duration(1<<62), time.Duration(1<<62), time.Duration(1<<62)
	var typed capture.Damage
	typed.Add(image.Rect(400, 600, 409, 618))
	typed.Add(image.Rect(0, 1060, 1920, 1080))
	for b.Loop() {
		theirs = min(theirs, bare.Convert(d.frame.Pix, d.frame.Stride, size, 20)/20)
		whole = min(whole, run(capture.Everywhere()))
		part = min(part, run(typed))
	}
	b.ReportMetric(float64(whole.Nanoseconds())/1e6, "ms/frame")
	b.ReportMetric(float64(theirs.Nanoseconds())/1e6, "ms-bare/frame")
	b.ReportMetric(float64(whole)/float64(theirs), "ratio")
	b.ReportMetric(float64(part.Nanoseconds())/1e6, "ms-typing")
}

// BenchmarkActiveMap has somebody type, with the damage told to the encoder and
// with all of the screen said to be damaged.
func BenchmarkActiveMap(b *testing.B) {
	for _, codec := range []Codec{VP8, VP9} {
		b.Run(string(codec), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			type run struct {
				cost []time.Duration
				bits int
			}
			var with, without run
			for b.Loop() {
				for _, r := range []*run{&with, &without} {
					e, _, err := NewEncoder(codec, 4e6, 30)
					if err != nil {
						b.Fatal(err)
					}
					clock := time.Now()
					var before time.Duration
					materials[1].play(func(d *desk, p *yuv.Picture, at time.Duration, moving bool) {
						damage := d.damage
						if r == &without {
							damage = capture.Everywhere()
						}
						clock = clock.Add(pace(at-before, time.Second/30, moving))
						before = at
						begin := cpuTime()
						data, _, err := encodeOrRefine(e, p, &damage, at == 0, clock)
						if err != nil {
							b.Fatal(err)
						}
						if moving {
							r.cost = append(r.cost, cpuTime()-begin)
							r.bits += 8 * len(data)
						}
					})
					e.Close()
				}
			}
			b.ReportMetric(quantile(with.cost, 0.5), "ms/frame")
			b.ReportMetric(quantile(without.cost, 0.5), "ms-without/frame")
			b.ReportMetric(quantile(with.cost, 0.5)/quantile(without.cost, 0.5), "ratio")
			b.ReportMetric(float64(with.bits)/float64(without.bits), "ratio-bits")
		})
	}
}
