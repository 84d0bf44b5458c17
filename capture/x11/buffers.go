package x11

import (
	"errors"
	"image"

	"deskwhep/capture"
)

// buffer is memory for one frame, and the server's view of it.
type buffer struct {
	frame   *capture.Frame
	sharing sharing
	segment uint32 // the server's name of the memory
	pixmap  uint32 // the same as a pixmap

	// What was painted since the buffer was filled: a region of the server for
	// pixmaps, else ours.
	region  uint32
	missing capture.Damage

	blended image.Rectangle // where the pointer was drawn over the screen's pixels

	// Guarded by Source.mu.
	lent    bool
	retired bool // no longer the source's: freed when it comes back
}

// makeBuffers makes the buffers for the place, and a graphics context to copy
// into them.
func (s *Source) makeBuffers() error {
	c := s.conn
	stride := 4 * s.size.X
	for i := range s.buffers {
		b := &buffer{sharing: s.sharing}
		b.frame = capture.NewFrame(func(*capture.Frame) { s.takeBack(b) })
		b.frame.Size, b.frame.Stride, b.frame.Format = s.size, stride, capture.BGRX
		if s.way == wayImages {
			b.frame.Pix = make([]byte, stride*s.size.Y)
		} else {
			var err error
			if b.frame.Pix, b.segment, err = c.share(s.sharing, stride*s.size.Y); err != nil {
				return err
			}
		}
		s.buffers[i] = b
		if s.way == wayPixmap {
			b.pixmap = c.id()
			c.shm(shmCreatePixmap, b.pixmap, s.drawable, pair(s.size.X, s.size.Y), uint32(s.depth), b.segment, 0)
			if s.damage != 0 {
				b.region = c.createRegion()
			}
		}
	}
	if s.way == wayPixmap {
		s.gc = c.createGC(s.buffers[0].pixmap)
	}
	return c.check()
}

// retireBuffers gives all buffers up, on both sides. What is lent stays
// readable.
func (s *Source) retireBuffers() error {
	c := s.conn
	for _, b := range s.buffers {
		if b == nil {
			continue
		}
		if b.region != 0 {
			c.fixes(fixesDestroyRegion, b.region)
			c.idFree = append(c.idFree, b.region)
		}
		if b.pixmap != 0 {
			c.put(opFreePixmap, 0, b.pixmap)
			c.idFree = append(c.idFree, b.pixmap)
		}
		if b.segment != 0 {
			c.unshare(b.segment)
		}
	}
	if s.gc != 0 {
		c.put(opFreeGC, 0, s.gc)
		c.idFree = append(c.idFree, s.gc)
		s.gc = 0
	}
	return s.dropBuffers()
}

// dropBuffers gives all buffers up on our side.
func (s *Source) dropBuffers() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for i, b := range s.buffers {
		if b == nil {
			continue
		}
		b.retired = true
		if !b.lent {
			errs = append(errs, b.free())
		}
		s.buffers[i] = nil
	}
	s.last = nil
	return errors.Join(errs...)
}

// free unmaps a buffer that nobody can use any more.
func (b *buffer) free() error {
	mem := b.frame.Pix
	b.frame.Pix = nil
	return unmap(b.sharing, mem)
}

// idle finds a buffer to capture into: rather the last, which lacks the least;
// but not the last if it is to be compared with. None: Next is woken as soon as
// one comes back.
func (s *Source) idle(compared bool) *buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.last; b != nil && !b.lent && !compared {
		return b
	}
	for _, b := range s.buffers {
		if !b.lent && (b != s.last || !compared) {
			return b
		}
	}
	s.starved = true
	return nil
}

func (s *Source) lend(b *buffer) {
	s.mu.Lock()
	b.lent = true
	s.mu.Unlock()
	b.frame.Lend()
}

// takeBack is the end of a loan, on any goroutine.
func (s *Source) takeBack(b *buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.lent = false
	if b.retired {
		b.free() // there is nobody to tell, and munmap of what mmap gave does not fail
		return
	}
	if s.starved {
		s.starved = false
		s.conn.Wake()
	}
}
