package capture

import "context"

// Tap is one watcher's end of a Feed: a slot for one update, in which the
// newest wins. One goroutine calls Next.
type Tap struct {
	feed *Feed
	slot chan Update // holds at most one; never closed

	fresh bool // feed.mu; has got nothing yet, so everything is new to it
}

// Next waits for the next update. Its frame is the newest one there is; its
// damage includes that of all frames which were replaced before they were
// taken.
func (t *Tap) Next(ctx context.Context) (Update, error) {
	select {
	case u := <-t.slot:
		return u, nil
	case <-ctx.Done():
		return Update{}, context.Cause(ctx)
	}
}

// Close gives a waiting frame back and leaves the feed. The feed's source ends
// when nobody has watched for the linger.
func (t *Tap) Close() { t.feed.leave(t) }

// put replaces what waits in the slot. The replaced frame goes back to its
// source, its damage is kept. The feed's mutex is held.
func (t *Tap) put(f *Frame) {
	u := Update{Frame: f, Damage: f.Damage}
	if t.fresh {
		u.Damage, t.fresh = Everywhere(), false
	}
	if u.Damage.Empty() {
		return
	}
	f.Retain()
	if old, replaced := t.take(); replaced {
		u.Damage.Union(&old.Damage)
		if old.Frame.Size != f.Size {
			u.Damage = Everywhere()
		}
		old.Frame.Release()
	}
	t.slot <- u
}

func (t *Tap) take() (u Update, ok bool) {
	select {
	case u = <-t.slot:
		return u, true
	default:
		return u, false
	}
}
