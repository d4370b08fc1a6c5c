/* Products of matrices, a (rows, depth) times b (depth, columns). Unlike those of the common libraries, an element of the result
   is one sum in the order of `depth`, whatever the number of rows, columns and threads. */
#include <string.h>

#include "vectors.h"

typedef struct {
    const float *a, *b, *bias; /* bias (rows,) or 0 */
    float *out;
    long a_row, a_step, b_row, out_row, rows, columns, depth; /* distances in floats from row to row, and along a row of a */
} Product;

/* ROWS rows from `row` on by `wide` vectors of columns from `column` on; block is b (depth, TILE) from `first` on. */
INLINE void multiply_rows(const int wide, const Product *p, long row, long column, const float *block, long first, long depth) {
    const long columns = at_most(LANES * wide, p->columns - column), count = at_most(ROWS, p->rows - row);
    const float *x[ROWS];
    v16 sum[ROWS][4] = {};
    UNROLL for (int i = 0; i < ROWS; i++) {
        const long here = at_most(row + i, p->rows - 1);
        x[i] = p->a + here * p->a_row + first * p->a_step;
        if (first) {
            if (columns == LANES * wide)
                UNROLL for (int j = 0; j < wide; j++) sum[i][j] = load(p->out + here * p->out_row + column + LANES * j);
            else memcpy(sum[i], p->out + here * p->out_row + column, columns * sizeof(float));
        } else if (p->bias)
            UNROLL for (int j = 0; j < wide; j++) sum[i][j] = fill(p->bias[here]);
    }
    for (long d = 0; d < depth; d++) {
        v16 y[4];
        UNROLL for (int j = 0; j < wide; j++) y[j] = load(block + d * TILE + LANES * j);
        UNROLL for (int i = 0; i < ROWS; i++) {
            const float value = x[i][d * p->a_step];
            UNROLL for (int j = 0; j < wide; j++) sum[i][j] += y[j] * value;
        }
    }
    for (long i = 0; i < count; i++) {
        float *out = p->out + (row + i) * p->out_row + column;
        if (columns == LANES * wide)
            UNROLL for (int j = 0; j < wide; j++) store(out + LANES * j, sum[i][j]);
        else memcpy(out, sum[i], columns * sizeof(float));
    }
}

INLINE void copy_block(const Product *p, float *block, long column, long first, long depth) {
    const long columns = at_most(TILE, p->columns - column);
    for (long d = 0; d < depth; d++) {
        const float *from = p->b + (first + d) * p->b_row + column;
        if (columns == TILE)
            UNROLL for (int j = 0; j < TILE; j += LANES) store(block + d * TILE + j, load(from + j));
        else memcpy(memset(block + d * TILE, 0, TILE * sizeof(float)), from, columns * sizeof(float));
    }
}

/* Rows begin..end - 1 by columns from..to - 1, in blocks of `most` of the depth. */
INLINE void product_part(int wide, const Product *p, long begin, long end, long from, long to, long most, float *block) {
    for (long first = 0; !first || first < p->depth; first += most) /* a sum of nothing is the bias */
        for (long column = from; column < to; column += TILE) {
            const long depth = at_most(most, p->depth - first);
            copy_block(p, block, column, first, depth);
            for (long row = begin; row < end; row += ROWS) {
                const long left = (p->columns - column + LANES - 1) / LANES;
                if (wide == 4 && left == 1) multiply_rows(1, p, row, column, block, first, depth);
                else if (wide == 4 && left == 2) multiply_rows(2, p, row, column, block, first, depth);
                else if (wide == 4 && left == 3) multiply_rows(3, p, row, column, block, first, depth);
                else
                    for (long part = column; part < at_most(column + TILE, p->columns); part += LANES * wide)
                        multiply_rows(wide, p, row, part, block + part - column, first, depth);
            }
        }
}

/* product(begin, end, by_rows, a, a_row, a_step, b, b_row, bias, out, out_row, rows, columns, depth, chunk, most): writes out, of
   it rows begin..end - 1 if by_rows, in chunks, and else columns. begin is a multiple of ROWS or of TILE. */
INLINE int product_body(int wide, const Argument *a) {
    const Product p = {a[3].address, a[6].address, a[8].address, a[9].address, a[4].size, a[5].size,
                       a[7].size,    a[10].size,   a[11].size,   a[12].size,   a[13].size};
    const long chunk = a[14].size, most = a[15].size;
    float *block = malloc(sizeof(float) * TILE * at_most(most, p.depth));
    if (!block) return NO_MEMORY;
    if (a[2].size)
        for (long row = a[0].size; row < a[1].size; row += chunk)
            product_part(wide, &p, row, at_most(row + chunk, a[1].size), 0, p.columns, most, block);
    else product_part(wide, &p, 0, p.rows, a[0].size, a[1].size, most, block);
    free(block);
    return FINE;
}
KERNEL(product)
