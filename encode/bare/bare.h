#include <stdint.h>
#include <time.h>

// n pictures of I420 without padding, which lie one behind the other.
typedef struct {
	const uint8_t *pictures;
	int n, width, height;
	int bitrate, fps;
	int cpus; // of the machine
	const int32_t *bounds; // two for each picture: its least and its highest quantizer
	int now;               // the picture that is encoded
	int counted;           // so many of the last ones

	int64_t ns;    // out: the CPU time of those that are counted
	int64_t bytes; // out: the sum of the encoded pictures
} work;

// Encode all pictures; these return whether that has failed.
int bare_vp8(work *w);
int bare_vp9(work *w);
int bare_av1(work *w);
int bare_h264(work *w);

// Converts a BGRX frame to I420 n times and returns the CPU time in ns.
int64_t bare_convert(const uint8_t *frame, int stride, uint8_t *i420, int width, int height, int n);

// The CPU time of the process in ns.
static inline int64_t cpu(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}
