//go:build !linux

package x11

import (
	"errors"

	"deskwhep/capture"
)

// sharing is a way to share memory with the server: here none, the pixels come
// through the socket.
type sharing byte

const shareNothing sharing = 0

func (c *conn) probeSharing() (sharing, error) { return shareNothing, nil }

func (c *conn) share(sharing, int) ([]byte, uint32, error) {
	return nil, 0, errors.Join(errors.New("share memory with the X server"), capture.ErrUnsupported)
}

func (c *conn) unshare(uint32) {}

func unmap(sharing, []byte) error { return nil }
