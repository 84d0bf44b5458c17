package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"deskwhep/encode"
	"deskwhep/whep"
)

// site is what the program serves beside WHEP.
type site struct {
	privacy *privacy
	tokens  bool // viewers need one
	timings timings
	log     *slog.Logger
	shows   []*show      // the desktop first; static once served
	server  *whep.Server // set before anything is served

	mu   sync.Mutex // guards below
	last sums       // of a second ago, for the line
}

// sums are counts over all streams.
type sums struct {
	at           time.Time
	units, bytes uint64
}

// public adds to the pages what needs no token.
func (s *site) public(pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.HandleFunc("GET /healthz", s.health)
	return mux
}

// guarded is what needs a token, where there are tokens.
func (s *site) guarded() map[string]http.Handler {
	return map[string]http.Handler{
		"/streams": http.HandlerFunc(s.list),
		"/time":    http.HandlerFunc(now),
		"/metrics": tokenOnly(s.metrics()),

		"/viewers":                 s.owner(s.viewers),
		"DELETE /viewers/:session": s.owner(s.endViewer),
		"PUT /pause":               s.owner(s.pause),
		"DELETE /pause":            s.owner(s.pause),
	}
}

func (s *site) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	paused, _ := s.privacy.now()
	write(w, struct {
		Status  string `json:"status"`
		Streams int    `json:"streams"`
		Viewers int    `json:"viewers"`
		Paused  bool   `json:"paused"`
	}{"ok", len(s.shows), s.server.Viewers(), paused})
}

// now is the server's clock, with which pages measure latency.
func now(w http.ResponseWriter, _ *http.Request) {
	write(w, struct {
		UnixMS float64 `json:"unixMs"`
	}{float64(time.Now().UnixMicro()) / 1000})
}

// streamJSON is a stream in the list.
type streamJSON struct {
	Name    string         `json:"name"`
	WHEP    string         `json:"whep"`
	Player  string         `json:"player"`
	OBS     string         `json:"obs"`
	Codecs  []encode.Codec `json:"codecs"`
	FPS     int            `json:"fps"`
	Size    *[2]int        `json:"size,omitempty"` // pixels, once somebody has watched
	Viewers int            `json:"viewers"`
	Trouble string         `json:"trouble,omitempty"` // why viewers see the card
}

func (s *site) list(w http.ResponseWriter, _ *http.Request) {
	viewers := map[string]int{}
	for _, v := range s.server.ViewerStatus() {
		viewers[v.Stream]++
	}
	list := struct {
		Default string       `json:"default"`
		Streams []streamJSON `json:"streams"`
	}{Default: s.shows[0].name}
	for _, on := range s.shows {
		status := on.feed.Status()
		entry := streamJSON{
			Name: on.name, WHEP: "/whep/" + on.name, Player: "/play/" + on.name, OBS: "/obs/" + on.name,
			Codecs: on.picture.Codecs, FPS: on.picture.FPS, Viewers: viewers[on.name], Trouble: status.Trouble,
		}
		if size := status.Info.Size; size.X > 0 {
			entry.Size = &[2]int{size.X, size.Y}
		}
		list.Streams = append(list.Streams, entry)
	}
	write(w, list)
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// line is the status in one line.
func (s *site) line() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	viewers := s.server.Viewers()
	state := ""
	if paused, _ := s.privacy.now(); paused {
		state = "PAUSED | "
	}
	if viewers == 0 {
		s.last = sums{}
		return state + "nobody is watching"
	}
	next := sums{at: time.Now()}
	var running []string
	for _, on := range s.shows {
		for _, t := range on.encoded.Totals() {
			next.units += t.Units
			next.bytes += t.Bytes
		}
		for _, h := range on.encoded.Status() {
			if h.Running {
				running = append(running, fmt.Sprintf("%s %s %dx%d", on.name, h.Codec, h.Size.X, h.Size.Y))
			}
		}
	}
	text := fmt.Sprintf("%s%d watching", state, viewers)
	if before := s.last; !before.at.IsZero() {
		seconds := next.at.Sub(before.at).Seconds()
		text += fmt.Sprintf(" | %.0f fps | %.2f Mbit/s each",
			float64(next.units-before.units)/seconds/float64(max(1, len(running))),
			float64(next.bytes-before.bytes)*8/1e6/seconds/float64(max(1, len(running))))
	}
	s.last = next
	slices.Sort(running)
	return strings.Join(append([]string{text}, running...), " | ")
}
