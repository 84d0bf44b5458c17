//go:build !noopenh264

package openh264

import "math"

// rate chooses the quantizers of pictures that change. The library's own choice
// spends after a pause what several pictures should have had, and then leaves
// most of the bitrate unused for a second.
type rate struct {
	q    int     // of the last picture
	debt float64 // bytes that have been spent ahead
	size float64 // of a picture, smoothed
	key  float64 // bytes of the last key frame with quantizer first
}

// Quantizers, 0 to 51.
const (
	sharpest = 14
	coarsest = 48
	first    = 30 // of a key frame, and of what changes after a pause: at least
)

func (r *rate) quantizer(key bool) int {
	if key || r.q == 0 {
		r.q = max(r.q, first)
	}
	return r.q
}

// coded notes that a picture took so many bytes where it should have taken
// share of them.
func (r *rate) coded(bytes int, share float64, key bool) {
	r.debt = max(r.debt+float64(bytes)-share, 0)
	if key {
		r.debt = 0 // it is paid for by a pause
		r.key = float64(bytes) * math.Exp2(float64(r.q-first)/6)
		return
	}
	r.size += (float64(bytes) - r.size) / 3
	want := max(share-r.debt/8, share/4, 1)
	up := 3 * math.Log2(float64(max(bytes, 1))/want) // six more halve a picture, about
	down := math.Log2(max(r.size, 1) / want)
	switch {
	case up >= 1:
		r.q = min(r.q+min(int(up), 12), coarsest)
	case down <= -1:
		r.q = max(r.q-min(int(-down), 2), sharpest)
	}
}

// paused notes that nothing has changed for a while.
func (r *rate) paused() { r.q, r.debt = max(r.q, first), 0 }

// cost is about what a picture would take more with the quantizer one less,
// that took so many bytes with q, where a share of it is coarse.
func (r *rate) cost(q, bytes int, share float64) float64 {
	whole := r.key * share * math.Exp2(float64(min(first-q, 0))/6)
	return 0.12 * max(float64(bytes), whole)
}
