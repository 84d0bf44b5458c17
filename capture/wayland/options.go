// Package wayland captures an output of a Wayland compositor by
// zwlr_screencopy_manager_v1, which wlroots compositors (sway, labwc, river,
// Hyprland, ...) have, into memory shared with the compositor.
package wayland

import (
	"image"

	"deskwhep/capture"
)

// Options tell Open what to capture.
type Options struct {
	Display    string             // $WAYLAND_DISPLAY: a socket's path, or its name in RuntimeDir; empty is wayland-0
	RuntimeDir string             // $XDG_RUNTIME_DIR
	Output     string             // the output's name or number, from 0; empty is the first
	Cursor     capture.CursorMode // embedded, else hidden
}

// Output is a monitor of a compositor.
type Output struct {
	Name    string
	Size    image.Point // physical pixels, not rotated
	Scale   float64
	Refresh float64 // Hz; 0 if unknown
}
