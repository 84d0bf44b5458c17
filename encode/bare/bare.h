#include <stdint.h>
#include <time.h>

// n pictures of I420 without padding, which lie one behind the other.
typedef struct {
	const uint8_t *pictures;
	int n, width, height;
	int bitrate, fps;
} work;

// Encode all pictures; these return the CPU time in ns, or -1.
int64_t bare_vp8(const work *w);
int64_t bare_vp9(const work *w);
int64_t bare_av1(const work *w);
int64_t bare_h264(const work *w);

// Converts a BGRX frame to I420 n times and returns the CPU time in ns.
int64_t bare_convert(const uint8_t *frame, int stride, uint8_t *i420, int width, int height, int n);

// The CPU time of the calling thread in ns.
static inline int64_t cpu(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}
