package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"text/tabwriter"

	"deskwhep/capture"
	"deskwhep/capture/mask"
	"deskwhep/capture/screen"
	"deskwhep/capture/wayland"
	"deskwhep/capture/x11"
)

// session is what the environment tells of the desktop session.
type session struct {
	x11, xauthority     string
	wayland, runtimeDir string
	isWayland           bool // a Wayland session, whose X11 display shows only some windows
}

func environment() session {
	home, _ := os.UserHomeDir() // without a home there is no default file
	e := session{
		x11:        os.Getenv("DISPLAY"),
		xauthority: cmp.Or(os.Getenv("XAUTHORITY"), filepath.Join(home, ".Xauthority")),
		wayland:    os.Getenv("WAYLAND_DISPLAY"),
		runtimeDir: os.Getenv("XDG_RUNTIME_DIR"),
	}
	e.isWayland = e.wayland != "" || os.Getenv("XDG_SESSION_TYPE") == "wayland"
	return e
}

// openMasked opens the source and hides what is to be hidden of it.
func (p *picture) openMasked(ctx context.Context) (capture.Source, error) {
	var hidden []image.Rectangle
	for _, text := range p.Mask {
		r, err := mask.Parse(text)
		if err != nil {
			return nil, err
		}
		hidden = append(hidden, r)
	}
	src, err := p.open(ctx)
	if err != nil || len(hidden) == 0 {
		return src, err
	}
	return mask.New(src, hidden), nil
}

// open opens the source that the flags ask for.
func (p *picture) open(ctx context.Context) (capture.Source, error) {
	e := environment()
	switch p.Source {
	case "card":
		return p.openCard(ctx)
	case "wayland":
		return p.openWayland(ctx, e)
	case "x11":
		return p.openX11(ctx, e)
	case "screen":
		return p.openScreen(ctx, e)
	}
	switch {
	case e.isWayland && p.Display == "":
		return p.openWayland(ctx, e)
	case cmp.Or(p.Display, e.x11) != "":
		return p.openX11(ctx, e)
	case runtime.GOOS == "windows" || runtime.GOOS == "darwin":
		return p.openScreen(ctx, e)
	}
	return nil, fmt.Errorf("%w: neither DISPLAY nor WAYLAND_DISPLAY is set; start deskwhep in a desktop session, or with --display", capture.ErrNoDisplay)
}

func (p *picture) openX11(ctx context.Context, e session) (capture.Source, error) {
	target, err := x11.ParseTarget(p.Target)
	if err != nil {
		return nil, err
	}
	display := cmp.Or(p.Display, e.x11)
	if display == "" {
		return nil, fmt.Errorf("%w: DISPLAY is not set; give --display", capture.ErrNoDisplay)
	}
	// A nil *x11.Source must not become a capture.Source that is not nil.
	src, err := x11.Open(ctx, x11.Options{Display: display, Xauthority: e.xauthority, Target: target,
		Cursor: capture.CursorMode(p.Cursor), MaxFPS: float64(p.FPS)})
	if err != nil {
		return nil, err
	}
	return src, nil
}

func (p *picture) openWayland(ctx context.Context, e session) (capture.Source, error) {
	target, err := x11.ParseTarget(p.Target)
	if err != nil {
		return nil, err
	}
	if target.Window != 0 || !target.Region.Empty() {
		return nil, fmt.Errorf("%w: on Wayland the target is desktop or monitor:NAME", capture.ErrUnsupported)
	}
	src, err := wayland.Open(ctx, wayland.Options{Display: cmp.Or(p.Display, e.wayland), RuntimeDir: e.runtimeDir,
		Output: target.Monitor, Cursor: capture.CursorMode(p.Cursor)})
	if err != nil {
		return nil, err
	}
	return src, nil
}

// openScreen opens the portable backend, which captures nothing but the whole
// desktop of the environment's display.
func (p *picture) openScreen(ctx context.Context, e session) (capture.Source, error) {
	switch {
	case p.Target != "desktop":
		return nil, fmt.Errorf("%w: the portable backend captures the whole desktop only; use --source x11", capture.ErrUnsupported)
	case p.Display != "" && p.Display != e.x11:
		return nil, fmt.Errorf("%w: the portable backend captures the display of $DISPLAY only; use --source x11", capture.ErrUnsupported)
	case e.isWayland && runtime.GOOS == "linux":
		return nil, fmt.Errorf("%w: the portable backend does not capture Wayland; use --source wayland", capture.ErrUnsupported)
	}
	var check func(context.Context) error
	if runtime.GOOS == "linux" {
		check = func(ctx context.Context) error {
			depth, _, err := x11.Probe(ctx, e.x11, e.xauthority)
			if err == nil && depth != 24 && depth != 32 {
				err = fmt.Errorf("%w: the display has a colour depth of %d; it must be 24 or 32", capture.ErrUnsupported, depth)
			}
			return err
		}
	}
	src, err := screen.Open(ctx, screen.Options{FPS: float64(p.FPS), Check: check})
	if err != nil {
		return nil, err
	}
	return src, nil
}

// monitors is the command that lists what --target monitor:NAME can name.
type monitors struct {
	Display string `placeholder:":0" help:"Display to ask; $DISPLAY or $WAYLAND_DISPLAY if not given."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// monitor is one line of the list.
type monitor struct {
	Name      string  `json:"name"`
	X         int     `json:"x"`
	Y         int     `json:"y"`
	Width     int     `json:"width"`  // physical pixels
	Height    int     `json:"height"` // physical pixels
	Primary   bool    `json:"primary"`
	Scale     float64 `json:"scale"`
	RefreshHz float64 `json:"refreshHz"` // 0 if unknown
}

// Run prints the list.
func (m *monitors) Run(ctx context.Context, out io.Writer) error {
	list, err := m.list(ctx, environment())
	if err != nil {
		return err
	}
	if m.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSIZE\tAT\tSCALE\tHZ\t")
	for _, e := range list {
		primary := ""
		if e.Primary {
			primary = "primary"
		}
		fmt.Fprintf(w, "%s\t%dx%d\t%d,%d\t%g\t%g\t%s\n", e.Name, e.Width, e.Height, e.X, e.Y, e.Scale, e.RefreshHz, primary)
	}
	return w.Flush()
}

func (m *monitors) list(ctx context.Context, e session) (list []monitor, err error) {
	if e.isWayland && m.Display == "" {
		outputs, err := wayland.Outputs(ctx, wayland.Options{Display: e.wayland, RuntimeDir: e.runtimeDir})
		for _, o := range outputs {
			list = append(list, monitor{Name: o.Name, Width: o.Size.X, Height: o.Size.Y, Scale: o.Scale, RefreshHz: o.Refresh})
		}
		return list, err
	}
	display := cmp.Or(m.Display, e.x11)
	if display == "" {
		return nil, errors.New("there is no display: set DISPLAY or give --display")
	}
	found, err := x11.Monitors(ctx, display, e.xauthority)
	for _, f := range found {
		at, size := f.Bounds.Min, image.Point(f.Bounds.Size())
		list = append(list, monitor{Name: f.Name, X: at.X, Y: at.Y, Width: size.X, Height: size.Y,
			Primary: f.Primary, Scale: f.Scale, RefreshHz: f.Refresh})
	}
	return list, err
}
