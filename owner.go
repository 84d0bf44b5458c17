package main

import (
	"net/http"
	"strings"

	"deskwhep/whep"
)

// owner is what only the owner of the screen may do: see who watches, end a
// viewer, pause. Where there are tokens that is who has one, and otherwise who
// sits at this machine.
func (s *site) owner(h http.HandlerFunc) http.Handler {
	return tokenOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.tokens && !whep.FromHere(r) {
			http.Error(w, "without a token only the owner may do this, on the machine itself, by one of its own names such as localhost", http.StatusForbidden)
			return
		}
		h(w, r)
	}))
}

// tokenOnly refuses links, whose tokens open the streams and nothing else. That
// the token is valid has been checked.
func tokenOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(whep.Token(r), linkPrefix) {
			http.Error(w, "a view-only link does not open this; use the token", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// viewers tells who watches, and whether the streams are paused.
func (s *site) viewers(w http.ResponseWriter, _ *http.Request) {
	paused, _ := s.privacy.now()
	write(w, struct {
		Paused  bool                `json:"paused"`
		Viewers []whep.ViewerStatus `json:"viewers"`
	}{paused, s.server.ViewerStatus()})
}

// endViewer ends the session in the path.
func (s *site) endViewer(w http.ResponseWriter, r *http.Request) {
	if !s.server.End(r.PathValue("session")) {
		http.Error(w, "nobody watches under this name; /viewers lists the sessions", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// pause pauses the streams with PUT, and goes on with them with DELETE.
func (s *site) pause(w http.ResponseWriter, r *http.Request) {
	if paused := r.Method == http.MethodPut; s.privacy.set(paused) {
		s.log.Info("pause", "paused", paused)
	}
	w.WriteHeader(http.StatusNoContent)
}
