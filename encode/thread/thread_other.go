//go:build !unix

package thread

/*
typedef void work(void *);
static void call(work *f, void *with) { f(with); }
*/
import "C"

import "unsafe"

// Thread calls one function of C. Here the goroutine calls it itself.
type Thread struct{ work, with unsafe.Pointer }

// Start takes a C function void(void *), and what it is called with, which is
// C's memory.
func Start(work, with unsafe.Pointer) (*Thread, error) { return &Thread{work, with}, nil }

// Do calls the function, and returns when that has returned. It is not to be
// called by two at once. Go's memory that the function uses must be pinned.
func (t *Thread) Do() error {
	C.call((*C.work)(t.work), t.with)
	return nil
}

// End has nothing to end.
func (t *Thread) End() {}
