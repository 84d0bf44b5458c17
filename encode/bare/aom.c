//go:build !novpx && !noaom && !noopenh264

#define dw_av1_open bare_aom_open
#define dw_av1_bitrate bare_aom_bitrate
#define dw_av1_quantizers bare_aom_quantizers
#define dw_av1_encode bare_aom_encode
#define dw_av1_close bare_aom_close
#include "../aom/aom.c"

#include "run.h"

static encoder *begin(const work *w) {
	encoder *e = NULL;
	bare_aom_open(&e, w->width, w->height, w->bitrate / 1000);
	return e;
}

static int encode(encoder *e, const work *w, int i, const uint8_t *y, const uint8_t *u, const uint8_t *v, int stride_y, int stride_c) {
	packet out;
	return bare_aom_encode(e, y, u, v, stride_y, stride_c, (int64_t)i * 90000 / w->fps, 90000 / w->fps, i == 0, &out) != NULL;
}

int64_t bare_av1(const work *w) { return run(w, begin, bare_aom_close, encode); }
