package main

import (
	"bytes"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestDocuments follows the links between documents, and looks for the flags
// and pages that they name.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) < 5 {
		t.Fatalf("documents: %v, %v", files, err)
	}
	help := help(t, "serve", "--help") + help(t, "check", "--help") + help(t, "link", "--help")
	foreign := map[string]bool{"--network": true, "--user": true, "--ipc": true, "--now": true, "--rate": true} // other programs'
	for _, file := range append(files, "README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		for _, m := range regexp.MustCompile("(?:^|[ `])(--[a-z][a-z-]+)").FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(help, m[1]) && !foreign[m[1]] {
				t.Errorf("%s names %s, which the program does not know", file, m[1])
			}
		}
	}
	if readme, _ := os.ReadFile("README.md"); len(strings.Fields(string(readme))) > 500 {
		t.Error("the README has more than 500 words")
	}
	if info, err := os.Stat("docs/player.png"); err != nil || info.Size() > 200_000 {
		t.Errorf("the picture of the page: %v, %v", info, err)
	}
}

// TestLibraryDocument: the code in docs/library.md is that of the examples, which
// are compiled and run.
func TestLibraryDocument(t *testing.T) {
	text, err := os.ReadFile("docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("*/*example_test.go")
	if err != nil || len(examples) < 4 {
		t.Fatalf("examples: %v, %v", examples, err)
	}
	known := map[string]bool{"": true}
	for _, file := range examples {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(code)) {
			known[strings.TrimSpace(line)] = true
		}
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 3 {
		t.Errorf("there are only %d pieces of code", len(blocks))
	}
	for _, block := range blocks {
		for line := range strings.Lines(string(block[1])) {
			if !known[strings.TrimSpace(line)] {
				t.Errorf("no example has %q", line)
			}
		}
	}
}

// TestDocumentedSettings starts the program with the file of docs/settings.md.
func TestDocumentedSettings(t *testing.T) {
	text, err := os.ReadFile("docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("there is no file in the document")
	}
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, []byte("let-me-in\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "deskwhep.yaml")
	if err := os.WriteFile(file, bytes.Replace(block[1], []byte("/home/me/.config/deskwhep/tokens"), []byte(tokens), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, "", "--config", file)
	if !strings.HasPrefix(p.url, "https://") || !strings.Contains(p.url, "token=let-me-in") {
		t.Errorf("the URL is %s", p.url)
	}
	p.stop(t)
}

// TestPictureOfThePage makes the picture of the README: a desktop with programs,
// in the player with its statistics.
func TestPictureOfThePage(t *testing.T) {
	d := startDesktop(t, image.Pt(1280, 720))
	for _, program := range [][]string{
		{"xterm", "-geometry", "80x22+30+30", "-fa", "DejaVu Sans Mono", "-fs", "11", "-bg", "#14202b", "-fg", "#e8edf2", "-e", "sh", "-c", "sed -n 20,36p docs/architecture.md; sleep 600"},
		{"xclock", "-update", "1", "-geometry", "200x200-40-40"},
		{"xterm", "-geometry", "36x8+690-40", "-fa", "DejaVu Sans Mono", "-fs", "11", "-bg", "white", "-fg", "black", "-e", "sh", "-c", "while :; do date; sleep 1; done"},
	} {
		cmd := exec.Command(program[0], program[1:]...)
		cmd.Env = append(os.Environ(), "DISPLAY="+d.display)
		if err := cmd.Start(); err != nil {
			t.Fatalf("start %s (Debian packages xterm, x11-apps): %v", program[0], err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	p := startProgram(t, d.display)
	tab := startBrowser(t)()
	watch(t, tab, p.url)
	if _, err := chromedp.Run(tab, chromedp.WaitVisible("#codecs")); err != nil {
		t.Fatal(err)
	}
	click(t, tab, "#numbers")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		if *update { // lines on the graphs, for the picture
			continue
		}
		break
	}
	eventually(t, "the latency is measured", func() bool {
		return strings.Contains(evaluate[string](t, tab, `document.getElementById("statistics").innerText`), "glass to glass")
	})
	screenshot(t, tab, "player")
	if *update {
		png, err := os.ReadFile("out/player.png")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("docs/player.png", png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
