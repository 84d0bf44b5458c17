//go:build !noopenh264

#include "scroll.h"

#include <stdlib.h>
#include <string.h>

enum {
	range = 2 * dw_farthest + 1,
	steps = 16,       // that the library takes from where it begins
	noise = 300,      // what a block differs at least from where it came from
	rows = 3,         // of blocks in which a way is looked for
	starts = 8,       // that are tried in each
	best = 4,         // ways to a block that are followed
	patience = 20000, // in comparisons: about half a millisecond
};

typedef struct {
	const dw_scroll *s;
	const uint8_t *now, *last;
	int patience;
} search;

static int inside(const search *s, int x, int y) {
	return x >= 0 && y >= 0 && x + dw_block <= s->s->width && y + dw_block <= s->s->height;
}

// differs compares the block a with the one at x, y in b.
static int differs(search *s, const uint8_t *a, const uint8_t *b, int x, int y) {
	if (!inside(s, x, y)) return 1 << 20;
	int stride = s->s->stride, sum = 0;
	b += y * stride + x;
	for (int line = 0; line < dw_block; line++, a += stride, b += stride)
		for (int i = 0; i < dw_block; i++) sum += abs(a[i] - b[i]);
	s->patience--;
	return sum;
}

// still is what a block differs from what was at its place.
static int still(search *s, int x, int y) {
	return inside(s, x, y) ? differs(s, s->now + y * s->s->stride + x, s->last, x, y) : 0;
}

// A target is a block at x, y that has the content of what is to pixels further
// down in the last picture.
typedef struct {
	int x, y, to;
	int cost[range]; // one more than what it differs from what is so many pixels further down; 0: not known
} target;

static int beside(search *s, target *t, int dx, int from) {
	const uint8_t *want = s->last + (t->y + t->to) * s->s->stride + t->x;
	return differs(s, want, s->last, t->x + dx, t->y + from);
}

static int below(search *s, target *t, int from) {
	if (abs(from) > dw_farthest) return 1 << 20;
	int *d = &t->cost[from + dw_farthest];
	if (!*d) *d = 1 + beside(s, t, 0, from);
	return *d;
}

// climbs tells whether the library finds where a target comes from, if it begins
// with the best of some guesses and is content with what differs less than
// enough.
static int climbs(search *s, target *t, int enough, const int *guesses, int n) {
	int from = guesses[0];
	for (int i = 1; i < n; i++)
		if (below(s, t, guesses[i]) < below(s, t, from)) from = guesses[i];
	if (below(s, t, from) < enough) return from == t->to;
	int step = from < t->to ? 1 : -1;
	for (int i = 0; i < steps && from != t->to; i++, from += step) {
		int ahead = below(s, t, from + step);
		if (ahead >= below(s, t, from) || ahead > below(s, t, from - step) || ahead > beside(s, t, -1, from) || ahead > beside(s, t, 1, from)) return 0;
	}
	return from == t->to;
}

// moved tells whether the block at x, y is what was by pixels further down.
static int moved(search *s, int x, int y) {
	return inside(s, x, y) && !differs(s, s->now + y * s->s->stride + x, s->last, x, y + s->s->by);
}

static int median(int a, int b, int c) {
	return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

// way looks for a way whose first block is at x, y. Without careful the library
// is thought not to be content early because blocks above differ more.
static int way(search *s, int x, int y, int careful, int found[dw_stones]) {
	int by = s->s->by, known = s->s->known, sign = by < 0 ? -1 : 1;
	int8_t before[dw_stones + 1][range]; // where the block to the left came from
	uint8_t reached[range] = {[dw_farthest] = 1};
	for (int n = 0; n <= dw_stones && inside(s, x, y); n++, x += dw_block) {
		int enough = n ? noise : still(s, x - dw_block, y);
		if (careful && y > 0) enough = median(enough, still(s, x, y - dw_block), still(s, x + dw_block, y - dw_block));
		enough = enough * 9 / 10;
		uint8_t next[range] = {0};
		for (int to = by, kept = 0; to != 0 && kept < best; to -= sign) {
			if (!inside(s, x, y + to) || (to == by && !moved(s, x, y))) continue;
			target t = {x, y, to};
			for (int from = to - sign; from * sign >= 0 && (to - from) * sign <= steps; from -= sign) {
				if (!reached[from + dw_farthest]) continue;
				if (s->patience < 0) return 0;
				int guesses[] = {0, from, known};
				if (!climbs(s, &t, enough, guesses, 2) || (known && !climbs(s, &t, enough, guesses, 3))) continue;
				before[n][to + dw_farthest] = from;
				next[to + dw_farthest] = 1;
				kept++;
				break;
			}
			if (to == by && next[to + dw_farthest]) {
				for (int i = n; i-- > 0; to = before[i + 1][to + dw_farthest]) found[i] = before[i + 1][to + dw_farthest];
				return n;
			}
		}
		memcpy(reached, next, sizeof next);
	}
	return 0;
}

int dw_scroll_way(dw_scroll *s, const uint8_t *now, const uint8_t *last) {
	if (abs(s->by) > dw_farthest) return 0;
	int top = s->top + (s->by < 0 ? -s->by : 0); // what is above is new
	for (int careful = 1; careful >= 0; careful--) {
		search look = {s, now, last, patience};
		for (int row = 0; row < rows; row++)
			for (int start = 0; start < starts; start++) {
				s->x = ((s->left + dw_block - 1) / dw_block + start) * dw_block;
				s->y = (top / dw_block + row) * dw_block;
				if (!moved(&look, s->x, s->y)) continue;
				int n = way(&look, s->x, s->y, careful, s->way);
				if (n) return n;
			}
	}
	return 0;
}
