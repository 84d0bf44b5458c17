package encode

import (
	"bytes"
	"context"
	"image"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// material is what happens on a desktop of 1920x1080 in one run: it moves for
// some frames and then stands still.
type material struct {
	name  string
	paint func(d *desk, i int)
}

const (
	movingFrames = 90
	passes       = 9 // that refine, in the second after
)

var materials = []material{
	{"still", func(*desk, int) {}},
	{"typing", func(d *desk, i int) {
		if i%3 == 0 { // ten keys a second
			d.text(image.Pt(400+i/3*9, 600), d.words(1)[:1], ink)
		}
		if i%60 == 30 { // a line of status
			d.page(image.Rect(0, 1080-lineHeight, 1920, 1080))
		}
	}},
	{"scroll", func(d *desk, i int) { d.scroll(image.Rect(200, 100, 1720, 1060), 14) }},
	{"drag", func(d *desk, i int) {
		at := image.Pt(100+9*i, 80+5*i)
		d.page(image.Rect(0, 0, 640, 400).Add(at)) // its content changes as well: a hard case
	}},
	{"video", func(d *desk, i int) { d.film(image.Rect(560, 240, 1360, 690), i) }},
}

// play runs a material: the first picture, the moving ones and the passes after.
// each is called for each picture.
func (m material) play(each func(d *desk, p *yuv.Picture, at time.Duration, moving bool)) {
	d := newDesk(image.Pt(1920, 1080))
	d.page(d.img.Rect)
	var p yuv.Picture
	step := func(at time.Duration, moving bool) {
		yuv.Convert(&p, d.frame, &d.damage)
		each(d, &p, at, moving)
		d.damage.Clear()
	}
	step(0, false)
	for i := range passes {
		step(time.Duration(i+1)*refineEvery, false)
	}
	at := time.Second
	for i := range movingFrames {
		m.paint(d, i)
		if !d.damage.Empty() {
			step(at, true)
		}
		at += time.Second / 30
	}
	for i := range passes {
		step(at+time.Duration(i+1)*refineEvery, false)
	}
}

// cpuTime is the CPU time of the process: libraries have threads of their own.
func cpuTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[int(q*float64(len(d)-1))].Microseconds()) / 1000
}

// encodeOrRefine does with a picture what a hub does at 4 Mbit/s.
func encodeOrRefine(e Encoder, p *yuv.Picture, damage *capture.Damage, key bool, at time.Time) (data []byte, isKey bool, err error) {
	if key || !damage.Empty() {
		return e.Encode(p, damage, key, at)
	}
	data, _, err = e.Refine(p, 4_000_000/8/10, at)
	return data, false, err
}

func BenchmarkEncode(b *testing.B) {
	for _, codec := range Available() {
		for _, m := range materials {
			b.Run(string(codec)+"/"+m.name, func(b *testing.B) {
				for b.Loop() {
					benchEncode(b, codec, m, false)
				}
			})
		}
	}
}

// BenchmarkLayers is BenchmarkEncode while some viewer goes without the top
// layer; it gets Mbit/s-base.
func BenchmarkLayers(b *testing.B) {
	for _, codec := range []Codec{VP9, VP8} {
		for _, m := range materials[1:] {
			b.Run(string(codec)+"/"+m.name, func(b *testing.B) {
				for b.Loop() {
					benchEncode(b, codec, m, true)
				}
			})
		}
	}
}

func benchEncode(b *testing.B, codec Codec, m material, layered bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e, _, err := NewEncoder(codec, 4e6, 30)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	var data [][]byte
	var cost []time.Duration
	var shown []bool // per picture
	var bits, baseBits, keyBytes, last, after int
	alone := false
	var keyCost time.Duration
	start := time.Now()
	clock := start
	var before time.Duration
	m.play(func(d *desk, p *yuv.Picture, at time.Duration, moving bool) {
		clock = clock.Add(pace(at-before, time.Second/30, moving))
		before = at
		encode := func() ([]byte, bool, error) { return encodeOrRefine(e, p, &d.damage, len(data) == 0, clock) }
		alone = moving && !alone
		if layered && moving && !alone {
			encode = func() ([]byte, bool, error) { return e.(SpareEncoder).EncodeSpare(p, &d.damage, clock) }
		}
		begin := cpuTime()
		out, key, err := encode()
		took := cpuTime() - begin
		for try := 0; !moving && len(out) == 0 && err == nil && try < 5; try++ { // as a hub does
			clock = clock.Add(time.Second / 30)
			out, key, err = encode()
		}
		if err != nil {
			b.Fatal(err)
		}
		shown = append(shown, len(out) > 0)
		switch {
		case key:
			keyBytes, keyCost = len(out), took
		case moving:
			cost = append(cost, took)
			bits += 8 * len(out)
			if alone {
				baseBits += 8 * len(out)
			}
			last, after = len(shown), 0
		default:
			after += len(out)
		}
		if len(out) > 0 {
			data = append(data, bytes.Clone(out))
		}
	})

	b.ReportMetric(quantile(cost, 0.5), "ms-p50")
	b.ReportMetric(quantile(cost, 0.95), "ms-p95")
	b.ReportMetric(float64(bits)/movingFrames*30/1e6, "Mbit/s")
	if layered {
		b.ReportMetric(float64(baseBits)/movingFrames*30/1e6, "Mbit/s-base")
	}
	b.ReportMetric(float64(after)/1000, "kB-topoff")
	b.ReportMetric(float64(keyBytes)/1000, "kB-key")
	b.ReportMetric(float64(keyCost.Microseconds())/1000, "ms-key")
	dropped := 0
	for _, s := range shown[:last] {
		if !s {
			dropped++
		}
	}
	b.ReportMetric(float64(dropped), "dropped")

	// A second playing beside the decoder tells the quality.
	next, stop := decodeStream(b, codec, data)
	defer stop()
	var got yuv.Picture
	var sum, moved float64
	n, i := 0, 0
	var final, likeness float64
	m.play(func(d *desk, p *yuv.Picture, _ time.Duration, moving bool) {
		if shown[i] {
			got = next(p.Size)
		}
		i++
		if moving && i%5 == 0 {
			sum += textPSNR(p, &got)
			moved += textSSIM(p, &got)
			n++
		}
		if i == len(shown) {
			final, likeness = textPSNR(p, &got), textSSIM(p, &got)
		}
	})
	if n > 0 {
		b.ReportMetric(sum/float64(n), "dB-moving")
		b.ReportMetric(moved/float64(n), "SSIM-moving")
	}
	b.ReportMetric(final, "dB-after")
	b.ReportMetric(likeness, "SSIM-after")
}

// BenchmarkKeyframe is what a key frame of a page full of text takes: the first
// one, with a new encoder, and one that is asked for later.
func BenchmarkKeyframe(b *testing.B) {
	for _, codec := range Available() {
		b.Run(string(codec), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var first, later []time.Duration
			var bytes int
			for b.Loop() {
				e, _, err := NewEncoder(codec, 4e6, 30)
				if err != nil {
					b.Fatal(err)
				}
				clock := time.Now()
				materials[1].play(func(d *desk, p *yuv.Picture, at time.Duration, moving bool) {
					n := at / (time.Second / 10)
					key := n == 15 || n == 25 || n == 35
					begin := cpuTime()
					data, isKey, err := encodeOrRefine(e, p, &d.damage, key || at == 0, clock.Add(at))
					took := cpuTime() - begin
					switch {
					case err != nil:
						b.Fatal(err)
					case isKey && at == 0:
						first = append(first, took)
					case isKey:
						later = append(later, took)
						bytes = len(data)
					}
				})
				e.Close()
			}
			b.ReportMetric(quantile(first, 0.5), "ms-first")
			b.ReportMetric(quantile(later, 0.5), "ms-later")
			b.ReportMetric(float64(bytes)/1000, "kB")
		})
	}
}

// decodeStream has ffmpeg decode a stream, picture by picture.
func decodeStream(tb testing.TB, codec Codec, data [][]byte) (next func(size image.Point) yuv.Picture, stop func()) {
	format, stream := "ivf", []byte(nil)
	if codec == H264 {
		format, stream = "h264", bytes.Join(data, nil)
	} else {
		stream = ivf(codec, image.Pt(1920, 1080), data)
	}
	ffmpeg := exec.Command("ffmpeg", "-v", "error", "-threads", "1", "-f", format, "-i", "-",
		"-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-")
	ffmpeg.Stdin = bytes.NewReader(stream)
	out, err := ffmpeg.StdoutPipe()
	if err == nil {
		err = ffmpeg.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	next = func(size image.Point) yuv.Picture {
		n, c := size.X*size.Y, (size.X+1)/2*((size.Y+1)/2)
		raw := make([]byte, n+2*c)
		if _, err := io.ReadFull(out, raw); err != nil {
			tb.Fatalf("%s: decode: %v", codec, err)
		}
		return yuv.Picture{Y: raw[:n], U: raw[n : n+c], V: raw[n+c:], StrideY: size.X, StrideC: (size.X + 1) / 2, Size: size}
	}
	return next, func() {
		out.Close()
		ffmpeg.Wait()
	}
}

// endless is a tap that always has a frame, damaged everywhere.
type endless struct{ d *desk }

func (endless) Close() {}
func (e endless) Next(context.Context) (capture.Update, error) {
	e.d.frame.Lend()
	return capture.Update{Frame: e.d.frame, Damage: capture.Everywhere()}, nil
}

// BenchmarkHubWithoutCodec is all that a hub does with a frame of 1920x1080
// that has changed everywhere, for ten viewers, except encoding it.
func BenchmarkHubWithoutCodec(b *testing.B) {
	d := newDesk(image.Pt(1920, 1080))
	d.page(d.img.Rect)
	data := make([]byte, 17_000)
	h := NewHub(HubConfig{
		Watch: func() Tap { return endless{d} },
		Open: func() (Encoder, Packetizer, error) {
			return &coder{encoded: func(bool) ([]byte, error) { return data, nil }}, &VP9Packetizer{}, nil
		},
		FPS: 30,
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	for range 9 {
		v := h.Join()
		go func() {
			for err := error(nil); err == nil; _, err = v.Next(ctx) {
			}
		}()
	}
	v := h.Join()
	go func() { ended <- h.Run(ctx) }()
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := v.Next(ctx); err != nil {
			b.Fatal(err)
		}
		n++
	}
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	cancel()
	<-ended
	spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(spent)/1e6/float64(max(n, 1)), "ms-CPU/frame")
}
