package encode

import (
	"image"
	"maps"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// TestKeyframesTakeTheirShare floods a gate with requests: whatever their size,
// key frames take half of the bitrate at most, and not much less if they are
// asked for and the interval lets them.
func TestKeyframesTakeTheirShare(t *testing.T) {
	const rate, interval, long = 4_000_000, 300 * time.Millisecond, time.Minute
	for _, size := range []int{5_000, 50_000, 100_000, 400_000, 2_000_000} {
		g := keyGate{interval: interval, budget: budget{rate: rate}}
		begin := time.Unix(1000, 0)
		var keys []time.Time
		run := func(from, to time.Duration, ask bool) {
			for now := begin.Add(from); now.Before(begin.Add(to)); now = now.Add(time.Millisecond) {
				if ask {
					g.owe(now)
				}
				if at, owed := g.when(); owed && !at.After(now) {
					keys = append(keys, now)
					g.paid(size, now)
				}
			}
		}
		run(0, long, true)
		last := keys[len(keys)-1]
		for i, from := range keys {
			for j, to := range keys[i:] {
				if most := rate/8/keyShare*(to.Sub(from)+keyAhead).Seconds() + float64(size); float64((j+1)*size) > most+1 {
					t.Fatalf("%d key frames of %d bytes in %v", j+1, size, to.Sub(from))
				}
			}
			if i > 0 && from.Sub(keys[i-1]) < interval {
				t.Fatalf("key frames of %d bytes %v apart", size, from.Sub(keys[i-1]))
			}
		}
		each := max(interval, time.Duration(float64(8*keyShare*size)/rate*float64(time.Second)))
		if least := int(long / (each + time.Millisecond)); len(keys) < least {
			t.Errorf("%d key frames of %d bytes in %v; %d were due", len(keys), size, long, least)
		}
		if _, owed := g.when(); !owed && last != begin.Add(long-time.Millisecond) {
			t.Fatalf("the last request for one of %d bytes is forgotten", size)
		}
		keys = nil
		if run(long, 2*long, false); len(keys) > 1 || len(keys) == 0 && last != begin.Add(long-time.Millisecond) {
			t.Errorf("%d key frames of %d bytes for the last request", len(keys), size)
		}
	}
}

// TestBigKeyframesLeaveRoom asks without end where a key frame is as big as a
// second of video: the pictures between them go on.
func TestBigKeyframesLeaveRoom(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		const rate, key, delta, seconds = 4_000_000, 500_000, 8_000, 20
		c.encoded = func(isKey bool) ([]byte, error) {
			if isKey {
				return make([]byte, key), nil
			}
			return make([]byte, delta), nil
		}
		v := h.Join()
		go func() {
			for {
				if _, err := v.Next(t.Context()); err != nil {
					return
				}
				h.RequestKeyframe("pli")
			}
		}()
		s.move(seconds * time.Second)
		st := h.Status()
		if most := rate / 8 / keyShare * (seconds + 1) / key; st.Keys > uint64(most)+1 || st.Keys < seconds/3 {
			t.Errorf("%d key frames in %d s", st.Keys, seconds)
		}
		if pictures := st.Units - st.Keys; pictures < seconds*30/2 {
			t.Errorf("beside %d key frames only %d pictures left", st.Keys, pictures)
		}
		v.Close()
	})
}

// outcomes checks that each request for a key frame has one outcome, and gives
// the requests.
func outcomes(t *testing.T, h *Hub) map[string]uint64 {
	t.Helper()
	st := h.Status()
	open := uint64(0)
	if _, owed := h.keyDue(); owed {
		open = 1
	}
	asked := uint64(0)
	for _, n := range st.KeyReasons {
		asked += n
	}
	if asked != st.Keys+st.KeysMerged+st.KeysCached+open {
		t.Errorf("%d requests %v, but %d key frames, %d merged, %d from the cache, %d open",
			asked, st.KeyReasons, st.Keys, st.KeysMerged, st.KeysCached, open)
	}
	return st.KeyReasons
}

func TestOutcomesOfRequests(t *testing.T) {
	story(t, func(t *testing.T, h *Hub, s screen, c *coder) {
		expect := func(what string, keys, merged, cached uint64) {
			t.Helper()
			outcomes(t, h)
			if st := h.Status(); st.Keys != keys || st.KeysMerged != merged || st.KeysCached != cached {
				t.Fatalf("%s: %d key frames, %d merged, %d from the cache; want %d, %d, %d",
					what, st.Keys, st.KeysMerged, st.KeysCached, keys, merged, cached)
			}
		}
		a := h.Join()
		expect("one joins", 0, 0, 0)
		s.paint(capture.Everywhere())
		next(t, a)
		expect("and is served", 1, 0, 0)
		b := h.Join()
		next(t, b)
		expect("another one gets what there is", 1, 0, 1)
		a.KeyframeRepeated("pli")
		expect("a key frame was lost and repeated", 1, 0, 2)
		h.RequestKeyframe("pause")
		a.RequestKeyframe("pli")
		b.RequestKeyframe("fir")
		expect("three ask", 1, 2, 2)
		for !next(t, a).Key {
		}
		expect("one key frame serves them", 2, 2, 2)

		f := capture.NewFrame(func(*capture.Frame) {})
		f.Size, f.Stride, f.Format, f.Captured = image.Pt(32, 32), 128, capture.BGRX, time.Now()
		f.Pix = make([]byte, 128*32)
		f.Lend()
		time.Sleep(time.Second)
		s <- capture.Update{Frame: f, Damage: capture.Everywhere()}
		for !next(t, a).Key {
		}
		expect("the screen has another size", 3, 2, 2)
		want := map[string]uint64{"join": 2, "pause": 1, "pli": 2, "fir": 1, "size": 1}
		if got := outcomes(t, h); !maps.Equal(got, want) {
			t.Fatalf("the reasons are %v, not %v", got, want)
		}
	})
}

// whim is an encoder that makes key frames of its own accord.
type whim struct{ coder }

func (w *whim) Encode(p *yuv.Picture, d *capture.Damage, _ bool, at time.Time) ([]byte, bool, error) {
	return w.coder.Encode(p, d, true, at)
}

func TestKeyframesThatNobodyAskedFor(t *testing.T) {
	storyWith(t, &whim{}, func(t *testing.T, h *Hub, s screen) {
		v := h.Join()
		for range 5 {
			s.paint(capture.Everywhere())
			next(t, v)
		}
		if got := outcomes(t, h); got["encoder"] != 4 || got["join"] != 1 {
			t.Fatalf("the reasons are %v", got)
		}
	})
}
