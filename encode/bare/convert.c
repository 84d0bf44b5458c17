//go:build !novpx && !noaom && !noopenh264

#include "bare.h"

#include <libyuv/convert.h>

int64_t bare_convert(const uint8_t *frame, int stride, uint8_t *i420, int width, int height, int n) {
	size_t luma = (size_t)width * height, chroma = (size_t)((width + 1) / 2) * ((height + 1) / 2);
	int64_t begin = cpu();
	for (int i = 0; i < n; i++)
		ARGBToI420(frame, stride, i420, width, i420 + luma, (width + 1) / 2, i420 + luma + chroma, (width + 1) / 2, width, height);
	return cpu() - begin;
}
