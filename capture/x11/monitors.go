package x11

import (
	"context"
	"fmt"
	"image"
	"math"
	"strconv"
	"strings"
)

// Monitors lists a display's monitors. A server that knows of none (RANDR
// before 1.5) has one, "screen", which is all of it.
func Monitors(ctx context.Context, display, xauthority string) ([]Monitor, error) {
	c, err := connect(ctx, display, xauthority)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	list, err := c.monitors()
	if err != nil {
		return nil, fmt.Errorf("monitors of display %q: %w", display, err)
	}
	for i := range list {
		if list[i].Refresh, err = c.refresh(list[i].output); err != nil {
			return nil, fmt.Errorf("monitors of display %q: %w", display, err)
		}
	}
	out := make([]Monitor, len(list))
	for i, m := range list {
		out[i] = m.Monitor
	}
	return out, nil
}

// monitor is a Monitor and the first of its outputs, 0 if it has none.
type monitor struct {
	Monitor
	output uint32
}

// monitors asks for the monitors; without their refresh.
func (c *conn) monitors() ([]monitor, error) {
	scale, err := c.scale()
	if err != nil {
		return nil, err
	}
	if r := c.ext[extRandr]; r.opcode == 0 || r.major == 1 && r.minor < 5 {
		return []monitor{{Monitor: Monitor{Name: "screen", Bounds: image.Rectangle{Max: c.size}, Primary: true, Scale: scale}}}, nil
	}
	reply, err := c.reply(c.randr(randrGetMonitors, c.root, 1))
	if err != nil {
		return nil, err
	}
	var list []monitor
	var names []uint32
	for m := reply[32:]; len(m) >= 24; {
		outputs := int(le.Uint16(m[6:]))
		entry := monitor{Monitor: Monitor{Bounds: rectangle(m[8:]), Primary: m[4] != 0, Scale: scale}}
		names = append(names, le.Uint32(m))
		if m = m[24:]; len(m) < 4*outputs {
			break
		}
		if outputs > 0 {
			entry.output = le.Uint32(m)
		}
		m = m[4*outputs:]
		list = append(list, entry)
	}
	for i := range list {
		m, err := c.reply(c.put(opGetAtomName, 0, names[i]))
		if err != nil {
			return nil, err
		}
		list[i].Name = string(m[32:min(len(m), 32+int(le.Uint16(m[8:])))])
	}
	return list, nil
}

// refresh is the rate of the mode that an output shows, in Hz; 0 if unknown.
func (c *conn) refresh(output uint32) (float64, error) {
	if output == 0 {
		return 0, nil
	}
	crtc, err := c.reply(c.randr(randrGetOutputInfo, output, 0))
	if err != nil || len(crtc) < 36 || le.Uint32(crtc[12:]) == 0 {
		return 0, err
	}
	info, err := c.reply(c.randr(randrGetCrtcInfo, le.Uint32(crtc[12:]), 0))
	if err != nil {
		return 0, err
	}
	mode := le.Uint32(info[20:])
	m, err := c.reply(c.randr(randrGetScreenResources, c.root))
	if err != nil {
		return 0, err
	}
	skip := 32 + 4*(int(le.Uint16(m[16:]))+int(le.Uint16(m[18:])))
	for n := int(le.Uint16(m[20:])); n > 0 && len(m) >= skip+32; n, skip = n-1, skip+32 {
		f := m[skip:]
		if total := float64(le.Uint16(f[16:])) * float64(le.Uint16(f[24:])); le.Uint32(f) == mode && total > 0 {
			return math.Round(float64(le.Uint32(f[8:]))/total*100) / 100, nil
		}
	}
	return 0, nil
}

// scale is the desktop's hint, Xft.dpi of the root's resources over 96.
func (c *conn) scale() (float64, error) {
	const resourceManager, anyType, words = 23, 0, 1 << 14
	m, err := c.reply(c.put(opGetProperty, 0, c.root, resourceManager, anyType, 0, words))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(m[32:])) {
		if value, ok := strings.CutPrefix(line, "Xft.dpi:"); ok {
			if dpi, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && dpi >= 48 && dpi <= 960 {
				return dpi / 96, nil
			}
		}
	}
	return 1, nil
}
