/* Draws from softmax(h W + b) by inversion, for up to BLOCK states at once and without storing the
   logits. */
#ifndef SEQGAN_ENV_SOFTMAX_H
#define SEQGAN_ENV_SOFTMAX_H

#include "vectors.h"

/* See LAYER. */
typedef struct {
    const float *weight, *bias;
    long depth, tiles;
    float norm, top; /* the largest norm of a column of W, the largest bias */
} Layer;

/* The layer among the arguments of a kernel. */
#define LAYER_OF(a, of) \
    ((Layer){(a)->of##weight, (a)->of##bias, (a)->of##depth, (a)->of##tiles, (a)->of##norm, \
             (a)->of##top})

/* h W + b of one tile for `rows` rows. */
INLINE void tile_logits(
    int rows, vec (*logits)[4], const float *const *hidden, const Layer *layer, long tile
) {
    UNROLL_FOR (int j = 0; j < 4; j++) {
        const vec bias = load(layer->bias + tile * TILE + LANES * j);
        UNROLL_FOR (int i = 0; i < rows; i++) logits[i][j] = bias;
    }
    multiply(
        rows, 4, logits, hidden, 1, layer->weight + tile * layer->depth * TILE, TILE, layer->depth
    );
}

INLINE float largest(const vec *x) {
    float top = -INFINITY;
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < LANES; i++) top = x[j][i] > top ? x[j][i] : top;
    return top;
}

/* What is taken off the logits of a row before they are exponentiated: nothing where |h| |w| + |b|,
   which no logit exceeds (Cauchy-Schwarz), says that exp of them, summed over a million tokens, is
   still a float, and far above where vexp gives 0; the largest logit elsewhere. */
INLINE float safe_shift(const float *hidden, const Layer *layer) {
    float square = 0, top = -INFINITY;
    for (long k = 0; k < layer->depth; k++) square += hidden[k] * hidden[k];
    if (sqrtf(square) * layer->norm + fabsf(layer->top) < 60.0f) return 0;
    for (long tile = 0; tile < layer->tiles; tile++) {
        vec logits[1][4];
        tile_logits(1, logits, &hidden, layer, tile);
        const float here = largest(logits[0]);
        top = here > top ? here : top;
    }
    return top;
}

/* Up to BLOCK states and, for each, what its draws need. */
typedef struct {
    long count;
    const float *hidden[BLOCK];
    float shift[BLOCK];
    float *sums;   /* of the masses, exp(logit - shift), by tile, (BLOCK, tiles) */
    float *masses; /* (tiles, BLOCK, TILE), or NULL if nobody wants them */
} States;

/* One tile for the rows row..row + ROWS - 1. Whether masses are kept is a constant where this is
   inlined: asked between the exponentials, it made GCC spill the sums of the product. */
INLINE void sum_tile(int keeps_masses, const Layer *layer, States *states, long row, long tile) {
    const long last = states->count - 1;
    const float *hidden[ROWS]; /* a register block that is not full repeats the last row: no row
                                  depends on the others */
    UNROLL_FOR (int i = 0; i < ROWS; i++) hidden[i] = states->hidden[at_most(row + i, last)];
    vec logits[ROWS][4];
    tile_logits(ROWS, logits, hidden, layer, tile);
    UNROLL_FOR (int i = 0; i < ROWS; i++) {
        const long here = at_most(row + i, last);
        vec sum = {};
        UNROLL_FOR (int j = 0; j < 4; j++) {
            const vec mass = vexp(logits[i][j] - states->shift[here]);
            if (keeps_masses)
                store(states->masses + (tile * BLOCK + here) * TILE + LANES * j, mass);
            sum += mass;
        }
        states->sums[here * layer->tiles + tile] = sum_lanes(sum);
    }
}

APART void sum_by_tile(const Layer *layer, States *states) {
    for (long row = 0; row < states->count; row++)
        states->shift[row] = safe_shift(states->hidden[row], layer);
    for (long tile = 0; tile < layer->tiles; tile++)
        for (long row = 0; row < states->count; row += ROWS)
            if (states->masses)
                sum_tile(1, layer, states, row, tile);
            else
                sum_tile(0, layer, states, row, tile);
}

INLINE double total_mass(const Layer *layer, const States *states, long row) {
    double total = 0;
    for (long tile = 0; tile < layer->tiles; tile++)
        total += states->sums[row * layer->tiles + tile];
    return total;
}

/* log softmax(h W + b)[token] of one state, whose mass is `total`. */
INLINE float log_prob_of(
    const Layer *layer, const States *states, long row, long token, double total
) {
    const float *column = layer->weight + token / TILE * layer->depth * TILE + token % TILE;
    float logit = layer->bias[token];
    for (long k = 0; k < layer->depth; k++) logit += column[k * TILE] * states->hidden[row][k];
    return logit - states->shift[row] - (float)log(total);
}

/* The token of one state at which the running sum of the masses exceeds uniform * total: first by
   tiles, then inside one, whose masses are computed again. Rounding never picks a token without
   mass. Its log-probability too, if asked for. */
INLINE long pick(
    const Layer *layer, const States *states, long row, float uniform, float *log_prob
) {
    const float *sums = states->sums + row * layer->tiles;
    const double total = total_mass(layer, states, row), target = uniform * total;
    double before = 0;
    long tile = 0, token = 0;
    for (; tile < layer->tiles - 1 && before + sums[tile] <= target; tile++) before += sums[tile];
    vec logits[1][4];
    float mass[TILE];
    tile_logits(1, logits, &states->hidden[row], layer, tile);
    UNROLL_FOR (int j = 0; j < 4; j++)
        store(mass + LANES * j, vexp(logits[0][j] - states->shift[row]));
    for (long i = 0; i < TILE && before <= target; i++) {
        before += mass[i];
        if (mass[i] > 0) token = i;
    }
    if (log_prob)
        *log_prob = ((const float *)logits)[token] - states->shift[row] - (float)log(total);
    return tile * TILE + token;
}

#endif
