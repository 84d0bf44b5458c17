package whep

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"deskwhep/encode"
	"deskwhep/encode/encodetest"
	"deskwhep/interceptors"
)

// The top layer is tried again soon after the path was too narrow for it, then
// less and less often, and soon again once it has lasted.
func TestTopLayerComesBack(t *testing.T) {
	viewer := encodetest.New(1, 1).Hub(slog.New(slog.NewTextHandler(io.Discard, nil))).Join()
	defer viewer.Close()
	o := newOutlet(viewer, nil, nil, nil, nil)
	narrow := interceptors.Estimate{Target: 1e6, Arriving: 1e6, Congested: true}
	wide := interceptors.Estimate{Target: 2.3e6, Arriving: 0.5e6, Congested: true}
	free := interceptors.Estimate{Target: 1e6, Arriving: 1e6}
	now := time.Now()
	for _, c := range []struct{ lasted, patience time.Duration }{
		{0, 4 * time.Second}, {time.Second, 8 * time.Second}, {15 * time.Second, 16 * time.Second},
		{time.Second, 16 * time.Second}, {17 * time.Second, 4 * time.Second}, {time.Second, 8 * time.Second},
	} {
		now = now.Add(c.lasted)
		o.queue, o.rate = []waiting{{&encode.Unit{}, now.Add(-leanWait)}}, 2e6
		if o.layers(now, narrow); o.lean.Load() {
			t.Fatal("a short wait takes the top layer")
		}
		o.queue[0].since = now.Add(-leanWait - 1)
		if o.layers(now, narrow); !o.lean.Load() {
			t.Fatalf("after %v a picture waits, and the top layer is still there", c.lasted)
		}
		o.queue, o.rate = nil, 1e6
		now = now.Add(c.patience)
		if o.layers(now, free); !o.lean.Load() {
			t.Errorf("after %v the top layer was back within %v", c.lasted, c.patience)
		}
		now = now.Add(1)
		if o.layers(now, narrow); !o.lean.Load() {
			t.Errorf("after %v the top layer was back on a path that is overused", c.lasted)
		}
		if o.layers(now, free); o.lean.Load() {
			t.Errorf("after %v the top layer was not back after %v", c.lasted, c.patience)
		}
	}
	now = now.Add(time.Second)
	o.queue, o.rate = []waiting{{&encode.Unit{}, now.Add(-time.Second)}}, 2e6
	o.layers(now, narrow)
	now = now.Add(leanLeast + 1)
	o.queue, o.rate = nil, 1.2e6
	if o.layers(now, wide); !o.lean.Load() {
		t.Error("the top layer was back on a path that carries less than twice what was lately sent")
	}
	o.rate = 1e6
	if o.layers(now, wide); o.lean.Load() {
		t.Error("the top layer was not back on a path that carries more than twice what is sent")
	}
}
