package whep

import "time"

// Observer is told how long things took; several goroutines call it, and it must
// not block.
type Observer interface {
	// Joined tells that a session has come so far, and how long after its POST.
	Joined(stream string, phase Phase, after time.Duration)
	// Sent tells that all packets of a picture have left for one viewer, and how
	// long after the sender had taken it up.
	Sent(stream string, after time.Duration)
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
func (unobserved) Sent(string, time.Duration)          {}

func (ses *session) joined(p Phase, after time.Duration) {
	ses.observer.Joined(ses.stream, p, after)
}

// sent is told when a picture has left.
func (ses *session) sent(after time.Duration) {
	if !ses.shown.Load() {
		ses.shown.Store(true)
		ses.joined(Shown, time.Since(ses.created))
	}
	ses.observer.Sent(ses.stream, after)
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
		for _, ses := range s.sessions {
			if ses.stream == name {
				t.add(ses)
			}
		}
		all[name] = t
	}
	return all
}

// leave makes a session unknown; its counts stay. The caller holds mu.
func (s *Server) leave(ses *session) {
	if s.sessions[ses.id] != ses {
		return
	}
	delete(s.sessions, ses.id)
	t := s.past[ses.stream]
	t.add(ses)
	s.past[ses.stream] = t
}
