//go:build !novpx

#include "balance.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

// libvpx judges blocks of 32x32 to 64x64 pixels; hidden is the largest sum of
// differences that it may take for none in the largest, with what coding leaves.
// Only where cells of one colour take another one are the differences flat.
enum { SIDE = 64, CELL = 8, CELLS = SIDE / CELL, HIDDEN = 2 * SIDE, FLAT = 1 << 15 };

// sums are of the luma of a block's cells, with FLAT where a cell has one colour.
typedef struct {
	uint16_t cell[CELLS][CELLS]; // row, column
} sums;

struct balance {
	int width, height, columns, rows;
	int down;       // the next shift is down
	sums *coded;    // of the picture that was coded last
	sums *fresh;    // of this one
	uint8_t *state; // SEEN, SHIFTED
};

enum { SEEN = 1, SHIFTED = 2 };

balance *dw_balance_new(int width, int height) {
	balance *b = calloc(1, sizeof *b);
	if (!b) return NULL;
	b->width = width;
	b->height = height;
	b->columns = (width + SIDE - 1) / SIDE;
	b->rows = (height + SIDE - 1) / SIDE;
	size_t n = (size_t)b->columns * b->rows;
	b->coded = calloc(n, sizeof *b->coded);
	b->fresh = calloc(n, sizeof *b->fresh);
	b->state = calloc(n, 1);
	if (b->coded && b->fresh && b->state) return b;
	dw_balance_free(b);
	return NULL;
}

void dw_balance_free(balance *b) {
	if (!b) return;
	free(b->coded);
	free(b->fresh);
	free(b->state);
	free(b);
}

static int less(int a, int b) { return a < b ? a : b; }

// band sums a row of whole cells whose first row lies at p.
#ifdef __SSE2__
static void band(const uint8_t *p, int stride, uint16_t out[CELLS]) {
	const __m128i zero = _mm_setzero_si128();
	for (int c = 0; c < CELLS; c += 2, p += 2 * CELL) {
		__m128i first = _mm_loadu_si128((const __m128i *)p), pair = zero;
		__m128i differs = _mm_xor_si128(first, _mm_or_si128(_mm_slli_epi64(first, 8), _mm_srli_epi64(first, 56)));
		const uint8_t *q = p;
		for (int j = 0; j < CELL; j++, q += stride) {
			__m128i row = _mm_loadu_si128((const __m128i *)q);
			pair = _mm_add_epi64(pair, _mm_sad_epu8(row, zero));
			differs = _mm_or_si128(differs, _mm_xor_si128(row, first));
		}
		uint64_t sum[2], any[2];
		_mm_storeu_si128((__m128i *)sum, pair);
		_mm_storeu_si128((__m128i *)any, differs);
		for (int i = 0; i < 2; i++) out[c + i] = sum[i] | (any[i] ? 0 : FLAT);
	}
}
#else // two bytes at a time
static void band(const uint8_t *p, int stride, uint16_t out[CELLS]) {
	const uint64_t even = 0x00ff00ff00ff00ff;
	uint64_t first[CELLS], pairs[CELLS] = {0}, differs[CELLS] = {0};
	memcpy(first, p, sizeof first);
	for (int j = 0; j < CELL; j++, p += stride) {
		uint64_t row[CELLS];
		memcpy(row, p, sizeof row);
		for (int c = 0; c < CELLS; c++) {
			pairs[c] += (row[c] & even) + (row[c] >> 8 & even);
			differs[c] |= row[c] ^ first[c];
		}
	}
	for (int c = 0; c < CELLS; c++) {
		uint64_t turned = first[c] << 8 | first[c] >> 56;
		out[c] = pairs[c] * 0x0001000100010001 >> 48 | (differs[c] | (turned ^ first[c]) ? 0 : FLAT);
	}
}
#endif

// part sums a cell that the picture's edge may cut.
static uint16_t part(const uint8_t *p, int stride, int width, int height) {
	uint16_t sum = 0, flat = FLAT;
	uint8_t first = *p;
	for (int j = 0; j < height; j++, p += stride) {
		for (int i = 0; i < width; i++) {
			sum += p[i];
			if (p[i] != first) flat = 0;
		}
	}
	return sum | flat;
}

static void measure(const balance *b, const uint8_t *luma, int stride, int column, int row, sums *s) {
	for (int r = 0; r < CELLS; r++) {
		int x = column * SIDE, y = row * SIDE + r * CELL;
		const uint8_t *p = luma + (size_t)y * stride + x;
		if (x + SIDE <= b->width && y + CELL <= b->height) {
			band(p, stride, s->cell[r]);
			continue;
		}
		for (int c = 0; c < CELLS; c++, x += CELL, p += CELL) {
			int width = less(CELL, b->width - x), height = less(CELL, b->height - y);
			s->cell[r][c] = width > 0 && height > 0 ? part(p, stride, width, height) : 0;
		}
	}
}

// hides tells whether some part of the block that libvpx may judge as one has
// changed, flat in each cell, although its sum has not.
static int hides(const sums *was, const sums *is) {
	static const uint8_t parts[] = {15, 3, 12, 5, 10, 1, 2, 4, 8}; // sets of quarters
	int32_t sum[4] = {0};
	int changed[4] = {0}, rough[4] = {0};
	for (int r = 0; r < CELLS; r++) {
		for (int c = 0; c < CELLS; c++) {
			uint16_t before = was->cell[r][c], after = is->cell[r][c];
			if (before == after) continue;
			int q = r / (CELLS / 2) * 2 + c / (CELLS / 2);
			sum[q] += (after & ~FLAT) - (before & ~FLAT);
			changed[q] = 1;
			rough[q] |= !(before & after & FLAT);
		}
	}
	for (size_t i = 0; i < sizeof parts; i++) {
		int32_t all = 0;
		int any = 0;
		for (int q = 0; q < 4; q++) {
			if (!(parts[i] >> q & 1)) continue;
			all += sum[q];
			any |= changed[q];
			if (rough[q]) any = -1;
			if (any < 0) break;
		}
		if (any > 0 && all > -HIDDEN && all < HIDDEN) return 1;
	}
	return 0;
}

static void add(const balance *b, uint8_t *luma, int stride, int column, int row, int by) {
	int width = less(SIDE, b->width - column * SIDE), height = less(SIDE, b->height - row * SIDE);
	for (int j = 0; j < height; j++) {
		uint8_t *p = luma + (size_t)(row * SIDE + j) * stride + column * SIDE;
		for (int i = 0; i < width; i++) p[i] += by; // 16 to 235: there is room
	}
}

void dw_balance_shift(balance *b, uint8_t *luma, int stride, int x0, int y0, int x1, int y1) {
	for (int row = y0 / SIDE; row < less(b->rows, (y1 + SIDE - 1) / SIDE); row++) {
		for (int column = x0 / SIDE; column < less(b->columns, (x1 + SIDE - 1) / SIDE); column++) {
			int i = row * b->columns + column;
			if (b->state[i]) continue;
			b->state[i] = SEEN;
			measure(b, luma, stride, column, row, &b->fresh[i]);
			if (!hides(&b->coded[i], &b->fresh[i])) continue;
			b->state[i] |= SHIFTED;
			add(b, luma, stride, column, row, b->down ? -1 : 1);
		}
	}
}

void dw_balance_restore(balance *b, uint8_t *luma, int stride, int coded) {
	for (int i = 0; i < b->columns * b->rows; i++) {
		if (b->state[i] & SHIFTED) add(b, luma, stride, i % b->columns, i / b->columns, b->down ? 1 : -1);
		if (b->state[i] && coded) b->coded[i] = b->fresh[i];
		b->state[i] = 0;
	}
	b->down = !b->down;
}
