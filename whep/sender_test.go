package whep

import (
	"testing"
	"time"
)

// A pass is late if it begins long after it was due or wanted, but not if the sender
// was busy with the one before.
func TestSenderIsLate(t *testing.T) {
	now := time.Now()
	const long, soon = lateMost + 1, lateMost
	for _, c := range []struct {
		due, next, ended time.Duration // before the pass begins; 0 for not at all
		late             bool
	}{
		{0, soon, long, false}, {0, long, long, true}, {0, long, soon, false}, {0, 0, long, false},
		{soon, 0, long, false}, {long, 0, long, true}, {long, 0, soon, false},
		{soon, long, long, true}, {soon, -time.Second, long, false}, {long, -time.Second, long, true},
	} {
		ago := func(d time.Duration) time.Time {
			if d == 0 {
				return time.Time{}
			}
			return now.Add(-d)
		}
		s := &sender{next: ago(c.next), ended: ago(c.ended)}
		if got := s.isLate(ago(c.due), now); got != c.late {
			t.Errorf("%+v: late is %v", c, got)
		}
	}
}
