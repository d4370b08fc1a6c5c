/* Draws from softmax(h W + b) by inversion, for up to BLOCK rows at once and without storing the logits. */
#ifndef SEQGAN_ENV_SOFTMAX_H
#define SEQGAN_ENV_SOFTMAX_H

#include <math.h>

#include "vectors.h"

enum { BLOCK = 96 }; /* rows whose sums are kept while a tile of the weight, which they share, is in cache */

/* softmax(h W + b): W packed (tiles, depth, TILE), b padded by minus infinity to tiles * TILE. */
typedef struct {
    const float *weight, *bias;
    long depth, tiles;
    float norm, top; /* the largest norm of a column of W, the largest bias */
} Layer;

/* h W + b of one tile for `rows` rows. */
INLINE void tile_logits(int rows, int wide, v16 (*logits)[4], const float *const *hidden, const Layer *layer, long tile) {
    UNROLL for (int j = 0; j < 4; j++) {
        const v16 bias = load(layer->bias + tile * TILE + LANES * j);
        UNROLL for (int i = 0; i < rows; i++) logits[i][j] = bias;
    }
    multiply(rows, wide, logits, hidden, 1, layer->weight + tile * layer->depth * TILE, layer->depth);
}

INLINE float largest(const v16 *x) {
    float top = -INFINITY;
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < LANES; i++) top = x[j][i] > top ? x[j][i] : top;
    return top;
}

/* What is taken off the logits of a row before they are exponentiated: nothing where |h| |w| + |b|, which no logit exceeds
   (Cauchy-Schwarz), says that exp of them, summed over a million tokens, is still a float, and far above where vexp gives 0; the largest logit elsewhere. */
INLINE float safe_shift(int wide, const float *hidden, const Layer *layer) {
    float square = 0, top = -INFINITY;
    for (long k = 0; k < layer->depth; k++) square += hidden[k] * hidden[k];
    if (sqrtf(square) * layer->norm + fabsf(layer->top) < 60.0f) return 0;
    for (long tile = 0; tile < layer->tiles; tile++) {
        v16 logits[1][4];
        tile_logits(1, wide, logits, &hidden, layer, tile);
        const float here = largest(logits[0]);
        top = here > top ? here : top;
    }
    return top;
}

/* Sums of exp(logit - shift) by tile, (rows, tiles), for `rows` <= BLOCK rows of `hidden`, `stride` floats apart. */
INLINE void tile_sums(int wide, const float *hidden, long stride, long rows, const float *shift, const Layer *layer, float *sums) {
    for (long tile = 0; tile < layer->tiles; tile++)
        for (long row = 0; row < rows; row += ROWS) {
            const float *x[ROWS]; /* a block that is not full repeats the last row: what a row gets does not depend on others */
            UNROLL for (int i = 0; i < ROWS; i++) x[i] = hidden + at_most(row + i, rows - 1) * stride;
            v16 logits[ROWS][4];
            tile_logits(ROWS, wide, logits, x, layer, tile);
            UNROLL for (int i = 0; i < ROWS; i++) {
                const long here = at_most(row + i, rows - 1);
                v16 mass = {};
                UNROLL for (int j = 0; j < 4; j++) mass += vexp(logits[i][j] - shift[here]);
                sums[here * layer->tiles + tile] = sum16(mass);
            }
        }
}

/* The token at which the running sum of the masses exceeds uniform * total, first by tiles and then inside one, whose masses are
   computed again; its log-probability too. Rounding never picks a token without mass. */
INLINE long pick(int wide, const float *hidden, float uniform, float shift, const float *sums, const Layer *layer, float *log_prob) {
    double total = 0, before = 0;
    for (long tile = 0; tile < layer->tiles; tile++) total += sums[tile];
    const double target = uniform * total;
    long tile = 0;
    for (; tile < layer->tiles - 1 && before + sums[tile] <= target; tile++) before += sums[tile];
    v16 logits[1][4];
    float mass[TILE];
    tile_logits(1, wide, logits, &hidden, layer, tile);
    UNROLL for (int j = 0; j < 4; j++) store(mass + LANES * j, vexp(logits[0][j] - shift));
    long token = 0;
    for (long i = 0; i < TILE && before <= target; i++) {
        before += mass[i];
        if (mass[i] > 0) token = i;
    }
    if (log_prob) *log_prob = ((const float *)logits)[token] - shift - (float)log(total);
    return tile * TILE + token;
}

/* Tokens, and log-probabilities if asked for, of `rows` <= BLOCK rows; `sums` is room for BLOCK * tiles floats. */
INLINE void draw(
    int wide, const float *hidden, long stride, long rows, const float *uniform, const Layer *layer, float *sums, int64_t *tokens,
    float *log_probs) {
    float shift[BLOCK];
    for (long row = 0; row < rows; row++) shift[row] = safe_shift(wide, hidden + row * stride, layer);
    tile_sums(wide, hidden, stride, rows, shift, layer, sums);
    for (long row = 0; row < rows; row++)
        tokens[row] = pick(
            wide, hidden + row * stride, uniform[row], shift[row], sums + row * layer->tiles, layer,
            log_probs ? log_probs + row : NULL);
}

#endif
