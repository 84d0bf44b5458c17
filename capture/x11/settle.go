package x11

import (
	"math/bits"
	"time"
)

// settling decides whether large damage may settle for a moment, so that what
// is painted in pieces becomes one frame. Waiting makes a picture older, so it
// is for content only that has shown, and shows again, to come in pieces.
type settling struct {
	rest  time.Duration // how long damage may settle; not positive: never
	past  uint8         // a bit for each of the last large frames taken at once, the newest lowest: more of it came soon after
	left  int           // how many large frames are to settle before one is taken at once again
	hasty bool          // the last frame was large and taken at once, and nothing has been painted since
}

const (
	tellingPieces = 3  // of the last 8; a program that catches up after a pause makes one or two
	settledFrames = 32 // before it is tried again whether the content still comes in pieces
)

// wait is how long a frame still is to wait whose first damage is that old.
func (s *settling) wait(large bool, age time.Duration) time.Duration {
	s.hasty = large && s.left == 0
	if !large || s.hasty {
		return 0
	}
	s.left--
	return s.rest - age
}

// painted notes the first damage after a frame, and how long after the first
// damage of that frame it came.
func (s *settling) painted(since time.Duration) {
	if !s.hasty {
		return
	}
	s.hasty = false
	s.past <<= 1
	if since <= s.rest+time.Millisecond { // the server's clock has whole ones
		s.past |= 1
	}
	if bits.OnesCount8(s.past) >= tellingPieces {
		s.left, s.past = settledFrames, 1<<(tellingPieces-1)-1 // one more piece will tell
	}
}
