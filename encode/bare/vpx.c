//go:build !novpx && !noaom && !noopenh264

#define dw_vpx_open bare_vpx_open
#define dw_vpx_bitrate bare_vpx_bitrate
#define dw_vpx_quantizers bare_vpx_quantizers
#define dw_vpx_encode bare_vpx_encode
#define dw_vpx_close bare_vpx_close
#include "../vpx/vpx.c"

#include "run.h"

static encoder *open8(const work *w) {
	encoder *e = NULL;
	bare_vpx_open(&e, 0, w->width, w->height, w->bitrate / 1000);
	return e;
}

static encoder *open9(const work *w) {
	encoder *e = NULL;
	bare_vpx_open(&e, 1, w->width, w->height, w->bitrate / 1000);
	return e;
}

static int64_t encode(encoder *e, const work *w, int64_t ns, int key, const uint8_t *y, const uint8_t *u, const uint8_t *v) {
	packet out;
	const int32_t *q = w->bounds + 2 * w->now;
	if (bare_vpx_quantizers(e, q[0], q[1])) return -1;
	if (bare_vpx_encode(e, y, u, v, w->width, (w->width + 1) / 2, ns * 9 / 100000, 90000 / w->fps, key ? KEY : BASE, NULL, &out))
		return -1;
	return out.size;
}

int bare_vp8(work *w) { return run(w, open8, bare_vpx_close, encode); }
int bare_vp9(work *w) { return run(w, open9, bare_vpx_close, encode); }
