//go:build !novpx

package vpx

import (
	"image"
	"testing"

	"deskwhep/capture"
)

func count(marks []uint8, all int) int {
	if marks == nil {
		return all
	}
	n := 0
	for _, m := range marks {
		n += int(m)
	}
	return n
}

func TestBlockIsActiveUntilItIsSharp(t *testing.T) {
	size := image.Pt(100, 50) // 7x4 blocks
	a := newActivity(size)
	var none, here, there capture.Damage
	here.Add(image.Rect(15, 15, 17, 17)) // touches four blocks
	there.Add(image.Rect(99, 49, 100, 50))

	if n := count(a.choose(size, &none, true), 28); n != 28 {
		t.Fatalf("%d blocks of a key frame are active", n)
	}
	a.coded(sharp, false)
	if n := count(a.choose(size, &none, false), 28); n != 0 {
		t.Fatalf("%d sharp blocks are active", n)
	}
	a.coded(sharp, false)

	if n := count(a.choose(size, &here, false), 28); n != 4 {
		t.Fatalf("%d blocks are active, want those that changed", n)
	}
	// The picture is dropped; the change is not forgotten.
	a.again = true
	if n := count(a.choose(size, &there, false), 28); n != 5 {
		t.Fatalf("%d blocks are active after a picture was dropped", n)
	}
	a.again = false
	a.coded(50, false)

	// While another place changes, what is coarse is coded again now and then.
	var passed []int
	for i := 1; i <= 2*round; i++ {
		if n := count(a.choose(size, &there, false), 28); n > 1 {
			passed = append(passed, i)
		}
		a.coded(50, false)
	}
	if len(passed) != 8 || passed[0] != 4 || passed[3] != 27 || passed[4] != round+4 {
		t.Fatalf("coarse blocks were coded again after %v pictures", passed)
	}

	// When all stands still, each pass codes what is coarser than itself.
	for _, q := range []int{40, 30, 20} {
		active, s, _ := a.refine([]step{{quantizer: q}}, 1e9)
		if n := count(active, 28); n != 5 {
			t.Fatalf("%d blocks are refined to %d, want 5", n, q)
		}
		a.coded(s.quantizer, s.luma)
	}
	if active, _, _ := a.refine([]step{{quantizer: 20}}, 1e9); count(active, 28) != 0 {
		t.Fatalf("%d blocks are active after the last pass", count(active, 28))
	}
}
