package refine

import "testing"

// descend refines until nothing is left to do, where a picture takes each bytes
// for a unit of the quantizer.
func descend(l *Ladder, room, each int) (steps, most int) {
	for more := true; more; steps++ {
		q := l.Next(room)
		bytes := max(l.q-q, 0) * each
		most = max(most, bytes)
		more = l.Refined(q, bytes)
	}
	return steps, most
}

func TestLadder(t *testing.T) {
	for _, c := range []struct {
		name       string
		guess      float64
		room, each int
		steps      int // at most
		bytes      int // of a step, at most
	}{
		{"next to nothing has changed", 5, 100_000, 10, 1, 1000},
		{"there is room for all", 3000, 200_000, 3000, 4, 100_000},
		{"much has changed", 8000, 80_000, 9000, 8, 110_000},
		{"far more than was guessed", 500, 80_000, 9000, 8, 9000 * 22},
		{"no room at all", 5000, 0, 5000, 10, 20_000},
		{"nothing is known", 0, 0, 0, 10, 0},
	} {
		l := Ladder{Sharp: 6, Least: 4}
		l.Changed(44, c.guess)
		steps, most := descend(&l, c.room, c.each)
		if steps > c.steps || most > c.bytes {
			t.Errorf("%s: %d steps, the largest of %d bytes; want at most %d, %d", c.name, steps, most, c.steps, c.bytes)
		}
		if q := l.Next(c.room); q != 6 || l.Refined(q, 0) {
			t.Errorf("%s: a sharp picture is coded with %d, and is not sharp", c.name, q)
		}
	}
}

// TestCoarsePartsAreNotForgotten has a coarse picture and then fine ones: what is
// left of the first is refined as well.
func TestCoarsePartsAreNotForgotten(t *testing.T) {
	l := Ladder{Sharp: 6, Least: 4}
	l.Changed(50, 100_000)
	for range 5 {
		l.Changed(10, 100_000)
	}
	if q := l.Next(400_000); q != 41 {
		t.Errorf("the first step is to %d", q)
	}
}
