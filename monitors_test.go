package main

import (
	"encoding/json"
	"image"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// TestMonitors lists two monitors, for people and for programs, and captures
// one by the name that the list gives.
func TestMonitors(t *testing.T) {
	d := startDesktop(t, image.Pt(800, 600))
	for _, args := range [][]string{
		{"--setmonitor", "*left", "400/100x600/150+0+0", "screen"}, {"--setmonitor", "right", "400/100x500/150+400+100", "none"},
	} {
		if out, err := exec.Command("xrandr", append([]string{"--display", d.display}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("xrandr %v (Debian package x11-xserver-utils): %v\n%s", args, err, out)
		}
	}
	var got []map[string]any
	text := monitorsOf(t, d.display, "--json")
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	want := map[string]map[string]any{
		"left":  {"x": 0., "y": 0., "width": 400., "height": 600., "primary": true, "scale": 1.},
		"right": {"x": 400., "y": 100., "width": 400., "height": 500., "primary": false, "scale": 1.},
	}
	if len(got) != len(want) {
		t.Fatalf("%d monitors in\n%s", len(got), text)
	}
	for _, m := range got {
		w, ok := want[m["name"].(string)]
		if _, told := m["refreshHz"]; !told || !ok {
			t.Errorf("monitor %v", m)
		}
		for key := range w {
			if !reflect.DeepEqual(m[key], w[key]) {
				t.Errorf("%v: %s is %v, want %v", m["name"], key, m[key], w[key])
			}
		}
	}

	lines := strings.Split(strings.TrimSpace(monitorsOf(t, d.display)), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "NAME") {
		t.Fatalf("the list has the lines %q", lines)
	}
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if f[0] == "left" && (f[1] != "400x600" || f[2] != "0,0" || f[len(f)-1] != "primary") ||
			f[0] == "right" && (f[1] != "400x500" || f[2] != "400,100" || f[len(f)-1] == "primary") {
			t.Errorf("the line %q", line)
		}
	}

	for target, says := range map[string]string{
		"monitor:right":  "400x500",
		"monitor:middle": "left, right",
		"monitor:2":      "left, right",
	} {
		if said, code := consult(t, d.display, "--target", target); !strings.Contains(said, says) || (code == 0) != (target == "monitor:right") {
			t.Errorf("--target %s: exit %d, want %q in\n%s", target, code, says, said)
		}
	}

	out, err := monitorsCommand("").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DISPLAY") {
		t.Errorf("without a display: %v, %s", err, out)
	}
}

func monitorsCommand(display string, args ...string) *exec.Cmd {
	cmd := exec.Command(bin, append([]string{"monitors"}, args...)...)
	cmd.Env = append(cmd.Environ(), "DISPLAY="+display, "WAYLAND_DISPLAY=", "XDG_SESSION_TYPE=x11")
	return cmd
}

// monitorsOf is what the command prints.
func monitorsOf(t *testing.T, display string, args ...string) string {
	t.Helper()
	out, err := monitorsCommand(display, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
