/* Adam (Kingma and Ba 2015). Of a weight whose gradient is a product, a (rows, depth) times b (depth, columns), the gradient is never
   stored: the weight and its moments come from memory while the product is computed. */
#include "vectors.h"

enum { TALL = 96 }; /* rows for which a tile of b stays in the nearest cache */

typedef struct {
    float *weight, *mean, *square; /* (rows, columns) */
    float beta1, beta2, size, correction, eps;
} Adam;

INLINE v16 vsqrt(v16 x) {
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
}

/* Up to LANES numbers of the weight, from `at` on, whose gradient is g. */
INLINE void adam_step(const Adam *adam, long at, v16 g, long left) {
    v16 mean = read_some(adam->mean + at, left), square = read_some(adam->square + at, left);
    mean += (1.0f - adam->beta1) * (g - mean);
    square = adam->beta2 * square + (1.0f - adam->beta2) * g * g;
    const v16 change = adam->size * mean / (vsqrt(square) * adam->correction + adam->eps);
    write_some(adam->mean + at, mean, left);
    write_some(adam->square + at, square, left);
    write_some(adam->weight + at, read_some(adam->weight + at, left) - change, left);
}

/* Fetches a tile's part of a row, which is needed once the product is there. */
INLINE void ask_for(const Adam *adam, long at) {
    UNROLL for (int j = 0; j < TILE; j += LANES) {
        __builtin_prefetch(adam->weight + at + j, 1);
        __builtin_prefetch(adam->mean + at + j, 1);
        __builtin_prefetch(adam->square + at + j, 1);
    }
}

/* ROWS rows from `row` on, of which `count` are there, by one tile of columns; block is b (depth, TILE). */
INLINE void adam_rows(
    int wide, const Adam *adam, const float *a, long row, long count, const float *block, long column, long columns, long depth) {
    const float *x[ROWS];
    v16 sum[ROWS][4] = {};
    UNROLL for (int i = 0; i < ROWS; i++) x[i] = a + (row + at_most(i, count - 1)) * depth;
    for (long i = 0; i < count; i++) ask_for(adam, (row + i) * columns + column);
    multiply(ROWS, wide, 4, sum, x, 1, block, TILE, depth);
    for (long i = 0; i < count; i++)
        for (long j = 0; j < at_most(4, (columns - column + LANES - 1) / LANES); j++)
            adam_step(adam, (row + i) * columns + column + LANES * j, sum[i][j], columns - column - LANES * j);
}

/* adam_product(begin, end, a, b, weight, mean, square, columns, depth, beta1, beta2, size, correction, eps): a step for the rows
   begin..end - 1, with `size` the learning rate over 1 - beta1^t and `correction` the inverse root of 1 - beta2^t. */
INLINE int adam_product_body(int wide, const Argument *a) {
    const float *b = a[3].address;
    const long columns = a[7].size, depth = a[8].size, tiles = (columns + TILE - 1) / TILE;
    const Adam adam = {a[4].address,         a[5].address,          a[6].address,          (float)a[9].number,
                       (float)a[10].number, (float)a[11].number, (float)a[12].number, (float)a[13].number};
    float *blocks = calloc(tiles * depth * TILE, sizeof(float)); /* (tiles, depth, TILE) */
    if (!blocks) return NO_MEMORY;
    for (long d = 0; d < depth; d++)
        for (long column = 0; column < columns; column += TILE) {
            const long count = at_most(TILE, columns - column);
            memcpy(blocks + column * depth + d * TILE, b + d * columns + column, count * sizeof(float));
        }
    for (long from = a[0].size; from < a[1].size; from += TALL)
        for (long column = 0; column < columns; column += TILE)
            for (long row = from; row < at_most(from + TALL, a[1].size); row += ROWS) {
                const long count = at_most(ROWS, a[1].size - row);
                adam_rows(wide, &adam, a[2].address, row, count, blocks + column * depth, column, columns, depth);
            }
    free(blocks);
    return FINE;
}
KERNEL(adam_product)

enum { BLOCK_SIZE = 4096 };

/* A parameter of `size` numbers, its gradient and its moments. */
typedef struct {
    float *weight, *mean, *square;
    const float *grad;
    int64_t size;
} Parameter;

/* adam(begin, end, parameters, num, beta1, beta2, size, correction, eps): a step for the blocks begin..end - 1 of BLOCK_SIZE numbers, or
   what is left of a parameter. */
INLINE int adam_body(int wide, const Argument *a) {
    const Parameter *parameters = a[2].address;
    long first = 0; /* block of a parameter */
    (void)wide;
    for (const Parameter *p = parameters; p < parameters + a[3].size; p++) {
        const long blocks = (p->size + BLOCK_SIZE - 1) / BLOCK_SIZE;
        const long from = a[0].size > first ? a[0].size - first : 0, to = at_most(blocks, a[1].size - first);
        const Adam adam = {p->weight,           p->mean,             p->square,           (float)a[4].number,
                           (float)a[5].number, (float)a[6].number, (float)a[7].number, (float)a[8].number};
        for (long i = from * BLOCK_SIZE; i < at_most(to * BLOCK_SIZE, p->size); i += LANES)
            adam_step(&adam, i, read_some(p->grad + i, p->size - i), p->size - i);
        first += blocks;
    }
    return FINE;
}
KERNEL(adam)
