package main

import (
	"context"
	"fmt"
	"image"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"deskwhep/capture/card"
	"deskwhep/encode"
)

// startBrowser starts a headless Chromium; tab opens one more tab in it.
func startBrowser(t testing.TB, more ...chromedp.ExecAllocatorOption) (tab func() context.Context) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("chromium is missing (Debian package chromium): %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1300, 820),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	options = append(options, more...)
	var first context.Context
	for tries := 1; ; tries++ { // some versions crash now and then when they start
		allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(allocator)
		_, err := chromedp.Run(ctx, chromedp.Location())
		if err == nil {
			first = ctx
			t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel(); end() })
			break
		}
		cancel()
		end()
		if tries == 3 {
			t.Fatalf("start chromium: %v", err)
		}
		t.Logf("chromium is started again: %v", err)
	}
	return func() context.Context {
		ctx, cancel := chromedp.NewContext(first)
		t.Cleanup(cancel)
		ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
		t.Cleanup(cancel)
		return ctx
	}
}

// watch opens the player page and waits until it plays.
func watch(t testing.TB, ctx context.Context, url string) {
	t.Helper()
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatalf("open the player: %v", err)
	}
	if _, err := chromedp.Run(ctx, chromedp.WaitVisible(`#state[data-state="playing"]`)); err != nil {
		t.Fatalf("the player does not play: %v", err)
	}
}

// frames is how many frames the page's video has presented so far.
func frames(t testing.TB, ctx context.Context) int {
	t.Helper()
	return evaluate[int](t, ctx, `video.getVideoPlaybackQuality().totalVideoFrames`)
}

// evaluate gives the value of an expression, or of its promise, in the page.
func evaluate[T any](t testing.TB, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// pictureScript is the decoded picture of the page's video: its size, and the
// mean colour of the middle of each place of the pattern.
var pictureScript = fmt.Sprintf(`(() => {
	const v = document.getElementById("video"), w = v.videoWidth, h = v.videoHeight;
	const canvas = new OffscreenCanvas(w, h), g = canvas.getContext("2d");
	g.drawImage(v, 0, 0);
	const cells = [];
	for (let y = 0; y < %[1]d; y++) {
		cells.push([]);
		for (let x = 0; x < %[2]d; x++) {
			const d = g.getImageData(w * (x + .25) / %[2]d, h * (y + .25) / %[1]d, w / 2 / %[2]d, h / 2 / %[1]d).data;
			const sum = [0, 0, 0];
			for (let i = 0; i < d.length; i++) if (i %% 4 < 3) sum[i %% 4] += d[i];
			cells[y].push(sum.map((s) => s * 4 / d.length));
		}
	}
	return { W: w, H: h, Cells: cells };
})()`, patternRows, patternColumns)

// pixels evaluates pictureScript.
func pixels(t *testing.T, ctx context.Context) (size image.Point, colours [patternRows][patternColumns][3]float64) {
	t.Helper()
	type picture struct {
		W, H  int
		Cells [patternRows][patternColumns][3]float64
	}
	got := evaluate[picture](t, ctx, pictureScript)
	return image.Pt(got.W, got.H), got.Cells
}

// patternStep tells which step of the pattern a picture shows.
func patternStep(colours [patternRows][patternColumns][3]float64) (step int, err error) {
	const tolerance = 14 // of 255: BT.601 in limited range, and a lossy codec
	for step := range patternColours {
		fits := true
		for y := range patternRows {
			for x := range patternColumns {
				want, got := patternColour(step, x, y), colours[y][x]
				for i, w := range []uint8{want.R, want.G, want.B} {
					fits = fits && math.Abs(got[i]-float64(w)) <= tolerance
				}
			}
		}
		if fits {
			return step, nil
		}
	}
	return 0, fmt.Errorf("no step of the pattern has the colours %.0f", colours)
}

// screenshot keeps pictures of the page in out/ for people to look at: in dark
// as name, and in light.
func screenshot(t testing.TB, ctx context.Context, name string) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		prefer(t, ctx, scheme)
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		keep(t, name+map[string]string{"light": "-light"}[scheme], png)
	}
}

// prefer sets the colour scheme that the viewer prefers, dark or light.
func prefer(t testing.TB, ctx context.Context, scheme string) {
	t.Helper()
	_, err := chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// keep writes a picture into out/.
func keep(t testing.TB, name string, png []byte) {
	t.Helper()
	if err := os.MkdirAll("out", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("out", name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// plainWHEP is a function that plays an endpoint in a video element by a plain
// WHEP exchange; it gives { pc, location }. With a port, media goes there over UDP.
const plainWHEP = `async (video, endpoint, port) => {
	const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
	pc.addTransceiver("video", { direction: "recvonly" });
	pc.ontrack = ({ track }) => video.srcObject = new MediaStream([track]);
	await pc.setLocalDescription();
	const answer = await fetch(endpoint, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: pc.localDescription.sdp });
	let sdp = await answer.text();
	if (port) sdp = sdp.replace(/^a=candidate:\S+ \d+ tcp .*\r?\n/gmi, "").replace(/^(a=candidate:\S+ \d+ udp \d+ \S+) \d+ /gmi, "$1 " + port + " ");
	await pc.setRemoteDescription({ type: "answer", sdp });
	return { pc, location: answer.headers.get("Location") };
}`

// TestDesktopInChromium follows the whole way: a painted X display, the program,
// the page in a browser. Three viewers share one encoder.
func TestDesktopInChromium(t *testing.T) {
	for _, source := range []string{"auto", "screen"} {
		t.Run(source, func(t *testing.T) { desktopInChromium(t, source) })
	}
}

func desktopInChromium(t *testing.T, source string) {
	d := startDesktop(t, image.Pt(1280, 720))
	d.paintPattern(t, 200*time.Millisecond)
	p := startProgram(t, d.display, "--source", source)
	tab := startBrowser(t)
	viewers := []context.Context{tab(), tab(), tab()}
	steps := map[int]bool{}
	for _, v := range viewers {
		watch(t, v, p.url)
		size, colours := pixels(t, v)
		if size != d.size {
			t.Errorf("the picture is %v, the desktop %v", size, d.size)
		}
		step, err := patternStep(colours)
		if err != nil {
			t.Fatal(err)
		}
		steps[step] = true
	}
	before := frames(t, viewers[0])
	time.Sleep(10 * time.Second) // what is tested is that it lasts
	if n := frames(t, viewers[0]) - before; n < 20 {
		t.Errorf("%d frames in 10 s of a desktop that changes five times a second", n)
	}
	for range 3 {
		_, colours := pixels(t, viewers[0])
		step, err := patternStep(colours)
		if err != nil {
			t.Fatal(err)
		}
		steps[step] = true
		time.Sleep(300 * time.Millisecond)
	}
	if len(steps) < 2 {
		t.Error("the picture does not move")
	}
	screenshot(t, viewers[0], "player-"+source)
	if n := strings.Count(p.log.String(), `msg="encoding begins"`); n != 1 {
		t.Errorf("%d encoders for three viewers", n)
	}
	p.stop(t)
}

// cardStamp reads the test card's stamp off the page's video.
func cardStamp(t testing.TB, ctx context.Context) (card.Stamp, error) {
	t.Helper()
	type corner struct {
		W, H, Columns int
		Luma          []int
	}
	got := evaluate[corner](t, ctx, `(() => {
		const v = document.getElementById("video"), w = v.videoWidth, h = v.videoHeight;
		const columns = Math.ceil(w / 2), rows = Math.ceil(h / 4);
		const canvas = new OffscreenCanvas(columns, rows), g = canvas.getContext("2d");
		g.drawImage(v, 0, 0);
		const d = g.getImageData(0, 0, columns, rows).data, luma = [];
		for (let i = 0; i < d.length; i += 4) luma.push(d[i + 1]);
		return { W: w, H: h, Columns: columns, Luma: luma };
	})()`)
	return card.ReadStamp(image.Pt(got.W, got.H), func(x, y int) uint8 { return uint8(got.Luma[y*got.Columns+x]) })
}

// TestDisplayGoesAndComesBack ends the X server under a watching browser: the
// viewer gets the card with the reason, and then the desktop again.
func TestDisplayGoesAndComesBack(t *testing.T) {
	d := startDesktop(t, image.Pt(800, 600))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display)
	v := startBrowser(t)()
	watch(t, v, p.url)
	isPattern := func() bool { _, colours := pixels(t, v); _, err := patternStep(colours); return err == nil }
	eventually(t, "the desktop is shown", isPattern)

	d.stop()
	eventually(t, "the card is shown", func() bool { _, err := cardStamp(t, v); return err == nil })
	screenshot(t, v, "card")
	d.start(t) // under the number that it had
	d.paintPattern(t, 0)
	eventually(t, "the desktop is shown again", isPattern)
	if n := evaluate[int](t, v, `performance.getEntriesByType("resource").filter((r) => r.name.endsWith("/whep")).length`); n != 1 {
		t.Errorf("the player connected %d times; one session should outlive the display", n)
	}
}

// TestCardStream plays the second stream by its name, and the screen's absence.
func TestCardStream(t *testing.T) {
	p := startProgram(t, "")
	tab := startBrowser(t)
	for _, path := range []string{"/play/card", "/"} {
		v := tab()
		watch(t, v, p.url+path)
		eventually(t, "the card's stamp can be read", func() bool { _, err := cardStamp(t, v); return err == nil })
	}
}

// TestServerRestart ends the program under a watching browser and starts it
// again: the page plays again by itself.
func TestServerRestart(t *testing.T) {
	p := startProgram(t, "", "--source", "card")
	v := startBrowser(t)()
	watch(t, v, p.url)
	p.stop(t)
	address := strings.TrimPrefix(p.url, "http://")
	if _, err := chromedp.Run(v, chromedp.WaitVisible(`#state[data-state="connecting"]`)); err != nil {
		t.Fatal(err)
	}
	startProgram(t, "", "--source", "card", "--listen", address)
	if _, err := chromedp.Run(v, chromedp.WaitVisible(`#state[data-state="playing"]`)); err != nil {
		t.Fatalf("the page does not play again: %v", err)
	}
}

// TestCodecsInChromium asks for each codec by its name: Chromium decodes all
// that we encode, at the same time.
func TestCodecsInChromium(t *testing.T) {
	d := startDesktop(t, image.Pt(640, 480))
	d.paintPattern(t, 500*time.Millisecond)
	p := startProgram(t, d.display, "--max-encoders", "4")
	tab := startBrowser(t)
	for _, codec := range encode.Available() {
		v := tab()
		watch(t, v, p.url+"/?codec="+string(codec))
		eventually(t, "the pattern is shown", func() bool { _, colours := pixels(t, v); _, err := patternStep(colours); return err == nil })
		eventually(t, "the page names the codec "+string(codec), func() bool {
			return strings.EqualFold(evaluate[string](t, v, `document.getElementById("codec").textContent`), string(codec))
		})
	}
}

// TestDisplayIsResized changes the display's size under a viewer, who sees the
// new size in the same session.
func TestDisplayIsResized(t *testing.T) {
	d := startDesktop(t, image.Pt(1024, 768))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display)
	v := startBrowser(t)()
	watch(t, v, p.url)
	smaller := image.Pt(801, 600) // odd, too
	for _, args := range [][]string{
		{"--newmode", "small", "40", "801", "832", "904", "1000", "600", "601", "604", "625"},
		{"--addmode", "screen", "small"}, {"--output", "screen", "--mode", "small"},
	} {
		cmd := exec.Command("xrandr", append([]string{"--display", d.display}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("xrandr %v: %v\n%s", args, err, out)
		}
	}
	eventually(t, "the new size is shown", func() bool { size, _ := pixels(t, v); return size == smaller })
	if n := evaluate[int](t, v, `performance.getEntriesByType("resource").filter((r) => r.name.endsWith("/whep")).length`); n != 1 {
		t.Errorf("the player connected %d times; one session should outlive the size", n)
	}
}

// TestMaxSize scales a larger desktop down to fit, with even sides and the right
// colours.
func TestMaxSize(t *testing.T) {
	d := startDesktop(t, image.Pt(1600, 900))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display, "--max-size", "801x600")
	v := startBrowser(t)()
	watch(t, v, p.url)
	eventually(t, "the pattern is shown in the smaller size", func() bool {
		size, colours := pixels(t, v)
		_, err := patternStep(colours)
		return err == nil && size.X <= 801 && size.Y <= 600 && size.X%2 == 0 && size.Y%2 == 0 && size.X > 780
	})
}
