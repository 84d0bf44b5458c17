package conformance

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

// patch is trickle, restart, or the answer to a counter-offer.
func (s *served) patch(w http.ResponseWriter, r *http.Request) {
	f := s.f
	typ := mediaType(r.Header.Get("Content-Type"))
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		f.problem(w, http.StatusBadRequest, "read")
		return
	}
	body := string(b)
	switch {
	case f.is("no-patch"):
		f.problem(w, http.StatusMethodNotAllowed, "no PATCH")
		return
	case f.is("no-op-patch"):
		w.WriteHeader(http.StatusNoContent)
		return
	case typ == typeSDP && f.counter:
		s.takeAnswer(w, body)
		return
	case typ == typeSDP && f.is("renegotiates"):
		w.WriteHeader(http.StatusOK)
		return
	case typ == typeSDP:
		f.problem(w, http.StatusUnprocessableEntity, "no renegotiation")
		return
	case typ == "application/json" && f.is("old-patch-500"):
		f.problem(w, http.StatusInternalServerError, "oops")
		return
	case typ != typeFrag && !f.is("any-patch-type"):
		f.problem(w, http.StatusUnsupportedMediaType, "send "+typeFrag)
		return
	case f.is("overlap-409") && !s.enter():
		f.problem(w, http.StatusConflict, "one at a time")
		return
	}
	defer s.leave()
	frag, err := s.readFragment(body)
	if err != nil {
		f.problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if status := s.precondition(r.Header.Get("If-Match"), frag); status != 0 {
		f.problem(w, status, "If-Match")
		return
	}
	s.mu.Lock()
	same := frag.ufrag == "" || frag.ufrag == s.ufrag
	s.mu.Unlock()
	if same {
		s.trickle(w, frag)
	} else {
		s.restart(w, frag)
	}
}

func (s *served) enter() bool {
	s.mu.Lock()
	if s.busy {
		s.mu.Unlock()
		return false
	}
	s.busy = true
	s.mu.Unlock()
	time.Sleep(50 * time.Millisecond) // so that overlapping is seen
	return true
}

func (s *served) leave() {
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
}

// fragment of a PATCH.
type fragment struct {
	ufrag, pwd string
	candidates []string
}

func (s *served) readFragment(body string) (frag fragment, err error) {
	f := s.f
	if f.is("broken-fragments") {
		return fragment{}, nil
	}
	section := false
	for l := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSpace(body), "\r\n", "\n"), "\n") {
		name, value, _ := strings.Cut(strings.TrimPrefix(l, "a="), ":")
		switch {
		case strings.HasPrefix(l, "m="):
			section = true
			if f.is("strict-fragments") && !strings.Contains(l, "SAVPF") {
				return frag, errors.New("unknown profile")
			}
		case !strings.HasPrefix(l, "a="):
			return frag, fmt.Errorf("not a fragment: %q", l)
		case name == "ice-ufrag":
			frag.ufrag = value
		case name == "ice-pwd":
			frag.pwd = value
		case name == "end-of-candidates" && f.is("end-400"):
			return frag, errors.New("no end")
		case name == "candidate" && !section:
			return frag, errors.New("candidate outside a section")
		case name == "candidate":
			value, twice := strings.CutPrefix(value, "candidate:")
			if twice && f.is("named-twice-400") {
				return frag, errors.New("broken foundation")
			}
			fields := strings.Fields(value)
			if len(fields) < 8 || fields[6] != "typ" {
				return frag, errors.New("broken candidate")
			}
			if !strings.EqualFold(fields[2], "udp") || strings.HasSuffix(fields[4], ".local") {
				if f.is("unusable-400") {
					return frag, errors.New("unusable candidate")
				}
				continue
			}
			frag.candidates = append(frag.candidates, value)
		}
	}
	if (frag.ufrag == "") != (frag.pwd == "") {
		if f.is("half-restart-ends") {
			s.f.remove(s)
			s.close()
		}
		return frag, errors.New("half of the credentials")
	}
	return frag, nil
}

// precondition returns the status to refuse with, or 0.
func (s *served) precondition(field string, frag fragment) int {
	f, tag := s.f, s.tag()
	switch {
	case field == "" && f.is("no-if-match-400"):
		return http.StatusBadRequest
	case field == "" && !f.is("lenient"):
		return http.StatusPreconditionRequired
	case f.is("any-if-match"):
		return 0
	case f.is("if-match-literal"):
		if field != tag && field != "*" {
			return http.StatusPreconditionFailed
		}
		return 0
	case f.is("star-412") && field == "*":
		return http.StatusPreconditionFailed
	case field == `"*"` && f.is("no-quoted-star"):
		return http.StatusPreconditionFailed
	case field == "" || field == "*" || field == `"*"`:
		return 0
	}
	for t := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(t) == tag {
			return 0
		}
	}
	return http.StatusPreconditionFailed
}

func (s *served) trickle(w http.ResponseWriter, frag fragment) {
	f := s.f
	s.mu.Lock()
	s.taken += len(frag.candidates)
	taken := s.taken
	s.mu.Unlock()
	if f.is("candidate-flood-500") && taken > 1000 {
		f.problem(w, http.StatusInternalServerError, "out of memory")
		return
	}
	if taken < 64 && !f.is("ignores-trickle") {
		for _, c := range frag.candidates {
			mid := s.original.media[0].get("mid")
			_ = s.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: "candidate:" + c, SDPMid: &mid})
		}
	}
	if f.is("patch-200") {
		w.Header().Set("ETag", s.tag())
		_, _ = io.WriteString(w, "thanks")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *served) restart(w http.ResponseWriter, frag fragment) {
	f := s.f
	s.mu.Lock()
	defer s.mu.Unlock()
	old, _ := parse(s.text)
	switch {
	case f.is("no-restart"):
		f.problem(w, http.StatusUnprocessableEntity, "no restart")
		return
	case f.is("no-restart-500"):
		f.problem(w, http.StatusInternalServerError, "no restart")
		return
	case f.is("restart-fake"):
		old.media[0].set("ice-ufrag", newID()[:8])
		old.media[0].set("ice-pwd", newID())
		s.text = old.String()
	default:
		offer := s.offer.clone()
		offer.lines = without(offer.lines, "ice-ufrag", "ice-pwd")
		for i, m := range offer.media {
			m.remove("candidate", "end-of-candidates")
			m.set("ice-ufrag", frag.ufrag)
			m.set("ice-pwd", frag.pwd)
			if i == 0 {
				for _, c := range frag.candidates {
					m.add("candidate:" + c)
				}
			}
		}
		if err := s.exchange(offer); err != nil {
			f.problem(w, http.StatusInternalServerError, err.Error())
			return
		}
		s.renamed.Store(f.is("restart-new-ssrc"))
	}
	s.ufrag, s.restarted = frag.ufrag, true
	if !f.is("restart-same-etag") {
		s.etag = `"` + newID() + `"`
	}
	d, err := parse(s.text)
	if err != nil {
		f.problem(w, http.StatusInternalServerError, err.Error())
		return
	}
	m := first(d.accepted())
	if f.is("restart-same-credentials") {
		m = first(old.accepted())
	}
	lines := []string{"a=ice-ufrag:" + d.either(m, "ice-ufrag"), "a=ice-pwd:" + d.either(m, "ice-pwd")}
	if !f.is("restart-no-options") {
		lines = append([]string{"a=ice-options:trickle ice2"}, lines...)
	}
	lines = append(lines, "m="+m.kind+" 9 UDP/TLS/RTP/SAVPF 0", "a=mid:"+m.get("mid"))
	if !f.is("restart-no-candidates") {
		for _, c := range m.all("candidate") {
			lines = append(lines, "a=candidate:"+c)
		}
	}
	w.Header().Set("Content-Type", typeFrag)
	if !f.is("restart-no-etag") {
		w.Header().Set("ETag", s.etag)
	}
	_, _ = io.WriteString(w, strings.Join(lines, "\r\n")+"\r\na=end-of-candidates\r\n")
}

// takeAnswer takes the answer to a counter-offer.
func (s *served) takeAnswer(w http.ResponseWriter, body string) {
	f := s.f
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending && !f.is("counter-twice") {
		f.problem(w, http.StatusUnprocessableEntity, "answered already")
		return
	}
	d, err := parse(body)
	if err != nil || len(d.media) != len(s.pc.GetTransceivers()) || d.direction(d.media[0]) != "recvonly" {
		if f.is("counter-garbage-204") {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		f.problem(w, http.StatusBadRequest, "not an answer")
		return
	}
	if s.pending {
		if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body}); err != nil {
			f.problem(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	s.pending = false
	s.ufrag = d.either(d.media[0], "ice-ufrag")
	if f.is("counter-200") {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
