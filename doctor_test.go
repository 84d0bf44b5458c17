package main

import (
	"errors"
	"image"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// consult runs the doctor and gives what it says and its exit code.
func consult(t *testing.T, display string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"doctor", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(cmd.Environ(), "DISPLAY="+display, "WAYLAND_DISPLAY=", "XDG_SESSION_TYPE=x11")
	out, err := cmd.Output()
	var code *exec.ExitError
	if err != nil && !errors.As(err, &code) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestDoctor asks the doctor on a healthy desktop, and where things are amiss.
func TestDoctor(t *testing.T) {
	d := startDesktop(t, image.Pt(640, 480))
	d.paintPattern(t, 0)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, c := range []struct {
		what, display string
		args          []string
		code          int
		says          []string
	}{
		{"a healthy desktop", d.display, nil, 0, []string{"640x480 pixels", "x11 backend", "vp9 takes", "h264 takes", "UDP and TCP get through to 127.0.0.1", "Everything that deskwhep needs works here."}},
		{"no display", "", nil, 1, []string{"WRONG  The stream desktop cannot capture: no display", "vp9 takes"}},
		{"a display that is gone", ":987", nil, 1, []string{"cannot capture"}},
		{"a monitor that is not there", d.display, []string{"--target", "monitor:NONE"}, 1, []string{"cannot capture"}},
		{"a port in use", d.display, []string{"--listen", busy.Addr().String()}, 1, []string{"cannot be opened: address already in use"}},
		{"wrong settings", d.display, []string{"--fps", "0"}, 1, []string{"--fps: 0 is not from 1 to 240"}},
		{"a public name", "", []string{"--source", "card", "--acme", "desk.example.org"}, 0, []string{"The CA comes to port 443 of [desk.example.org]"}},
		{"the card", "", []string{"--source", "card"}, 0, []string{"captures test card with the card backend: 1280x720"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			out, code := consult(t, c.display, c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d\n%s", code, c.code, out)
			}
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestDoctorSeesBlack asks about a screen that shows nothing.
func TestDoctorSeesBlack(t *testing.T) {
	d := startDesktop(t, image.Pt(320, 240))
	var out string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if out, _ = consult(t, d.display, "--cursor", "hidden"); strings.Contains(out, "all black") {
			return
		}
	}
	t.Errorf("it does not see that the screen is black:\n%s", out)
}
