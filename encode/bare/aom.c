//go:build !novpx && !noaom && !noopenh264

#define dw_av1_open bare_aom_open
#define dw_av1_bitrate bare_aom_bitrate
#define dw_av1_encode bare_aom_encode
#define dw_av1_close bare_aom_close
#include "../aom/aom.c"

#include "run.h"

static encoder *begin(const work *w) {
	encoder *e = NULL;
	bare_aom_open(&e, w->width, w->height, w->bitrate / 1000);
	return e;
}

static int64_t encode_picture(encoder *e, const work *w, int64_t ns, int key, const uint8_t *y, const uint8_t *u, const uint8_t *v) {
	task t = {
		.e = e, .y = y, .u = u, .v = v, .stride_y = w->width, .stride_c = (w->width + 1) / 2, .force = key,
		.least = w->bounds[2 * w->now], .most = w->bounds[2 * w->now + 1],
		.pts = ns * 9 / 100000, .duration = 90000 / w->fps,
	};
	bare_aom_encode(&t);
	return t.error ? -1 : (int64_t)t.size;
}

int bare_av1(work *w) { return run(w, begin, bare_aom_close, encode_picture); }
