/* Convolution over embedded tokens, maximum over time and ReLU in one pass, and its gradient, which is sparse: of each sequence
   and channel only the position of the maximum has one. The map of all positions is never stored.

   Shared by all kernels: B sequences of T tokens, E numbers a token (whole vectors), F features in all. A filter has C channels,
   padded to P, whole vectors, where a layout says so. `filters` is (num, 4): width, C, first feature, and where it begins in the
   weights. `where` holds the position of the maximum, of equal ones the first. Every output is a sum in an order of its own, which
   depends on neither the range of a call nor the other sequences. */
#include <string.h>

#include "vectors.h"

typedef struct {
    int64_t width, channels, feature, begin;
} Filter;

/* Where the features (B, F) and their positions go; `where` may be 0. */
typedef struct {
    const float *bias;
    float *out;
    int32_t *where;
    long features;
} Features;

INLINE i16 load_int(const int32_t *p) {
    i16 x;
    memcpy(&x, p, sizeof x);
    return x;
}
INLINE i16 choose_int(i16 mask, i16 yes, i16 no) { return (mask & yes) | (~mask & no); }

/* Takes position t, with the sums x, into the maximum so far. */
INLINE void take(v16 *best, i16 *where, v16 x, long t) {
    const i16 above = (x > *best) | ((i16){} - (t == 0));
    *best = choose(above, x, *best);
    *where = choose_int(above, (i16){} + (int32_t)t, *where);
}

/* max(0, best + bias) of one vector of channels, which may be the last and not full. */
INLINE void write_features(const Features *f, const Filter *filter, long sequence, long vector, v16 best, i16 where) {
    const long n = at_most(LANES, filter->channels - vector * LANES), first = filter->feature + vector * LANES;
    v16 bias = {};
    memcpy(&bias, f->bias + first, n * sizeof(float));
    best += bias;
    best = choose(best > fill(0), best, fill(0));
    memcpy(f->out + sequence * f->features + first, &best, n * sizeof(float));
    if (f->where) memcpy(f->where + sequence * f->features + first, &where, n * sizeof(int32_t));
}

/* `wide` vectors of channels of one sequence. */
INLINE void pool_table(
    const int wide, const Features *f, const Filter *filter, long sequence, long vector, const int64_t *tokens, const float *table,
    long num_tokens) {
    const long padded = round_up(filter->channels, LANES), row_size = filter->width * padded;
    v16 best[4] = {}, sum[4] = {};
    i16 where[4] = {};
    table += filter->begin + vector * LANES;
    for (long t = 0; t + filter->width <= num_tokens; t++) {
        const float *row = table + tokens[t] * row_size;
        UNROLL for (int j = 0; j < wide; j++) sum[j] = load(row + LANES * j);
        for (long k = 1; k < filter->width; k++) {
            row = table + tokens[t + k] * row_size + k * padded;
            UNROLL for (int j = 0; j < wide; j++) sum[j] += load(row + LANES * j);
        }
        UNROLL for (int j = 0; j < wide; j++) take(&best[j], &where[j], sum[j], t);
    }
    UNROLL for (int j = 0; j < wide; j++) write_features(f, filter, sequence, vector + j, best[j], where[j]);
}

/* pool_tables(begin, end, tokens (B, T), tables, filters, num, bias (F,), out (B, F), where (B, F) or 0, T, rows, F): features of the
   sequences begin..end - 1 by tables, conv(Y)[t] = sum_k table[y_{t+k}][k]. The table of a filter is (rows, width, P). Tables may be
   larger than the cache, which is why the sequences are the inner loop. */
INLINE int pool_tables_body(int wide, const Argument *a) {
    const int64_t *tokens = a[2].address;
    const float *tables = a[3].address;
    const Filter *filters = a[4].address;
    const Features f = {a[6].address, a[7].address, a[8].address, a[11].size};
    const long num_tokens = a[9].size, rows = a[10].size;
    (void)wide;
    for (long i = a[0].size * num_tokens; i < a[1].size * num_tokens; i++)
        if (tokens[i] < 0 || tokens[i] >= rows) return BAD_INDEX;
    for (const Filter *filter = filters; filter < filters + a[5].size; filter++) {
        const long vectors = round_up(filter->channels, LANES) / LANES;
        for (long b = a[0].size; b < a[1].size; b++) {
            const int64_t *sequence = tokens + b * num_tokens;
            long v = 0;
            for (; v + 4 <= vectors; v += 4) pool_table(4, &f, filter, b, v, sequence, tables, num_tokens);
            for (; v < vectors; v++) pool_table(1, &f, filter, b, v, sequence, tables, num_tokens);
        }
    }
    return FINE;
}
KERNEL(pool_tables)

/* The gradient of tables is split by the number of a channel in its filter, modulo SLOTS: threads write to lines of their own. */
enum { SLOTS = 64 };

/* scatter_tables(begin, end, tokens, grad (B, F), where (B, F), filters, num, tables, B, T, F): adds to the tables the
   gradient that the features' own makes; of the channels in the slots begin..end - 1. */
INLINE int scatter_tables_body(int wide, const Argument *a) {
    const int64_t *tokens = a[2].address;
    const float *grad = a[3].address;
    const int32_t *where = a[4].address;
    const Filter *filters = a[5].address;
    float *tables = a[7].address;
    const long num_tokens = a[9].size, features = a[10].size;
    (void)wide;
    for (long b = 0; b < a[8].size; b++)
        for (const Filter *filter = filters; filter < filters + a[6].size; filter++)
            for (long first = 0; first < filter->channels; first += SLOTS)
                for (long c = first + a[0].size; c < at_most(first + a[1].size, filter->channels); c++) {
                    const long at = b * features + filter->feature + c, padded = round_up(filter->channels, LANES);
                    const int64_t *window = tokens + b * num_tokens + where[at];
                    float *column = tables + filter->begin + c;
                    for (long k = 0; k < filter->width; k++) column[(window[k] * filter->width + k) * padded] += grad[at];
                }
    return FINE;
}
KERNEL(scatter_tables)

/* ROWS windows of embedded tokens against `wide` vectors of channels; `weight` is (vectors, depth, LANES). */
INLINE void multiply_windows(const int wide, v16 (*sum)[4], const float *const *window, const float *weight, long depth) {
    v16 a[ROWS][4] = {};
    for (long d = 0; d < depth; d++) {
        v16 column[4];
        UNROLL for (int j = 0; j < wide; j++) column[j] = load(weight + (j * depth + d) * LANES);
        UNROLL for (int i = 0; i < ROWS; i++) {
            const float x = window[i][d];
            UNROLL for (int j = 0; j < wide; j++) a[i][j] += column[j] * x;
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < wide; j++) sum[i][j] = a[i][j];
}

/* Embedded sequences (B, T, E), of which begin..end - 1 are worked on. */
typedef struct {
    const float *embedded;
    long begin, end, num_tokens, depth;
} Sequences;

/* `wide` vectors of channels of all sequences; a block of windows that is not full repeats its first. */
INLINE void pool_window(
    const int wide, const Features *f, const Filter *filter, const Sequences *s, long vector, const float *weight, float *best,
    int32_t *at) {
    const long positions = s->num_tokens - filter->width + 1, end = s->end * positions;
    for (long first = s->begin * positions; first < end; first += ROWS) {
        const long count = at_most(ROWS, end - first);
        const float *window[ROWS];
        v16 sum[ROWS][4];
        for (long i = 0; i < ROWS; i++) {
            const long row = i < count ? first + i : first;
            window[i] = s->embedded + (row / positions * s->num_tokens + row % positions) * s->depth;
        }
        multiply_windows(wide, sum, window, weight, filter->width * s->depth);
        for (long i = 0; i < count; i++) {
            const long sequence = (first + i) / positions, t = (first + i) % positions;
            UNROLL for (int j = 0; j < wide; j++) {
                v16 top = load(best + LANES * j);
                i16 position = load_int(at + LANES * j);
                take(&top, &position, sum[i][j], t);
                store(best + LANES * j, top);
                memcpy(at + LANES * j, &position, sizeof position);
                if (t == positions - 1) write_features(f, filter, sequence, vector + j, top, position);
            }
        }
    }
}

/* pool_windows(begin, end, embedded (B, T, E), weights, filters, num, bias (F,), out (B, F), where (B, F), T, E, F): features of the
   sequences begin..end - 1 by multiplication. The weights of a filter are (P / LANES, width * E, LANES). */
INLINE int pool_windows_body(int wide, const Argument *a) {
    const Sequences s = {a[2].address, a[0].size, a[1].size, a[9].size, a[10].size};
    const float *weights = a[3].address;
    const Filter *filters = a[4].address;
    const Features f = {a[6].address, a[7].address, a[8].address, a[11].size};
    float best[4 * LANES] = {};
    int32_t at[4 * LANES] = {};
    for (const Filter *filter = filters; filter < filters + a[5].size; filter++) {
        const long vectors = round_up(filter->channels, LANES) / LANES, blocks = (vectors + wide - 1) / wide;
        for (long block = 0; block < blocks; block++) {
            const long v = vectors * block / blocks, n = vectors * (block + 1) / blocks - v;
            const float *weight = weights + filter->begin + v * filter->width * s.depth * LANES;
            if (n == 4) pool_window(4, &f, filter, &s, v, weight, best, at);
            if (n == 3) pool_window(3, &f, filter, &s, v, weight, best, at);
            if (n == 2) pool_window(2, &f, filter, &s, v, weight, best, at);
            if (n == 1) pool_window(1, &f, filter, &s, v, weight, best, at);
        }
    }
    return FINE;
}
KERNEL(pool_windows)

/* Up to LANES channels of weights (C, dim, width), as rows (C, width * depth) and side by side, (width * depth, LANES). */
INLINE void pack_channels(const float *weight, long count, long width, long dim, long depth, float *rows, float *packed) {
    const long length = width * depth;
    memset(rows, 0, sizeof(float) * count * length);
    for (long c = 0; c < count; c++)
        for (long k = 0; k < width; k++)
            for (long e = 0; e < dim; e++) rows[c * length + k * depth + e] = weight[(c * dim + e) * width + k];
    for (long d = 0; d < length; d++)
        for (long c = 0; c < LANES; c++) packed[d * LANES + c] = c < count ? rows[c * length + d] : 0.0f;
}

/* pack_windows(begin, end, addresses (num,), filters, num, rows, packed, dim, E): lays out the weights (C, dim, width) at the
   addresses, filter after filter, as rows (C, width * E) and as pool_windows reads them. The range is of all P * width; a vector of
   channels is laid out if it begins there. */
INLINE int pack_windows_body(int wide, const Argument *a) {
    const int64_t *addresses = a[2].address;
    const Filter *filters = a[3].address;
    float *rows = a[5].address, *packed = a[6].address;
    const long dim = a[7].size, depth = a[8].size;
    long at = 0;
    (void)wide;
    for (long i = 0; i < a[4].size; i++) {
        const long width = filters[i].width, channels = filters[i].channels, length = width * depth;
        for (long first = 0; first < channels; first += LANES, at += LANES * width) {
            const float *weight = (const float *)(intptr_t)addresses[i] + first * dim * width;
            if (at < a[0].size || at >= a[1].size) continue;
            const long count = at_most(LANES, channels - first);
            pack_channels(weight, count, width, dim, depth, rows + first * length, packed + first * length);
        }
        rows += channels * length;
        packed += round_up(channels, LANES) * length;
    }
    return FINE;
}
KERNEL(pack_windows)

enum { SPAN = 8 }; /* vectors of a weight's gradient that stay in registers for all sequences */

INLINE void add_windows(
    const int span, float *weight, const float *embedded, const float *grad, const int32_t *where, long batch, long size, long depth) {
    v16 sum[SPAN] = {};
    for (long b = 0; b < batch; b++) {
        const float *window = embedded + b * size + where[b] * depth, g = grad[b];
        UNROLL for (int j = 0; j < span; j++) sum[j] += load(window + LANES * j) * g;
    }
    UNROLL for (int j = 0; j < span; j++) store(weight + LANES * j, sum[j]);
}

/* A channel's weights (width, depth) as torch has them, (dim, width); depth is dim in whole vectors. */
INLINE void unpack_channel(float *out, const float *weight, long width, long dim, long depth) {
    for (long e = 0; e < dim; e++)
        for (long k = 0; k < width; k++) out[e * width + k] = weight[k * depth + e];
}

/* Features (B, F) as they were computed, where, and the gradient that they are given: none where the feature is 0. */
typedef struct {
    const float *grad, *out;
    const int32_t *where;
    long features;
} Given;

INLINE float given_gradient(const Given *given, long at) { return given->out[at] > 0 ? given->grad[at] : 0.0f; }

/* weight_gradient(begin, end, embedded, grad (B, F), features (B, F), where (B, F), filters, num, weights, bias (F,), B, T, E, dim,
   F): the gradients of the weights, (C, dim, width) each, and of the bias. The range is of all C * width; a channel is worked on if it
   begins there. */
INLINE int weight_gradient_body(int wide, const Argument *a) {
    const float *embedded = a[2].address;
    const Given given = {a[3].address, a[4].address, a[5].address, a[14].size};
    const Filter *filters = a[6].address;
    float *weights = a[8].address, *bias = a[9].address;
    const long batch = a[10].size, depth = a[12].size, size = a[11].size * depth, dim = a[13].size;
    float *own = malloc(sizeof(float) * (size + batch) + sizeof(int32_t) * batch); /* of one channel, no wider than a sequence */
    float *grad = own + size;
    int32_t *where = (int32_t *)(grad + batch);
    long at = 0;
    (void)wide;
    if (!own) return NO_MEMORY;
    for (const Filter *filter = filters; filter < filters + a[7].size; filter++)
        for (long c = 0; c < filter->channels; c++, at += filter->width) {
            const long feature = filter->feature + c, length = filter->width * depth;
            float sum = 0;
            long d = 0;
            if (at < a[0].size || at >= a[1].size) continue;
            for (long b = 0; b < batch; b++) {
                grad[b] = given_gradient(&given, b * given.features + feature);
                where[b] = given.where[b * given.features + feature];
                sum += grad[b];
            }
            bias[feature] = sum;
            for (; d + SPAN * LANES <= length; d += SPAN * LANES)
                add_windows(SPAN, own + d, embedded + d, grad, where, batch, size, depth);
            for (; d < length; d += LANES) add_windows(1, own + d, embedded + d, grad, where, batch, size, depth);
            unpack_channel(weights + filter->begin + c * dim * filter->width, own, filter->width, dim, depth);
        }
    free(own);
    return FINE;
}
KERNEL(weight_gradient)

enum { CHUNK = 1 << 16 }; /* floats of weights that stay in the cache for all sequences */

/* window_gradient(begin, end, weights, grad (B, F), features (B, F), where (B, F), filters, num, embedded, T, E, F): adds to the
   gradient of the embedded sequences begin..end - 1; weights are (C, width * E). */
INLINE int window_gradient_body(int wide, const Argument *a) {
    const float *weights = a[2].address;
    const Given given = {a[3].address, a[4].address, a[5].address, a[11].size};
    const Filter *filters = a[6].address;
    float *embedded = a[8].address;
    const long depth = a[10].size, size = a[9].size * depth;
    (void)wide;
    for (const Filter *filter = filters; filter < filters + a[7].size; filter++) {
        const long length = filter->width * depth, chunk = CHUNK / length + 1;
        for (long first = 0; first < filter->channels; first += chunk)
            for (long b = a[0].size; b < a[1].size; b++)
                for (long c = first; c < at_most(first + chunk, filter->channels); c++) {
                    const long at = b * given.features + filter->feature + c;
                    const float *weight = weights + filter->begin + c * length, g = given_gradient(&given, at);
                    float *window = embedded + b * size + given.where[at] * depth;
                    if (g == 0) continue;
                    for (long d = 0; d < length; d += LANES) store(window + d, load(window + d) + load(weight + d) * g);
                }
    }
    return FINE;
}
KERNEL(window_gradient)
