package x11

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// sharing is a way to share memory with the server.
type sharing byte

const (
	shareNothing sharing = iota
	shareMemfd           // a descriptor is passed: works across IPC namespaces
	shareSysV
)

// probeSharing finds a way that works. No error: none does.
func (c *conn) probeSharing() (sharing, error) {
	shm := c.ext[extShm]
	if !c.local || shm.opcode == 0 {
		return shareNothing, nil
	}
	for _, way := range []sharing{shareMemfd, shareSysV} {
		if way == shareMemfd && shm.major == 1 && shm.minor < 2 {
			continue
		}
		mem, id, err := c.share(way, 4096)
		if err == nil {
			c.unshare(id)
			return way, unmap(way, mem)
		}
		if c.Stopped() {
			return shareNothing, err
		}
	}
	return shareNothing, nil
}

// share makes memory that the server has attached under an id.
func (c *conn) share(way sharing, size int) (mem []byte, id uint32, err error) {
	id = c.id()
	if way == shareMemfd {
		mem, err = c.memfd(size, id)
	} else {
		mem, err = c.sysV(size, id)
	}
	if err != nil {
		c.idFree = append(c.idFree, id)
		if mem != nil {
			err = errors.Join(err, unmap(way, mem))
		}
		return nil, 0, fmt.Errorf("share %d bytes with the X server: %w", size, err)
	}
	return mem, id, nil
}

// memfd makes anonymous memory of a size that nobody can change any more.
func (c *conn) memfd(size int, id uint32) ([]byte, error) {
	fd, err := unix.MemfdCreate("frame", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, fmt.Errorf("ftruncate: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	c.shm(shmAttachFd, id, 0)
	err = c.WriteRights(c.out, unix.UnixRights(fd))
	if c.out = c.out[:0]; err == nil {
		err = c.check()
	}
	return mem, err
}

// sysV makes a segment for this user only. It is removed at once, so that it
// ends with its users; Linux lets the server attach it all the same.
func (c *conn) sysV(size int, id uint32) ([]byte, error) {
	shmid, err := unix.SysvShmGet(unix.IPC_PRIVATE, size, unix.IPC_CREAT|0o600)
	if err != nil {
		return nil, fmt.Errorf("shmget: %w", err)
	}
	mem, err := unix.SysvShmAttach(shmid, 0, 0)
	if _, e := unix.SysvShmCtl(shmid, unix.IPC_RMID, nil); err == nil {
		err = e
	}
	if err != nil {
		return mem, fmt.Errorf("shmat: %w", err)
	}
	c.shm(shmAttach, id, uint32(shmid), 0)
	return mem, c.check()
}

// unshare ends the server's side of it.
func (c *conn) unshare(id uint32) {
	c.shm(shmDetach, id)
	c.idFree = append(c.idFree, id)
}

// unmap ends our side of it.
func unmap(way sharing, mem []byte) error {
	switch way {
	case shareMemfd:
		return unix.Munmap(mem)
	case shareSysV:
		return unix.SysvShmDetach(mem)
	}
	return nil
}
