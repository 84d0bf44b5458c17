#include "bare.h"

// Opens an encoder, encodes all pictures with it, and closes it. encode returns
// whether it has failed.
static inline int64_t run(const work *w, encoder *(*open)(const work *), void (*close)(encoder *),
	int (*encode)(encoder *e, const work *w, int i, const uint8_t *y, const uint8_t *u, const uint8_t *v, int stride_y, int stride_c)) {
	int64_t begin = cpu();
	encoder *e = open(w);
	if (!e) return -1;
	int stride_c = (w->width + 1) / 2;
	size_t luma = (size_t)w->width * w->height, chroma = (size_t)stride_c * ((w->height + 1) / 2);
	int failed = 0;
	for (int i = 0; i < w->n && !failed; i++) {
		const uint8_t *y = w->pictures + i * (luma + 2 * chroma);
		failed = encode(e, w, i, y, y + luma, y + luma + chroma, w->width, stride_c);
	}
	int64_t spent = cpu() - begin;
	close(e);
	return failed ? -1 : spent;
}
