//go:build linux && !novpx

package vpx

import (
	"bytes"
	"fmt"
	"image"
	"os"
	"testing"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// TestMemory opens an encoder for a picture of 1920x1080 on which there is
// nothing to see: what libvpx sets aside for more is not in memory.
func TestMemory(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(maps, []byte("/libvpx.so")) {
		t.Skip("libvpx is not linked statically; the Makefile sees to that")
	}
	p := yuv.Picture{
		Y: bytes.Repeat([]byte{60}, 1920*1080), U: bytes.Repeat([]byte{128}, 960*540), V: bytes.Repeat([]byte{128}, 960*540),
		StrideY: 1920, StrideC: 960, Size: image.Pt(1920, 1080),
	}
	e := NewVP9(4e6, 30)
	defer e.Close()
	before, all := resident(t), capture.Everywhere()
	if _, _, err := e.Encode(&p, &all, true, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := resident(t) - before; got > 80 {
		t.Errorf("an encoder takes %.0f MiB of memory, want 80 at most", got)
	}
}

// resident is how much of this process is in memory, in MiB.
func resident(t *testing.T) float64 {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}
