//go:build !novpx && !noaom && !noopenh264

package encode

import (
	"image"
	"runtime"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/bare"
	"deskwhep/encode/yuv"
)

// BenchmarkBesideBareLibrary encodes the same scrolling pictures, all of them
// changed everywhere, through an Encoder and by C alone, in turns.
func BenchmarkBesideBareLibrary(b *testing.B) {
	const frames = 40
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
		d.scroll(d.img.Rect, 14)
		d.damage = capture.Everywhere()
	}
	for _, codec := range Available() {
		b.Run(string(codec), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			bounds := make([][2]int32, frames)
			alone := func() (time.Duration, int) {
				spent, bytes, err := bare.Encode(string(codec), size, 4e6, 30, memory, bounds)
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
				at := time.Now()
				for i := range pictures {
					all := capture.Everywhere()
					begin := cpuTime()
					data, _, err := e.Encode(&pictures[i], &all, i == 0, at)
					if err != nil {
						b.Fatal(err)
					}
					spent += cpuTime() - begin
					bytes += len(data)
					least, most := e.(interface{ Bounds() (int, int) }).Bounds()
					bounds[i] = [2]int32{int32(least), int32(most)}
					at = at.Add(time.Second / 30)
				}
				return spent, bytes
			}
			through() // tells the bounds
			ours, theirs := time.Duration(1<<62), time.Duration(1<<62)
			for i := 0; b.Loop(); i++ {
				var bytes [2]int
				for j := range 2 { // who comes first finds other memory than the second
					if (i+j)%2 == 0 {
						spent, n := alone()
						theirs, bytes[0] = min(theirs, spent), n
					} else {
						spent, n := through()
						ours, bytes[1] = min(ours, spent), n
					}
				}
				// VP9 is given some blocks that are brighter or darker by one.
				if d := bytes[0] - bytes[1]; max(d, -d) > bytes[0]/50 || d != 0 && codec != VP9 {
					b.Fatalf("%d bytes from C alone, %d through Go: this compares nothing", bytes[0], bytes[1])
				}
			}
			b.ReportMetric(float64(ours.Microseconds())/1000/frames, "ms/frame")
			b.ReportMetric(float64(theirs.Microseconds())/1000/frames, "ms-bare/frame")
			b.ReportMetric(float64(ours)/float64(theirs), "ratio")
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
