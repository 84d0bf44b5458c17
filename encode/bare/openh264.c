//go:build !novpx && !noaom && !noopenh264

#define dw_h264_open bare_h264_open
#define dw_h264_encode bare_h264_encode
#define dw_h264_close bare_h264_close
#define dw_h264_version bare_h264_version
#include "../openh264/openh264.c"

#include "run.h"

static encoder *begin(const work *w) {
	encoder *e = NULL;
	bare_h264_open(&e, w->width, w->height, w->fps);
	return e;
}

static int64_t encode_picture(encoder *e, const work *w, int64_t ns, int key, const uint8_t *y, const uint8_t *u, const uint8_t *v) {
	task t = {
		.e = e, .y = y, .u = u, .v = v, .stride_y = w->width, .stride_c = (w->width + 1) / 2, .force = key,
		.quantizer = w->bounds[2 * w->now], .milliseconds = ns / 1000000,
	};
	bare_h264_encode(&t);
	return t.error ? -1 : (int64_t)t.size;
}

int bare_h264(work *w) { return run(w, begin, bare_h264_close, encode_picture); }
