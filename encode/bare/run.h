#include "bare.h"

// Opens an encoder, encodes all pictures with it, and closes it. encode takes
// the time in ns and returns the bytes of a picture, or -1.
static inline int run(work *w, encoder *(*open)(const work *), void (*close)(encoder *),
	int64_t (*encode)(encoder *e, const work *w, int64_t ns, int key, const uint8_t *y, const uint8_t *u, const uint8_t *v)) {
	size_t luma = (size_t)w->width * w->height, chroma = (size_t)((w->width + 1) / 2) * ((w->height + 1) / 2);
	int64_t begin = cpu(), bytes = 0;
	encoder *e = open(w);
	if (!e) return 1;
	w->bytes = 0;
	for (int i = 0; i < w->n && bytes >= 0; i++) {
		w->now = i;
		if (i == w->n - w->counted) begin = cpu();
		const uint8_t *y = w->pictures + i * (luma + 2 * chroma);
		bytes = encode(e, w, i * (1000000000LL / w->fps), i == 0, y, y + luma, y + luma + chroma);
		w->bytes += bytes;
	}
	w->ns = cpu() - begin;
	close(e);
	return bytes < 0;
}
