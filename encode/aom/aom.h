#include <stddef.h>
#include <stdint.h>

// One libaom encoder. Functions that return a string return NULL, or what
// went wrong.
typedef struct encoder encoder;

const char *dw_av1_open(encoder **out, int width, int height, int kbps);
const char *dw_av1_bitrate(encoder *e, int kbps);

// A picture in I420, and what becomes of it.
typedef struct {
	encoder *e;
	const uint8_t *y, *u, *v;
	int stride_y, stride_c;
	int force;              // it refers to nothing
	int least, most;        // quantizers, 0 to 63
	int64_t pts;            // in 1/90000 s
	unsigned long duration; // likewise

	const char *error; // out: NULL, or what went wrong
	const void *data;  // the encoder's, until the next call
	size_t size;       // 0: the picture was dropped
	int key;
	int quantizer; // that it was coded with
} task;

// Encodes a task's picture. Nothing that it points to is kept.
void dw_av1_encode(void *task);

void dw_av1_close(encoder *e);
