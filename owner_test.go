package main

import (
	"fmt"
	"image"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/pion/webrtc/v4"

	"deskwhep/whep"
)

// TestOwnerPage watches, and uses the owner's page beside: it lists the viewers,
// pauses, goes on, and ends one, who is told and does not come back.
func TestOwnerPage(t *testing.T) {
	d := startDesktop(t, image.Pt(800, 600))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display)
	browser := startBrowser(t)
	viewer, owner := browser(), browser()
	watch(t, viewer, p.url)
	other := startPlayer(t, p.url+"/whep/card?codec=vp8", nil)
	other.frame(t)
	open(t, owner, p.url+"/owner")
	says := func(what, text string) {
		t.Helper()
		eventually(t, "the owner's page "+what, func() bool {
			return strings.Contains(evaluate[string](t, owner, `document.body?.innerText ?? ""`), text)
		})
	}
	says("counts the viewers", "2 viewers.")
	says("tells of the desktop's viewer", "desktop · 0:")
	says("tells of the card's viewer", "card · 0:")
	says("measures", "Mbit/s")
	screenshot(t, owner, "owner")
	if _, err := chromedp.Run(owner, chromedp.EmulateViewport(390, 760)); err != nil {
		t.Fatal(err)
	}
	if wide := evaluate[int](t, owner, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("on a phone the page is %d pixels wide", wide)
	}
	screenshot(t, owner, "owner-phone")

	click(t, owner, "#pause")
	says("tells of the pause", "Paused")
	eventually(t, "the viewer sees the card", func() bool { _, err := cardStamp(t, viewer); return err == nil })
	screenshot(t, viewer, "player-paused")
	screenshot(t, owner, "owner-paused")
	click(t, owner, "#pause")
	eventually(t, "the viewer sees the desktop again", func() bool { return isPattern(t, viewer) })

	name := evaluate[string](t, owner, `[...document.querySelectorAll("li")].find((li) => li.innerText.includes("desktop")).dataset.session`)
	click(t, owner, `li[data-session="`+name+`"] button`)
	message(t, viewer, "has ended this")
	screenshot(t, viewer, "player-ended")
	says("counts one viewer less", "One viewer.")
	other.frame(t)
	if log := p.log.String(); !strings.Contains(log, `reason="the owner has ended this session"`) {
		t.Error("the log does not tell why the session ended")
	}
	if n := len(viewersOf(t, p.url)); n != 1 {
		t.Errorf("%d watch: the one that was ended came back", n)
	}
	request(t, http.MethodDelete, p.url+"/viewers/"+viewersOf(t, p.url)[0].Session, "", "", "", http.StatusNoContent)
	eventually(t, "the other player is told", func() bool { return other.pc.ConnectionState() == webrtc.PeerConnectionStateClosed })
	request(t, http.MethodDelete, p.url+"/viewers/"+name, "", "", "", http.StatusNotFound)
	says("tells that nobody is left", "Nobody is watching.")
}

// viewersOf lists who watches; key is the query with the token, if any.
func viewersOf(t *testing.T, base string, key ...string) []whep.ViewerStatus {
	t.Helper()
	var list struct{ Viewers []whep.ViewerStatus }
	get(t, base+"/viewers?"+strings.Join(key, ""), http.StatusOK, &list)
	return list.Viewers
}

// TestPageOfElsewhere opens a page of a foreign origin in a browser on the
// machine that streams without a token: it can neither watch, nor list, nor end,
// nor pause, nor can it by making its own name point here.
func TestPageOfElsewhere(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	viewer := startPlayer(t, p.url+"/whep?codec=vp8", nil)
	viewer.frame(t)
	session := viewersOf(t, p.url)[0].Session
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>nice page</title>")
	}))
	defer evil.Close()
	tab := startBrowser(t, chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))()
	open(t, tab, strings.Replace(evil.URL, "127.0.0.1", "evil.example", 1))
	for _, c := range []struct{ method, path, want string }{
		{"POST", "/whep", "403"}, // it is told what to set
		{"GET", "/whep", "403"},
		{"GET", "/streams", "403"},
		{"GET", "/viewers", "403"},
		{"GET", "/metrics", "403"},
		{"DELETE", "/viewers/" + session, "TypeError"}, // not even sent
		{"PUT", "/pause", "TypeError"},
		{"POST", "/pause", "403"},
	} {
		script := fmt.Sprintf(`fetch(%q, { method: %q, headers: %s }).then((r) => String(r.status), (e) => e.name)`,
			p.url+c.path, c.method, map[bool]string{true: `{ "Content-Type": "application/sdp" }`, false: `{}`}[c.path == "/whep" && c.method == "POST"])
		if got := evaluate[string](t, tab, script); got != c.want {
			t.Errorf("%s %s from elsewhere: %s, want %s", c.method, c.path, got, c.want)
		}
		script = strings.Replace(script, "{ method", `{ mode: "no-cors", method`, 1) // what it sends without asking
		if got := evaluate[string](t, tab, script); got != "0" && got != "TypeError" {
			t.Errorf("%s %s from elsewhere without asking: %s", c.method, c.path, got)
		}
	}
	rebound := strings.Replace(p.url, "127.0.0.1", "evil.example", 1)
	open(t, tab, rebound)
	if text := evaluate[string](t, tab, `document.body.innerText`); !strings.Contains(text, "--token") {
		t.Errorf("under another name it answers %q", text)
	}
	if got := evaluate[int](t, tab, `fetch("/pause", { method: "PUT" }).then((r) => r.status)`); got != http.StatusForbidden {
		t.Errorf("under another name it pauses: %d", got)
	}
	viewer.frame(t)
	var health struct{ Paused bool }
	if get(t, p.url+"/healthz", http.StatusOK, &health); health.Paused || len(viewersOf(t, p.url)) != 1 {
		t.Error("a page of elsewhere had its will")
	}
}

// TestBehindProxy plays through a reverse proxy on the same machine. What comes
// through it is not the owner's, and without a token nothing does.
func TestBehindProxy(t *testing.T) {
	for _, token := range []string{"", "let-me-in"} {
		args := []string{"--source", "card"}
		if token != "" {
			args = append(args, "--token", token)
		}
		p := startProgram(t, "", args...)
		base, key, _ := strings.Cut(p.url, "/?")
		to, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		var host string // that the proxy passes on; its own if empty
		proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
			r.Out.Host = host
		}})
		if token == "" {
			request(t, http.MethodPut, proxy.URL+"/pause", "", "", "", http.StatusForbidden)
			get(t, proxy.URL+"/viewers", http.StatusForbidden, nil)
			host = "desk.example.org"
			get(t, proxy.URL+"/whep", http.StatusForbidden, nil)
		} else {
			host = "desk.example.org"
			player := startPlayer(t, proxy.URL+"/whep?codec=vp8&"+key, nil)
			player.frame(t)
			request(t, http.MethodDelete, player.location, "", "", "", http.StatusOK)
		}
		proxy.Close()
		p.stop(t)
	}
}

// TestOwnerNeedsToken: where there is a token, the owner is who has it. A link
// only plays.
func TestOwnerNeedsToken(t *testing.T) {
	p := startProgram(t, "", "--source", "card", "--token", "let-me-in")
	base, key, _ := strings.Cut(p.url, "/?")
	out, err := exec.Command(bin, "link", "--token", "let-me-in", "--url", base).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, link, _ := strings.Cut(strings.TrimSpace(string(out)), "?")
	for _, c := range []struct{ method, path string }{{"GET", "/viewers"}, {"PUT", "/pause"}, {"DELETE", "/pause"}, {"DELETE", "/viewers/aaaaaaaa"}} {
		request(t, c.method, base+c.path, "", "", "", http.StatusUnauthorized)
		request(t, c.method, base+c.path+"?"+link, "", "", "", http.StatusForbidden)
	}
	paused := func(want bool) {
		t.Helper()
		var health struct{ Paused bool }
		if get(t, base+"/healthz", http.StatusOK, &health); health.Paused != want {
			t.Errorf("paused is %v", health.Paused)
		}
	}
	for _, want := range []bool{true, true, false, false} { // asked twice, as from two pages
		method := map[bool]string{true: http.MethodPut, false: http.MethodDelete}[want]
		request(t, method, base+"/pause?"+key, "", "", "", http.StatusNoContent)
		paused(want)
	}
	request(t, http.MethodDelete, base+"/viewers/aaaaaaaa?"+key, "", "", "", http.StatusNotFound)

	tab := startBrowser(t)()
	open(t, tab, base+"/owner")
	eventually(t, "it asks for the token", func() bool { return evaluate[bool](t, tab, `document.getElementById("ask")?.hidden === false`) })
	screenshot(t, tab, "owner-token")
	if _, err := chromedp.Run(tab, chromedp.SendKeys("#token", "let-me-in\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(tab, chromedp.WaitVisible(`#pause:not([disabled])`)); err != nil {
		t.Fatalf("it does not open: %v", err)
	}
}
