#ifndef DESKWHEP_SCROLL_H
#define DESKWHEP_SCROLL_H

#include <stdint.h>

// Blocks are of luma; at most so many are changed. The library looks no farther.
enum { dw_block = 16, dw_stones = 12, dw_farthest = 64 };

typedef struct {
	int stride, width, height; // of both pictures
	int left, top;             // of what has moved
	int by;                    // what is at a place was so many pixels further down
	int known;                 // how many the blocks of the picture before were found

	int x, y;           // out: of the first block to be changed; multiples of 16
	int way[dw_stones]; // out: how many pixels further down each of them must have come from
} dw_scroll;

// dw_scroll_way looks for blocks in a row, each of which comes from a few pixels
// further in the last picture than the one to its left, so that the library
// finds that the one after them has moved by all of s->by. It returns how many
// these are, or 0 if it finds none.
int dw_scroll_way(dw_scroll *s, const uint8_t *now, const uint8_t *last);

#endif
