// Package socket is what the clients of display servers have in common: a
// connection that belongs to one goroutine, and whose waits others can end.
package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"deskwhep/capture"
)

// ErrWoken is what Read returns after its deadline or Wake.
var ErrWoken = errors.New("woken")

// Conn is a connection to a display server. It belongs to one goroutine; only
// Wake, HangUp and Closed are for any.
type Conn struct {
	sock    net.Conn
	server  string
	watched <-chan struct{}
	unwatch func() bool
	woken   atomic.Bool
	closed  atomic.Bool
}

// New takes a connection over. server is what errors call the other end.
func New(sock net.Conn, server string) *Conn { return &Conn{sock: sock, server: server} }

// Watch makes the end of ctx wake the connection, until Watch is called with
// another. The same context again costs nothing.
func (c *Conn) Watch(ctx context.Context) {
	if done := ctx.Done(); done != c.watched {
		if c.unwatch != nil {
			c.unwatch()
		}
		c.watched, c.unwatch = done, context.AfterFunc(ctx, c.Wake)
	}
}

// Stopped reports whether nobody waits for the server any more: the watched
// context has ended, or HangUp was called.
func (c *Conn) Stopped() bool {
	select {
	case <-c.watched:
		return true
	default:
		return c.Closed()
	}
}

// Wake makes the Read that waits now, or else the next one, return ErrWoken.
// What it tells of must be set before.
func (c *Conn) Wake() {
	c.woken.Store(true)
	c.sock.SetReadDeadline(time.Unix(1, 0))
}

// HangUp ends the connection and what waits on it.
func (c *Conn) HangUp() {
	c.closed.Store(true)
	c.sock.Close()
}

// Closed reports whether HangUp was called.
func (c *Conn) Closed() bool { return c.closed.Load() }

// Close is HangUp for the owner; it also ends Watch.
func (c *Conn) Close() {
	if c.unwatch != nil {
		c.unwatch()
	}
	c.HangUp()
}

// Read reads once into p, not longer than until the deadline; zero is never.
// The error is ErrWoken, capture.ErrClosed after HangUp, or wraps
// capture.ErrLost.
func (c *Conn) Read(p []byte, deadline time.Time) (int, error) {
	c.sock.SetReadDeadline(deadline)
	if c.woken.Swap(false) {
		return 0, ErrWoken
	}
	n, err := c.sock.Read(p)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.woken.Store(false)
		return 0, ErrWoken
	}
	return 0, c.lost(err)
}

// Write sends all of p. The errors are as for Read.
func (c *Conn) Write(p []byte) error {
	if _, err := c.sock.Write(p); err != nil {
		return c.lost(err)
	}
	return nil
}

// WriteRights sends all of p, of which a request takes a descriptor: rights, as
// unix.UnixRights makes it.
func (c *Conn) WriteRights(p, rights []byte) error {
	local, ok := c.sock.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("descriptors pass through local sockets only: %w", capture.ErrUnsupported)
	}
	n, _, err := local.WriteMsgUnix(p, rights, nil)
	if err != nil {
		return c.lost(err)
	}
	return c.Write(p[n:])
}

func (c *Conn) lost(err error) error {
	if c.Closed() {
		return capture.ErrClosed
	}
	return fmt.Errorf("%s: %w: %w", c.server, capture.ErrLost, err)
}
