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

// TestRelease makes a release, unpacks both of its files and runs what is in
// them.
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

	root := t.TempDir()
	do("dpkg-deb", "-x", pkg, root)
	if out := do(filepath.Join(root, "usr/bin/deskwhep"), "version"); !strings.HasPrefix(out, "deskwhep 9.8.7-test\n") {
		t.Errorf("the package's program says %s", out)
	}
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
}
