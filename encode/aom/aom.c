//go:build !noaom

#include "aom.h"

#include <aom/aom_encoder.h>
#include <aom/aomcx.h>
#include <stdlib.h>
#include <string.h>

struct encoder {
	aom_codec_ctx_t ctx;
	aom_codec_enc_cfg_t cfg;
	aom_image_t image;
};

static const char *why(aom_codec_ctx_t *ctx, aom_codec_err_t err) {
	if (!err) return NULL;
	const char *detail = ctx ? aom_codec_error_detail(ctx) : NULL;
	return detail ? detail : aom_codec_err_to_string(err);
}

// Screen content at the highest speed. What is off costs more time than it
// saves bits on a desktop.
static aom_codec_err_t set(aom_codec_ctx_t *c) {
	static const struct {
		int id, value;
	} controls[] = {
		{AOME_SET_CPUUSED, 10},
		{AV1E_SET_TUNE_CONTENT, AOM_CONTENT_SCREEN},
		{AV1E_SET_ENABLE_PALETTE, 1},
		{AV1E_SET_ENABLE_INTRABC, 0},
		{AV1E_SET_AQ_MODE, 3},
		{AV1E_SET_ROW_MT, 1},
		{AV1E_SET_TILE_COLUMNS, 0},
		{AV1E_SET_ENABLE_CDEF, 1},
		{AV1E_SET_ENABLE_ORDER_HINT, 0},
		{AV1E_SET_ENABLE_TPL_MODEL, 0},
		{AV1E_SET_DELTAQ_MODE, 0},
		{AOME_SET_MAX_INTRA_BITRATE_PCT, 900},
		{AV1E_SET_COEFF_COST_UPD_FREQ, 3},
		{AV1E_SET_MODE_COST_UPD_FREQ, 3},
		{AV1E_SET_MV_COST_UPD_FREQ, 3},
		{AV1E_SET_DV_COST_UPD_FREQ, 3},
		{AV1E_SET_MAX_REFERENCE_FRAMES, 3},
		{AV1E_SET_NOISE_SENSITIVITY, 0},
		{AV1E_SET_INTRA_DEFAULT_TX_ONLY, 1},
		{AV1E_SET_DISABLE_TRELLIS_QUANT, 1},
		{AV1E_SET_ENABLE_OBMC, 0},
		{AV1E_SET_ENABLE_WARPED_MOTION, 0},
		{AV1E_SET_ENABLE_GLOBAL_MOTION, 0},
		{AV1E_SET_ENABLE_REF_FRAME_MVS, 0},
		{AV1E_SET_ENABLE_CFL_INTRA, 0},
		{AV1E_SET_ENABLE_SMOOTH_INTRA, 0},
		{AV1E_SET_ENABLE_PAETH_INTRA, 0},
		{AV1E_SET_ENABLE_FILTER_INTRA, 0},
		{AV1E_SET_ENABLE_ANGLE_DELTA, 0},
		{AV1E_SET_ENABLE_INTRA_EDGE_FILTER, 0},
		{AV1E_SET_ENABLE_RECT_PARTITIONS, 0},
		{AV1E_SET_ENABLE_TX64, 0},
		{AV1E_SET_ENABLE_RESTORATION, 0},
		{AV1E_SET_ENABLE_QM, 0},
		{AV1E_SET_ENABLE_DUAL_FILTER, 0},
		{AV1E_SET_ENABLE_MASKED_COMP, 0},
		{AV1E_SET_ENABLE_DIST_WTD_COMP, 0},
		{AV1E_SET_ENABLE_DIFF_WTD_COMP, 0},
		{AV1E_SET_ENABLE_INTERINTRA_COMP, 0},
		{AV1E_SET_ENABLE_INTERINTRA_WEDGE, 0},
		{AV1E_SET_ENABLE_SMOOTH_INTERINTRA, 0},
		{AV1E_SET_COLOR_PRIMARIES, AOM_CICP_CP_BT_709},
		{AV1E_SET_TRANSFER_CHARACTERISTICS, AOM_CICP_TC_SRGB},
		{AV1E_SET_MATRIX_COEFFICIENTS, AOM_CICP_MC_BT_601},
		{AV1E_SET_COLOR_RANGE, AOM_CR_STUDIO_RANGE},
	};
	for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
		aom_codec_err_t err = aom_codec_control(c, controls[i].id, controls[i].value);
		if (err) return err;
	}
	return AOM_CODEC_OK;
}

const char *dw_av1_open(encoder **out, int width, int height, int kbps) {
	aom_codec_iface_t *iface = aom_codec_av1_cx();
	encoder *e = calloc(1, sizeof *e);
	if (!e) return "out of memory";
	aom_codec_err_t err = aom_codec_enc_config_default(iface, &e->cfg, AOM_USAGE_REALTIME);
	if (err) {
		free(e);
		return why(NULL, err);
	}
	e->cfg.g_w = width;
	e->cfg.g_h = height;
	e->cfg.g_timebase.num = 1;
	e->cfg.g_timebase.den = 90000;
	e->cfg.g_threads = 1;
	e->cfg.g_pass = AOM_RC_ONE_PASS;
	e->cfg.g_lag_in_frames = 0;
	e->cfg.g_error_resilient = 0;
	e->cfg.kf_mode = AOM_KF_DISABLED;
	e->cfg.rc_end_usage = AOM_CBR;
	e->cfg.rc_target_bitrate = kbps;
	e->cfg.rc_min_quantizer = 10;
	e->cfg.rc_max_quantizer = 56;
	e->cfg.rc_undershoot_pct = 50;
	e->cfg.rc_overshoot_pct = 50;
	e->cfg.rc_buf_sz = 600; // a still screen saves nothing up for what moves then
	e->cfg.rc_buf_initial_sz = 500;
	e->cfg.rc_buf_optimal_sz = 600;
	e->cfg.rc_dropframe_thresh = 0; // who sends holds the rate
	if ((err = aom_codec_enc_init(&e->ctx, iface, &e->cfg, 0))) {
		free(e);
		return why(NULL, err);
	}
	if ((err = set(&e->ctx))) {
		dw_av1_close(e);
		return why(NULL, err);
	}
	*out = e;
	return NULL;
}

const char *dw_av1_bitrate(encoder *e, int kbps) {
	e->cfg.rc_target_bitrate = kbps;
	return why(&e->ctx, aom_codec_enc_config_set(&e->ctx, &e->cfg));
}

static const char *quantizers(encoder *e, int min, int max) {
	if ((int)e->cfg.rc_min_quantizer == min && (int)e->cfg.rc_max_quantizer == max) return NULL;
	e->cfg.rc_min_quantizer = min;
	e->cfg.rc_max_quantizer = max;
	return why(&e->ctx, aom_codec_enc_config_set(&e->ctx, &e->cfg));
}

// A key frame takes half the time without these two tools, for a little
// more bits.
static aom_codec_err_t intra_tools(encoder *e, int on) {
	aom_codec_err_t err = aom_codec_control(&e->ctx, AV1E_SET_ENABLE_PALETTE, on);
	return err ? err : aom_codec_control(&e->ctx, AV1E_SET_ENABLE_DIRECTIONAL_INTRA, on);
}

static const char *encode(encoder *e, task *t) {
	aom_codec_err_t err;
	const char *failed = quantizers(e, t->least, t->most);
	if (failed) return failed;
	aom_image_t *image = aom_img_wrap(&e->image, AOM_IMG_FMT_I420, e->cfg.g_w, e->cfg.g_h, 1, (unsigned char *)t->y);
	if (!image) return "picture size";
	image->planes[AOM_PLANE_U] = (unsigned char *)t->u;
	image->planes[AOM_PLANE_V] = (unsigned char *)t->v;
	image->stride[AOM_PLANE_Y] = t->stride_y;
	image->stride[AOM_PLANE_U] = image->stride[AOM_PLANE_V] = t->stride_c;
	image->cp = AOM_CICP_CP_BT_709;
	image->tc = AOM_CICP_TC_SRGB;
	image->mc = AOM_CICP_MC_BT_601;
	image->range = AOM_CR_STUDIO_RANGE;
	if (t->force && (err = intra_tools(e, 0))) return why(&e->ctx, err);
	err = aom_codec_encode(&e->ctx, image, t->pts, t->duration, t->force ? AOM_EFLAG_FORCE_KF : 0);
	memset(image->planes, 0, sizeof image->planes);
	if (err) return why(&e->ctx, err);
	const aom_codec_cx_pkt_t *p;
	for (aom_codec_iter_t it = NULL; (p = aom_codec_get_cx_data(&e->ctx, &it));) {
		if (p->kind != AOM_CODEC_CX_FRAME_PKT) continue;
		t->data = p->data.frame.buf;
		t->size = p->data.frame.sz;
		t->key = (p->data.frame.flags & AOM_FRAME_IS_KEY) != 0;
	}
	if (t->force && (err = intra_tools(e, 1))) return why(&e->ctx, err);
	return why(&e->ctx, aom_codec_control(&e->ctx, AOME_GET_LAST_QUANTIZER_64, &t->quantizer));
}

void dw_av1_encode(void *with) {
	task *t = with;
	t->data = NULL;
	t->size = 0;
	t->key = 0;
	t->error = encode(t->e, t);
}

void dw_av1_close(encoder *e) {
	aom_codec_destroy(&e->ctx);
	free(e);
}
