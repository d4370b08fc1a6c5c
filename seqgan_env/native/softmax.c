/* Kernels over one output layer softmax(h W + b). */
#include "softmax.h"

/* softmax_draw(begin, end, weight, bias, depth, tiles, norm, top, hidden (R, depth), uniform (R,), tokens (R,), log_probs (R,) or 0)
   writes the tokens and log-probabilities of the rows begin..end - 1. */
INLINE int softmax_draw_body(int wide, const Argument *a) {
    const Layer layer = read_layer(a + 2);
    const float *hidden = a[8].address, *uniform = a[9].address;
    int64_t *tokens = a[10].address;
    float *log_probs = a[11].address;
    States states = {.sums = malloc(sizeof(float) * BLOCK * layer.tiles)};
    if (!states.sums) return NO_MEMORY;
    for (long first = a[0].size; first < a[1].size; first += BLOCK) {
        states.count = at_most(BLOCK, a[1].size - first);
        for (long i = 0; i < states.count; i++) states.hidden[i] = hidden + (first + i) * layer.depth;
        sum_by_tile(wide, &layer, &states);
        for (long i = 0; i < states.count; i++)
            tokens[first + i] = pick(wide, &layer, &states, i, uniform[first + i], log_probs ? log_probs + first + i : NULL);
    }
    free(states.sums);
    return FINE;
}

KERNEL(softmax_draw)
