package encode

import (
	"fmt"
	"image"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp/codecs"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// layeredCoder is a coder that knows temporal layers.
type layeredCoder struct{ coder }

func (c *layeredCoder) EncodeSpare(*yuv.Picture, *capture.Damage, time.Time) ([]byte, bool, error) {
	return []byte{2}, false, nil
}

func TestViewerOnASlowLinkGetsTheBaseLayer(t *testing.T) {
	storyWith(t, &layeredCoder{}, func(t *testing.T, h *Hub, s screen) {
		fast, slow := h.Join(), h.Join()
		move := func() *Unit {
			time.Sleep(time.Second / 30)
			s.paint(capture.Everywhere())
			synctest.Wait()
			return next(t, fast)
		}
		layers := func(n int) (got []uint8) {
			for range n {
				u := move()
				got = append(got, u.Layer)
				if u.Layer <= slow.layers && next(t, slow) != u {
					t.Fatal("the slow viewer got another unit")
				}
			}
			return got
		}
		settle := func() {
			time.Sleep(time.Second)
			for _, v := range []*Viewer{fast, slow} {
				for len(v.queue) > 0 {
					next(t, v)
				}
			}
		}
		for _, step := range []struct {
			do   func()
			want []uint8
		}{
			{func() {}, []uint8{0, 0, 0, 0}}, // a key frame first
			{func() { slow.SetLayers(0) }, []uint8{1, 0, 1, 0}},
			{func() { h.RequestKeyframe("test"); settle() }, []uint8{0, 1, 0, 1}},
			{func() { slow.SetLayers(TopLayer) }, []uint8{0, 0, 0}},
			{func() { slow.SetLayers(0) }, []uint8{1, 0, 1}},
			{func() { settle() }, []uint8{0, 1, 0}},
			{func() { slow.Close(); slow = h.Join(); settle() }, []uint8{0, 0}},
		} {
			step.do()
			if got := layers(len(step.want)); !slices.Equal(got, step.want) {
				t.Fatalf("layers %v, want %v", got, step.want)
			}
		}
	})
}

// TestUnitsOfTheTopLayerAreNotMissed leaves out all of them, and some, where
// much else happens: far too much to show at the bitrate, key frames,
// refinement.
func TestUnitsOfTheTopLayerAreNotMissed(t *testing.T) {
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(2e5)
		spares, ok := e.(SpareEncoder)
		if !ok {
			t.Skip("has no layers")
		}
		_, packetizer, err := NewEncoder(r.codec, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(3, 3))
		d := newDesk(image.Pt(320, 240))
		d.page(d.img.Rect)
		var p yuv.Picture
		var layers []uint8
		var refined []int // units at the end of a pause
		var check layerCheck
		at := time.Now()
		for i := range 600 {
			layer := uint8(i % 2)
			switch i / 10 % 5 {
			case 0:
				d.scroll(d.img.Rect, 5+rnd.IntN(20))
			case 1:
				d.text(image.Pt(8*(i%30), 18*(i%13)), fmt.Sprint(i%10), inks[i%len(inks)])
			case 2:
				d.film(image.Rect(100, 40, 260, 200), i)
			case 3:
				d.page(image.Rect(0, 0, 1+rnd.IntN(320), 1+rnd.IntN(240)))
			case 4: // nothing: the picture is refined
				layer = 0
				at = at.Add(time.Second / 5)
			}
			yuv.Convert(&p, d.frame, &d.damage)
			n := len(r.data)
			key := false
			if layer > 0 {
				r.add(t, &p, func() ([]byte, bool, error) { return spares.EncodeSpare(&p, &d.damage, at) })
			} else {
				key = r.encode(t, e, &p, &d.damage, i == 333 || i == 444, at)
			}
			at = at.Add(time.Second / 30)
			if len(r.data) == n {
				t.Fatalf("picture %d was dropped", i)
			}
			d.damage.Clear()
			layers = append(layers, layer)
			payloads, err := packetizer.Packetize(r.data[n], key, layer)
			if err != nil {
				t.Fatal(err)
			}
			if i%50 == 49 {
				refined = append(refined, n)
			}
			check.unit(t, r.codec, payloads, key, layer)
		}
		if slices.Index(layers, 1) < 0 {
			t.Fatal("no picture was of the top layer")
		}

		all := r.decode(t)
		for _, i := range refined {
			r.wantLike(t, all, i, 42)
		}
		for _, some := range []bool{false, true} {
			left := &recording{codec: r.codec}
			var kept []int
			for i, layer := range layers {
				if layer == 0 || some && rnd.IntN(2) == 0 {
					left.data, left.sources = append(left.data, r.data[i]), append(left.sources, r.sources[i])
					kept = append(kept, i)
				}
			}
			for j, got := range left.decode(t) {
				want := &all[kept[j]]
				for _, plane := range [][2][]byte{{got.Y, want.Y}, {got.U, want.U}, {got.V, want.V}} {
					if !slices.Equal(plane[0], plane[1]) {
						t.Fatalf("unit %d of %d (%d of %d that are left) differs", kept[j], len(all), j, len(kept))
					}
				}
			}
		}
	})
}

// layerCheck follows the descriptors of a stream as a receiver does.
type layerCheck struct {
	id, base uint16 // picture ids of the next unit, and of the last one of layer 0
	tl0      uint8  // of the last one of layer 0
	begun    bool
}

func (c *layerCheck) unit(t *testing.T, codec Codec, payloads [][]byte, key bool, layer uint8) {
	t.Helper()
	for _, payload := range payloads {
		switch codec {
		case VP8:
			var v codecs.VP8Packet
			if _, err := v.Unmarshal(payload); err != nil {
				t.Fatal(err)
			}
			tl0 := c.tl0
			if layer == 0 && c.begun {
				tl0++
			}
			if v.PictureID != c.id || v.TID != layer || v.Y != layer || v.N != layer || v.TL0PICIDX != tl0 {
				t.Fatalf("layer %d, picture %d, TL0PICIDX %d: %+v", layer, c.id, tl0, v)
			}
		case VP9:
			var v codecs.VP9Packet
			if _, err := v.Unmarshal(payload); err != nil {
				t.Fatal(err)
			}
			if v.PictureID != c.id || !v.L || v.TID != layer || !v.U || v.SID != 0 || v.D || v.P == key ||
				!key && !slices.Equal(v.PDiff, []uint8{uint8(c.id - c.base)}) {
				t.Fatalf("layer %d, picture %d, base %d, key %v: %+v", layer, c.id, c.base, key, v)
			}
		}
	}
	if layer == 0 {
		c.base = c.id
		if c.begun {
			c.tl0++
		}
		c.begun = true
	}
	c.id++
}

// TestWhatASpareShowsStays has a page scroll in a picture of the top layer, and
// refines it with little room. All of the page is still where it was shown.
func TestWhatASpareShowsStays(t *testing.T) {
	eachCodec(t, func(t *testing.T, open func(int) (Encoder, *recording)) {
		e, r := open(4e6)
		spares, ok := e.(SpareEncoder)
		if !ok {
			t.Skip("has no layers")
		}
		d := newDesk(image.Pt(1920, 1080))
		d.page(d.img.Rect)
		var p yuv.Picture
		at := time.Now()
		yuv.Convert(&p, d.frame, &d.damage)
		r.encode(t, e, &p, &d.damage, true, at)
		d.damage.Clear()
		refine := func() {
			at = at.Add(time.Second / 5)
			r.add(t, &p, func() ([]byte, bool, error) {
				data, _, err := e.Refine(&p, 60_000, at)
				return data, false, err
			})
		}
		for range 12 {
			refine()
		}
		d.scroll(d.img.Rect, 14)
		yuv.Convert(&p, d.frame, &d.damage)
		at = at.Add(time.Second / 5)
		r.add(t, &p, func() ([]byte, bool, error) { return spares.EncodeSpare(&p, &d.damage, at) })
		spare := len(r.data) - 1
		for range 3 {
			refine()
		}
		got := r.decode(t)
		quarter := func(i, n int) float64 {
			return psnr(p.Y[n*270*p.StrideY:], p.StrideY, got[i].Y[n*270*got[i].StrideY:], got[i].StrideY, image.Pt(1920, 270))
		}
		for i := spare + 1; i < len(got); i++ {
			for n := range 4 {
				if shown, then := quarter(spare, n), quarter(i, n); then < shown-3 {
					t.Errorf("refined %d times, quarter %d of the page has %.1f dB; %.1f dB were shown", i-spare, n, then, shown)
				}
			}
		}
	})
}
