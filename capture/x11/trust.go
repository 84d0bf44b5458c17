package x11

// trust decides whether DAMAGE is believed, by checks of pictures against what
// it told. Something between the programs and the screen that paints without
// telling shows in check after check, and costs the trust for good; a single
// failure is made good by many checks without one.
type trust struct {
	doubts int // checks that found what had not been told
	good   int // checks since the last of them
}

const (
	enoughDoubts = 2
	redeeming    = 60 // checks of a quarter of the picture each
)

// checked notes a check: whether it found what had not been told.
func (t *trust) checked(differs bool) {
	if t.good++; differs {
		t.doubts, t.good = t.doubts+1, 0
	}
	if t.good >= redeeming && !t.lost() {
		t.doubts = 0
	}
}

func (t *trust) lost() bool { return t.doubts >= enoughDoubts }
