//go:build !noopenh264

#include "openh264.h"

#include <stdlib.h>
#include <string.h>
#include <wels/codec_api.h>

struct encoder {
	ISVCEncoder *svc;
	int width, height;
	unsigned char *out; // a picture's layers, joined
	size_t room;
};

int dw_h264_open(encoder **out, int width, int height, int fps) {
	encoder *e = calloc(1, sizeof *e);
	if (!e) return cmMallocMemeError;
	e->width = width;
	e->height = height;
	int err = WelsCreateSVCEncoder(&e->svc);
	if (err) {
		free(e);
		return err;
	}
	int quiet = WELS_LOG_QUIET;
	(*e->svc)->SetOption(e->svc, ENCODER_OPTION_TRACE_LEVEL, &quiet);

	SEncParamExt p;
	(*e->svc)->GetDefaultParams(e->svc, &p);
	p.iUsageType = CAMERA_VIDEO_REAL_TIME; // the screen mode's rate control obeys no bitrate
	p.iComplexityMode = LOW_COMPLEXITY;
	p.iRCMode = RC_OFF_MODE;
	p.iPicWidth = width;
	p.iPicHeight = height;
	p.fMaxFrameRate = fps;
	p.iTemporalLayerNum = 1;
	p.iSpatialLayerNum = 1;
	p.uiIntraPeriod = 0;
	p.iMinQp = 12;
	p.iMaxQp = 51;
	p.iMultipleThreadIdc = 1;
	p.bEnableFrameSkip = 0;
	p.bEnableSceneChangeDetect = 0; // it would make key frames that nobody asked for
	p.bEnableBackgroundDetection = 0;
	p.bEnableAdaptiveQuant = 1;
	p.bEnableDenoise = 0;
	p.bEnableLongTermReference = 0;
	p.eSpsPpsIdStrategy = CONSTANT_ID;
	p.bPrefixNalAddingCtrl = 0;
	p.iEntropyCodingModeFlag = 0;

	SSpatialLayerConfig *l = &p.sSpatialLayers[0];
	l->iVideoWidth = width;
	l->iVideoHeight = height;
	l->fFrameRate = fps;
	l->uiProfileIdc = PRO_BASELINE;
	l->uiLevelIdc = LEVEL_UNKNOWN;
	l->sSliceArgument.uiSliceMode = SM_SINGLE_SLICE;
	l->bVideoSignalTypePresent = 1;
	l->uiVideoFormat = VF_UNDEF;
	l->bFullRange = 0;
	l->bColorDescriptionPresent = 1;
	l->uiColorPrimaries = CP_BT709;
	l->uiTransferCharacteristics = TRC_IEC61966_2_1;
	l->uiColorMatrix = CM_SMPTE170M;

	int format = videoFormatI420;
	if ((err = (*e->svc)->InitializeExt(e->svc, &p)) ||
		(err = (*e->svc)->SetOption(e->svc, ENCODER_OPTION_DATAFORMAT, &format))) {
		dw_h264_close(e);
		return err;
	}
	*out = e;
	return 0;
}

static int set_quantizer(encoder *e, int quantizer) {
	SEncParamExt p; // as the library has completed it; otherwise it would begin anew
	int err = (*e->svc)->GetOption(e->svc, ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, &p);
	if (err) return err;
	if (p.sSpatialLayers[0].iDLayerQp == quantizer) return 0;
	p.sSpatialLayers[0].iDLayerQp = quantizer;
	return (*e->svc)->SetOption(e->svc, ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, &p);
}

static int join(encoder *e, SFrameBSInfo *info, task *t) {
	size_t size = 0;
	for (int i = 0; i < info->iLayerNum; i++)
		for (int n = 0; n < info->sLayerInfo[i].iNalCount; n++) size += info->sLayerInfo[i].pNalLengthInByte[n];
	if (size > e->room) {
		unsigned char *more = realloc(e->out, 2 * size);
		if (!more) return cmMallocMemeError;
		e->out = more;
		e->room = 2 * size;
	}
	unsigned char *to = e->out;
	for (int i = 0; i < info->iLayerNum; i++) {
		size_t layer = 0;
		for (int n = 0; n < info->sLayerInfo[i].iNalCount; n++) layer += info->sLayerInfo[i].pNalLengthInByte[n];
		memcpy(to, info->sLayerInfo[i].pBsBuf, layer);
		to += layer;
	}
	t->data = e->out;
	t->size = size;
	t->key = info->eFrameType == videoFrameTypeIDR;
	return 0;
}

static int encode(encoder *e, task *t) {
	int err = set_quantizer(e, t->quantizer);
	if (err) return err;
	SSourcePicture p = {0};
	p.iColorFormat = videoFormatI420;
	p.iPicWidth = e->width;
	p.iPicHeight = e->height;
	p.iStride[0] = t->stride_y;
	p.iStride[1] = p.iStride[2] = t->stride_c;
	p.pData[0] = (unsigned char *)t->y;
	p.pData[1] = (unsigned char *)t->u;
	p.pData[2] = (unsigned char *)t->v;
	p.uiTimeStamp = t->milliseconds;
	if (t->force) (*e->svc)->ForceIntraFrame(e->svc, 1);
	SFrameBSInfo info = {0};
	err = (*e->svc)->EncodeFrame(e->svc, &p, &info);
	if (err || info.eFrameType == videoFrameTypeSkip) return err;
	return join(e, &info, t);
}

void dw_h264_encode(void *with) {
	task *t = with;
	t->data = NULL;
	t->size = 0;
	t->key = 0;
	t->error = encode(t->e, t);
}

void dw_h264_close(encoder *e) {
	(*e->svc)->Uninitialize(e->svc);
	WelsDestroySVCEncoder(e->svc);
	free(e->out);
	free(e);
}

void dw_h264_version(int *major, int *minor, int *revision) {
	OpenH264Version v;
	WelsGetCodecVersionEx(&v);
	*major = v.uMajor;
	*minor = v.uMinor;
	*revision = v.uRevision;
}
