#include <stddef.h>
#include <stdint.h>

// One libvpx encoder. Functions that return a string return NULL, or what
// went wrong.
typedef struct encoder encoder;

typedef struct {
	const void *data; // the encoder's, until the next call
	size_t size;      // 0: the picture was dropped
	int key;
	int quantizer;    // that the picture was coded with, 0 to 63
} packet;

const char *dw_vpx_open(encoder **out, int vp9, int width, int height, int kbps);
const char *dw_vpx_bitrate(encoder *e, int kbps);

// Bounds the quantizer, 0 to 63.
const char *dw_vpx_quantizers(encoder *e, int min, int max);

typedef enum {
	BASE,  // may refer to anything but spare pictures
	KEY,   // refers to nothing
	SPARE, // like BASE; nothing refers to it
} kind;

// Encodes an I420 picture. pts and duration are in 1/90000 s. map holds one
// byte for each block of 16x16 pixels, 0 where the picture may stay as it is;
// NULL stands for a map of ones. Nothing that y, u, v or map point to is kept.
const char *dw_vpx_encode(encoder *e, const uint8_t *y, const uint8_t *u, const uint8_t *v,
	int stride_y, int stride_c, int64_t pts, unsigned long duration, kind kind, uint8_t *map, packet *out);

void dw_vpx_close(encoder *e);
