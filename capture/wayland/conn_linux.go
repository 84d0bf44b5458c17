package wayland

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"deskwhep/capture"
	"deskwhep/capture/socket"
)

var ne = binary.NativeEndian

// conn is a connection to a compositor for one goroutine. Requests gather until
// a wait for events.
type conn struct {
	*socket.Conn

	out      []byte
	in       []byte
	pos, end int // what of in is read but not consumed
	last     uint32
	free     []uint32 // ids that the compositor has done with
	event    func(object uint32, op uint16, args []byte)
}

// Objects and their requests and events, wayland.xml and
// wlr-screencopy-unstable-v1.xml.
const (
	display            = 1
	displaySync        = 0
	displayGetRegistry = 1
	evDisplayError     = 0
	evDisplayDeleteID  = 1

	registryBind           = 0
	evRegistryGlobal       = 0
	evRegistryGlobalRemove = 1

	shmCreatePool    = 0
	poolCreateBuffer = 0
	poolDestroy      = 1
	bufferDestroy    = 0

	evOutputGeometry = 0
	evOutputMode     = 1
	evOutputScale    = 3
	evOutputName     = 4

	managerCaptureOutput = 0
	frameCopy            = 0
	frameDestroy         = 1
	frameCopyWithDamage  = 2
	evFrameBuffer        = 0
	evFrameFlags         = 1
	evFrameReady         = 2
	evFrameFailed        = 3
	evFrameDamage        = 4
	evFrameBufferDone    = 6
)

func connect(ctx context.Context, o Options) (*conn, error) {
	path := o.Display
	if path == "" {
		path = "wayland-0"
	}
	if !filepath.IsAbs(path) {
		if o.RuntimeDir == "" {
			return nil, fmt.Errorf("Wayland display %q: there is no runtime directory to find it in: %w", path, capture.ErrNoDisplay)
		}
		path = filepath.Join(o.RuntimeDir, path)
	}
	var d net.Dialer
	sock, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("Wayland display: %w: %w", capture.ErrPermission, err)
	}
	if err != nil {
		return nil, fmt.Errorf("Wayland display: %w: %w", capture.ErrNoDisplay, err)
	}
	return &conn{Conn: socket.New(sock, "compositor"), in: make([]byte, 1<<16), last: display}, nil
}

// id is a new object's.
func (c *conn) id() uint32 {
	if n := len(c.free); n > 0 {
		id := c.free[n-1]
		c.free = c.free[:n-1]
		return id
	}
	c.last++
	return c.last
}

// put appends a request of arguments of 32 bits.
func (c *conn) put(object uint32, op uint16, args ...uint32) {
	c.out = ne.AppendUint32(c.out, object)
	c.out = ne.AppendUint32(c.out, uint32(8+4*len(args))<<16|uint32(op))
	for _, a := range args {
		c.out = ne.AppendUint32(c.out, a)
	}
}

// bind makes an object of a global.
func (c *conn) bind(registry uint32, g global, version uint32) uint32 {
	id := c.id()
	at := len(c.out)
	c.put(registry, registryBind, g.name, uint32(len(g.iface)+1))
	c.out = append(append(c.out, g.iface...), 0)
	for len(c.out)%4 != 0 {
		c.out = append(c.out, 0)
	}
	c.out = ne.AppendUint32(c.out, min(version, g.version))
	c.out = ne.AppendUint32(c.out, id)
	ne.PutUint32(c.out[at+4:], uint32(len(c.out)-at)<<16|registryBind)
	return id
}

func (c *conn) flush() (err error) {
	if len(c.out) > 0 {
		err = c.Write(c.out)
		c.out = c.out[:0]
	}
	return err
}

// wait sends what has gathered, and handles the events that are there, or waits
// for some until the deadline (zero: none) or a wake.
func (c *conn) wait(deadline time.Time) error {
	if err := c.flush(); err != nil {
		return err
	}
	for {
		handled, err := c.handle()
		if err != nil || handled {
			return err
		}
		c.end = copy(c.in, c.in[c.pos:c.end])
		c.pos = 0
		n, err := c.Read(c.in[c.end:], deadline)
		if err != nil {
			return err
		}
		c.end += n
	}
}

// handle handles the events that are complete, and reports whether there were
// any.
func (c *conn) handle() (handled bool, err error) {
	for c.end-c.pos >= 8 {
		m := c.in[c.pos:c.end]
		object, word := ne.Uint32(m), ne.Uint32(m[4:])
		n := int(word >> 16)
		if n < 8 || n%4 != 0 {
			return true, fmt.Errorf("compositor: an event of %d bytes: %w", n, capture.ErrLost)
		}
		if len(m) < n {
			break
		}
		c.pos += n
		handled = true
		args := m[8:n]
		switch op := uint16(word); {
		case object != display:
			c.event(object, op, args)
		case op == evDisplayDeleteID && len(args) >= 4:
			c.free = append(c.free, ne.Uint32(args))
		case op == evDisplayError && len(args) >= 12:
			return true, fmt.Errorf("compositor: object %d, code %d: %s: %w", ne.Uint32(args), ne.Uint32(args[4:]), text(args[8:]), capture.ErrLost)
		}
	}
	return handled, nil
}

// text reads a string argument.
func text(args []byte) string {
	if len(args) < 4 {
		return ""
	}
	n := int(ne.Uint32(args))
	if n < 1 || len(args)-4 < n {
		return ""
	}
	return string(args[4 : 4+n-1])
}
