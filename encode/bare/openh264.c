//go:build !novpx && !noaom && !noopenh264

#define dw_h264_open bare_h264_open
#define dw_h264_rate bare_h264_rate
#define dw_h264_encode bare_h264_encode
#define dw_h264_close bare_h264_close
#define dw_h264_version bare_h264_version
#include "../openh264/openh264.c"

#include "run.h"

static encoder *begin(const work *w) {
	encoder *e = NULL;
	bare_h264_open(&e, w->width, w->height, w->bitrate, w->fps);
	return e;
}

static int encode(encoder *e, const work *w, int i, const uint8_t *y, const uint8_t *u, const uint8_t *v, int stride_y, int stride_c) {
	packet out;
	return bare_h264_encode(e, y, u, v, stride_y, stride_c, (int64_t)i * 1000 / w->fps, i == 0, &out);
}

int64_t bare_h264(const work *w) { return run(w, begin, bare_h264_close, encode); }
