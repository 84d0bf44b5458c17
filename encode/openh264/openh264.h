#include <stddef.h>
#include <stdint.h>

// One OpenH264 encoder. Functions return 0, or the library's error number.
typedef struct encoder encoder;

typedef struct {
	void *data;  // the encoder's, until the next call
	size_t size; // 0: the picture was dropped
	int key;
} packet;

int dw_h264_open(encoder **out, int width, int height, int fps);

// Sets the quantizer, 0 to 51, of the pictures that follow.
int dw_h264_quantizer(encoder *e, int quantizer);

// Encodes an I420 picture. Nothing that y, u or v point to is kept.
int dw_h264_encode(encoder *e, const uint8_t *y, const uint8_t *u, const uint8_t *v,
	int stride_y, int stride_c, int64_t milliseconds, int key, packet *out);

void dw_h264_close(encoder *e);

void dw_h264_version(int *major, int *minor, int *revision);
