/* Products of matrices, a (rows, depth) times b (depth, columns). Unlike those of the common
   libraries, an element of the result is one sum in the order of `depth`, whatever the number of
   rows, columns and threads. */
#include "vectors.h"

typedef struct {
    const float *a, *b, *bias; /* bias (rows,) or 0 */
    float *out;
    long a_row, a_step, rows, columns,
        depth; /* distances in floats of a from row to row, and along a row */
} Product;

/* ROWS rows from `row` on by `vectors` vectors of columns from `column` on; block is b (depth,
   TILE) from `first` on. */
INLINE void multiply_rows(
    const int vectors, const Product *p, long row, long column, const float *block, long first,
    long depth
) {
    const long columns = at_most(LANES * vectors, p->columns - column);
    const long count = at_most(ROWS, p->rows - row);
    const float *x[ROWS];
    vec sum[ROWS][4] = {};
    UNROLL_FOR (int i = 0; i < ROWS; i++) {
        const long here = at_most(row + i, p->rows - 1);
        x[i] = p->a + here * p->a_row + first * p->a_step;
        if (first) {
            if (columns == LANES * vectors)
                UNROLL_FOR (int j = 0; j < vectors; j++)
                    sum[i][j] = load(p->out + here * p->columns + column + LANES * j);
            else
                memcpy(sum[i], p->out + here * p->columns + column, columns * sizeof(float));
        } else if (p->bias)
            UNROLL_FOR (int j = 0; j < vectors; j++) sum[i][j] = fill(p->bias[here]);
    }
    multiply(ROWS, vectors, sum, x, p->a_step, block, TILE, depth);
    for (long i = 0; i < count; i++) {
        float *out = p->out + (row + i) * p->columns + column;
        if (columns == LANES * vectors)
            UNROLL_FOR (int j = 0; j < vectors; j++) store(out + LANES * j, sum[i][j]);
        else
            memcpy(out, sum[i], columns * sizeof(float));
    }
}

INLINE void copy_block(const Product *p, float *block, long column, long first, long depth) {
    const long columns = at_most(TILE, p->columns - column);
    for (long d = 0; d < depth; d++) {
        const float *from = p->b + (first + d) * p->columns + column;
        if (columns == TILE)
            UNROLL_FOR (int j = 0; j < TILE; j += LANES)
                store(block + d * TILE + j, load(from + j));
        else
            memcpy(
                memset(block + d * TILE, 0, TILE * sizeof(float)), from, columns * sizeof(float)
            );
    }
}

/* Rows begin..end - 1 by columns from..to - 1, in blocks of `most` of the depth. */
INLINE void product_part(
    const Product *p, long begin, long end, long from, long to, long most, float *block
) {
    /* Once where there is no depth: a sum of nothing is the bias. */
    for (long first = 0; !first || first < p->depth; first += most)
        for (long column = from; column < to; column += TILE) {
            const long depth = at_most(most, p->depth - first);
            copy_block(p, block, column, first, depth);
            for (long row = begin; row < end; row += ROWS)
                for (long part = column; part < at_most(column + TILE, p->columns);
                     part += LANES * WIDE) {
                    const long vectors = at_most(WIDE, (p->columns - part + LANES - 1) / LANES);
                    const float *here = block + part - column;
                    if (vectors == 1)
                        multiply_rows(1, p, row, part, here, first, depth);
                    else if (vectors == 2)
                        multiply_rows(2, p, row, part, here, first, depth);
                    else if (vectors == 3)
                        multiply_rows(3, p, row, part, here, first, depth);
                    else
                        multiply_rows(4, p, row, part, here, first, depth);
                }
        }
}

/* A range begins at a multiple of ROWS, or of TILE if it is of columns. */
KERNEL int product(const product_arguments *a) {
    const Product p = {
        .a = a->left,
        .b = a->right,
        .bias = a->bias,
        .out = a->out,
        .a_row = a->left_row,
        .a_step = a->left_step,
        .rows = a->rows,
        .columns = a->columns,
        .depth = a->depth,
    };
    const long chunk = a->chunk, most = a->most;
    float *block = malloc(sizeof(float) * TILE * at_most(most, p.depth));
    if (!block) return NO_MEMORY;
    if (a->by_rows)
        for (long row = a->range.begin; row < a->range.end; row += chunk)
            product_part(&p, row, at_most(row + chunk, a->range.end), 0, p.columns, most, block);
    else
        product_part(&p, 0, p.rows, a->range.begin, a->range.end, most, block);
    free(block);
    return FINE;
}
