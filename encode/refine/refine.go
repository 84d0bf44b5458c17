// Package refine chooses the quantizers with which a picture that stands still
// is coded again and again until it is sharp.
package refine

// Ladder is the way down from the quantizer of what moved to that of what is
// sharp, in steps as large as there is room for. What is coded in several steps
// takes a little more bytes than in one.
type Ladder struct {
	Sharp int // the quantizer of a picture that needs no more
	Least int // the smallest step

	q       int     // of what is shown, where it is coarsest
	cost    float64 // bytes that one unit of the quantizer takes from here
	guessed bool    // cost is
}

// Changed notes that a picture was coded which had changed, with quantizer q;
// cost is a guess of the bytes by which it would be larger with q-1.
func (l *Ladder) Changed(q int, cost float64) {
	l.q = max(q, l.q-1) // parts of it may still be from the picture before
	l.cost, l.guessed = max(cost, 1), true
}

// Next is the quantizer for a picture that takes about room bytes.
func (l *Ladder) Next(room int) int {
	all := l.q - l.Sharp
	rise := 2.0 // of the cost on the way down
	if l.guessed {
		rise = 30
	}
	if l.cost*float64(all)*rise < float64(room) {
		return l.Sharp
	}
	step := int(min(float64(room)/l.cost, float64(l.q)/2))
	return max(l.q-max(step, l.Least), l.Sharp)
}

// Refined notes that the picture was coded with quantizer q, which may differ
// from what Next told, and took so many bytes. It tells whether there is more to
// do.
func (l *Ladder) Refined(q, bytes int) (more bool) {
	if q < l.q {
		l.cost, l.guessed = max(float64(bytes)/float64(l.q-q), 1), false
		l.q = q
	}
	return l.q > l.Sharp
}
