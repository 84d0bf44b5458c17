//go:build unix

package thread

/*
#cgo CFLAGS: -O2
#cgo LDFLAGS: -pthread
#include "thread.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"
)

// Thread is a thread of C that calls one function whenever it is told to.
type Thread struct {
	c           *C.thread
	start, done syscall.RawConn // a byte into start begins a call; one comes out of done when it has ended
	ends        []*os.File      // of two pipes: what the thread reads, start, done, what it writes
}

// Start starts a thread for work, a C function void(void *), and what it is
// called with, which is C's memory. Somebody must call End.
func Start(work, with unsafe.Pointer) (*Thread, error) {
	t := &Thread{}
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.close()
			return nil, fmt.Errorf("start a thread: %w", err)
		}
		t.ends = append(t.ends, r, w)
	}
	var errs [2]error
	t.start, errs[0] = t.ends[1].SyscallConn()
	t.done, errs[1] = t.ends[2].SyscallConn()
	if err := errors.Join(errs[:]...); err != nil {
		t.close()
		return nil, fmt.Errorf("start a thread: %w", err)
	}
	// Fd makes the thread's ends, and only those, block.
	t.c = C.dw_thread_start((*[0]byte)(work), with, C.int(t.ends[0].Fd()), C.int(t.ends[3].Fd()))
	if t.c == nil {
		t.close()
		return nil, errors.New("there is no thread to be had")
	}
	return t, nil
}

// Do has the thread call its function, and returns when that has returned. It is
// not to be called by two at once. Go's memory that the function uses must be
// pinned.
func (t *Thread) Do() error {
	if err := once(t.start.Write, write); err != nil {
		return fmt.Errorf("tell a thread: %w", err)
	}
	if err := once(t.done.Read, read); err != nil {
		return fmt.Errorf("wait for a thread: %w", err)
	}
	return nil
}

// once has a byte read or written, and waits until that can be done.
func once(ready func(func(fd uintptr) bool) error, call func(fd uintptr, b *byte) (int, error)) error {
	var b byte
	var n int
	var err error
	if gone := ready(func(fd uintptr) bool {
		for err = syscall.EINTR; err == syscall.EINTR; {
			n, err = call(fd, &b)
		}
		return err != syscall.EAGAIN
	}); gone != nil {
		return gone
	}
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// End ends the thread, which is idle, and waits for that.
func (t *Thread) End() {
	t.ends[1].Close()
	C.dw_thread_join(t.c)
	t.close()
}

func (t *Thread) close() {
	for _, f := range t.ends {
		f.Close() // nil, or that it is closed already
	}
}
