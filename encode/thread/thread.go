// Package thread has C work on a thread of its own while the goroutine that
// waits for it is parked, as it is when it waits for a network. While a call
// through cgo takes its milliseconds, the runtime looks every 20 to 70 µs whether
// it has ended, which costs as much as 5 % of the encoding of a picture.
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
	"os"
	"unsafe"
)

// Thread is a thread of C that calls one function whenever it is told to.
type Thread struct {
	c           *C.thread
	start, done *os.File    // a byte in start begins a call; one comes out of done when it has ended
	others      [2]*os.File // their other ends, the thread's
}

// Start starts a thread for work, a C function void(void *), and what it is
// called with, which is C's memory. Somebody must call End.
func Start(work, with unsafe.Pointer) (*Thread, error) {
	t := &Thread{}
	var err error
	if t.others[0], t.start, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("start a thread: %w", err)
	}
	if t.done, t.others[1], err = os.Pipe(); err != nil {
		t.close()
		return nil, fmt.Errorf("start a thread: %w", err)
	}
	// Fd makes the thread's ends, and only those, block.
	t.c = C.dw_thread_start((*[0]byte)(work), with, C.int(t.others[0].Fd()), C.int(t.others[1].Fd()))
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
	var b [1]byte
	if _, err := t.start.Write(b[:]); err != nil {
		return fmt.Errorf("tell a thread: %w", err)
	}
	if _, err := t.done.Read(b[:]); err != nil {
		return fmt.Errorf("wait for a thread: %w", err)
	}
	return nil
}

// End ends the thread, which is idle, and waits for that.
func (t *Thread) End() {
	t.start.Close()
	C.dw_thread_join(t.c)
	t.close()
}

func (t *Thread) close() {
	for _, f := range []*os.File{t.start, t.done, t.others[0], t.others[1]} {
		f.Close() // nil, or closed: an error that does not matter
	}
}
