#ifndef DESKWHEP_BALANCE_H
#define DESKWHEP_BALANCE_H

#include <stdint.h>

// libvpx takes a block of VP9 for unchanged if the differences in it are flat in
// each transform and cancel each other out in all of it, such as those of a white
// and a black square that change places: its test of the DC also passes where the
// block's variance equals its error. A balance knows the sums of the luma of the
// picture that was coded last, and shifts the luma of blocks where they hide a
// change by one, up and down by turns.
typedef struct balance balance;

// dw_balance_new is for pictures of one size; NULL without memory.
balance *dw_balance_new(int width, int height);
void dw_balance_free(balance *b);

// dw_balance_shift looks at what has changed, the rectangle with the corners
// x0,y0 (in it) and x1,y1 (not in it), and shifts what must be. Rectangles may
// overlap.
void dw_balance_shift(balance *b, uint8_t *luma, int stride, int x0, int y0, int x1, int y1);

// dw_balance_restore takes the shifts back. With coded, later pictures will
// refer to this one.
void dw_balance_restore(balance *b, uint8_t *luma, int stride, int coded);

#endif
