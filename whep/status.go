package whep

import (
	"cmp"
	"slices"
	"time"
)

// ViewerStatus is one session's state at a moment, for people and monitoring.
// It does not tell the session's secret URL.
type ViewerStatus struct {
	Session   string  `json:"session"` // the first characters of its id, as in the log
	Stream    string  `json:"stream"`
	Codecs    string  `json:"codecs"`
	Seconds   float64 `json:"seconds"` // since the POST
	Connected bool    `json:"connected"`
	Transport string  `json:"transport,omitempty"` // udp4, udp6, tcp4 or tcp6
	Address   string  `json:"address,omitempty"`   // of the player, where its media goes

	RTT    float64 `json:"rttMs"`     // zero while unknown
	Loss   float64 `json:"loss"`      // share of packets, as last reported
	Jitter float64 `json:"jitterMs"`  // as last reported
	Rate   float64 `json:"bitrate"`   // bits per second of video, over the last second or so
	Path   float64 `json:"estimate"`  // bits per second that the path is taken to carry
	Narrow bool    `json:"congested"` // the path was overused in the last seconds

	Packets   uint64  `json:"packets"`   // of video, without repairs
	Bytes     uint64  `json:"bytes"`     // in their payloads
	Nacked    uint64  `json:"nacked"`    // packets that the player asked for again
	Repaired  uint64  `json:"repaired"`  // packets sent again
	Refused   uint64  `json:"refused"`   // not sent again for want of budget
	Lost      uint64  `json:"lost"`      // not sent again any more; a key frame had to help
	Asked     uint64  `json:"asked"`     // key frames that the player asked for
	FromCache uint64  `json:"fromCache"` // of them answered by one that had just been sent
	Queue     float64 `json:"queueMs"`   // how long the oldest waiting picture has waited
	Dropped   uint64  `json:"dropped"`   // pictures not sent for want of time or room
	Lean      bool    `json:"lean"`      // the top temporal layer is left out, where the codec has one
}

// ViewerStatus tells of all sessions, the oldest first.
func (s *Server) ViewerStatus() []ViewerStatus {
	s.mu.Lock()
	sessions := make([]*session, 0, len(s.sessions))
	for _, ses := range s.sessions {
		sessions = append(sessions, ses)
	}
	s.mu.Unlock()
	slices.SortFunc(sessions, func(a, b *session) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id))
	})
	list := make([]ViewerStatus, len(sessions))
	for i, ses := range sessions {
		list[i] = ses.status()
	}
	return list
}

func (ses *session) status() ViewerStatus {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	st := ViewerStatus{
		Session: ses.id[:8], Stream: ses.stream, Codecs: ses.codecs(),
		Seconds: time.Since(ses.created).Seconds(), Connected: ses.path.isUp(),
	}
	if to, network, ok := ses.peer.Remote(); ok {
		st.Transport, st.Address = network, to.Addr().Unmap().String()
	}
	var ssrc uint32
	for _, a := range ses.served {
		if a.format.codec != "" {
			ssrc = a.ssrc
		}
	}
	w := ses.wire.Stats(ssrc)
	st.RTT, st.Loss, st.Jitter, st.Rate = ms(w.RTT), w.Loss, ms(w.Jitter), w.Rate
	st.Path, st.Narrow = w.Estimate.Target, w.Estimate.Congested
	st.Packets, st.Bytes = w.Packets, w.Bytes
	st.Nacked, st.Repaired, st.Refused, st.Lost = w.Repairs.Nacked, w.Repairs.Repaired, w.Repairs.Refused, w.Repairs.Lost
	st.Asked, st.FromCache = w.KeyframesWant, w.Repairs.Keyframes
	st.Dropped = ses.dropped.Load()
	if o := ses.outlet.Load(); o != nil {
		st.Queue, st.Lean = ms(time.Duration(o.waited.Load())), o.lean.Load()
	}
	return st
}
