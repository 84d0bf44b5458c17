//go:build unix && !linux

package thread

import (
	"syscall"
	"unsafe"
)

func read(fd uintptr, b *byte) (n int, err error) { return syscall.Read(int(fd), unsafe.Slice(b, 1)) }

func write(fd uintptr, b *byte) (n int, err error) { return syscall.Write(int(fd), unsafe.Slice(b, 1)) }
