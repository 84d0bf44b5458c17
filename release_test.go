package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRelease makes a release, unpacks the archive, installs the package, and
// plays what is in them.
func TestRelease(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	do := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "VERSION=v9.8.7-test", "XDG_RUNTIME_DIR="+t.TempDir())
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	do("packaging/release")
	arch := strings.TrimSpace(do("dpkg", "--print-architecture"))
	archive := "dist/deskwhep-9.8.7-test-linux-" + arch + ".tar.gz"
	pkg := "dist/deskwhep_9.8.7.test_" + arch + ".deb"
	t.Cleanup(func() { _ = os.Remove(archive); _ = os.Remove(pkg) })

	dir := t.TempDir()
	do("tar", "-C", dir, "-xzf", archive)
	unpacked := filepath.Join(dir, "deskwhep-9.8.7-test-linux-"+arch, "deskwhep")
	if out := do(unpacked, "version"); !strings.HasPrefix(out, "deskwhep 9.8.7-test\n") {
		t.Errorf("the archive's program says %s", out)
	}
	if out := do("readelf", "-d", unpacked); strings.Contains(out, "NEEDED") {
		t.Errorf("the archive's program needs libraries:\n%s", out)
	}

	playProgram(t, unpacked)

	// Into a directory, with this machine's own list of packages: dpkg looks
	// whether it has what the package needs.
	root := t.TempDir()
	for _, name := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	do("cp", "/var/lib/dpkg/status", filepath.Join(root, "var/lib/dpkg/status"))
	dpkg := func(args ...string) string {
		return do("dpkg", append([]string{"--root=" + root, "--force-not-root", "--log=" + filepath.Join(dir, "dpkg.log")}, args...)...)
	}
	dpkg("--install", pkg)
	if out := dpkg("--status", "deskwhep"); !strings.Contains(out, "\nStatus: install ok installed\n") || !strings.Contains(out, "\nVersion: 9.8.7.test\n") {
		t.Errorf("the package is not installed: %s", out)
	}
	if out := dpkg("--verify", "deskwhep"); out != "" {
		t.Errorf("installed are other files than the package has: %s", out)
	}
	installed := filepath.Join(root, "usr/bin/deskwhep")
	if out := do(installed, "version"); !strings.HasPrefix(out, "deskwhep 9.8.7-test\n") {
		t.Errorf("the package's program says %s", out)
	}
	playProgram(t, installed)
	depends := do("dpkg-deb", "-f", pkg, "Depends")
	for _, want := range []string{"libc6 (>=", "libvpx", "libaom", "libopenh264", "libyuv"} {
		if !strings.Contains(depends, want) {
			t.Errorf("the package depends on %s, which lacks %s", depends, want)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err == nil {
		unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/user/deskwhep.service"))
		if err != nil {
			t.Fatal(err)
		}
		here := filepath.Join(dir, "deskwhep.service") // with a program that exists
		if err := os.WriteFile(here, []byte(strings.ReplaceAll(string(unit), "/usr/bin/deskwhep", unpacked)), 0o644); err != nil {
			t.Fatal(err)
		}
		do("systemd-analyze", "--user", "verify", here)
	}
	dpkg("--purge", "deskwhep")
	if _, err := os.Stat(installed); err == nil {
		t.Error("it is still there when it has been purged")
	}
}

// playProgram starts another build of the program and plays its card in each of
// its codecs.
func playProgram(t *testing.T, path string) {
	t.Helper()
	built := bin
	defer func() { bin = built }()
	bin = path
	p := startProgram(t, "", "--source", "card", "--max-encoders", "4")
	startPlayer(t, p.url+"/whep?codec=vp8", nil).frame(t)
	for _, codec := range []string{"vp9", "h264", "av1"} {
		player := startPlayer(t, p.url+"/whep?codec="+codec, nil)
		select {
		case packet := <-player.packets:
			if len(packet.Payload) == 0 {
				t.Errorf("%s: the first packet is empty", codec)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: nothing comes", codec)
		}
	}
	p.stop(t)
}
