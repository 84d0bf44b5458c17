#include <stddef.h>
#include <stdint.h>

// Encodes n pictures of I420 without padding, which lie one behind the other,
// and returns the CPU time in ns, or -1.
int64_t bare_vpx(int vp9, int width, int height, int kbps, int fps, const uint8_t *pictures, int n);

// Converts a BGRX frame to I420 n times and returns the CPU time in ns.
int64_t bare_convert(const uint8_t *frame, int stride, uint8_t *i420, int width, int height, int n);
