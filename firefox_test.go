package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// firefox is a headless Firefox, driven by its Marionette protocol: messages
// are a length, a colon and a JSON array [type, id, command or error, value].
type firefox struct {
	conn io.ReadWriter
	in   *bufio.Reader
	id   int
}

func startFirefox(t *testing.T) *firefox {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	profile := t.TempDir()
	_, port, _ := net.SplitHostPort(address)
	prefs := "user_pref(\"marionette.port\", " + port + ");\n" + `
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("browser.safebrowsing.update.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:1");
`
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("firefox-esr", "--headless", "--marionette", "--no-remote", "--profile", profile, "--width", "1300", "--height", "820")
	cmd.Env = append(os.Environ(), "MOZ_REMOTE_SETTINGS_DEVTOOLS=1", "HOME="+profile)
	if err := cmd.Start(); err != nil {
		t.Fatalf("firefox-esr is missing (Debian package firefox-esr): %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	f := &firefox{}
	eventually(t, "Firefox answers", func() bool {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		f.conn, f.in = c, bufio.NewReader(c)
		return true
	})
	f.read(t) // it greets
	f.call(t, "WebDriver:NewSession", map[string]any{}, nil)
	return f
}

func (f *firefox) read(t *testing.T) []byte {
	t.Helper()
	size, err := f.in.ReadString(':')
	if err != nil {
		t.Fatalf("Firefox: %v", err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(f.in, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// call runs a command; value receives its result's value.
func (f *firefox) call(t *testing.T, command string, arguments map[string]any, value any) {
	t.Helper()
	f.id++
	b, err := json.Marshal([]any{0, f.id, command, arguments})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f.conn, "%d:%s", len(b), b); err != nil {
		t.Fatal(err)
	}
	var answer []json.RawMessage
	if err := json.Unmarshal(f.read(t), &answer); err != nil || len(answer) != 4 {
		t.Fatalf("%s: %v %s", command, err, answer)
	}
	if string(answer[2]) != "null" {
		t.Fatalf("%s: %s", command, answer[2])
	}
	if value == nil {
		return
	}
	if err := json.Unmarshal(answer[3], &struct{ Value any }{value}); err != nil {
		t.Fatalf("%s: %v in %s", command, err, answer[3])
	}
}

// TestStillScreen watches a screen on which nothing moves, for longer than the
// page waits for a sign of life: nobody leaves and comes back.
func TestStillScreen(t *testing.T) {
	d := startDesktop(t, image.Pt(640, 480))
	d.paintPattern(t, 0)
	p := startProgram(t, d.display, "--cursor", "hidden")
	f := startFirefox(t)
	f.call(t, "WebDriver:Navigate", map[string]any{"url": p.url + "/"}, nil)
	watch(t, startBrowser(t)(), p.url)
	sessions := func() (list []string) {
		for _, v := range viewersOf(t, p.url) {
			if v.Connected {
				list = append(list, v.Session)
			}
		}
		return list
	}
	eventually(t, "both watch", func() bool { return len(sessions()) == 2 })
	before := sessions()
	time.Sleep(12 * time.Second)
	if after := sessions(); !slices.Equal(before, after) {
		t.Errorf("the sessions were %v and are %v", before, after)
	}
}

// TestDesktopInFirefox plays the page in a stock Firefox, which pairs with no
// loopback address and offers no H.264 when new.
func TestDesktopInFirefox(t *testing.T) {
	d := startDesktop(t, image.Pt(1280, 720))
	d.paintPattern(t, 200*time.Millisecond)
	p := startProgram(t, d.display)
	f := startFirefox(t)
	f.call(t, "WebDriver:Navigate", map[string]any{"url": p.url + "/"}, nil)
	run := func(script string, value any) {
		t.Helper()
		f.call(t, "WebDriver:ExecuteScript", map[string]any{"script": script, "args": []any{}}, value)
	}
	eventually(t, "Firefox plays", func() bool {
		var state string
		run(`return document.getElementById("state").textContent`, &state)
		return state == "playing"
	})
	var steps []int
	for range 3 {
		var got struct {
			W, H  int
			Cells [patternRows][patternColumns][3]float64
		}
		run(`return `+pictureScript, &got)
		if size := image.Pt(got.W, got.H); size != d.size {
			t.Errorf("the picture is %v", size)
		}
		step, err := patternStep(got.Cells)
		if err != nil {
			t.Error(err)
		}
		steps = append(steps, step)
		time.Sleep(700 * time.Millisecond)
	}
	if steps[0] == steps[1] && steps[1] == steps[2] {
		t.Errorf("the picture does not move: %v", steps)
	}
	var png string
	f.call(t, "WebDriver:TakeScreenshot", map[string]any{"full": false}, &png)
	b, err := base64.StdEncoding.DecodeString(png)
	if err != nil {
		t.Fatal(err)
	}
	keep(t, "firefox", b)
}
