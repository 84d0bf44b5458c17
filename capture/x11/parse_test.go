package x11

import (
	"errors"
	"image"
	"strings"
	"testing"

	"deskwhep/capture"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Target{
		"":                   {},
		"desktop":            {},
		"monitor:HDMI-1":     {Monitor: "HDMI-1"},
		"monitor:a:b":        {Monitor: "a:b"},
		"region:1,2,30,40":   {Region: image.Rect(1, 2, 31, 42)},
		"region:-5, 0, 9, 9": {Region: image.Rect(-5, 0, 4, 9)},
		"window:0x1a00007":   {Window: 0x1a00007},
		"window:42":          {Window: 42},
	} {
		got, err := ParseTarget(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if again, err := ParseTarget(got.String()); err != nil || again != want {
			t.Errorf("%q, printed and read again: %+v, %v", text, again, err)
		}
	}
	for _, text := range []string{"all", "monitor:", "region:1,2,3", "region:0,0,0,5", "region:0,0,5,99999", "window:0", "window:top", "desktop2"} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestParseDisplay(t *testing.T) {
	for text, want := range map[string]address{
		":0":                {},
		":12.1":             {display: 12, screen: 1},
		"unix:3":            {display: 3},
		"localhost:10.0":    {host: "localhost", display: 10},
		"tcp/10.0.0.1:2":    {host: "10.0.0.1", display: 2},
		"[::1]:4":           {host: "::1", display: 4},
		"fe80::1:5":         {host: "fe80::1", display: 5},
		"host.example:99.0": {host: "host.example", display: 99},
	} {
		if got, err := parseDisplay(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", ":", ":x", ":-1", ":0.x", ":99999"} {
		if got, err := parseDisplay(text); !errors.Is(err, capture.ErrNoDisplay) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzCookie(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x04host\x00\x010\x00\x12MIT-MAGIC-COOKIE-1\x00\x02ab"))
	f.Add([]byte("\xff\xff\x00\x00\x00\x00\x00\x12MIT-MAGIC-COOKIE-1\x00\x02cd"))
	f.Add([]byte("\x00\x00\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cookie := findCookie(data, familyLocal, []byte("host"), "0")
		if cookie != nil && !strings.Contains(string(data), string(cookie)) {
			t.Fatalf("%q is not in the file", cookie)
		}
	})
}

// FuzzSetup feeds what a server says of itself.
func FuzzSetup(f *testing.F) {
	m := make([]byte, 40+8+40+8+24)
	m[0], m[28], m[29] = 1, 1, 1 // one screen, one format
	m[40], m[41] = 24, 32        // depth, bits per pixel
	screen := m[48:]
	screen[0], screen[32] = 7, 9   // root, visual
	screen[38], screen[39] = 24, 1 // depth, one of them
	screen[40], screen[42] = 24, 1 // depth, one visual
	visual := screen[48:]
	visual[0], visual[10], visual[13], visual[16] = 9, 255, 255, 255
	var c conn
	if !c.parseSetup(m, 0) || c.odd != "" || c.root != 7 || c.depth != 24 {
		f.Fatalf("root %d, depth %d, %q", c.root, c.depth, c.odd)
	}
	f.Add(m, byte(0))
	f.Add(m[:100], byte(1))
	f.Fuzz(func(t *testing.T, m []byte, screen byte) {
		var c conn
		if c.parseSetup(m, int(screen)) && len(m) < 80 {
			t.Fatal("a screen of nothing")
		}
	})
}
