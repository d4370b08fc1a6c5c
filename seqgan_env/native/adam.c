/* Adam (Kingma and Ba 2015). Of a weight whose gradient is a product, a (rows, depth) times b
   (depth, columns), the gradient is never stored: the weight and its moments come from memory while
   the product is computed. */
#include "vectors.h"

enum { TALL = 96 }; /* rows for which a tile of b stays in the nearest cache */

typedef struct {
    float *weight, *mean, *square; /* (rows, columns) */
    float beta1, beta2, rate, correction, eps;
} Adam;

INLINE vec vsqrt(vec x) {
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
}

/* Up to LANES numbers of the weight, from `at` on, whose gradient is g. */
INLINE void adam_step(const Adam *adam, long at, vec g, long left) {
    vec mean = read_some(adam->mean + at, left), square = read_some(adam->square + at, left);
    mean += (1.0f - adam->beta1) * (g - mean);
    square = adam->beta2 * square + (1.0f - adam->beta2) * g * g;
    const vec change = adam->rate * mean / (vsqrt(square) * adam->correction + adam->eps);
    write_some(adam->mean + at, mean, left);
    write_some(adam->square + at, square, left);
    write_some(adam->weight + at, read_some(adam->weight + at, left) - change, left);
}

/* Fetches a tile's part of a row, which is needed once the product is there. */
INLINE void ask_for(const Adam *adam, long at) {
    UNROLL_FOR (int j = 0; j < TILE; j += LANES) {
        __builtin_prefetch(adam->weight + at + j, 1);
        __builtin_prefetch(adam->mean + at + j, 1);
        __builtin_prefetch(adam->square + at + j, 1);
    }
}

/* ROWS rows from `row` on, of which `count` are there, by one tile of columns; block is b (depth,
   TILE). */
INLINE void adam_rows(
    const Adam *adam, const float *a, long row, long count, const float *block, long column,
    long columns, long depth
) {
    const float *x[ROWS];
    vec sum[ROWS][4] = {};
    UNROLL_FOR (int i = 0; i < ROWS; i++) x[i] = a + (row + at_most(i, count - 1)) * depth;
    for (long i = 0; i < count; i++) ask_for(adam, (row + i) * columns + column);
    multiply(ROWS, 4, sum, x, 1, block, TILE, depth);
    for (long i = 0; i < count; i++)
        for (long j = 0; j < at_most(4, (columns - column + LANES - 1) / LANES); j++)
            adam_step(
                adam, (row + i) * columns + column + LANES * j, sum[i][j],
                columns - column - LANES * j
            );
}

KERNEL int adam_product(const adam_product_arguments *a) {
    const float *b = a->right;
    const long columns = a->columns, depth = a->depth, tiles = (columns + TILE - 1) / TILE;
    const Adam adam = {a->weight, a->mean, a->square,     a->beta1,
                       a->beta2,  a->rate, a->correction, a->eps};
    float *blocks = calloc(tiles * depth * TILE, sizeof(float)); /* (tiles, depth, TILE) */
    if (!blocks) return NO_MEMORY;
    for (long d = 0; d < depth; d++)
        for (long column = 0; column < columns; column += TILE) {
            const long count = at_most(TILE, columns - column);
            memcpy(
                blocks + column * depth + d * TILE, b + d * columns + column, count * sizeof(float)
            );
        }
    for (long from = a->range.begin; from < a->range.end; from += TALL)
        for (long column = 0; column < columns; column += TILE)
            for (long row = from; row < at_most(from + TALL, a->range.end); row += ROWS) {
                const long count = at_most(ROWS, a->range.end - row);
                adam_rows(
                    &adam, a->left, row, count, blocks + column * depth, column, columns, depth
                );
            }
    free(blocks);
    return FINE;
}

KERNEL int adam(const adam_arguments *a) {
    const Parameter *parameters = (const Parameter *)a->parameters;
    long first = 0; /* block of a parameter */
    for (const Parameter *p = parameters; p < parameters + a->num_parameters; p++) {
        const long blocks = (p->count + ADAM_BLOCK - 1) / ADAM_BLOCK;
        const long from = a->range.begin > first ? a->range.begin - first : 0;
        const long to = at_most(blocks, a->range.end - first);
        const Adam adam = {p->weight, p->mean, p->square,     a->beta1,
                           a->beta2,  a->rate, a->correction, a->eps};
        for (long i = from * ADAM_BLOCK; i < at_most(to * ADAM_BLOCK, p->count); i += LANES)
            adam_step(&adam, i, read_some(p->grad + i, p->count - i), p->count - i);
        first += blocks;
    }
    return FINE;
}
