//go:build !novpx

#include "bare.h"

#include <libyuv/convert.h>
#include <time.h>

#define dw_vpx_open bare_open
#define dw_vpx_bitrate bare_bitrate
#define dw_vpx_quantizers bare_quantizers
#define dw_vpx_encode bare_encode
#define dw_vpx_close bare_close
#include "../vpx/vpx.c"

static int64_t cpu(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int64_t bare_vpx(int vp9, int width, int height, int kbps, int fps, const uint8_t *pictures, int n) {
	int64_t begin = cpu();
	encoder *e;
	if (bare_open(&e, vp9, width, height, kbps)) return -1;
	size_t luma = (size_t)width * height, chroma = (size_t)((width + 1) / 2) * ((height + 1) / 2);
	const char *failed = NULL;
	for (int i = 0; i < n && !failed; i++) {
		const uint8_t *y = pictures + i * (luma + 2 * chroma);
		packet out;
		failed = bare_encode(e, y, y + luma, y + luma + chroma, width, (width + 1) / 2,
			(int64_t)i * 90000 / fps, 90000 / fps, i == 0 ? KEY : BASE, NULL, &out);
	}
	int64_t spent = cpu() - begin;
	bare_close(e);
	return failed ? -1 : spent;
}

int64_t bare_convert(const uint8_t *frame, int stride, uint8_t *i420, int width, int height, int n) {
	size_t luma = (size_t)width * height, chroma = (size_t)((width + 1) / 2) * ((height + 1) / 2);
	int64_t begin = cpu();
	for (int i = 0; i < n; i++)
		ARGBToI420(frame, stride, i420, width, i420 + luma, (width + 1) / 2, i420 + luma + chroma, (width + 1) / 2, width, height);
	return cpu() - begin;
}
