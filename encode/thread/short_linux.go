package thread

import (
	"syscall"
	"unsafe"
)

// These take no time worth telling the runtime of, which would wake its monitor.

func read(fd uintptr, b *byte) (n int, err error) { return short(syscall.SYS_READ, fd, b) }

func write(fd uintptr, b *byte) (n int, err error) { return short(syscall.SYS_WRITE, fd, b) }

func short(call, fd uintptr, b *byte) (int, error) {
	n, _, err := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(b)), 1)
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}
