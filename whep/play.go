package whep

import (
	"context"
	"net/netip"

	"github.com/pion/webrtc/v4"

	"deskwhep/encode"
)

// send sends units while the path is up. After a break it begins again with a
// key frame.
func (ses *session) send(ctx context.Context) error {
	for {
		for _, ready := range []<-chan struct{}{ses.path.working(), ses.video.bound} {
			select {
			case <-ready:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
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
	ses.wire.Start(startRate(ses.remote()))
	o := newOutlet(viewer, ses.video, ses.wire.Estimate, &ses.dropped)
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

// remote is the address that media goes to; invalid if it is not known.
func (ses *session) remote() (remote netip.Addr) {
	pair, err := ses.senders[0].Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return remote
	}
	return pairAddress(pair)
}

func pairAddress(pair *webrtc.ICECandidatePair) netip.Addr {
	remote, _ := netip.ParseAddr(pair.Remote.Address)
	return remote.Unmap()
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
