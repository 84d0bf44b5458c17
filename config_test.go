package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"deskwhep/encode"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestWrongSettings starts the program with files that are wrong, and compares
// what it says.
func TestWrongSettings(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), []string{"--config", file}, &out, &out)
			if err == nil || out.Len() > 0 {
				t.Fatalf("it started with wrong settings: %v\n%s", err, &out)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// TestPrecedence sets one thing in all three places, and takes them away one by
// one. The remedy tells whose value counted.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deskwhep.yaml")
	if err := os.WriteFile(file, []byte("fps: 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	says := func(want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"--config=" + file}, args...), &out, &out)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	says(file + ":1: fps: 1000 ")
	t.Setenv("DESKWHEP_FPS", "2000")
	says("$DESKWHEP_FPS: 2000 ")
	says("--fps: 3000 ", "--fps", "3000")
}

// TestUnreadableSettings has values that cannot be read in all three places: each
// is told with its place.
func TestUnreadableSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deskwhep.yaml")
	if err := os.WriteFile(file, []byte("open: true\nbitrate: 5Q\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DESKWHEP_CURSOR", "big")
	t.Setenv("DESKWHEP_MAX_VIEWERS", "many")
	var out bytes.Buffer
	err := run(t.Context(), []string{"serve", "--config", file, "--open", "--fps", "x", "--max-size=huge", "--no-rtcp-mux-only"}, &out, &out)
	want := `5 settings are wrong:
  --fps: expected a valid 64 bit int but got "x"
  --max-size: "huge" is no size from 16x16 to 16384x16384
  $DESKWHEP_CURSOR: must be one of "embedded","hidden" but got "big"
  $DESKWHEP_MAX_VIEWERS: expected a valid 64 bit int but got "many"
  ` + file + `:2: bitrate: "5Q" is no bitrate from 50k to 200M`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	for arg, want := range map[string]string{"--frames=3": "unknown flag --frames", "stream": "unexpected argument stream"} {
		t.Setenv("DESKWHEP_CURSOR", "")
		t.Setenv("DESKWHEP_MAX_VIEWERS", "")
		if err := run(t.Context(), []string{arg}, &out, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// TestStreamsOfTheFile starts the program with two more streams, one of which
// takes from the desktop what it does not say itself.
func TestStreamsOfTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deskwhep.yaml")
	text := "source: card\nfps: 20\ncodecs: [vp8, vp9]\nstreams:\n  left:\n    fps: 7\n    max-size: 320x240\n  right:\n    codecs: vp9\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, "", "--config", file)
	var list struct {
		Default string
		Streams []streamJSON
	}
	get(t, p.url+"/streams", 200, &list)
	if list.Default != "desktop" || len(list.Streams) != 4 {
		t.Fatalf("got %+v", list)
	}
	for i, want := range []struct {
		name   string
		fps    int
		codecs []encode.Codec
	}{
		{"desktop", 20, []encode.Codec{"vp8", "vp9"}}, {"card", 20, []encode.Codec{"vp8", "vp9"}},
		{"left", 7, []encode.Codec{"vp8", "vp9"}}, {"right", 20, []encode.Codec{"vp9"}},
	} {
		got := list.Streams[i]
		if got.Name != want.name || got.FPS != want.fps || len(got.Codecs) != len(want.codecs) || got.Codecs[0] != want.codecs[0] {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	player := startPlayer(t, p.url+"/whep/left?codec=vp8", nil)
	if data, key, _ := player.frame(t); !key || len(data) == 0 {
		t.Error("the stream of the file plays nothing")
	}
}

// TestSettingsOfOneFlag checks that each picture flag of a stream reaches the
// field of its name: the order of flags is that of the fields.
func TestSettingsOfOneFlag(t *testing.T) {
	desktop := picture{Source: "x11", Display: ":5", Target: "desktop", Cursor: "embedded", FPS: 30, Codecs: encode.Available(), Bitrate: 1e6, MaxEncoders: 2}
	for name, text := range map[string]string{"source": "card", "display": ":7", "target": "monitor:A", "cursor": "hidden",
		"fps": "5", "max-size": "100x50", "codecs": "vp8", "bitrate": "2M", "max-encoders": "4", "mask": "1,2,3,4;5,6,7,8"} {
		s := fileStream{values: map[string]value{name: {text: text}}}
		p, _ := s.over(desktop)
		want, err := parse(pictureType, name, text)
		if err != nil {
			t.Fatal(err)
		}
		w := want.Interface().(picture)
		got := map[string]bool{
			"source": p.Source == w.Source, "display": p.Display == w.Display, "target": p.Target == w.Target, "cursor": p.Cursor == w.Cursor,
			"fps": p.FPS == w.FPS, "max-size": p.MaxSize == w.MaxSize, "codecs": len(p.Codecs) == 1 && p.Codecs[0] == "vp8",
			"bitrate": p.Bitrate == w.Bitrate, "max-encoders": p.MaxEncoders == w.MaxEncoders, "mask": slices.Equal(p.Mask, []string{"1,2,3,4", "5,6,7,8"}),
		}
		if !got[name] {
			t.Errorf("%s: %s did not reach its field: %+v", name, text, p)
		}
		if name != "fps" && p.FPS != 30 || name != "display" && p.Display != ":5" || name != "bitrate" && p.Bitrate != 1e6 {
			t.Errorf("%s: %s changed another field: %+v", name, text, p)
		}
	}
}

// TestLinks makes links and asks whether they are valid.
func TestLinks(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	link := makeLink("secret", now.Add(time.Hour))
	for _, c := range []struct {
		what   string
		tokens []string
		link   string
		at     time.Time
		want   bool
	}{
		{"a fresh link", []string{"other", "secret"}, link, now, true},
		{"an expired link", []string{"secret"}, link, now.Add(time.Hour), false},
		{"another token", []string{"other"}, link, now, false},
		{"no token", nil, link, now, false},
		{"a longer time", []string{"secret"}, strings.Replace(link, "link.", "link.z", 1), now, false},
		{"a cut signature", []string{"secret"}, link[:len(link)-1], now, false},
		{"only the prefix", []string{"secret"}, linkPrefix, now, false},
		{"nothing", []string{"secret"}, "", now, false},
		{"an empty time", []string{"secret"}, "link.." + signLink("secret", "link."), now, false},
	} {
		if got := validLink(c.tokens, c.link, c.at); got != c.want {
			t.Errorf("%s: valid is %v", c.what, got)
		}
	}
	var out bytes.Buffer
	if err := run(context.Background(), []string{"link", "--token", "a b"}, &out, &out); err == nil {
		t.Error("a link was made with an impossible token")
	}
}
