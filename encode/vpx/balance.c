//go:build !novpx

#include "balance.h"

#include <stdlib.h>
#include <string.h>

// libvpx judges blocks of 32x32 to 64x64; hidden is the largest sum of
// differences that it may take for none in the largest, with what coding leaves.
enum { SIDE = 64, HALF = SIDE / 2, HIDDEN = 2 * SIDE };

// sums tell a block's quarters: of the luma, and of the luma times a weight that
// differs from place to place.
typedef struct {
	uint32_t luma[4], placed[4];
} sums;

struct balance {
	int width, height, columns, rows;
	int down;        // the next shift is down
	sums *coded;     // of the picture that was coded last
	sums *fresh;     // of this one
	uint8_t *state;  // SEEN, SHIFTED
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

static void measure(const balance *b, const uint8_t *luma, int stride, int column, int row, sums *s) {
	memset(s, 0, sizeof *s);
	for (int q = 0; q < 4; q++) {
		int x = column * SIDE + q % 2 * HALF, y = row * SIDE + q / 2 * HALF;
		int width = less(HALF, b->width - x), height = less(HALF, b->height - y);
		for (int j = 0; j < height; j++) {
			const uint8_t *p = luma + (size_t)(y + j) * stride + x;
			uint32_t sum = 0, placed = 0;
			for (int i = 0; i < width; i++) {
				sum += p[i];
				placed += p[i] * (uint32_t)(i + 1);
			}
			s->luma[q] += sum;
			s->placed[q] += placed + sum * (uint32_t)(j * 61);
		}
	}
}

// hides tells whether some part of the block that libvpx may judge as one has
// changed although its sum has not.
static int hides(const sums *was, const sums *is) {
	static const uint8_t parts[] = {15, 3, 12, 5, 10, 1, 2, 4, 8}; // sets of quarters
	for (size_t i = 0; i < sizeof parts; i++) {
		int32_t sum = 0;
		int changed = 0;
		for (int q = 0; q < 4; q++) {
			if (!(parts[i] >> q & 1)) continue;
			sum += (int32_t)(is->luma[q] - was->luma[q]);
			changed |= is->luma[q] != was->luma[q] || is->placed[q] != was->placed[q];
		}
		if (changed && sum > -HIDDEN && sum < HIDDEN) return 1;
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
