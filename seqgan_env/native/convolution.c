/* Convolution over embedded tokens, maximum over time and ReLU in one pass, and its gradient, which
   is sparse: of each sequence and channel only the position of the maximum has one. The map of all
   positions is never stored.

   Shared by all kernels: B sequences of T tokens, E numbers a token (whole vectors), F features in
   all. A filter has C channels, padded to P, whole vectors, where a layout says so. `where` holds
   the position of the maximum, of equal ones the first. Every output is a sum in an order of its
   own, which depends on neither the range of a call nor the other sequences. */
#include "vectors.h"

/* Where the features (B, F) and their positions go; `where` may be 0. */
typedef struct {
    const float *bias;
    float *out;
    int32_t *where;
    long features;
} Features;

INLINE ivec load_int(const int32_t *p) {
    ivec x;
    memcpy(&x, p, sizeof x);
    return x;
}
INLINE ivec choose_int(ivec mask, ivec yes, ivec no) { return (mask & yes) | (~mask & no); }

/* Takes position t, with the sums x, into the maximum so far. */
INLINE void take(vec *best, ivec *where, vec x, long t) {
    const ivec above = (x > *best) | ((ivec){} - (t == 0));
    *best = choose(above, x, *best);
    *where = choose_int(above, (ivec){} + (int32_t)t, *where);
}

/* max(0, best + bias) of one vector of channels, which may be the last and not full. */
INLINE void write_features(
    const Features *f, const Filter *filter, long sequence, long vector, vec best, ivec where
) {
    const long n = at_most(LANES, filter->channels - vector * LANES);
    const long first = filter->feature + vector * LANES;
    vec bias = {};
    memcpy(&bias, f->bias + first, n * sizeof(float));
    best += bias;
    best = choose(best > fill(0), best, fill(0));
    memcpy(f->out + sequence * f->features + first, &best, n * sizeof(float));
    if (f->where) memcpy(f->where + sequence * f->features + first, &where, n * sizeof(int32_t));
}

/* `vectors` vectors of channels of one sequence. */
INLINE void pool_table(
    const int vectors, const Features *f, const Filter *filter, long sequence, long vector,
    const int64_t *tokens, const float *table, long num_tokens
) {
    const long padded = round_up(filter->channels, LANES), row_size = filter->width * padded;
    vec best[4] = {}, sum[4] = {};
    ivec where[4] = {};
    table += filter->begin + vector * LANES;
    for (long t = 0; t + filter->width <= num_tokens; t++) {
        const float *row = table + tokens[t] * row_size;
        UNROLL_FOR (int j = 0; j < vectors; j++) sum[j] = load(row + LANES * j);
        for (long k = 1; k < filter->width; k++) {
            row = table + tokens[t + k] * row_size + k * padded;
            UNROLL_FOR (int j = 0; j < vectors; j++) sum[j] += load(row + LANES * j);
        }
        UNROLL_FOR (int j = 0; j < vectors; j++) take(&best[j], &where[j], sum[j], t);
    }
    UNROLL_FOR (int j = 0; j < vectors; j++)
        write_features(f, filter, sequence, vector + j, best[j], where[j]);
}

/* Tables may be larger than the cache, which is why the sequences are the inner loop. */
KERNEL int pool_tables(const pool_tables_arguments *a) {
    const int64_t *tokens = a->tokens;
    const float *tables = a->tables;
    const Filter *filters = (const Filter *)a->filters;
    const Features f = {a->bias, a->features, a->where, a->num_features};
    const long num_tokens = a->steps, rows = a->rows;
    for (long i = a->range.begin * num_tokens; i < a->range.end * num_tokens; i++)
        if (tokens[i] < 0 || tokens[i] >= rows) return bad_token(&a->range, tokens[i], rows - 1);
    for (const Filter *filter = filters; filter < filters + a->num_filters; filter++) {
        const long vectors = round_up(filter->channels, LANES) / LANES;
        for (long b = a->range.begin; b < a->range.end; b++) {
            const int64_t *sequence = tokens + b * num_tokens;
            long v = 0;
            for (; v + 4 <= vectors; v += 4)
                pool_table(4, &f, filter, b, v, sequence, tables, num_tokens);
            for (; v < vectors; v++) pool_table(1, &f, filter, b, v, sequence, tables, num_tokens);
        }
    }
    return FINE;
}

KERNEL int scatter_tables(const scatter_tables_arguments *a) {
    const int64_t *tokens = a->tokens;
    const float *grad = a->grad;
    const int32_t *where = a->where;
    const Filter *filters = (const Filter *)a->filters;
    float *tables = a->tables;
    const long num_tokens = a->steps, features = a->num_features;
    for (long b = 0; b < a->batch; b++)
        for (const Filter *filter = filters; filter < filters + a->num_filters; filter++)
            for (long first = 0; first < filter->channels; first += SLOTS)
                for (long c = first + a->range.begin;
                     c < at_most(first + a->range.end, filter->channels); c++) {
                    const long at = b * features + filter->feature + c;
                    const long padded = round_up(filter->channels, LANES);
                    const int64_t *window = tokens + b * num_tokens + where[at];
                    float *column = tables + filter->begin + c;
                    for (long k = 0; k < filter->width; k++)
                        column[(window[k] * filter->width + k) * padded] += grad[at];
                }
    return FINE;
}

/* ROWS windows of embedded tokens against `vectors` vectors of channels; `weight` is (vectors,
   depth, LANES). */
INLINE void multiply_windows(
    const int vectors, vec (*sum)[4], const float *const *window, const float *weight, long depth
) {
    vec a[ROWS][4] = {};
    for (long d = 0; d < depth; d++) {
        vec column[4];
        UNROLL_FOR (int j = 0; j < vectors; j++) column[j] = load(weight + (j * depth + d) * LANES);
        UNROLL_FOR (int i = 0; i < ROWS; i++) {
            const float x = window[i][d];
            UNROLL_FOR (int j = 0; j < vectors; j++) a[i][j] += column[j] * x;
        }
    }
    UNROLL_FOR (int i = 0; i < ROWS; i++)
        UNROLL_FOR (int j = 0; j < vectors; j++) sum[i][j] = a[i][j];
}

/* Embedded sequences (B, T, E), of which begin..end - 1 are worked on. */
typedef struct {
    const float *embedded;
    long begin, end, num_tokens, depth;
} Sequences;

/* `vectors` vectors of channels of all sequences; a block of windows that is not full repeats its
   first. */
INLINE void pool_window(
    const int vectors, const Features *f, const Filter *filter, const Sequences *s, long vector,
    const float *weight, float *best, int32_t *at
) {
    const long positions = s->num_tokens - filter->width + 1, end = s->end * positions;
    for (long first = s->begin * positions; first < end; first += ROWS) {
        const long count = at_most(ROWS, end - first);
        const float *window[ROWS];
        vec sum[ROWS][4];
        for (long i = 0; i < ROWS; i++) {
            const long row = i < count ? first + i : first;
            window[i] =
                s->embedded + (row / positions * s->num_tokens + row % positions) * s->depth;
        }
        multiply_windows(vectors, sum, window, weight, filter->width * s->depth);
        for (long i = 0; i < count; i++) {
            const long sequence = (first + i) / positions, t = (first + i) % positions;
            UNROLL_FOR (int j = 0; j < vectors; j++) {
                vec top = load(best + LANES * j);
                ivec position = load_int(at + LANES * j);
                take(&top, &position, sum[i][j], t);
                store(best + LANES * j, top);
                memcpy(at + LANES * j, &position, sizeof position);
                if (t == positions - 1)
                    write_features(f, filter, sequence, vector + j, top, position);
            }
        }
    }
}

KERNEL int pool_windows(const pool_windows_arguments *a) {
    const Sequences s = {a->embedded, a->range.begin, a->range.end, a->steps, a->dim};
    const float *weights = a->weights;
    const Filter *filters = (const Filter *)a->filters;
    const Features f = {a->bias, a->features, a->where, a->num_features};
    float best[4 * LANES] = {};
    int32_t at[4 * LANES] = {};
    for (const Filter *filter = filters; filter < filters + a->num_filters; filter++) {
        const long vectors = round_up(filter->channels, LANES) / LANES;
        const long blocks = (vectors + WIDE - 1) / WIDE;
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

/* Up to LANES channels of weights (C, dim, width), as rows (C, width * depth) and side by side,
   (width * depth, LANES). */
INLINE void pack_channels(
    const float *weight, long count, long width, long dim, long depth, float *rows, float *packed
) {
    const long length = width * depth;
    memset(rows, 0, sizeof(float) * count * length);
    for (long c = 0; c < count; c++)
        for (long k = 0; k < width; k++)
            for (long e = 0; e < dim; e++)
                rows[c * length + k * depth + e] = weight[(c * dim + e) * width + k];
    for (long d = 0; d < length; d++)
        for (long c = 0; c < LANES; c++)
            packed[d * LANES + c] = c < count ? rows[c * length + d] : 0.0f;
}

KERNEL int pack_windows(const pack_windows_arguments *a) {
    const int64_t *addresses = a->addresses;
    const Filter *filters = (const Filter *)a->filters;
    float *rows = a->rows, *packed = a->packed;
    const long dim = a->dim, depth = a->padded_dim;
    long at = 0;
    for (long i = 0; i < a->num_filters; i++) {
        const long width = filters[i].width, channels = filters[i].channels, length = width * depth;
        for (long first = 0; first < channels; first += LANES, at += LANES * width) {
            const float *weight = (const float *)(intptr_t)addresses[i] + first * dim * width;
            if (at < a->range.begin || at >= a->range.end) continue;
            const long count = at_most(LANES, channels - first);
            pack_channels(
                weight, count, width, dim, depth, rows + first * length, packed + first * length
            );
        }
        rows += channels * length;
        packed += round_up(channels, LANES) * length;
    }
    return FINE;
}

enum { SPAN = 8 }; /* vectors of a weight's gradient that stay in registers for all sequences */

INLINE void add_windows(
    const int span, float *weight, const float *embedded, const float *grad, const int32_t *where,
    long batch, long size, long depth
) {
    vec sum[SPAN] = {};
    for (long b = 0; b < batch; b++) {
        const float *window = embedded + b * size + where[b] * depth, g = grad[b];
        UNROLL_FOR (int j = 0; j < span; j++) sum[j] += load(window + LANES * j) * g;
    }
    UNROLL_FOR (int j = 0; j < span; j++) store(weight + LANES * j, sum[j]);
}

/* A channel's weights (width, depth) as torch has them, (dim, width); depth is dim in whole
   vectors. */
INLINE void unpack_channel(float *out, const float *weight, long width, long dim, long depth) {
    for (long e = 0; e < dim; e++)
        for (long k = 0; k < width; k++) out[e * width + k] = weight[k * depth + e];
}

/* Features (B, F) as they were computed, where, and the gradient that they are given: none where
   the feature is 0. */
typedef struct {
    const float *grad, *out;
    const int32_t *where;
    long features;
} Given;

INLINE float given_gradient(const Given *given, long at) {
    return given->out[at] > 0 ? given->grad[at] : 0.0f;
}

KERNEL int weight_gradient(const weight_gradient_arguments *a) {
    const float *embedded = a->embedded;
    const Given given = {a->grad, a->features, a->where, a->num_features};
    const Filter *filters = (const Filter *)a->filters;
    float *weights = a->weights, *bias = a->bias;
    const long batch = a->batch, depth = a->padded_dim, size = a->steps * depth, dim = a->dim;
    /* Of one channel, no wider than a sequence. */
    float *own = malloc(sizeof(float) * (size + batch) + sizeof(int32_t) * batch);
    float *grad = own + size;
    int32_t *where = (int32_t *)(grad + batch);
    long at = 0;
    if (!own) return NO_MEMORY;
    for (const Filter *filter = filters; filter < filters + a->num_filters; filter++)
        for (long c = 0; c < filter->channels; c++, at += filter->width) {
            const long feature = filter->feature + c, length = filter->width * depth;
            float sum = 0;
            long d = 0;
            if (at < a->range.begin || at >= a->range.end) continue;
            for (long b = 0; b < batch; b++) {
                grad[b] = given_gradient(&given, b * given.features + feature);
                where[b] = given.where[b * given.features + feature];
                sum += grad[b];
            }
            bias[feature] = sum;
            for (; d + SPAN * LANES <= length; d += SPAN * LANES)
                add_windows(SPAN, own + d, embedded + d, grad, where, batch, size, depth);
            for (; d < length; d += LANES)
                add_windows(1, own + d, embedded + d, grad, where, batch, size, depth);
            unpack_channel(
                weights + filter->begin + c * dim * filter->width, own, filter->width, dim, depth
            );
        }
    free(own);
    return FINE;
}

enum { CHUNK = 1 << 16 }; /* floats of weights that stay in the cache for all sequences */

KERNEL int window_gradient(const window_gradient_arguments *a) {
    const float *weights = a->weights;
    const Given given = {a->grad, a->features, a->where, a->num_features};
    const Filter *filters = (const Filter *)a->filters;
    float *embedded = a->embedded;
    const long depth = a->padded_dim, size = a->steps * depth;
    for (const Filter *filter = filters; filter < filters + a->num_filters; filter++) {
        const long length = filter->width * depth, chunk = CHUNK / length + 1;
        for (long first = 0; first < filter->channels; first += chunk)
            for (long b = a->range.begin; b < a->range.end; b++)
                for (long c = first; c < at_most(first + chunk, filter->channels); c++) {
                    const long at = b * given.features + filter->feature + c;
                    const float *weight = weights + filter->begin + c * length,
                                g = given_gradient(&given, at);
                    float *window = embedded + b * size + given.where[at] * depth;
                    if (g == 0) continue;
                    for (long d = 0; d < length; d += LANES)
                        store(window + d, load(window + d) + load(weight + d) * g);
                }
    }
    return FINE;
}
