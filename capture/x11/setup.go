package x11

import (
	"context"
	"errors"
	"fmt"
	"image"
	"strings"

	"deskwhep/capture"
)

// Probe connects once and tells the display's depth, in bits, and size, in
// pixels, whether or not it can be captured.
func Probe(ctx context.Context, display, xauthority string) (depth int, size image.Point, err error) {
	c, err := connect(ctx, display, xauthority)
	if err != nil {
		return 0, image.Point{}, err
	}
	defer c.Close()
	return int(c.depth), c.size, nil
}

// greet opens the conversation, X protocol, "Connection Setup".
func (c *conn) greet(cookie []byte, screen int) error {
	name := ""
	if cookie != nil {
		name = cookieName
	}
	hello := []byte{'l', 0, 11, 0, 0, 0}
	hello = le.AppendUint16(hello, uint16(len(name)))
	hello = le.AppendUint16(hello, uint16(len(cookie)))
	hello = append(hello, 0, 0)
	hello = pad(append(hello, name...))
	c.out = pad(append(hello, cookie...))
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.need(8); err != nil {
		return err
	}
	head := c.in[c.pos : c.pos+8]
	n := 8 + 4*int(le.Uint16(head[6:]))
	if err := c.need(n); err != nil {
		return err
	}
	m := c.in[c.pos : c.pos+n]
	c.pos += n
	if m[0] != 1 {
		reason := strings.TrimSpace(strings.TrimRight(string(m[8:]), "\x00"))
		if cookie == nil {
			reason += " (no cookie for it in the Xauthority file)"
		}
		return fmt.Errorf("%w: %s", capture.ErrPermission, reason)
	}
	if !c.parseSetup(m, screen) {
		return fmt.Errorf("no screen %d: %w", screen, capture.ErrNoDisplay)
	}
	return nil
}

// parseSetup finds the screen in the server's description of itself, and
// reports whether it is there.
func (c *conn) parseSetup(m []byte, screen int) bool {
	if len(m) < 40 {
		return false
	}
	c.idBase, c.idMask = le.Uint32(m[12:]), le.Uint32(m[16:])
	lsbFirst := m[30] == 0
	at := 40 + (int(le.Uint16(m[24:]))+3)&^3
	formats := at
	nFormats := int(m[29])
	at += 8 * nFormats
	for ; len(m) >= at+40; screen-- {
		s := m[at:]
		at += 40
		visual := le.Uint32(s[32:])
		var red, green, blue uint32
		for range s[39] { // depths
			if len(m) < at+8 {
				return false
			}
			n := int(le.Uint16(m[at+2:]))
			at += 8
			for ; n > 0; n-- {
				if len(m) < at+24 {
					return false
				}
				if v := m[at:]; le.Uint32(v) == visual {
					red, green, blue = le.Uint32(v[8:]), le.Uint32(v[12:]), le.Uint32(v[16:])
				}
				at += 24
			}
		}
		if screen > 0 {
			continue
		}
		c.root = le.Uint32(s)
		c.size = image.Pt(int(le.Uint16(s[20:])), int(le.Uint16(s[22:])))
		c.depth = s[38]
		pixel := byte(0)
		for i := range nFormats {
			if f := m[formats+8*i:]; f[0] == c.depth {
				pixel = f[1]
			}
		}
		switch {
		case c.depth != 24 && c.depth != 32:
			c.odd = fmt.Sprintf("its depth is %d bits, only 24 and 32 can be captured", c.depth)
		case pixel != 32:
			c.odd = fmt.Sprintf("a pixel takes %d bits, only 32 can be captured", pixel)
		case !lsbFirst || red != 0xff0000 || green != 0xff00 || blue != 0xff:
			c.odd = fmt.Sprintf("its pixels are not blue, green, red (masks %#x %#x %#x)", red, green, blue)
		}
		return true
	}
	return false
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// The extensions that are made use of.
const (
	extShm = iota
	extDamage
	extFixes
	extRandr
	extComposite
	extInput
	nExtensions
)

// extensions are their names, and the versions that we speak.
var extensions = [nExtensions]struct {
	name         string
	major, minor uint32
}{
	extShm:       {"MIT-SHM", 1, 2},
	extDamage:    {"DAMAGE", 1, 1},
	extFixes:     {"XFIXES", 5, 0},
	extRandr:     {"RANDR", 1, 5},
	extComposite: {"Composite", 0, 4},
	extInput:     {"XInputExtension", 2, 2},
}

// extension is what the server said of one; opcode 0: it has none, or one too
// old.
type extension struct {
	opcode, event byte
	major, minor  int
	pixmaps       bool // of MIT-SHM: the server has shared pixmaps
}

// queryExtensions asks for all of them in two round trips.
func (c *conn) queryExtensions() error {
	var seq [nExtensions]uint16
	for i, e := range extensions {
		at := len(c.out)
		seq[i] = c.put(opQueryExtension, 0, uint32(len(e.name)))
		c.out = pad(append(c.out, e.name...))
		le.PutUint16(c.out[at+2:], uint16((len(c.out)-at)/4))
	}
	for i := range seq {
		m, err := c.reply(seq[i])
		if err != nil {
			return err
		}
		if m[8] != 0 {
			c.ext[i] = extension{opcode: m[9], event: m[10]}
		}
	}
	for i, e := range extensions {
		switch op := c.ext[i].opcode; {
		case op == 0:
		case i == extShm:
			seq[i] = c.put(op, 0)
		case i == extInput:
			seq[i] = c.put(op, xiQueryVersion, pair(int(e.major), int(e.minor)))
		default:
			seq[i] = c.put(op, 0, e.major, e.minor)
		}
	}
	for i := range extensions {
		x := &c.ext[i]
		if x.opcode == 0 {
			continue
		}
		m, err := c.reply(seq[i])
		var refused *xerror
		switch {
		case errors.As(err, &refused):
			*x = extension{}
			continue
		case err != nil:
			return err
		case i == extShm, i == extInput:
			x.major, x.minor = int(le.Uint16(m[8:])), int(le.Uint16(m[10:]))
			x.pixmaps = m[1] != 0 && m[16] == zPixmap
		default:
			x.major, x.minor = int(le.Uint32(m[8:])), int(le.Uint32(m[12:]))
		}
		if i == extFixes && x.major < 2 { // no regions
			*x = extension{}
		}
	}
	return nil
}
