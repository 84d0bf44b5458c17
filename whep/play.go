package whep

import (
	"context"
	"net/netip"

	"deskwhep/encode"
)

// send sends units while the path is up. After a break it begins again with a
// key frame.
func (ses *session) send(ctx context.Context) error {
	for {
		select {
		case <-ses.path.working():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := ses.play(ctx); err != nil {
			return err
		}
	}
}

// play sends until the path is down or ctx ends.
func (ses *session) play(ctx context.Context) error {
	viewer := ses.viewer.Load()
	if viewer == nil {
		var err error
		if viewer, err = ses.join(); err != nil {
			return err
		}
		ses.viewer.Store(viewer)
	}
	defer func() {
		ses.viewer.Store(nil)
		viewer.Close()
	}()
	to, _, _ := ses.peer.Remote()
	ses.wire.Start(startRate(to.Addr()))
	o := newOutlet(viewer, ses.video, ses.wire, &ses.dropped, ses.sent)
	ses.outlet.Store(o)
	ses.sender.add(o)
	defer func() {
		ses.sender.remove(o)
		ses.outlet.Store(nil)
	}()
	select {
	case <-ses.path.broken():
		return nil
	case err := <-o.failed:
		return err
	case <-viewer.Ended():
		return encode.ErrHubEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startRate is what a path is taken to carry until its feedback tells more, in
// bits per second.
func startRate(to netip.Addr) float64 {
	switch {
	case to.IsLoopback():
		return 100e6
	case to.IsPrivate() || to.IsLinkLocalUnicast():
		return 30e6
	default:
		return 2.5e6
	}
}
