/* Kernels over one output layer softmax(h W + b). */
#include "softmax.h"

/* softmax_draw(begin, end, weight, bias, depth, tiles, norm, top, hidden (R, depth), uniform (R,), tokens (R,), log_probs (R,) or 0)
   writes the tokens and log-probabilities of the rows begin..end - 1. */
INLINE int softmax_draw_body(int wide, const Argument *a) {
    const Layer layer = {a[2].address, a[3].address, a[4].size, a[5].size, (float)a[6].number, (float)a[7].number};
    const float *hidden = a[8].address, *uniform = a[9].address;
    int64_t *tokens = a[10].address;
    float *log_probs = a[11].address, *sums = malloc(sizeof(float) * BLOCK * layer.tiles);
    if (!sums) return NO_MEMORY;
    for (long row = a[0].size; row < a[1].size; row += BLOCK)
        draw(
            wide, hidden + row * layer.depth, layer.depth, at_most(BLOCK, a[1].size - row), uniform + row, &layer, sums, tokens + row,
            log_probs ? log_probs + row : NULL);
    free(sums);
    return FINE;
}

KERNEL(softmax_draw)
