#include <stddef.h>
#include <stdint.h>

// One OpenH264 encoder. Functions return 0, or the library's error number.
typedef struct encoder encoder;

int dw_h264_open(encoder **out, int width, int height, int fps);

// A picture in I420, and what becomes of it.
typedef struct {
	encoder *e;
	const uint8_t *y, *u, *v;
	int stride_y, stride_c;
	int force;     // it refers to nothing
	int quantizer; // 0 to 51
	int64_t milliseconds;

	int error;   // out: 0, or the library's number
	void *data;  // the encoder's, until the next call
	size_t size; // 0: the picture was dropped
	int key;
} task;

// Encodes a task's picture. Nothing that it points to is kept.
void dw_h264_encode(void *task);

void dw_h264_close(encoder *e);

void dw_h264_version(int *major, int *minor, int *revision);
