package x11

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"net"
	"time"

	"deskwhep/capture"
	"deskwhep/capture/socket"
)

var le = binary.LittleEndian

// errStopped: closed or cancelled in the middle of a request.
var errStopped = errors.New("stopped")

// maxReply bounds what a server can make us hold. The largest true reply is a
// region of many rectangles.
const maxReply = 16 << 20

// conn is a connection to an X server for one goroutine. Requests gather in a
// buffer until a reply is waited for; nothing allocates per request.
type conn struct {
	*socket.Conn
	local bool // the server is on this machine

	out      []byte
	seq      uint16 // of the last request
	in       []byte
	pos, end int // what of in is read but not consumed
	event    func(ev []byte)
	failed   error // the first error of a request that has no reply

	idBase, idMask, idNext uint32
	idFree                 []uint32

	// The screen, as the server told it at the start.
	root  uint32
	depth byte
	size  image.Point
	odd   string // why its pixels are not ours; empty if they are

	ext [nExtensions]extension
}

// connect opens a display; xauthority is the file with its cookie, or nothing.
func connect(ctx context.Context, display, xauthority string) (*conn, error) {
	a, err := parseDisplay(display)
	if err != nil {
		return nil, err
	}
	sock, err := a.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("display %q: %w: %w", display, capture.ErrNoDisplay, err)
	}
	_, local := sock.(*net.UnixConn)
	c := &conn{Conn: socket.New(sock, "X server"), local: local, in: make([]byte, 1<<16), event: func([]byte) {}}
	c.Watch(ctx)
	cookie, err := a.cookie(xauthority, sock.RemoteAddr())
	if err == nil {
		err = c.greet(cookie, a.screen)
	}
	if err == nil {
		err = c.queryExtensions()
	}
	if err != nil {
		c.Close()
		if errors.Is(err, errStopped) {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("display %q: %w", display, err)
	}
	return c, nil
}

// insist reads once into p, for as long as anybody wants it and a little
// longer: after a reply that was not waited for the connection is of no use.
func (c *conn) insist(p []byte) (int, error) {
	const grace = 500 * time.Millisecond
	var deadline time.Time
	for {
		n, err := c.Read(p, deadline)
		switch {
		case err != socket.ErrWoken:
			return n, err
		case !c.Stopped(): // woken for something that is seen to later
		case deadline.IsZero():
			deadline = time.Now().Add(grace)
		case time.Now().After(deadline):
			return 0, errStopped
		}
	}
}

// room is where to read to, so that n bytes fit at in[pos:].
func (c *conn) room(n int) []byte {
	if c.pos == c.end {
		c.pos, c.end = 0, 0
	}
	if c.pos+n > len(c.in) || c.end == len(c.in) {
		into := c.in
		if n > len(into) {
			into = make([]byte, n)
		}
		c.end = copy(into, c.in[c.pos:c.end])
		c.in, c.pos = into, 0
	}
	return c.in[c.end:]
}

// need waits until n bytes lie at in[pos:].
func (c *conn) need(n int) error {
	for c.end-c.pos < n {
		m, err := c.insist(c.room(n))
		if err != nil {
			return err
		}
		c.end += m
	}
	return nil
}

// readFull fills p with what comes next.
func (c *conn) readFull(p []byte) error {
	n := copy(p, c.in[c.pos:c.end])
	c.pos += n
	for p = p[n:]; len(p) > 0; p = p[n:] {
		var err error
		if n, err = c.insist(p); err != nil {
			return err
		}
	}
	return nil
}

// put appends a request of words of 32 bits after the header; it returns its
// number.
func (c *conn) put(major, minor byte, words ...uint32) uint16 {
	n := len(words) + 1
	c.out = append(c.out, major, minor, byte(n), byte(n>>8))
	for _, w := range words {
		c.out = le.AppendUint32(c.out, w)
	}
	c.seq++
	return c.seq
}

// pair is two fields of 16 bits.
func pair(a, b int) uint32 { return uint32(uint16(a)) | uint32(uint16(b))<<16 }

func (c *conn) flush() (err error) {
	if len(c.out) > 0 {
		err = c.Write(c.out)
		c.out = c.out[:0]
	}
	return err
}

// message consumes the next message, of which at least the header is there,
// and returns it; a reply's body, which may be long, only if body is set.
// Events are handled on the way and return nil.
func (c *conn) message(body bool) ([]byte, error) {
	head := c.in[c.pos : c.pos+32]
	n := 32
	if code := head[0]; code == 1 || code&0x7f == 35 { // replies and generic events
		if extra := uint64(le.Uint32(head[4:])) * 4; body || code != 1 {
			if extra > maxReply {
				return nil, fmt.Errorf("X server: a message of %d bytes: %w", extra, capture.ErrLost)
			}
			n += int(extra)
		}
	}
	if err := c.need(n); err != nil {
		return nil, err
	}
	m := c.in[c.pos : c.pos+n]
	c.pos += n
	if m[0] > 1 {
		c.event(m)
		return nil, nil
	}
	return m, nil
}

// reply sends what has gathered and waits for the reply to a request. The
// slice is valid until the next call. An error of an earlier request that has
// no reply is returned by check.
func (c *conn) reply(seq uint16) ([]byte, error) { return c.await(seq, true) }

// replyHead is reply, but leaves the body for readFull.
func (c *conn) replyHead(seq uint16) ([]byte, error) { return c.await(seq, false) }

func (c *conn) await(seq uint16, body bool) ([]byte, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	for {
		if err := c.need(32); err != nil {
			return nil, err
		}
		m, err := c.message(body)
		switch {
		case err != nil:
			return nil, err
		case m == nil: // an event
		case m[0] == 1 && le.Uint16(m[2:]) == seq:
			return m, nil
		case m[0] == 1:
			return nil, fmt.Errorf("X server: a reply that nobody asked for: %w", capture.ErrLost)
		case le.Uint16(m[2:]) == seq:
			return nil, newXError(m)
		case c.failed == nil:
			c.failed = newXError(m)
		}
	}
}

// check waits until the server has done all requests, and returns the first
// error among those that have no reply.
func (c *conn) check() error {
	if err := c.sync(); err != nil {
		return err
	}
	return c.takeFailed()
}

// sync waits until the server has done all requests.
func (c *conn) sync() error {
	_, err := c.reply(c.put(opGetInputFocus, 0))
	return err
}

func (c *conn) takeFailed() error {
	err := c.failed
	c.failed = nil
	return err
}

// wait handles the events that are there, or waits for some until the deadline
// (zero: none) or a wake.
func (c *conn) wait(deadline time.Time) error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.end-c.pos < 32 {
		m, err := c.Read(c.room(32), deadline)
		if err != nil && err != socket.ErrWoken {
			return err
		}
		c.end += m
	}
	for c.end-c.pos >= 32 {
		m, err := c.message(true)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		if m[0] == 1 {
			return fmt.Errorf("X server: a reply that nobody asked for: %w", capture.ErrLost)
		}
		if c.failed == nil {
			c.failed = newXError(m)
		}
	}
	return nil
}

// id is a new resource's.
func (c *conn) id() uint32 {
	if n := len(c.idFree); n > 0 {
		id := c.idFree[n-1]
		c.idFree = c.idFree[:n-1]
		return id
	}
	c.idNext++
	return c.idBase | c.idNext&c.idMask
}

// xerror is an error that the server answered with.
type xerror struct {
	code, major byte
	minor       uint16
	bad         uint32
}

func newXError(m []byte) error {
	return &xerror{code: m[1], bad: le.Uint32(m[4:]), minor: le.Uint16(m[8:]), major: m[10]}
}

var errorNames = [...]string{1: "Request", "Value", "Window", "Pixmap", "Atom", "Cursor", "Font", "Match",
	"Drawable", "Access", "Alloc", "Colormap", "GContext", "IDChoice", "Name", "Length", "Implementation"}

// Errors of the core protocol that are told apart here.
const (
	badWindow   = 3
	badCursor   = 6
	badMatch    = 8
	badDrawable = 9
)

func (e *xerror) Error() string {
	name := fmt.Sprintf("error %d", e.code)
	if int(e.code) < len(errorNames) {
		name = "Bad" + errorNames[e.code]
	}
	return fmt.Sprintf("X server: %s to request %d.%d about %#x", name, e.major, e.minor, e.bad)
}

// isX reports whether err is the server's answer with one of those codes.
func isX(err error, codes ...byte) bool {
	var x *xerror
	if !errors.As(err, &x) {
		return false
	}
	for _, code := range codes {
		if x.code == code {
			return true
		}
	}
	return false
}
