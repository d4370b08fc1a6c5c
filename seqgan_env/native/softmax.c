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

/* softmax_pack(begin, end, by_token (vocab, depth), vocab, depth, weight (tiles, depth, TILE), norms (tiles,)) lays out the weights of
   the tiles begin..end - 1, with zeros where there is no token, and finds the largest squared norm in each. */
INLINE int softmax_pack_body(int wide, const Argument *a) {
    const float *by_token = a[2].address;
    const long vocab = a[3].size, depth = a[4].size;
    float *weight = a[5].address, *norms = a[6].address;
    (void)wide;
    for (long tile = a[0].size; tile < a[1].size; tile++) {
        float *out = weight + tile * depth * TILE;
        norms[tile] = 0;
        for (long column = 0; column < TILE; column++) {
            const long token = tile * TILE + column;
            const float *from = by_token + token * depth;
            float square = 0;
            for (long k = 0; k < depth; k++) {
                const float x = token < vocab ? from[k] : 0.0f;
                out[k * TILE + column] = x;
                square += x * x;
            }
            if (square > norms[tile]) norms[tile] = square;
        }
    }
    return FINE;
}

KERNEL(softmax_pack)
