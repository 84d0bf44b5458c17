package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// get asks for a JSON document, or with nil just for the status.
func get(t *testing.T, url string, want int, into any) {
	t.Helper()
	body, _ := request(t, http.MethodGet, url, "", "", "", want)
	if into != nil {
		if err := json.NewDecoder(strings.NewReader(body)).Decode(into); err != nil {
			t.Fatalf("%s: %v\n%s", url, err, body)
		}
	}
}

// open opens a page in a tab.
func open(t *testing.T, tab context.Context, url string) {
	t.Helper()
	if _, err := chromedp.Run(tab, chromedp.Navigate(url)); err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
}

// message waits until the player page says something with text in it.
func message(t *testing.T, tab context.Context, text string) {
	t.Helper()
	eventually(t, "the page says "+text, func() bool {
		return strings.Contains(evaluate[string](t, tab, `document.getElementById("message").hidden ? "" : document.getElementById("message").innerText`), text)
	})
}

func click(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	if _, err := chromedp.Run(tab, chromedp.Click(selector)); err != nil {
		t.Fatalf("click %s: %v", selector, err)
	}
}

func isPattern(t *testing.T, tab context.Context) bool {
	t.Helper()
	_, colours := pixels(t, tab)
	_, err := patternStep(colours)
	return err == nil
}

// TestPlayerPage uses what the page has: statistics, scale, the menu of codecs.
func TestPlayerPage(t *testing.T) {
	d := startDesktop(t, image.Pt(1280, 720))
	d.paintPattern(t, 200*time.Millisecond)
	p := startProgram(t, d.display)
	tab := startBrowser(t)()
	watch(t, tab, p.url)
	click(t, tab, "#numbers")
	eventually(t, "the statistics are there", func() bool {
		text := evaluate[string](t, tab, `document.getElementById("statistics").innerText`)
		return strings.Contains(text, "1280×720") && strings.Contains(text, "glass to glass") && strings.Contains(text, "Mbit/s")
	})
	time.Sleep(5 * time.Second) // a line on the graphs
	screenshot(t, tab, "player-statistics")
	click(t, tab, "#numbers")

	click(t, tab, "#scale")
	if w := evaluate[int](t, tab, `Math.round(video.getBoundingClientRect().width * devicePixelRatio)`); w != 1280 {
		t.Errorf("at 1:1 the picture is %d pixels wide", w)
	}
	click(t, tab, "#scale")

	eventually(t, "the menu is filled", func() bool { return evaluate[int](t, tab, `document.getElementById("codecs").length`) == 5 })
	for _, codec := range []string{"H264", "VP8"} {
		evaluate[bool](t, tab, `(() => { const m = document.getElementById("codecs"); m.value = "`+strings.ToLower(codec)+`"; return m.dispatchEvent(new Event("change")); })()`)
		eventually(t, "it plays "+codec, func() bool {
			return evaluate[string](t, tab, `document.getElementById("codec").textContent`) == codec && isPattern(t, tab)
		})
	}
	if url := evaluate[string](t, tab, `location.href`); !strings.HasSuffix(url, "?codec=vp8") {
		t.Errorf("the choice is not in the URL: %s", url)
	}
	if _, err := chromedp.Run(tab, chromedp.EmulateViewport(390, 760)); err != nil {
		t.Fatal(err)
	}
	if wide := evaluate[int](t, tab, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("on a phone the page is %d pixels wide", wide)
	}
	screenshot(t, tab, "player-phone")
	click(t, tab, "#numbers")
	eventually(t, "the statistics are there on a phone", func() bool {
		return evaluate[bool](t, tab, `(() => { const r = document.getElementById("statistics").getBoundingClientRect(); return r.width > 280 && r.right <= 390 && document.querySelectorAll("#statistics dd").length > 5; })()`)
	})
	screenshot(t, tab, "player-phone-statistics")
}

// TestStreamsPage reads the list and follows it.
func TestStreamsPage(t *testing.T) {
	d := startDesktop(t, image.Pt(640, 480))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display, "--token", "let-me-in")
	base, key, _ := strings.Cut(p.url, "/?")
	tab := startBrowser(t)()
	open(t, tab, base+"/streams.html?"+key)
	eventually(t, "both streams are listed", func() bool { return evaluate[int](t, tab, `document.querySelectorAll("article").length`) == 2 })
	for _, want := range []string{base + "/play/desktop?" + key, base + "/whep/card?" + key, base + "/obs/desktop?" + key,
		"source: whep://" + strings.TrimPrefix(base, "http://") + "/whep/desktop?codec=h264\n", "whepBearerToken: let-me-in", "desktop: webrtc:" + base + "/whep/desktop?" + key} {
		if text := evaluate[string](t, tab, `document.getElementById("streams").textContent`); !strings.Contains(text, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	evaluate[bool](t, tab, `(() => { for (const d of document.querySelectorAll("#desktop details")) d.open = true; return true; })()`)
	screenshot(t, tab, "streams")
	if _, err := chromedp.Run(tab, chromedp.EmulateViewport(390, 760)); err != nil {
		t.Fatal(err)
	}
	if wide := evaluate[int](t, tab, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("on a phone the page is %d pixels wide", wide)
	}
	screenshot(t, tab, "streams-phone")
	click(t, tab, "#desktop .watch")
	eventually(t, "the desktop plays", func() bool {
		return evaluate[bool](t, tab, `document.getElementById("state")?.dataset.state === "playing"`) && isPattern(t, tab)
	})
}

// transparent lets a page without a background show what is behind it, as OBS
// does.
func transparent(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
	return cdp.Call(ctx, target, emulation.SetDefaultBackgroundColorOverride,
		emulation.SetDefaultBackgroundColorOverrideParams{Color: &cdp.RGBA{A: 0.001}}) // 0 would be left out, and mean 1
}

// over paints a picture over a colour, as PNG.
func over(picture image.Image, background color.Color) []byte {
	canvas := image.NewRGBA(picture.Bounds())
	draw.Draw(canvas, canvas.Rect, image.NewUniform(background), image.Point{}, draw.Src)
	draw.Draw(canvas, canvas.Rect, picture, picture.Bounds().Min, draw.Over)
	var b bytes.Buffer
	_ = png.Encode(&b, canvas)
	return b.Bytes()
}

// TestOBSPage looks at the page for OBS before, during and after the picture.
func TestOBSPage(t *testing.T) {
	d := startDesktop(t, image.Pt(640, 480))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display)
	tab := startBrowser(t)()
	shown := `getComputedStyle(document.getElementById("video")).visibility === "visible"`
	open(t, tab, p.url+"/obs/nothing")
	eventually(t, "it has asked", func() bool { return evaluate[string](t, tab, `document.body.dataset.state`) == "failed" })
	if evaluate[bool](t, tab, shown) {
		t.Error("the picture is shown before there is one")
	}
	if _, err := chromedp.Run(tab, transparent); err != nil {
		t.Fatal(err)
	}
	shot, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, alpha := picture.At(100, 100).RGBA(); alpha != 0 {
		t.Errorf("without a picture the page is not transparent: its alpha is %d of 65535", alpha)
	}
	keep(t, "obs-before", over(picture, color.RGBA{0xff, 0x00, 0xff, 0xff}))
	open(t, tab, p.url+"/obs/desktop")
	eventually(t, "it plays", func() bool { return evaluate[bool](t, tab, shown) && isPattern(t, tab) })
	if text := evaluate[string](t, tab, `document.body.innerText`); strings.TrimSpace(text) != "" {
		t.Errorf("the page shows %q beside the picture", text)
	}
	screenshot(t, tab, "obs")
	p.stop(t)
	eventually(t, "the picture is taken away", func() bool { return !evaluate[bool](t, tab, shown) })
	startProgram(t, d.display, "--listen", strings.TrimPrefix(p.url, "http://"))
	eventually(t, "it plays again", func() bool { return evaluate[bool](t, tab, shown) && isPattern(t, tab) })
}

// TestServerIsKilled ends the program so that it cannot say goodbye.
func TestServerIsKilled(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	tab := startBrowser(t)()
	watch(t, tab, p.url)
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	startProgram(t, "", "--source", "card", "--listen", strings.TrimPrefix(p.url, "http://"))
	begun := time.Now()
	eventually(t, "the new server is asked", func() bool {
		return evaluate[int](t, tab, `performance.getEntriesByType("resource").filter((r) => r.name.endsWith("/whep") && r.responseStatus === 201).length`) > 1
	})
	eventually(t, "it plays again", func() bool {
		return evaluate[bool](t, tab, `document.getElementById("state").dataset.state === "playing"`)
	})
	t.Logf("played again %.1f s after the new server was there", time.Since(begun).Seconds())
}

// TestSleepAndNetwork lets the page believe that its machine slept, and that its
// network was away: it plays again by a new session, and leaves none behind.
func TestSleepAndNetwork(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	tab := startBrowser(t)()
	watch(t, tab, p.url)
	session := func() string {
		if list := viewersOf(t, p.url); len(list) == 1 && list[0].Connected {
			return list[0].Session
		}
		return ""
	}
	for what, script := range map[string]string{
		"a sleep":   `(() => { const now = Date.now; Date.now = () => now() + 3600e3; return true; })()`,
		"a network": `dispatchEvent(new Event("online"))`,
	} {
		var before string
		eventually(t, "it plays", func() bool { before = session(); return before != "" })
		evaluate[bool](t, tab, script)
		eventually(t, "there is a new session after "+what, func() bool { s := session(); return s != "" && s != before })
		shown := frames(t, tab)
		eventually(t, "it plays on after "+what, func() bool { return frames(t, tab) > shown+5 })
	}
}

// TestWrongToken opens the page without the token, and then gives it.
func TestWrongToken(t *testing.T) {
	p := startProgram(t, "", "--source", "card", "--token", "let-me-in")
	base, _, _ := strings.Cut(p.url, "/?")
	tab := startBrowser(t)()
	open(t, tab, base+"/?token=wrong")
	message(t, tab, "no valid token")
	screenshot(t, tab, "player-wrong-token")
	if _, err := chromedp.Run(tab, chromedp.SendKeys("#token", "let-me-in\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(tab, chromedp.WaitVisible(`#state[data-state="playing"]`)); err != nil {
		t.Fatalf("the right token does not play: %v", err)
	}
	for path, want := range map[string]int{"/healthz": 200, "/": 200, "/player/whep.js": 200, "/streams.html": 200,
		"/streams": 401, "/time": 401, "/metrics": 401, "/viewers": 401, "/whep": 401} {
		get(t, base+path, want, nil)
	}
	if log := p.log.String(); strings.Contains(log, "let-me-in") {
		t.Error("the token is in the log")
	}
}

// TestExpiringLink plays by a link, and not when it has expired.
func TestExpiringLink(t *testing.T) {
	p := startProgram(t, "", "--source", "card", "--token", "let-me-in")
	base, _, _ := strings.Cut(p.url, "/?")
	link := func(lasts string) string {
		out, err := exec.Command(bin, "link", "--token", "let-me-in", "--url", base, "--for", lasts).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	browser := startBrowser(t)
	tab := browser()
	good := link("1h")
	watch(t, tab, good)
	_, key, _ := strings.Cut(good, "?")
	get(t, base+"/streams?"+key, 200, nil)
	get(t, base+"/metrics?"+key, 403, nil)
	get(t, base+"/viewers?"+key, 403, nil)
	short := link("1s")
	eventually(t, "the link expires", func() bool {
		r, err := http.Get(strings.Replace(short, "/?", "/whep?", 1))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.StatusCode == 401
	})
	tab = browser()
	open(t, tab, short)
	message(t, tab, "it has expired")
	screenshot(t, tab, "player-expired-link")
}

// TestFullHouse has a place for one viewer; the second waits for it.
func TestFullHouse(t *testing.T) {
	p := startProgram(t, "", "--source", "card", "--max-viewers", "1")
	browser := startBrowser(t)
	first, second := browser(), browser()
	watch(t, first, p.url)
	open(t, second, p.url)
	message(t, second, "No place is free")
	screenshot(t, second, "player-full-house")
	open(t, first, "about:blank")
	if _, err := chromedp.Run(second, chromedp.WaitVisible(`#state[data-state="playing"]`)); err != nil {
		t.Fatalf("the second viewer does not get the place: %v", err)
	}
}

// TestImpossibleWishes asks for a codec and a stream that are not there.
func TestImpossibleWishes(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	tab := startBrowser(t)()
	open(t, tab, p.url+"/?codec=mpeg1")
	message(t, tab, "cannot play the stream with this choice of codec")
	open(t, tab, p.url+"/play/nothing")
	message(t, tab, "no stream of this name")
	screenshot(t, tab, "player-unknown-stream")
	click(t, tab, "#list")
	eventually(t, "the list is shown", func() bool { return evaluate[int](t, tab, `document.querySelectorAll("article").length`) == 2 })
}

// TestSelfSigned plays over HTTPS with a certificate that the program makes, and
// keeps.
func TestSelfSigned(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	p := startProgram(t, "", "--source", "card", "--tls-self")
	if !strings.HasPrefix(p.url, "https://") {
		t.Fatalf("the URL is %s", p.url)
	}
	tab := startBrowser(t, chromedp.Flag("ignore-certificate-errors", true))()
	watch(t, tab, p.url)
	dir, err := os.UserConfigDir()
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(dir + "/deskwhep/cert.pem")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir + "/deskwhep/key.pem"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	p.stop(t)
	startProgram(t, "", "--source", "card", "--tls-self")
	if after, err := os.ReadFile(dir + "/deskwhep/cert.pem"); err != nil || string(after) != string(before) {
		t.Errorf("the certificate was not kept (%v)", err)
	}
}

// TestSecurityHeaders looks at what keeps other pages and browsers' guesses out.
func TestSecurityHeaders(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	for _, path := range []string{"/", "/play/card", "/obs", "/obs/card", "/streams.html", "/owner"} {
		r, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%s: %v, %v", path, r.Status, err)
		}
		policy := r.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "connect-src 'self'") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		if framed := strings.Contains(policy, "frame-ancestors *"); framed != (path != "/owner") || !strings.Contains(policy, "frame-ancestors") {
			t.Errorf("%s: who may frame it: %q", path, policy)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, r.Header)
		}
		if strings.Contains(string(body), "://") {
			t.Errorf("%s names another host", path)
		}
	}
}
