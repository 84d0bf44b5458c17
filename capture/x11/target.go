package x11

import (
	"fmt"
	"image"
	"strconv"
	"strings"

	"deskwhep/capture"
)

// Target is the part of a display that a source captures. At most one field is
// set; the zero value is the whole desktop.
type Target struct {
	Monitor string          // a monitor's name, or its number in the order of Monitors, from 0
	Region  image.Rectangle // desktop pixels
	Window  uint32          // a window's id; it is captured whole, also while others cover it
}

// ParseTarget reads desktop, monitor:NAME, region:X,Y,W,H or window:ID. The
// window's id is decimal, or hexadecimal after 0x. No text is the desktop.
func ParseTarget(s string) (Target, error) {
	kind, value, _ := strings.Cut(s, ":")
	switch {
	case s == "" || s == "desktop":
		return Target{}, nil
	case kind == "monitor" && value != "":
		return Target{Monitor: value}, nil
	case kind == "region":
		var at [4]int
		fields := strings.Split(value, ",")
		if len(fields) != len(at) {
			return Target{}, fmt.Errorf("target %q: a region is X,Y,W,H", s)
		}
		for i, f := range fields {
			n, err := strconv.ParseInt(strings.TrimSpace(f), 10, 16)
			if err != nil {
				return Target{}, fmt.Errorf("target %q: a region is four numbers of pixels: %w", s, err)
			}
			at[i] = int(n)
		}
		if at[2] < 1 || at[3] < 1 {
			return Target{}, fmt.Errorf("target %q: a region needs a width and a height of at least 1", s)
		}
		return Target{Region: image.Rect(at[0], at[1], at[0]+at[2], at[1]+at[3])}, nil
	case kind == "window":
		id, err := strconv.ParseUint(value, 0, 32)
		if err != nil || id == 0 {
			return Target{}, fmt.Errorf("target %q: a window is a number such as 0x1a00007, as xwininfo prints it", s)
		}
		return Target{Window: uint32(id)}, nil
	}
	return Target{}, fmt.Errorf("target %q: want desktop, monitor:NAME, region:X,Y,W,H or window:ID", s)
}

// String is the text that ParseTarget reads.
func (t Target) String() string {
	switch r := t.Region; {
	case t.Monitor != "":
		return "monitor:" + t.Monitor
	case t.Window != 0:
		return fmt.Sprintf("window:%#x", t.Window)
	case r != image.Rectangle{}:
		return fmt.Sprintf("region:%d,%d,%d,%d", r.Min.X, r.Min.Y, r.Dx(), r.Dy())
	}
	return "desktop"
}

// Monitor is one monitor of a display.
type Monitor struct {
	Name    string
	Bounds  image.Rectangle // physical pixels of the desktop
	Primary bool
	Scale   float64 // the desktop's scale hint; 1 if unknown
	Refresh float64 // Hz; 0 if unknown
}

// find returns the monitor of that name, or else of that number.
func find(monitors []monitor, name string) (Monitor, error) {
	var names []string
	for _, m := range monitors {
		if m.Name == name {
			return m.Monitor, nil
		}
		names = append(names, m.Name)
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(monitors) {
		return monitors[n].Monitor, nil
	}
	return Monitor{}, fmt.Errorf("no monitor %q, there is %s: %w", name, strings.Join(names, ", "), capture.ErrGone)
}
