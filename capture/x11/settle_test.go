package x11

import (
	"testing"
	"time"
)

// TestSettling feeds large frames, of which some are followed at once by the
// rest of the same picture.
func TestSettling(t *testing.T) {
	const (
		rest   = 2 * time.Millisecond
		soon   = time.Millisecond
		frame  = 16 * time.Millisecond
		rounds = 200
	)
	settled := func(large bool, since func(i int) time.Duration) (n int) {
		s := settling{rest: rest}
		for i := range rounds {
			if s.wait(large, 0) > 0 {
				n++
			}
			s.painted(since(i))
		}
		return n
	}
	if n := settled(true, func(int) time.Duration { return frame }); n != 0 {
		t.Errorf("whole pictures: %d of %d settle", n, rounds)
	}
	if n := settled(true, func(i int) time.Duration {
		if i%10 < 2 { // after a pause of the machine two pictures are caught up with
			return soon
		}
		return frame
	}); n != 0 {
		t.Errorf("a program that catches up now and then: %d of %d settle", n, rounds)
	}
	if n := settled(true, func(i int) time.Duration {
		if i%3 == 0 {
			return soon
		}
		return frame
	}); n < rounds*3/4 {
		t.Errorf("a third of the pictures in pieces: only %d of %d settle", n, rounds)
	}
	if n := settled(true, func(i int) time.Duration {
		if i < 10 {
			return soon
		}
		return frame
	}); n > 2*settledFrames {
		t.Errorf("pieces no more after 10 pictures: %d of %d settle", n, rounds)
	}
	if n := settled(false, func(int) time.Duration { return soon }); n != 0 {
		t.Errorf("small damage: %d of %d settle", n, rounds)
	}
	s := settling{rest: rest, left: 1}
	if wait := s.wait(true, rest/2); wait != rest/2 {
		t.Errorf("damage of %v waits %v more", rest/2, wait)
	}
}
