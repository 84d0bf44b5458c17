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

static int64_t encode(encoder *e, const work *w, int64_t ns, int key, const uint8_t *y, const uint8_t *u, const uint8_t *v) {
	packet out;
	const int32_t *q = w->bounds + 2 * w->now;
	if (bare_aom_quantizers(e, q[0], q[1])) return -1;
	if (bare_aom_encode(e, y, u, v, w->width, (w->width + 1) / 2, ns * 9 / 100000, 90000 / w->fps, key, &out)) return -1;
	return out.size;
}

int bare_av1(work *w) { return run(w, begin, bare_aom_close, encode); }
