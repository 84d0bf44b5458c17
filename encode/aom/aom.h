#include <stddef.h>
#include <stdint.h>

// One libaom encoder. Functions that return a string return NULL, or what
// went wrong.
typedef struct encoder encoder;

typedef struct {
	const void *data; // the encoder's, until the next call
	size_t size;      // 0: the picture was dropped
	int key;
	int quantizer;    // that the picture was coded with, 0 to 63
} packet;

const char *dw_av1_open(encoder **out, int width, int height, int kbps);
const char *dw_av1_bitrate(encoder *e, int kbps);

// Bounds the quantizer, 0 to 63.
const char *dw_av1_quantizers(encoder *e, int min, int max);

// Encodes an I420 picture. pts and duration are in 1/90000 s. Nothing that y,
// u or v point to is kept.
const char *dw_av1_encode(encoder *e, const uint8_t *y, const uint8_t *u, const uint8_t *v,
	int stride_y, int stride_c, int64_t pts, unsigned long duration, int key, packet *out);

void dw_av1_close(encoder *e);
