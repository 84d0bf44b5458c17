package wayland

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"deskwhep/capture"
)

var ne = binary.NativeEndian

// errWoken: the deadline has passed or wake was called.
var errWoken = errors.New("woken")

// conn is a connection to a compositor for one goroutine. Requests gather until
// a wait for events. Only wake and hangUp may be called by others.
type conn struct {
	sock    *net.UnixConn
	watched <-chan struct{}
	unwatch func() bool
	woken   atomic.Bool
	closed  atomic.Bool

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
	return &conn{sock: sock.(*net.UnixConn), in: make([]byte, 1<<16), last: display}, nil
}

// watch makes the end of ctx wake the connection, until watch is called with
// another. The same context again costs nothing.
func (c *conn) watch(ctx context.Context) {
	if done := ctx.Done(); done != c.watched {
		if c.unwatch != nil {
			c.unwatch()
		}
		c.watched, c.unwatch = done, context.AfterFunc(ctx, c.wake)
	}
}

// wake makes the wait of now, or the next one, return. Any goroutine; what it
// tells of must be set before.
func (c *conn) wake() {
	c.woken.Store(true)
	c.sock.SetReadDeadline(time.Unix(1, 0))
}

// hangUp ends the connection and what waits on it. Any goroutine.
func (c *conn) hangUp() {
	c.closed.Store(true)
	c.sock.Close()
}

func (c *conn) close() {
	if c.unwatch != nil {
		c.unwatch()
	}
	c.hangUp()
}

func (c *conn) lost(err error) error {
	if c.closed.Load() {
		return capture.ErrClosed
	}
	return fmt.Errorf("compositor: %w: %w", capture.ErrLost, err)
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

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.sock.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return c.lost(err)
	}
	return nil
}

// flushFd sends the requests so far, one of which takes a descriptor.
func (c *conn) flushFd(fd int) error {
	_, _, err := c.sock.WriteMsgUnix(c.out, unix.UnixRights(fd), nil)
	c.out = c.out[:0]
	if err != nil {
		return c.lost(err)
	}
	return nil
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
		c.sock.SetReadDeadline(deadline)
		if c.woken.Swap(false) {
			return errWoken
		}
		n, err := c.sock.Read(c.in[c.end:])
		c.end += n
		switch {
		case n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.woken.Store(false)
			return errWoken
		case err != nil:
			return c.lost(err)
		}
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
