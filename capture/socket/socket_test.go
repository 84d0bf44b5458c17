package socket

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"deskwhep/capture"
)

// pair is a connection and its server's end.
func pair(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sock, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := New(sock, "the server")
	t.Cleanup(func() { c.Close(); server.Close() })
	return c, server
}

// TestWaitsEnd ends a read by all that ends one, before it begins and while it
// waits.
func TestWaitsEnd(t *testing.T) {
	for name, end := range map[string]struct {
		now  func(c *Conn, server net.Conn, cancel func())
		want error
	}{
		"Wake":           {func(c *Conn, _ net.Conn, _ func()) { c.Wake() }, ErrWoken},
		"the context":    {func(_ *Conn, _ net.Conn, cancel func()) { cancel() }, ErrWoken},
		"HangUp":         {func(c *Conn, _ net.Conn, _ func()) { c.HangUp() }, capture.ErrClosed},
		"the server":     {func(_ *Conn, server net.Conn, _ func()) { server.Close() }, capture.ErrLost},
		"bytes, no more": {func(_ *Conn, server net.Conn, _ func()) { server.Write([]byte("x")) }, nil},
	} {
		for _, early := range []bool{true, false} {
			c, server := pair(t)
			ctx, cancel := context.WithCancel(t.Context())
			c.Watch(ctx)
			if early {
				end.now(c, server, cancel)
			} else {
				late := time.AfterFunc(10*time.Millisecond, func() { end.now(c, server, cancel) })
				defer late.Stop()
			}
			stuck := time.AfterFunc(20*time.Second, func() { server.Write([]byte("it does not end")) })
			n, err := c.Read(make([]byte, 8), time.Time{})
			stuck.Stop()
			if !errors.Is(err, end.want) || n == 1 != (end.want == nil) {
				t.Errorf("%s, early %v: %d bytes, %v", name, early, n, err)
			}
			if stopped := name == "the context" || name == "HangUp"; c.Stopped() != stopped {
				t.Errorf("%s: stopped is %v", name, !stopped)
			}
			cancel()
		}
	}
}

// TestOldContext does not wake a connection that watches another.
func TestOldContext(t *testing.T) {
	c, server := pair(t)
	old, cancel := context.WithCancel(t.Context())
	c.Watch(old)
	c.Watch(t.Context())
	cancel()
	if c.Stopped() {
		t.Error("stopped by the context of before")
	}
	server.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 8), time.Time{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 8), time.Now()); err != ErrWoken {
		t.Errorf("after the deadline: %v", err)
	}
}

func TestWrites(t *testing.T) {
	c, server := pair(t)
	if err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8)
	if n, err := server.Read(p); string(p[:n]) != "hello" {
		t.Errorf("%q, %v", p[:n], err)
	}
	if err := c.WriteRights([]byte("x"), nil); !errors.Is(err, capture.ErrUnsupported) {
		t.Errorf("a descriptor through TCP: %v", err)
	}
	c.HangUp()
	if err := c.Write([]byte("hello")); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("after HangUp: %v", err)
	}
	d, server := pair(t)
	server.Close()
	for until := time.Now().Add(20 * time.Second); ; {
		if err := d.Write(make([]byte, 1<<16)); err != nil {
			if !errors.Is(err, capture.ErrLost) || !strings.Contains(err.Error(), "the server") {
				t.Errorf("the server went: %v", err)
			}
			return
		}
		if time.Now().After(until) {
			t.Fatal("a server that has gone takes everything")
		}
	}
}
