#include <stddef.h>
#include <stdint.h>

// One libvpx encoder. Functions that return a string return NULL, or what
// went wrong.
typedef struct encoder encoder;

const char *dw_vpx_open(encoder **out, int vp9, int width, int height, int kbps, int cpus);
const char *dw_vpx_bitrate(encoder *e, int kbps);

typedef enum {
	BASE,  // may refer to anything but spare pictures
	KEY,   // refers to nothing
	SPARE, // like BASE; nothing refers to it
} kind;

typedef struct {
	int x0, y0, x1, y1; // corners, the first in it and the second not
} rect;

// A picture in I420, and what becomes of it.
typedef struct {
	encoder *e;
	uint8_t *y; // the same again after the call
	const uint8_t *u, *v;
	int stride_y, stride_c;
	const rect *changed; // in which changes may hide; see balance.h
	int rects;
	uint8_t *map; // a byte for each block of 16x16 pixels, 0 where the picture may stay as it is; NULL: ones
	kind kind;
	int still; // the picture has not changed, and is to become sharper
	int even;  // all blocks are to become equally sharp
	int luma;  // the colours are to stay as they are shown
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
void dw_vpx_encode(void *task);

void dw_vpx_close(encoder *e);
