/* Kernels over one output layer softmax(h W + b). */
#include "softmax.h"

KERNEL int softmax_draw(const softmax_draw_arguments *a) {
    const Layer layer = LAYER_OF(a, );
    const float *hidden = a->hidden, *uniform = a->uniform;
    int64_t *tokens = a->tokens;
    float *log_probs = a->log_probs;
    States states = {.sums = malloc(sizeof(float) * BLOCK * layer.tiles)};
    if (!states.sums) return NO_MEMORY;
    for (long first = a->range.begin; first < a->range.end; first += BLOCK) {
        states.count = at_most(BLOCK, a->range.end - first);
        for (long i = 0; i < states.count; i++)
            states.hidden[i] = hidden + (first + i) * layer.depth;
        sum_by_tile(&layer, &states);
        for (long i = 0; i < states.count; i++)
            tokens[first + i] = pick(
                &layer, &states, i, uniform[first + i], log_probs ? log_probs + first + i : NULL
            );
    }
    free(states.sums);
    return FINE;
}

KERNEL int softmax_pack(const softmax_pack_arguments *a) {
    const float *by_token = a->by_token;
    const long vocab = a->vocab, depth = a->depth;
    float *weight = a->weight, *norms = a->norms;
    for (long tile = a->range.begin; tile < a->range.end; tile++) {
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
