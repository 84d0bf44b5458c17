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

//go:embed *.html *.js *.css
var files embed.FS

// policy lets the pages load and ask nothing but this server (CSP level 3). Who
// may frame them follows.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors "

// Handler serves the pages and their files: the player at / and /play/{stream},
// the one for OBS at /obs and /obs/{stream}, the list at /streams.html, and the owner's at /owner.
// They hold nothing secret: what they show they ask for with the token of their URL.
func Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, name := range map[string]string{
		"/{$}": "index.html", "/play/{stream}": "index.html",
		"/obs": "obs.html", "/obs/{stream}": "obs.html",
		"/streams.html": "streams.html", "/owner": "owner.html",
	} {
		mux.HandleFunc("GET "+pattern, page(name))
	}
	for _, name := range []string{"player.js", "obs.js", "streams.js", "owner.js", "whep.js", "latency.js", "stats.js", "player.css"} {
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
			framers := "*"
			if name == "owner.html" {
				framers = "'none'" // nobody is to lay its buttons under others
			}
			h.Set("Content-Security-Policy", policy+framers)
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		}
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // the URL may carry a token
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	}
}
