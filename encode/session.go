package encode

import (
	"context"
	"fmt"
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

	picture  yuv.Picture    // the newest; kept to pay key frames from
	pending  capture.Damage // in picture, and not yet in a unit
	captured time.Time      // of the last unit; at first when the session began
	asked    bool           // the pump owes a frame
	restart  bool           // the encoder has given nothing yet
	notYet   time.Time      // no attempt with the kept picture before this
	failures int            // in a row
	lonely   time.Time      // since when nobody watches; zero while somebody does
}

// run works until nobody has watched for the linger, ctx ends, or an error.
func (s *session) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, over := s.plan(time.Now())
		if over {
			return nil
		}
		timer.Reset(time.Until(next))
		var captured time.Time // of a new picture
		select {
		case <-ctx.Done():
			return nil
		case f := <-s.frames.got:
			s.asked = false
			if f.err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("next frame: %w", f.err)
			}
			captured = s.take(f.Update)
		case <-s.hub.wake:
		case <-timer.C:
		}
		if err := s.turn(captured, time.Now()); err != nil {
			return err
		}
	}
}

// plan asks for a frame if somebody watches, and tells until when there is
// nothing else to do, or that the session is over.
func (s *session) plan(now time.Time) (next time.Time, over bool) {
	if !s.hub.watched() {
		if s.lonely.IsZero() {
			s.lonely = now
		}
		next = s.lonely.Add(s.hub.cfg.Linger)
		return next, !next.After(now)
	}
	s.lonely = time.Time{}
	if !s.asked {
		s.frames.ask()
		s.asked = true
	}
	if at, due := s.due(); due {
		return at, false
	}
	return now.Add(time.Hour), false
}

// due tells when the kept picture is to be encoded, if it is: to pay a key
// frame, or because the encoder failed or dropped it.
func (s *session) due() (at time.Time, due bool) {
	if s.picture.Size.X == 0 {
		return time.Time{}, false
	}
	if !s.pending.Empty() {
		return s.notYet, true
	}
	at, due = s.hub.keyDue()
	if s.notYet.After(at) {
		at = s.notYet
	}
	return at, due
}

// take converts what has changed, gives the frame back, and returns the time of
// its capture if anything had changed.
func (s *session) take(u capture.Update) (captured time.Time) {
	defer u.Frame.Release()
	if u.Frame.Size != s.picture.Size {
		u.Damage = capture.Everywhere()
	}
	if u.Damage.Empty() {
		return time.Time{}
	}
	yuv.Convert(&s.picture, u.Frame, &u.Damage)
	s.pending.Union(&u.Damage)
	return u.Frame.Captured
}

// turn encodes the picture if it is new, or due, and somebody watches.
func (s *session) turn(captured, now time.Time) error {
	if !s.hub.watched() {
		return nil
	}
	if captured.IsZero() {
		if at, due := s.due(); !due || at.After(now) {
			return nil
		}
	}
	// The kept picture is what the screen shows now, and so is a frame from
	// before the session. RTP times must increase.
	if !captured.After(s.captured) {
		captured = now
		if !captured.After(s.captured) {
			captured = s.captured.Add(100 * time.Microsecond)
		}
	}
	return s.encode(captured, now)
}

func (s *session) encode(captured, now time.Time) error {
	at, owed := s.hub.keyDue()
	key := s.restart || owed && !at.After(now)
	data, isKey, err := s.enc.Encode(&s.picture, &s.pending, key, captured)
	var payloads [][]byte
	if err == nil && len(data) > 0 {
		payloads, err = s.packetizer.Packetize(data, isKey)
	}
	if err != nil {
		return s.rebuild(err, now)
	}
	s.failures = 0
	if len(payloads) == 0 || key && !isKey {
		s.notYet = now.Add(time.Second / time.Duration(max(s.hub.cfg.FPS, 1)))
	}
	if len(payloads) == 0 {
		s.hub.count(func(st *Status) { st.Dropped++ })
		return nil
	}
	s.pending.Clear()
	s.restart = false
	s.captured = captured
	u := &Unit{Key: isKey, Captured: captured, Size: s.picture.Size, Payloads: payloads}
	for _, p := range payloads {
		u.Bytes += len(p)
	}
	s.hub.publish(u, time.Now())
	return nil
}

// rebuild replaces an encoder that has failed with err. The picture is tried
// again with the new one.
func (s *session) rebuild(err error, now time.Time) error {
	s.hub.count(func(st *Status) { st.Failures++ })
	if s.failures++; s.failures == maxFailures {
		return fmt.Errorf("the encoder failed %d times in a row: %w", s.failures, err)
	}
	s.hub.cfg.Log.Warn("encoder failed; a new one takes over", "error", err)
	s.enc.Close()                    // the error that matters is err
	s.enc, _, err = s.hub.cfg.Open() // the numbers of the old packetizer go on
	if err != nil {
		return fmt.Errorf("open the encoder again: %w", err)
	}
	s.restart = true
	s.pending = capture.Everywhere()
	s.notYet = now
	return nil
}
