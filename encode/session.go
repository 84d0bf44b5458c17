package encode

import (
	"context"
	"fmt"
	"image"
	"time"

	"deskwhep/capture"
	"deskwhep/encode/yuv"
)

// After so many failures of the encoder in a row the hub gives up.
const maxFailures = 3

// session is a hub's work with one tap. Owned by the goroutine of Hub.Run.
type session struct {
	hub        *Hub
	enc        Encoder
	packetizer Packetizer
	frames     *pump
	asked      bool      // the pump owes a frame
	lonely     time.Time // since when nobody watches; zero while somebody does

	screen  image.Point    // size of the frames
	taken   time.Time      // when the last frame was captured
	scaler  yuv.Scaler     // used for frames that are too large
	picture yuv.Picture    // the newest; kept to pay key frames from and to refine
	pending capture.Damage // in picture, and not yet in a unit
	coarse  bool           // the encoder can make the picture sharper

	captured time.Time // of the last unit; at first a second before the session
	moved    time.Time // when the encoding of a changed picture last began
	left     time.Time // when the last unit left
	notYet   time.Time // the kept picture is not tried again before this
	tried    time.Time // when the last attempt began
	clock    time.Time // the encoder's
	alone    bool      // the last unit was of layer 0 and the screen moved; the next may be of the top layer
	restart  bool      // the encoder has given nothing yet
	failures int       // in a row

	bitrate int // of the encoder, bit/s
	limit   limit
	load    load
}

// feedError is an error of the tap, for which no encoder is to blame.
type feedError struct{ error }

func (e *feedError) Error() string { return "next frame: " + e.error.Error() }
func (e *feedError) Unwrap() error { return e.error }

// newSession begins with a frame asked for.
func newSession(h *Hub, enc Encoder, packetizer Packetizer, frames *pump) *session {
	now := time.Now()
	return &session{
		hub: h, enc: enc, packetizer: packetizer, frames: frames,
		captured: now.Add(-time.Second), tried: now, clock: now, restart: true, asked: true,
		bitrate: h.cfg.Bitrate, load: newLoad(h.cfg.FPS),
	}
}

// run works until nobody has watched for the linger, ctx ends, or an error.
func (s *session) run(ctx context.Context) (err error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, over := s.plan(time.Now())
		if over {
			return nil
		}
		timer.Reset(time.Until(next))
		fresh := false
		select {
		case <-ctx.Done():
			return nil
		case f := <-s.frames.got:
			if fresh, err = s.take(f); err != nil {
				return unlessOver(ctx, err)
			}
		case <-s.hub.wake:
		case <-timer.C:
		}
		if !fresh { // what is new comes before what is repeated
			select {
			case f := <-s.frames.got:
				if fresh, err = s.take(f); err != nil {
					return unlessOver(ctx, err)
				}
			default:
			}
		}
		if err := s.turn(fresh, time.Now()); err != nil {
			return err
		}
	}
}

// unlessOver is err, or nil if ctx has ended.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// plan asks for a frame if somebody watches and it can be encoded at once, and
// tells until when there is nothing else to do, or that the session is over.
func (s *session) plan(now time.Time) (next time.Time, over bool) {
	if !s.hub.watched() {
		if s.lonely.IsZero() {
			s.lonely = now
		}
		next = s.lonely.Add(s.hub.cfg.Linger)
		return next, !next.After(now)
	}
	s.lonely = time.Time{}
	next = s.due()
	if !s.asked {
		at := s.limit.ready(aheadMoving, dropped)
		if slowed := s.moved.Add(s.load.interval); s.load.interval > s.load.fastest && slowed.After(at) {
			at = slowed
		}
		if at.After(now) {
			return earlier(at, next), false
		}
		s.frames.ask()
		s.asked = true
	}
	return next, false
}

// due tells when the kept picture is to be encoded again.
func (s *session) due() time.Time {
	if s.picture.Size.X == 0 {
		return time.Now().Add(time.Hour)
	}
	var at time.Time
	switch {
	case !s.pending.Empty(): // the encoder failed or dropped it
		at = s.limit.ready(aheadMoving, dropped)
	case s.coarse:
		at = later(s.left.Add(refineEvery), s.limit.ready(aheadStill, refined))
	default:
		at = s.left.Add(keepAlive)
	}
	if key, owed := s.hub.keyDue(); owed {
		at = earlier(at, later(key, s.limit.budget.ready(aheadKey)))
	}
	return later(at, s.notYet)
}

// take converts what has changed, gives the frame back, and tells whether
// anything had changed.
func (s *session) take(u fetched) (fresh bool, err error) {
	s.asked = false
	if u.err != nil {
		return false, &feedError{u.err}
	}
	defer u.Frame.Release()
	if u.Frame.Size != s.screen {
		u.Damage = capture.Everywhere()
	}
	if u.Damage.Empty() {
		return false, nil
	}
	s.screen, s.taken = u.Frame.Size, u.Frame.Captured
	size := s.hub.cfg.fit(s.screen)
	if size != s.picture.Size && s.picture.Size != (image.Point{}) {
		s.hub.RequestKeyframe("size")
	}
	if size != s.screen {
		u.Damage = s.scaler.Convert(&s.picture, size, u.Frame, &u.Damage)
	} else {
		yuv.Convert(&s.picture, u.Frame, &u.Damage)
	}
	s.pending.Union(&u.Damage)
	return true, nil
}

// turn encodes the picture if it is fresh, or due, and somebody watches.
func (s *session) turn(fresh bool, now time.Time) error {
	if !s.hub.watched() || !fresh && s.due().After(now) {
		return nil
	}
	return s.encode(now)
}

func (s *session) encode(now time.Time) error {
	at, owed := s.hub.keyDue()
	key := s.restart || owed && !later(at, s.limit.budget.ready(aheadKey)).After(now)
	moving := !s.pending.Empty()
	s.clock = s.clock.Add(pace(now.Sub(s.tried), s.load.interval, moving || key))
	s.tried = now
	u := &Unit{Size: s.picture.Size}
	if moving && !key && s.alone && s.hub.layered() {
		u.Layer = TopLayer
	}
	err := s.make(u, key, now)
	if err != nil {
		return s.rebuild(err, now)
	}
	s.failures = 0
	done := time.Now()
	if moving && !u.Key {
		s.load.spent(done.Sub(now), done)
	}
	if wait := s.load.interval; len(u.Payloads) == 0 || key && !u.Key {
		if !moving && !key {
			wait = 3 * wait // there is no hurry
		}
		s.notYet = done.Add(wait)
	}
	if len(u.Payloads) == 0 {
		s.hub.count(func(st *Status) { st.Dropped++ })
		return nil
	}
	if moving || u.Key {
		s.moved, s.coarse = now, true
	}
	s.pending.Clear()
	s.alone = moving && u.Layer == 0
	s.restart = false
	s.left = done
	s.captured = s.stamp(moving, now)
	u.Captured = s.captured
	s.limit.spend(u.Bytes, u.Key, done)
	s.hub.publish(u, done, &s.load)
	return nil
}

// stamp is the time of the next unit: that at which its picture was captured if
// it is new. What is repeated is what the screen shows now; of what it will show
// next some may have been captured already. Times increase.
func (s *session) stamp(moving bool, now time.Time) time.Time {
	soon := s.captured.Add(100 * time.Microsecond)
	switch {
	case moving && s.taken.After(s.captured):
		return s.taken
	case moving && now.Sub(s.taken) < time.Second:
		return soon
	default:
		return later(now.Add(-onTheWay), soon)
	}
}

// make encodes the picture for u, with the result, which may be nothing, in
// its payloads.
func (s *session) make(u *Unit, key bool, now time.Time) error {
	s.limit.set(s.hub.wantedBitrate())
	if target := s.limit.target(now); target != s.bitrate {
		if err := s.enc.SetBitrate(target); err != nil {
			return err
		}
		s.bitrate = target
	}
	var data []byte
	var err error
	spares, ok := s.enc.(SpareEncoder)
	switch spare := ok && u.Layer == TopLayer; {
	case s.pending.Empty() && !key:
		data, s.coarse, err = s.enc.Refine(&s.picture, s.limit.room(now), s.clock)
	case spare:
		data, u.Key, err = spares.EncodeSpare(&s.picture, &s.pending, s.clock)
	default:
		u.Layer = 0
		data, u.Key, err = s.enc.Encode(&s.picture, &s.pending, key, s.clock)
	}
	if err != nil || len(data) == 0 {
		return err
	}
	if u.Key {
		u.Layer = 0
	}
	u.Payloads, err = s.packetizer.Packetize(data, u.Key, u.Layer)
	for _, p := range u.Payloads {
		u.Bytes += len(p)
	}
	return err
}

// rebuild replaces an encoder that has failed with err. The picture is tried
// again with the new one.
func (s *session) rebuild(err error, now time.Time) error {
	s.hub.count(func(st *Status) { st.Failures++ })
	s.hub.RequestKeyframe("failure")
	if s.failures++; s.failures == maxFailures {
		return fmt.Errorf("the encoder failed %d times in a row: %w", s.failures, err)
	}
	s.hub.cfg.Log.Warn("encoder failed; a new one takes over", "error", err)
	s.enc.Close()                    // the error that matters is err
	s.enc, _, err = s.hub.cfg.Open() // the numbers of the old packetizer go on
	if err != nil {
		return fmt.Errorf("open the encoder again: %w", err)
	}
	s.restart, s.bitrate = true, s.hub.cfg.Bitrate
	s.pending = capture.Everywhere()
	s.notYet = now.Add(s.load.interval)
	return nil
}
