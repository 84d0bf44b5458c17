package wayland

import (
	"fmt"
	"image"

	"golang.org/x/sys/unix"

	"deskwhep/capture"
)

// buffer is memory for one frame that the compositor writes to.
type buffer struct {
	frame  *capture.Frame
	object uint32

	// Guarded by Source.mu.
	loans   int
	retired bool // no longer the source's: freed when it comes back
}

// formats are those of wl_shm that are ours, with or without alpha.
var formats = map[uint32]capture.PixelFormat{
	0:          capture.BGRX, // ARGB8888
	1:          capture.BGRX, // XRGB8888
	0x34324241: capture.RGBX, // ABGR8888
	0x34324258: capture.RGBX, // XBGR8888
}

// makeBuffers makes the buffers for a layout.
func (s *Source) makeBuffers(l layout) error {
	if _, ok := formats[l.format]; !ok {
		return fmt.Errorf("the compositor offers pixels of format %#x only: %w", l.format, capture.ErrUnsupported)
	}
	const most = 1 << 15
	if l.width < 1 || l.height < 1 || l.width > most || l.height > most || l.stride < 4*l.width || l.stride > 8*most {
		return fmt.Errorf("the compositor offers a picture of %dx%d, %d bytes a row: %w", l.width, l.height, l.stride, capture.ErrLost)
	}
	s.layout = l
	for i := range s.buffers {
		b := &buffer{}
		b.frame = s.newFrame(b)
		if err := s.share(b, l); err != nil {
			return fmt.Errorf("share a buffer: %w", err)
		}
		s.buffers[i] = b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.Size = image.Pt(l.width, l.height)
	return nil
}

// newFrame makes a frame without pixels for loans of a buffer.
func (s *Source) newFrame(b *buffer) *capture.Frame {
	f := capture.NewFrame(func(*capture.Frame) { s.takeBack(b) })
	f.Size, f.Stride, f.Format = image.Pt(s.layout.width, s.layout.height), s.layout.stride, formats[s.layout.format]
	return f
}

// share makes a buffer's memory, and the compositor's object for it.
func (s *Source) share(b *buffer, l layout) error {
	c := s.conn
	size := l.stride * l.height
	fd, err := unix.MemfdCreate("frame", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return fmt.Errorf("ftruncate: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if b.frame.Pix, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	pool := c.id()
	b.object = c.id()
	if err = c.flush(); err == nil {
		// The descriptor is no argument of 32 bits: it goes beside.
		c.put(s.shm, shmCreatePool, pool, uint32(size))
		err = c.WriteRights(c.out, unix.UnixRights(fd))
		c.out = c.out[:0]
	}
	if err != nil {
		unix.Munmap(b.frame.Pix)
		return err
	}
	c.put(pool, poolCreateBuffer, b.object, 0, uint32(l.width), uint32(l.height), uint32(l.stride), l.format)
	c.put(pool, poolDestroy)
	return nil
}

// retireBuffers gives all buffers up. What is lent stays readable.
func (s *Source) retireBuffers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range s.buffers {
		if b == nil {
			continue
		}
		s.conn.put(b.object, bufferDestroy)
		b.retired = true
		if b.loans == 0 {
			b.free()
		}
		s.buffers[i] = nil
	}
	s.newest, s.layout = nil, layout{}
}

// free unmaps a buffer that nobody can use any more; munmap of what mmap gave
// does not fail.
func (b *buffer) free() {
	unix.Munmap(b.frame.Pix)
	b.frame.Pix = nil
}

// idle finds a buffer to copy into, but not the newest, which Refresh lends.
// None: Next is woken as soon as one comes back.
func (s *Source) idle() *buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.buffers {
		if b.loans == 0 && b != s.newest {
			return b
		}
	}
	s.starved = true
	return nil
}

func (s *Source) lend(b *buffer) {
	s.mu.Lock()
	b.loans++
	s.mu.Unlock()
	b.frame.Lend()
}

// takeBack is the end of a loan, on any goroutine.
func (s *Source) takeBack(b *buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.loans--
	if b.retired && b.loans == 0 {
		b.free()
	}
	if s.starved {
		s.starved = false
		s.conn.Wake()
	}
}
