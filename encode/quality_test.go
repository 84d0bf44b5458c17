package encode

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

func TestNoDrift(t *testing.T) {
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(1e6)
		d := newDesk(image.Pt(208, 112))
		d.page(d.img.Rect)
		var p yuv.Picture
		at := time.Now()
		for i := range 1000 {
			switch {
			case i%100 == 99:
				d.page(d.img.Rect)
			case i%10 < 5:
				d.text(image.Pt(8*(i%20), 18*(i%6)), fmt.Sprint(i%10), inks[i%len(inks)])
			case i%10 == 5:
				d.film(image.Rect(100, 40, 180, 100), i)
			}
			yuv.Convert(&p, d.frame, &d.damage)
			key := r.encode(t, e, &p, &d.damage, false, at)
			if key != (i == 0) {
				t.Fatalf("picture %d: key frame %v", i, key)
			}
			d.damage.Clear()
			at = at.Add(time.Second / 30)
		}
		for range passes {
			at = at.Add(time.Second / 5)
			r.encode(t, e, &p, &d.damage, false, at)
		}
		got := r.decode(t)
		r.wantLike(t, got, len(got)-1, 38)
	})
}

func TestSmallestAndLargest(t *testing.T) {
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		for _, size := range []image.Point{{16, 16}, {3840, 2160}} {
			e, r := open(20e6)
			d := newDesk(size)
			d.page(d.img.Rect)
			var p yuv.Picture
			at := time.Now()
			for range 3 {
				yuv.Convert(&p, d.frame, &d.damage)
				r.encode(t, e, &p, &d.damage, false, at)
				d.damage.Clear()
				at = at.Add(time.Second / 5)
			}
			got := r.decode(t)
			r.wantLike(t, got, len(got)-1, 28)
			e.Close()
		}
	})
}

// TestColours has ffmpeg turn the stream into RGB by what the stream says of
// its colours; where it says nothing, by BT.601 limited range, as browsers do.
func TestColours(t *testing.T) {
	chart := []color.RGBA{
		{255, 255, 255, 255}, {0, 0, 0, 255}, {255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255},
		{255, 255, 0, 255}, {0, 255, 255, 255}, {255, 0, 255, 255}, {128, 128, 128, 255}, {200, 120, 40, 255},
	}
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(4e6)
		d := newDesk(image.Pt(320, 64))
		for i, c := range chart {
			d.fill(image.Rect(32*i, 0, 32*i+32, 64), c)
		}
		var p yuv.Picture
		at := time.Now()
		for range 5 {
			yuv.Convert(&p, d.frame, &d.damage)
			r.encode(t, e, &p, &d.damage, false, at)
			d.damage.Clear()
			at = at.Add(time.Second / 5)
		}
		in := filepath.Join(t.TempDir(), "in")
		stream, format := r.stream()
		if err := os.WriteFile(in, stream, 0o600); err != nil {
			t.Fatal(err)
		}
		probe := exec.Command("ffprobe", "-v", "error", "-f", format, "-select_streams", "v", "-show_entries",
			"stream=color_range,color_space,color_transfer,color_primaries,width,height,profile", "-of", "default=nw=1", in)
		said, err := probe.Output()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		switch r.codec {
		case VP9: // can tell of the matrix only
			want = []string{"color_range=tv", "color_space=bt470bg", "profile=Profile 0"} // BT.601's matrix by its other name
		case H264:
			want = []string{"color_range=tv", "color_space=smpte170m", "color_transfer=iec61966-2-1", "color_primaries=bt709", "profile=Constrained Baseline"}
		case AV1:
			want = []string{"color_range=tv", "color_space=smpte170m", "color_transfer=iec61966-2-1", "color_primaries=bt709", "profile=Main"}
		}
		for _, w := range want {
			if !strings.Contains(string(said), w+"\n") {
				t.Errorf("%s: no %s in\n%s", r.codec, w, said)
			}
		}

		decode := exec.Command("ffmpeg", "-v", "error", "-f", format, "-i", in, "-fps_mode", "passthrough",
			"-sws_flags", "accurate_rnd+full_chroma_int", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
		raw, err := decode.Output()
		if err != nil || len(raw) < 320*64*3 {
			t.Fatalf("%s: ffmpeg: %v, %d bytes", r.codec, err, len(raw))
		}
		last := raw[len(raw)-320*64*3:]
		for i, c := range chart {
			o := 3 * (32*320 + 32*i + 16)
			for j, w := range []byte{c.R, c.G, c.B} {
				if diff := int(last[o+j]) - int(w); diff < -6 || diff > 6 {
					t.Errorf("%s: colour %v came out as %v", r.codec, c, last[o:o+3])
					break
				}
			}
		}
	})
}

// realStory runs a hub with a real encoder on a desk in a bubble of its own
// time, and returns what the encoder gave.
func realStory(t *testing.T, codec Codec, bitrate int, tell func(t *testing.T, h *Hub, show func(d *desk))) *recording {
	r := &recording{codec: codec}
	synctest.Test(t, func(t *testing.T) {
		feed := make(screen, 1)
		h := NewHub(HubConfig{
			Watch: func() Tap { return feed },
			Open: func() (Encoder, Packetizer, error) {
				e, p, err := NewEncoder(codec, bitrate, 30)
				return e, &tee{p, r}, err
			},
			FPS: 30, Bitrate: bitrate,
			Log: slog.New(slog.DiscardHandler),
		})
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- h.Run(ctx) }()
		tell(t, h, func(d *desk) {
			update := capture.Update{Frame: d.copied(), Damage: d.damage}
			d.damage.Clear()
			select {
			case late := <-feed: // the newest wins
				update.Damage.Union(&late.Damage)
			default:
			}
			feed <- update
		})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestSilence(t *testing.T) {
	for _, codec := range Available() {
		t.Run(string(codec), func(t *testing.T) {
			realStory(t, codec, 4e6, func(t *testing.T, h *Hub, show func(*desk)) {
				d := newDesk(image.Pt(640, 360))
				d.page(d.img.Rect)
				show(d)
				v := h.Join()
				for h.Status().Units < 10 { // key frame, refinement, and a while
					next(t, v)
				}
				before, start := h.Status(), time.Now()
				for range 10 {
					if u := next(t, v); u.Key || u.Bytes > 1000 {
						t.Errorf("unit %d of a still screen has %d bytes, key %v", u.Seq, u.Bytes, u.Key)
					}
				}
				if took := time.Since(start); took != 10*keepAlive {
					t.Errorf("ten units of a still screen took %v", took)
				}
				if now := h.Status(); now.Dropped != before.Dropped {
					t.Errorf("%d pictures of a still screen were dropped", now.Dropped-before.Dropped)
				}
			})
		})
	}
}

func TestBitrateChangesInFlight(t *testing.T) {
	for _, codec := range Available() {
		t.Run(string(codec), func(t *testing.T) {
			realStory(t, codec, 8e5, func(t *testing.T, h *Hub, show func(*desk)) {
				v := h.Join()
				d := newDesk(image.Pt(320, 180))
				film := func(seconds int) (bitrate int) {
					before := h.Status()
					for i := range 30 * seconds {
						d.film(d.img.Rect, i)
						show(d)
						time.Sleep(time.Second / 30)
						for len(v.queue) > 0 {
							next(t, v)
						}
					}
					return int(8*(h.Status().Bytes-before.Bytes)) / seconds
				}
				film(2)
				for _, want := range []int{8e5, 3e5, 8e5} {
					h.SetBitrate(want)
					film(2) // to settle
					if got := film(3); got < want*6/10 || got > want*12/10 {
						t.Errorf("%d bit/s leave, want %d", got, want)
					}
				}
				if keys := h.Status().Keys; keys != 1 {
					t.Errorf("%d key frames, want 1", keys)
				}
			})
		})
	}
}

// TestSharpWithinASecond has a hub encode a page that scrolls and then stands
// still, at a bitrate that is small for it, and holds it to that, whether or not
// a viewer goes without the top layer.
func TestSharpWithinASecond(t *testing.T) {
	floors := map[Codec]float64{VP9: 44, AV1: 44, VP8: 42, H264: 42} // dB of text
	each := func(codec Codec, highest uint8) {
		t.Run(fmt.Sprintf("%s to layer %d", codec, highest), func(t *testing.T) {
			const bitrate = 1_000_000
			var screen yuv.Picture
			r := realStory(t, codec, bitrate, func(t *testing.T, h *Hub, show func(*desk)) {
				h.Join().SetLayers(highest)
				v := h.Join()
				done := make(chan struct{})
				go func() { defer close(done); holdTo(t, v, bitrate) }()
				d := newDesk(image.Pt(640, 360))
				d.page(d.img.Rect)
				for range 60 {
					d.scroll(d.img.Rect, 6)
					show(d)
					time.Sleep(time.Second / 30)
				}
				time.Sleep(time.Second)
				v.Close()
				<-done
				all := capture.Everywhere()
				yuv.Convert(&screen, d.frame, &all)
			})
			for i := range r.sources {
				r.sources[i] = screen
			}
			got := r.decode(t)
			if p := textPSNR(&screen, &got[len(got)-1]); p < floors[codec] {
				t.Errorf("text has %.1f dB a second after the last change, want %.0f", p, floors[codec])
			}
		})
	}
	for _, codec := range Available() {
		each(codec, TopLayer)
		if codec == VP8 || codec == VP9 {
			each(codec, 0)
		}
	}
}

// holdTo reads all of a viewer's units and checks that no second of them is
// much over the bitrate.
func holdTo(t *testing.T, v *Viewer, bitrate int) {
	type sent struct {
		at    time.Time
		bytes int
	}
	var log []sent
	for {
		u, err := v.Next(t.Context())
		if err != nil {
			break
		}
		log = append(log, sent{time.Now(), u.Bytes})
	}
	for i, first := range log {
		sum, largest := 0, 0
		for _, u := range log[i:] {
			if u.at.Sub(first.at) < time.Second {
				sum, largest = sum+u.bytes, max(largest, u.bytes)
			}
		}
		if limit := bitrate/8*5/4 + 2*largest; sum > limit {
			t.Errorf("%d bytes left in one second, want at most %d", sum, limit)
		}
	}
	if len(log) < 20 {
		t.Errorf("only %d units left", len(log))
	}
}

// tee records what a packetizer gets.
type tee struct {
	Packetizer
	r *recording
}

func (p *tee) Packetize(data []byte, key bool, layer uint8) ([][]byte, error) {
	p.r.data = append(p.r.data, bytes.Clone(data))
	p.r.sources = append(p.r.sources, yuv.Picture{})
	return p.Packetizer.Packetize(data, key, layer)
}
