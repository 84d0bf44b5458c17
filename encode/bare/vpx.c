//go:build !novpx && !noaom && !noopenh264

#define dw_vpx_open bare_vpx_open
#define dw_vpx_bitrate bare_vpx_bitrate
#define dw_vpx_encode bare_vpx_encode
#define dw_vpx_close bare_vpx_close
#define dw_balance_new bare_balance_new
#define dw_balance_free bare_balance_free
#define dw_balance_shift bare_balance_shift
#define dw_balance_restore bare_balance_restore
#include "../vpx/balance.c"
#include "../vpx/vpx.c"

#include "run.h"

static encoder *open8(const work *w) {
	encoder *e = NULL;
	bare_vpx_open(&e, 0, w->width, w->height, w->bitrate / 1000, w->cpus);
	return e;
}

static encoder *open9(const work *w) {
	encoder *e = NULL;
	bare_vpx_open(&e, 1, w->width, w->height, w->bitrate / 1000, w->cpus);
	return e;
}

static int64_t encode_picture(encoder *e, const work *w, int64_t ns, int key, const uint8_t *y, const uint8_t *u, const uint8_t *v) {
	task t = {
		.e = e, .y = (uint8_t *)y, .u = u, .v = v, .stride_y = w->width, .stride_c = (w->width + 1) / 2,
		.kind = key ? KEY : BASE, .least = w->bounds[2 * w->now], .most = w->bounds[2 * w->now + 1],
		.pts = ns * 9 / 100000, .duration = 90000 / w->fps,
	};
	bare_vpx_encode(&t);
	return t.error ? -1 : (int64_t)t.size;
}

int bare_vp8(work *w) { return run(w, open8, bare_vpx_close, encode_picture); }
int bare_vp9(work *w) { return run(w, open9, bare_vpx_close, encode_picture); }
