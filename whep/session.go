package whep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"deskwhep/encode"
	"deskwhep/interceptors"
)

// Why sessions end, as the log tells it.
var (
	errDeleted  = errors.New("deleted by the player")
	errGone     = errors.New("the player closed the connection")
	errLost     = errors.New("the player does not answer any more")
	errSetup    = errors.New("the player never connected")
	errShutdown = errors.New("the server is shutting down")
)

// gatherTimeout bounds the wait for our own host candidates, which are at hand.
const gatherTimeout = 2 * time.Second

// session is one viewer's WHEP session, from POST to its end.
type session struct {
	// Static after open.
	id, stream string
	join       func() (*encode.Viewer, error) // again, after a break
	pc         *webrtc.PeerConnection
	gathered   chan struct{} // capacity 1, never closed: a gathering has ended
	video      *track        // nil without video
	served     []served
	contact    bool // send checks to the player's candidates
	created    time.Time
	log        *slog.Logger
	cancel     context.CancelCauseFunc
	senders    []*webrtc.RTPSender
	wire       *interceptors.Viewer
	sender     *sender

	viewer    atomic.Pointer[encode.Viewer] // nil while nothing is sent
	outlet    atomic.Pointer[outlet]        // nil while nothing is sent
	dropped   atomic.Uint64                 // pictures
	path      *route
	connected atomic.Bool // has been, at least once

	mu         sync.Mutex // guards below, and serialises negotiation
	offer      *offer     // ufrag and pwd change with each restart
	etag       string
	version    int
	candidates int // of the player, given to the agent since the last restart
}

// open negotiates a session: it makes the stack's connection, adds a track for
// each section that is served, and returns the answer.
// The session ends when cancel is called, which it may do itself.
func (s *Server) open(st Stream, name string, o *offer, cancel context.CancelCauseFunc) (_ *session, answer string, err error) {
	video, audio, err := o.plan()
	if err != nil {
		return nil, "", err
	}
	ses := &session{
		id: randomID(), stream: name, created: time.Now(), contact: s.cfg.ContactCandidates,
		gathered: make(chan struct{}, 1), cancel: cancel, offer: o, etag: newETag(), version: 1,
		sender: s.sender, path: newRoute(),
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
	if err := ses.connect(s); err != nil {
		return "", err
	}
	t, err := ses.exchange()
	if err != nil {
		return "", err
	}
	for i := range ses.served {
		encoding := ses.senders[i].GetParameters().Encodings[0]
		ses.served[i].ssrc = uint32(encoding.SSRC)
		if ses.served[i].format.rtx != 0 {
			ses.served[i].rtx = uint32(encoding.RTX.SSRC)
		}
	}
	return writeAnswer(ses.offer, ses.served, t, random64(), s.cfg.RTCPMuxOnly), nil
}

// connect makes the stack's connection with a track for each served section.
func (ses *session) connect(s *Server) error {
	epoch := clock{epoch: ses.created, base: uint32(random64())}
	at := func(rate uint32) clock { c := epoch; c.rate = int64(rate); return c }
	ses.wire = interceptors.New(interceptors.Config{
		Keyframe: func(reason string) {
			if v := ses.viewer.Load(); v != nil {
				v.RequestKeyframe(reason)
			}
		},
		RTPTime: func(t time.Time, rate uint32) uint32 { return at(rate).rtp(t) },
		Sent:    s.ports.flush,
	})
	var media webrtc.MediaEngine
	var tracks []*track
	for _, a := range ses.served {
		section := &ses.offer.sections[a.index]
		t := newTrack(section, &a.format, at(a.format.clock), ses.wire)
		if err := t.register(&media, &a.format); err != nil {
			return err
		}
		if section.kind == "video" {
			ses.video = t
		}
		tracks = append(tracks, t)
	}
	settings := s.settings
	settings.BufferFactory = inboxes(ses.wire.Take)
	if ses.offer.setup == "passive" {
		if err := settings.SetAnsweringDTLSRole(webrtc.DTLSRoleClient); err != nil {
			return fmt.Errorf("DTLS role: %w", err)
		}
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&media), webrtc.WithInterceptorRegistry(ses.wire.Registry()))
	var err error
	if ses.pc, err = api.NewPeerConnection(webrtc.Configuration{Certificates: []webrtc.Certificate{s.certificate}}); err != nil {
		return fmt.Errorf("peer connection: %w", err)
	}
	ses.pc.OnICEGatheringStateChange(func(webrtc.ICEGatheringState) {
		select {
		case ses.gathered <- struct{}{}:
		default:
		}
	})
	ses.pc.OnConnectionStateChange(ses.changed)
	for _, t := range tracks {
		sender, err := ses.pc.AddTrack(t)
		if err != nil {
			return fmt.Errorf("add the %s track: %w", t.kind, err)
		}
		ses.senders = append(ses.senders, sender)
	}
	return nil
}

// changed follows the connection. It is called before run and during it.
func (ses *session) changed(state webrtc.PeerConnectionState) {
	switch state {
	case webrtc.PeerConnectionStateConnected:
		if !ses.connected.Swap(true) {
			ses.log.Info("viewer connected", "after", time.Since(ses.created).Round(time.Millisecond))
		}
		ses.path.set(true)
	case webrtc.PeerConnectionStateDisconnected:
		ses.path.set(false)
	case webrtc.PeerConnectionStateFailed:
		ses.path.set(false)
		ses.end(errLost)
	case webrtc.PeerConnectionStateClosed:
		ses.end(errGone)
	}
}

// end ends the session; the first reason counts.
func (ses *session) end(reason error) { ses.cancel(reason) }

// exchange gives the current offer to the stack and collects our end of the
// transport.
func (ses *session) exchange() (transport, error) {
	text := ses.offer.forStack(ses.served, ses.version)
	if err := ses.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: text}); err != nil {
		return transport{}, unservable("the WebRTC stack refuses the offer: %v", err)
	}
	answer, err := ses.pc.CreateAnswer(nil)
	if err != nil {
		return transport{}, fmt.Errorf("create the answer: %w", err)
	}
	if err := ses.pc.SetLocalDescription(answer); err != nil {
		return transport{}, fmt.Errorf("set the answer: %w", err)
	}
	if err := ses.gather(); err != nil {
		return transport{}, err
	}
	t, err := readTransport(ses.pc.LocalDescription())
	if err != nil {
		return transport{}, err
	}
	if ses.contact {
		contact(ses.pc, ses.offer.sections[ses.served[0].index].mid, ses.offer.candidates)
	}
	return t, nil
}

// gather waits for the end of a gathering, which has begun already.
func (ses *session) gather() error {
	late := time.NewTimer(gatherTimeout)
	defer late.Stop()
	for ses.pc.ICEGatheringState() != webrtc.ICEGatheringStateComplete {
		select {
		case <-ses.gathered:
		case <-late.C:
			return fmt.Errorf("gathering candidates took more than %v", gatherTimeout)
		}
	}
	return nil
}

// readTransport takes the transport's values out of the stack's description.
func readTransport(d *webrtc.SessionDescription) (t transport, err error) {
	parsed, err := d.Unmarshal()
	if err != nil {
		return t, fmt.Errorf("read our own description: %w", err)
	}
	attributes := slices.Concat(parsed.Attributes, parsed.MediaDescriptions[0].Attributes)
	for _, a := range attributes {
		switch a.Key {
		case "ice-ufrag":
			t.ufrag = a.Value
		case "ice-pwd":
			t.pwd = a.Value
		case "fingerprint":
			t.fingerprint = a.Value
		case "setup":
			t.setup = a.Value
		case "candidate":
			if f := strings.Fields(a.Value); len(f) > 1 && f[1] == "1" { // the component of RTP
				t.candidates = append(t.candidates, a.Value)
			}
		}
	}
	if len(t.candidates) == 0 {
		return t, errors.New("there is no network address to offer")
	}
	return t, nil
}

// restart restarts ICE with the player's new credentials (WHEP 4.5.3); DTLS,
// SSRCs and sequence numbers stay. The caller holds mu.
func (ses *session) restart(f fragment) (transport, error) {
	ses.offer.ufrag, ses.offer.pwd, ses.offer.candidates = f.ufrag, f.pwd, f.candidates
	ses.version++
	ses.candidates = len(f.candidates)
	ses.path.set(false) // the old pair is gone; the new one brings it up
	t, err := ses.exchange()
	if err != nil {
		return t, err
	}
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
	if ses.video != nil {
		return ses.send(ctx)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// close frees what the session holds; it may be called more than once.
func (ses *session) close() {
	if ses.pc != nil {
		_ = ses.pc.GracefulClose() // it closes what it can whatever it returns
	}
	if v := ses.viewer.Swap(nil); v != nil {
		v.Close()
	}
}

// trickle takes a player's candidates. They are checked, and contacted only if
// the server is configured to: normally the player's checks come to us. The
// caller holds mu.
func (ses *session) trickle(f fragment) {
	if !ses.contact {
		return
	}
	fresh := f.candidates[:min(len(f.candidates), maxCandidates-ses.candidates)]
	ses.candidates += len(fresh)
	contact(ses.pc, ses.offer.sections[ses.served[0].index].mid, fresh)
}
