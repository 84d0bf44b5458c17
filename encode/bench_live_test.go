package encode

import (
	"context"
	"image"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// BenchmarkH264At60 is what a picture of 1920x1080 takes while a page scrolls
// at 60 pictures a second, of which each has 16.7 ms.
func BenchmarkH264At60(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var cost, conversion []time.Duration
	for b.Loop() {
		e, _, err := NewEncoder(H264, 6e6, 60)
		if err != nil {
			b.Fatal(err)
		}
		d := newDesk(image.Pt(1920, 1080))
		d.page(d.img.Rect)
		var p yuv.Picture
		at := time.Now()
		for i := range 180 {
			begin := cpuTime()
			yuv.Convert(&p, d.frame, &d.damage)
			converted := cpuTime()
			if _, _, err := e.Encode(&p, &d.damage, i == 0, at); err != nil {
				b.Fatal(err)
			}
			if i > 0 {
				conversion = append(conversion, converted-begin)
				cost = append(cost, cpuTime()-converted)
			}
			d.damage.Clear()
			d.scroll(image.Rect(200, 100, 1720, 1060), 7)
			at = at.Add(time.Second / 60)
		}
		e.Close()
	}
	b.ReportMetric(quantile(cost, 0.5), "ms-p50")
	b.ReportMetric(quantile(cost, 0.95), "ms-p95")
	b.ReportMetric(quantile(conversion, 0.5), "ms-convert")
}

// BenchmarkSustained has a hub encode VP9 for some seconds of real time while a
// page of 1920x1080 scrolls at 30 frames a second, and counts what is lost
// between the screen and the viewer.
func BenchmarkSustained(b *testing.B) {
	const frames = 180
	feed := make(screen, 1)
	h := NewHub(HubConfig{
		Watch: func() Tap { return feed },
		Open:  func() (Encoder, Packetizer, error) { return NewEncoder(VP9, 6e6, 30) },
		FPS:   30, Bitrate: 6e6,
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	v := h.Join()
	d := newDesk(image.Pt(1920, 1080))
	d.page(d.img.Rect)
	free := make(chan *capture.Frame, 4)
	for range cap(free) {
		f := capture.NewFrame(func(f *capture.Frame) { free <- f })
		f.Size, f.Stride, f.Format = d.frame.Size, d.frame.Stride, d.frame.Format
		f.Pix = slices.Clone(d.frame.Pix)
		free <- f
	}
	show := func() {
		f := <-free
		f.Captured = time.Now()
		copy(f.Pix, d.frame.Pix)
		f.Lend()
		u := capture.Update{Frame: f, Damage: d.damage}
		d.damage.Clear()
		select {
		case late := <-feed: // the newest wins
			u.Damage.Union(&late.Damage)
			late.Frame.Release()
		default:
		}
		feed <- u
	}
	show()
	for begin := time.Now(); time.Since(begin) < 3*time.Second; { // the first picture is sharp, and paid for
		if _, err := v.Next(ctx); err != nil {
			b.Fatal(err)
		}
	}
	before := h.Status().Bytes
	var ages []time.Duration
	received := make(chan struct{})
	go func() {
		defer close(received)
		for u, err := v.Next(ctx); err == nil; u, err = v.Next(ctx) {
			ages = append(ages, time.Since(u.Captured))
		}
	}()
	shown, cpu := 0, processTime()
	for b.Loop() {
		tick := time.NewTicker(time.Second / 30)
		for range frames {
			<-tick.C
			d.scroll(image.Rect(200, 100, 1720, 1060), 14)
			show()
			shown++
		}
		tick.Stop()
	}
	time.Sleep(100 * time.Millisecond) // the last one comes out
	st := h.Status()
	cpu = processTime() - cpu
	cancel()
	<-received
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(100*(1-float64(len(ages))/float64(shown)), "%-dropped")
	b.ReportMetric(quantile(ages, 0.5), "ms-age-p50")
	b.ReportMetric(quantile(ages, 0.95), "ms-age-p95")
	b.ReportMetric(float64(st.Bytes-before)*8/float64(shown)*30/1e6, "Mbit/s")
	b.ReportMetric(float64(st.EncodeTime.Microseconds())/1000, "ms-encode")
	b.ReportMetric(float64(cpu.Microseconds())/1000/float64(shown), "ms-CPU/frame")
}

// processTime is the CPU time of this process.
func processTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
