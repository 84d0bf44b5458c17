package encode

import (
	"context"

	"deskwhep/capture"
)

// pump fetches a frame from a tap each time it is asked to, so that a session
// can wait for other things as well, and no frame grows old in between.
type pump struct {
	want   chan struct{} // one slot
	got    chan fetched  // one slot: at most one is wanted at a time
	cancel context.CancelFunc
	done   chan struct{}
}

type fetched struct {
	capture.Update
	err error
}

func startPump(ctx context.Context, tap Tap) *pump {
	ctx, cancel := context.WithCancel(ctx)
	p := &pump{make(chan struct{}, 1), make(chan fetched, 1), cancel, make(chan struct{})}
	go func() {
		defer close(p.done)
		defer tap.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.want:
			}
			u, err := tap.Next(ctx)
			p.got <- fetched{u, err}
		}
	}()
	return p
}

// ask makes one result come out of got. It is not asked again before.
func (p *pump) ask() { p.want <- struct{}{} }

// stop ends the pump and waits for it.
func (p *pump) stop() {
	p.cancel()
	<-p.done
	select {
	case f := <-p.got:
		if f.err == nil {
			f.Frame.Release()
		}
	default:
	}
}
