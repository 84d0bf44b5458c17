package whep

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"deskwhep/encode"
	"deskwhep/interceptors"
	"deskwhep/whep/peer"
)

// Why sessions end, as the log tells it.
var (
	errDeleted  = errors.New("deleted by the player")
	errSetup    = errors.New("the player never connected")
	errShutdown = errors.New("the server is shutting down")
)

// session is one viewer's WHEP session, from POST to its end.
type session struct {
	// Static after open.
	id, stream string
	join       func() (*encode.Viewer, error) // again, after a break
	peer       *peer.Conn
	video      *track // nil without video
	served     []served
	contact    bool // send checks to the player's candidates
	created    time.Time
	log        *slog.Logger
	cancel     context.CancelCauseFunc
	wire       *interceptors.Viewer
	sender     *sender
	observer   Observer
	observed   func(after time.Duration) // Observer.Sent

	viewer    atomic.Pointer[encode.Viewer] // nil while nothing is sent
	outlet    atomic.Pointer[outlet]        // nil while nothing is sent
	dropped   atomic.Uint64                 // pictures
	shown     atomic.Bool                   // a picture has left
	path      *route
	found     atomic.Bool // a path, at least once
	connected atomic.Bool // has been, at least once

	mu         sync.Mutex // guards below, and serialises negotiation
	offer      *offer     // ufrag and pwd change with each restart
	etag       string
	candidates int // of the player, given to the agent since the last restart
}

// open negotiates a session: it makes the connection, binds a track for each
// section that is served, and returns the answer. The session ends when cancel
// is called, which it may do itself.
func (s *Server) open(st Stream, name string, o *offer, cancel context.CancelCauseFunc) (_ *session, answer string, err error) {
	video, audio, err := o.plan()
	if err != nil {
		return nil, "", err
	}
	ses := &session{
		id: randomID(), stream: name, created: time.Now(), contact: s.cfg.ContactCandidates,
		cancel: cancel, offer: o, etag: newETag(),
		sender: s.sender, observer: s.cfg.Observer, observed: s.cfg.Observer.Sent(name), path: newRoute(),
	}
	ses.log = s.log.With("session", ses.id[:8], "stream", name)
	defer func() {
		if err != nil {
			ses.close()
		}
	}()
	if video >= 0 {
		// Now, so that its key frame is ready when the connection is.
		viewer, f, err := watch(st, o.sections[video].formats)
		if err != nil {
			return nil, "", err
		}
		ses.viewer.Store(viewer)
		ses.join = func() (*encode.Viewer, error) {
			v, _, err := watch(st, []format{f})
			return v, err
		}
		ses.served = append(ses.served, served{index: video, format: f})
	}
	if audio >= 0 {
		f := slices.MinFunc(o.sections[audio].formats, func(a, b format) int { return a.rank - b.rank })
		ses.served = append(ses.served, served{index: audio, format: f})
	}
	slices.SortFunc(ses.served, func(a, b served) int { return a.index - b.index })
	if answer, err = ses.negotiate(s); err != nil {
		return nil, "", err
	}
	return ses, answer, nil
}

// narrowed is a stream of which only some codecs are wanted.
type narrowed struct {
	Stream
	codecs []string
}

// narrow keeps the codecs that ?codec= names; without it all.
func narrow(st Stream, codecs []string) Stream {
	if len(codecs) == 0 {
		return st
	}
	return narrowed{st, codecs}
}

// Join implements Stream.
func (n narrowed) Join(wants []encode.Want) (*encode.Viewer, encode.Codec, error) {
	wants = slices.DeleteFunc(wants, func(w encode.Want) bool {
		return !slices.ContainsFunc(n.codecs, func(c string) bool { return strings.EqualFold(c, string(w.Codec)) })
	})
	if len(wants) == 0 {
		return nil, "", unservable("?codec=%s names no codec that the player offers", clip(strings.Join(n.codecs, ",")))
	}
	return n.Stream.Join(wants)
}

// watch joins the stream with one of the formats, and tells with which: of the
// codec's payload types the best.
func watch(st Stream, formats []format) (*encode.Viewer, format, error) {
	var wants []encode.Want
	for _, f := range formats {
		if !slices.ContainsFunc(wants, func(w encode.Want) bool { return w.Codec == f.codec }) {
			wants = append(wants, encode.Want{Codec: f.codec, MaxFS: f.maxFS})
		}
	}
	viewer, codec, err := st.Join(wants)
	if err != nil {
		return nil, format{}, err
	}
	best := -1
	for i, f := range formats {
		if f.codec == codec && (best < 0 || f.rank < formats[best].rank) {
			best = i
		}
	}
	return viewer, formats[best], nil
}

func (ses *session) negotiate(s *Server) (string, error) {
	epoch := clock{epoch: ses.created, base: uint32(random64())}
	at := func(rate uint32) clock { c := epoch; c.rate = int64(rate); return c }
	ses.wire = interceptors.New(interceptors.Config{
		Keyframe: func(reason string) {
			if v := ses.viewer.Load(); v != nil {
				v.RequestKeyframe(reason)
			}
		},
		Repeated: func(reason string) {
			if v := ses.viewer.Load(); v != nil {
				v.KeyframeRepeated(reason)
			}
		},
		RTPTime: func(t time.Time, rate uint32) uint32 { return at(rate).rtp(t) },
		Waiting: s.sender.Wake,
	})
	var err error
	if ses.peer, err = peer.Open(&s.peers, ses.offer.remote(), ses.wire.Registry(), ses.reached); err != nil {
		return "", err
	}
	for i := range ses.served {
		a := &ses.served[i]
		a.ssrc = uint32(random64()) | 1 // not 0
		if a.format.rtx != 0 {
			a.rtx = a.ssrc ^ 1<<31
		}
		section := &ses.offer.sections[a.index]
		t, err := bind(ses.peer.Bind, section, a, at(a.format.clock), ses.wire)
		if err != nil {
			return "", err
		}
		if section.kind == "video" {
			ses.video = t
		}
	}
	t, err := ses.transport(s.fingerprint)
	if err != nil {
		return "", err
	}
	ses.call(ses.offer.candidates)
	return writeAnswer(ses.offer, ses.served, t, random64(), s.cfg.RTCPMuxOnly), nil
}

// reached follows whether media can reach the player.
func (ses *session) reached(s peer.State) {
	if s >= peer.Reachable && !ses.found.Swap(true) {
		ses.joined(Reached, time.Since(ses.created))
	}
	if s == peer.Up && !ses.connected.Swap(true) {
		after := time.Since(ses.created)
		ses.joined(Connected, after)
		ses.log.Info("viewer connected", "after", after.Round(time.Millisecond))
	}
	ses.path.set(s == peer.Up)
}

// end ends the session; the first reason counts.
func (ses *session) end(reason error) { ses.cancel(reason) }

// transport is our end of the connection.
func (ses *session) transport(fingerprint string) (transport, error) {
	local, err := ses.peer.Local()
	if err != nil {
		return transport{}, err
	}
	t := transport{Local: local, fingerprint: fingerprint, setup: "passive"}
	if ses.offer.setup == "passive" {
		t.setup = "active"
	}
	return t, nil
}

// call sends checks to the player's candidates, if the server is configured to.
// What cannot be used is dropped (WHEP 4.5.2).
func (ses *session) call(candidates []string) {
	if !ses.contact {
		return
	}
	for _, c := range candidates {
		_ = ses.peer.Contact(c)
	}
}

// restart restarts ICE with the player's new credentials (WHEP 4.5.3); DTLS,
// SSRCs and sequence numbers stay. The caller holds mu.
func (ses *session) restart(f fragment) (transport, error) {
	if err := ses.peer.Restart(f.ufrag, f.pwd); err != nil {
		return transport{}, err
	}
	t, err := ses.transport("")
	if err != nil {
		return t, err
	}
	ses.offer.ufrag, ses.offer.pwd, ses.offer.candidates = f.ufrag, f.pwd, f.candidates
	ses.candidates = len(f.candidates)
	ses.call(f.candidates)
	ses.etag = newETag()
	return t, nil
}

// run serves the session until it ends, and returns why.
func (ses *session) run(ctx context.Context, setup time.Duration) error {
	unconnected := time.AfterFunc(setup, func() {
		if !ses.connected.Load() {
			ses.end(errSetup)
		}
	})
	defer unconnected.Stop()
	defer ses.close()
	var sending sync.WaitGroup
	defer sending.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if ses.video != nil {
		sending.Go(func() { cancel(ses.send(ctx)) })
	}
	return ses.peer.Run(ctx)
}

// close frees what the session holds; it may be called more than once.
func (ses *session) close() {
	if ses.peer != nil {
		ses.peer.Close()
	}
	if v := ses.viewer.Swap(nil); v != nil {
		v.Close()
	}
}

// trickle takes a player's candidates. They are checked, and contacted only if
// the server is configured to: normally the player's checks come to us. The
// caller holds mu.
func (ses *session) trickle(f fragment) {
	fresh := f.candidates[:min(len(f.candidates), maxCandidates-ses.candidates)]
	ses.candidates += len(fresh)
	ses.call(fresh)
}
