//go:build !novpx

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// libvpx writes zeros over all that it asks for by vpx_calloc, such as 96 MiB of
// tokens for a picture of 1920x1080, of which it then uses little. Where it is
// linked statically, the linker's --wrap has this take its place. Pages of large
// blocks are given back to the system, which makes them zero when they are first
// touched.

extern void *vpx_malloc(size_t size) __attribute__((weak)); // libvpx.so hides it, and needs none of this

enum { LARGE = 1 << 20 };

static void zero(char *block, size_t size) {
	size_t page = sysconf(_SC_PAGESIZE);
	size_t before = -(uintptr_t)block % page, after = (uintptr_t)(block + size) % page;
	if (size < LARGE || madvise(block + before, size - before - after, MADV_DONTNEED)) {
		memset(block, 0, size);
		return;
	}
	memset(block, 0, before);
	memset(block + size - after, 0, after);
}

void *__wrap_vpx_calloc(size_t n, size_t size) {
	if (size && n > SIZE_MAX / size) return NULL;
	void *block = vpx_malloc(n * size);
	if (block) zero(block, n * size);
	return block;
}
