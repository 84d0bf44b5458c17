//go:build !novpx

#include "vpx.h"

#include "balance.h"

#include <stdlib.h>
#include <string.h>
#include <vpx/vp8cx.h>
#include <vpx/vpx_encoder.h>

struct encoder {
	vpx_codec_ctx_t ctx;
	vpx_codec_enc_cfg_t cfg;
	vpx_image_t image;
	int vp9;
	int speed;  // of VP8
	int mapped; // an active map is in force
	int spare;  // the last picture was one
	int unfiltered, sharpness, aq; // of VP9
	balance *balance; // of VP9
};

static const char *why(vpx_codec_ctx_t *ctx, vpx_codec_err_t err) {
	if (!err) return NULL;
	const char *detail = ctx ? vpx_codec_error_detail(ctx) : NULL;
	return detail ? detail : vpx_codec_err_to_string(err);
}

// With two threads a picture of VP9 is there in two thirds of the time. Those of
// VP8 spin while they wait, at the cost of everybody else.
static int threads(int vp9, int cpus) { return vp9 && cpus > 1 ? 2 : 1; }

// Screen content, no key frame but on request, and a quantizer floor that keeps
// a still desktop from using the whole bitrate.
static vpx_codec_err_t set_vp8(vpx_codec_ctx_t *c) {
	vpx_codec_err_t err;
	if ((err = vpx_codec_control(c, VP8E_SET_SCREEN_CONTENT_MODE, 1))) return err;
	if ((err = vpx_codec_control(c, VP8E_SET_STATIC_THRESHOLD, 100))) return err;
	if ((err = vpx_codec_control(c, VP8E_SET_MAX_INTRA_BITRATE_PCT, 900))) return err;
	if ((err = vpx_codec_control(c, VP8E_SET_NOISE_SENSITIVITY, 0))) return err;
	return vpx_codec_control(c, VP8E_SET_TOKEN_PARTITIONS, VP8_ONE_TOKENPARTITION);
}

static vpx_codec_err_t set_vp9(vpx_codec_ctx_t *c, int threads) {
	vpx_codec_err_t err;
	if ((err = vpx_codec_control(c, VP8E_SET_CPUUSED, 9))) return err;
	if ((err = vpx_codec_control(c, VP9E_SET_TUNE_CONTENT, VP9E_CONTENT_SCREEN))) return err;
	if ((err = vpx_codec_control(c, VP8E_SET_STATIC_THRESHOLD, 1))) return err;
	if ((err = vpx_codec_control(c, VP8E_SET_MAX_INTRA_BITRATE_PCT, 900))) return err;
	if ((err = vpx_codec_control(c, VP9E_SET_NOISE_SENSITIVITY, 0))) return err;
	if ((err = vpx_codec_control(c, VP9E_SET_ROW_MT, 1))) return err;
	if ((err = vpx_codec_control(c, VP9E_SET_COLOR_SPACE, VPX_CS_BT_601))) return err;
	if ((err = vpx_codec_control(c, VP9E_SET_COLOR_RANGE, VPX_CR_STUDIO_RANGE))) return err;
	return vpx_codec_control(c, VP9E_SET_TILE_COLUMNS, threads - 1);
}

const char *dw_vpx_open(encoder **out, int vp9, int width, int height, int kbps, int cpus) {
	vpx_codec_iface_t *iface = vp9 ? vpx_codec_vp9_cx() : vpx_codec_vp8_cx();
	encoder *e = calloc(1, sizeof *e);
	if (!e) return "out of memory";
	vpx_codec_err_t err = vpx_codec_enc_config_default(iface, &e->cfg, 0);
	if (err) {
		free(e);
		return why(NULL, err);
	}
	e->vp9 = vp9;
	e->cfg.g_w = width;
	e->cfg.g_h = height;
	e->cfg.g_timebase.num = 1;
	e->cfg.g_timebase.den = 90000;
	e->cfg.g_threads = threads(vp9, cpus);
	e->cfg.g_pass = VPX_RC_ONE_PASS;
	e->cfg.g_lag_in_frames = 0;
	e->cfg.g_error_resilient = VPX_ERROR_RESILIENT_DEFAULT; // else a picture would need what was learnt from a spare one
	e->cfg.kf_mode = VPX_KF_DISABLED;
	e->cfg.rc_end_usage = VPX_CBR;
	e->cfg.rc_target_bitrate = kbps;
	e->cfg.rc_min_quantizer = 10;
	e->cfg.rc_max_quantizer = 56;
	e->cfg.rc_undershoot_pct = 100;
	e->cfg.rc_overshoot_pct = 15;
	e->cfg.rc_buf_sz = 600; // a still screen saves nothing up for what moves then
	e->cfg.rc_buf_initial_sz = 500;
	e->cfg.rc_buf_optimal_sz = 600;
	e->cfg.rc_dropframe_thresh = 0; // who sends holds the rate
	e->cfg.rc_resize_allowed = 0;
	if ((err = vpx_codec_enc_init(&e->ctx, iface, &e->cfg, 0))) {
		free(e);
		return why(NULL, err);
	}
	if (!(err = vp9 ? set_vp9(&e->ctx, e->cfg.g_threads) : set_vp8(&e->ctx)) && vp9 && !(e->balance = dw_balance_new(width, height)))
		err = VPX_CODEC_MEM_ERROR;
	if (err) {
		dw_vpx_close(e);
		return why(NULL, err);
	}
	*out = e;
	return NULL;
}

const char *dw_vpx_bitrate(encoder *e, int kbps) {
	e->cfg.rc_target_bitrate = kbps;
	return why(&e->ctx, vpx_codec_enc_config_set(&e->ctx, &e->cfg));
}

static const char *quantizers(encoder *e, int min, int max) {
	if ((int)e->cfg.rc_min_quantizer == min && (int)e->cfg.rc_max_quantizer == max) return NULL;
	e->cfg.rc_min_quantizer = min;
	e->cfg.rc_max_quantizer = max;
	return why(&e->ctx, vpx_codec_enc_config_set(&e->ctx, &e->cfg));
}

// Below -6 VP8 no longer finds scrolling. Beside spare pictures those that
// refer to each other are further apart, and it takes -4.
static vpx_codec_err_t speed(encoder *e, kind kind) {
	int speed = kind == SPARE || e->spare ? -4 : -6;
	if (e->vp9 || e->speed == speed) return VPX_CODEC_OK;
	e->speed = speed;
	return vpx_codec_control(&e->ctx, VP8E_SET_CPUUSED, speed);
}

// set is vpx_codec_control, if value is not yet what was set last.
#define set(e, control, last, value) ((last) == (value) ? VPX_CODEC_OK : vpx_codec_control(&(e)->ctx, control, (last) = (value)))

// What is left to code of a picture that stands still is like noise, of which
// libvpx rounds too much to zero; it looks at the sharpness when something else is
// set after it. In the first picture that differs again letters that the loop
// filter has blurred would cost more to refine. Cyclic refresh codes blocks that
// need not be: where all that is coded is to have the same quality, or little is
// coded, it does harm.
static vpx_codec_err_t tune(encoder *e, const task *t) {
	vpx_codec_err_t err;
	if (!e->vp9) return VPX_CODEC_OK;
	int unfiltered = e->sharpness && !t->still ? 2 : 0;
	if ((err = set(e, VP9E_SET_DISABLE_LOOPFILTER, e->unfiltered, unfiltered))) return err;
	if ((err = set(e, VP8E_SET_SHARPNESS, e->sharpness, t->still ? 7 : 0))) return err;
	return set(e, VP9E_SET_AQ_MODE, e->aq, t->even ? 0 : 3);
}

static vpx_enc_frame_flags_t references(const encoder *e, kind kind) {
	const vpx_enc_frame_flags_t keep = VP8_EFLAG_NO_UPD_GF | VP8_EFLAG_NO_UPD_ARF;
	switch (kind) {
	case KEY:
		return VPX_EFLAG_FORCE_KF;
	case SPARE:
		return keep | VP8_EFLAG_NO_UPD_LAST;
	default: // VP8 would apply the flags of a spare picture that was dropped
		return e->vp9 ? 0 : keep;
	}
}

static const char *encode(encoder *e, task *t) {
	vpx_codec_err_t err;
	if ((err = speed(e, t->kind)) || (err = tune(e, t))) return why(&e->ctx, err);
	const char *failed = quantizers(e, t->least, t->most);
	if (failed) return failed;
	if (t->map || e->mapped) {
		vpx_active_map_t active = {t->map, (e->cfg.g_h + 15) / 16, (e->cfg.g_w + 15) / 16};
		if ((err = vpx_codec_control(&e->ctx, VP8E_SET_ACTIVEMAP, &active))) return why(&e->ctx, err);
		e->mapped = t->map != NULL;
	}
	vpx_image_t *image = vpx_img_wrap(&e->image, VPX_IMG_FMT_I420, e->cfg.g_w, e->cfg.g_h, 1, t->y);
	if (!image) return "picture size";
	image->planes[VPX_PLANE_U] = (unsigned char *)t->u;
	image->planes[VPX_PLANE_V] = (unsigned char *)t->v;
	image->stride[VPX_PLANE_Y] = t->stride_y;
	image->stride[VPX_PLANE_U] = image->stride[VPX_PLANE_V] = t->stride_c;
	image->cs = VPX_CS_BT_601;
	image->range = VPX_CR_STUDIO_RANGE;
	const vpx_image_t *shown = t->luma ? vpx_codec_get_preview_frame(&e->ctx) : NULL;
	for (int i = VPX_PLANE_U; shown && i <= VPX_PLANE_V; i++) {
		image->planes[i] = shown->planes[i];
		image->stride[i] = shown->stride[i];
	}
	err = vpx_codec_encode(&e->ctx, image, t->pts, t->duration, references(e, t->kind), VPX_DL_REALTIME);
	memset(image->planes, 0, sizeof image->planes);
	if (err) return why(&e->ctx, err);

	const vpx_codec_cx_pkt_t *p;
	for (vpx_codec_iter_t it = NULL; (p = vpx_codec_get_cx_data(&e->ctx, &it));) {
		if (p->kind != VPX_CODEC_CX_FRAME_PKT) continue;
		t->data = p->data.frame.buf;
		t->size = p->data.frame.sz;
		e->spare = t->kind == SPARE;
		t->key = (p->data.frame.flags & VPX_FRAME_IS_KEY) != 0;
	}
	return why(&e->ctx, vpx_codec_control(&e->ctx, VP8E_GET_LAST_QUANTIZER_64, &t->quantizer));
}

void dw_vpx_encode(void *with) {
	task *t = with;
	encoder *e = t->e;
	t->data = NULL;
	t->size = 0;
	t->key = 0;
	if (!e->balance || !t->rects) {
		t->error = encode(e, t);
		return;
	}
	for (int i = 0; i < t->rects; i++) {
		const rect *r = &t->changed[i];
		dw_balance_shift(e->balance, t->y, t->stride_y, r->x0, r->y0, r->x1, r->y1);
	}
	t->error = encode(e, t); // libvpx makes a copy of its own
	dw_balance_restore(e->balance, t->y, t->stride_y, t->size > 0 && t->kind != SPARE);
}

void dw_vpx_close(encoder *e) {
	vpx_codec_destroy(&e->ctx);
	dw_balance_free(e->balance);
	free(e);
}
