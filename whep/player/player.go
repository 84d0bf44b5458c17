// Package player holds the pages that play a stream: plain files, compiled in,
// that load nothing from elsewhere.
package player

import (
	"bytes"
	"embed"
	"net/http"
	"strings"
	"time"
)

//go:embed index.html player.js whep.js player.css
var files embed.FS

// policy lets the pages load only what this server serves (CSP level 3).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src *; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors *"

// Handler serves the player page at / and /play/{stream}, and its files.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page("index.html"))
	mux.HandleFunc("GET /play/{stream}", page("index.html"))
	for _, name := range []string{"player.js", "whep.js", "player.css"} {
		mux.HandleFunc("GET /player/"+name, page(name))
	}
	return mux
}

func page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := files.ReadFile(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		if strings.HasSuffix(name, ".html") {
			h.Set("Content-Security-Policy", policy)
		}
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // the URL may carry a token
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	}
}
