package whep

import "time"

// Observer is told how long things took; several goroutines call it, and it must
// not block.
type Observer interface {
	// Joined tells that a session has come so far, and how long after its POST.
	Joined(stream string, phase Phase, after time.Duration)
	// Sent makes what is told, for each picture and viewer of a stream, that all of
	// its packets have left, and how long after the sender had taken it up. It is
	// called once for each session.
	Sent(stream string) func(after time.Duration)
}

// Phase is how far a session has come.
type Phase string

// The phases, each of which a session reaches once, in this order.
const (
	Answered  Phase = "post"          // the answer is made
	Reached   Phase = "ice"           // there is a path to the player
	Connected Phase = "dtls"          // and keys: media can leave
	Shown     Phase = "first_picture" // which has left
)

// unobserved is the Observer of whom nobody wants to know.
type unobserved struct{}

func (unobserved) Joined(string, Phase, time.Duration) {}
func (unobserved) Sent(string) func(time.Duration)     { return func(time.Duration) {} }

func (ses *session) joined(p Phase, after time.Duration) {
	ses.observer.Joined(ses.stream, p, after)
}

// sent is told when a picture has left.
func (ses *session) sent(after time.Duration) {
	if !ses.shown.Load() {
		ses.shown.Store(true)
		ses.joined(Shown, time.Since(ses.created))
	}
	ses.observed(after)
}

// Totals are counts over all sessions of a stream since the server began.
type Totals struct {
	Sessions uint64
	Packets  uint64 // of video, without repairs
	Bytes    uint64 // in their payloads
	Repaired uint64 // packets sent again
	Nacked   uint64 // packets that players asked for again
	Dropped  uint64 // pictures not sent for want of time or room
}

func (t *Totals) add(ses *session) {
	v := ses.status()
	t.Sessions++
	t.Packets += v.Packets
	t.Bytes += v.Bytes
	t.Repaired += v.Repaired
	t.Nacked += v.Nacked
	t.Dropped += v.Dropped
}

// Totals tells what has been sent, by stream. A count never becomes smaller.
func (s *Server) Totals() map[string]Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Totals{}
	for name := range s.cfg.Streams {
		t := s.past[name]
		for ses := range s.counted {
			if ses.stream == name {
				t.add(ses)
			}
		}
		all[name] = t
	}
	return all
}

// settle forgets a session that has ended, but for its counts.
func (s *Server) settle(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, ses.id)
	delete(s.counted, ses)
	t := s.past[ses.stream]
	t.add(ses)
	s.past[ses.stream] = t
}
