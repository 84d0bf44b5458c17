package encode

import (
	"image"
	"os"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// TestEncodersEnd opens and closes encoders: of their threads nothing is left
// open.
func TestEncodersEnd(t *testing.T) {
	const open = "/proc/self/fd"
	if _, err := os.Stat(open); err != nil {
		t.Skip("the system does not tell what is open")
	}
	count := func() int {
		files, err := os.ReadDir(open)
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	var p yuv.Picture
	for _, codec := range Available() {
		e, _, err := NewEncoder(codec, 1e6, 30)
		if err != nil {
			t.Fatal(err)
		}
		var before int
		for i, size := range []image.Point{{64, 64}, {128, 64}, {64, 128}} {
			d := newDesk(size)
			d.page(d.img.Rect)
			yuv.Convert(&p, d.frame, &d.damage)
			all := capture.Everywhere()
			if data, key, err := e.Encode(&p, &all, false, time.Now()); err != nil || !key || len(data) == 0 {
				t.Fatalf("%s %v: %d bytes, key %v, %v", codec, size, len(data), key, err)
			}
			if i == 0 {
				before = count()
			} else if n := count(); n != before {
				t.Errorf("%s: %d files are open after size %d, %d with the first", codec, n, i, before)
			}
		}
		e.Close()
		if n := count(); n != before-4 {
			t.Errorf("%s: %d files are open after Close, %d before it", codec, n, before)
		}
		e.Close()
	}
}
