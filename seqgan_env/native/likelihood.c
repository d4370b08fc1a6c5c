/* Log-probabilities under softmax(h W + b), and the gradients of their weighted sum, without storing the logits. */
#include "softmax.h"

KERNEL int softmax_log_probs(const softmax_log_probs_arguments *a) {
    const Layer layer = LAYER_OF(a, );
    const long vocab = a->vocab;
    const float *hidden = a->hidden;
    const int64_t *targets = a->targets;
    float *log_probs = a->log_probs, *shift = a->shift, *total = a->total;
    States states = {.sums = malloc(sizeof(float) * BLOCK * layer.tiles)};
    if (!states.sums) return NO_MEMORY;
    int status = FINE;
    for (long first = a->range.begin; first < a->range.end; first += BLOCK) {
        states.count = at_most(BLOCK, a->range.end - first);
        for (long i = 0; i < states.count; i++) states.hidden[i] = hidden + (first + i) * layer.depth;
        sum_by_tile(&layer, &states);
        for (long i = 0; i < states.count; i++) {
            const long row = first + i, target = targets[row];
            if (target < 0 || target >= vocab) {
                status = bad_token(&a->range, target, vocab - 1);
                continue;
            }
            const double mass = total_mass(&layer, &states, i);
            shift[row] = states.shift[i];
            total[row] = (float)mass;
            log_probs[row] = log_prob_of(&layer, &states, i, target, mass);
        }
    }
    free(states.sums);
    return status;
}

enum { GRADIENT_ROWS = 48 }; /* rows whose probabilities of one tile stay in cache between the products that need them */

/* Rows of a weighted likelihood: -sum of weights * log p(targets), and what of its gradient is written. */
typedef struct {
    const Layer *layer;
    const float *by_token; /* the weight once more, (vocab, width), its rows padded to whole vectors */
    long vocab, width;
    const float *hidden, *shift, *scale, *weights; /* scale: weight / total */
    const int64_t *targets;
    float *grad_weight, *grad_bias, *grad_hidden; /* of one part: packed as the weight; (tiles * TILE,); (R, width) */
} Likelihood;

/* weight * (probability - one hot) of one tile for the rows first..first + count - 1, (count, TILE). */
APART void grad_logits(const Likelihood *l, long first, long count, long tile, float *out) {
    for (long from = 0; from < count; from += ROWS) {
        const float *hidden[ROWS];
        UNROLL for (int i = 0; i < ROWS; i++) hidden[i] = l->hidden + (first + at_most(from + i, count - 1)) * l->layer->depth;
        vec logits[ROWS][4];
        tile_logits(ROWS, logits, hidden, l->layer, tile);
        UNROLL for (int i = 0; i < ROWS; i++) {
            const long place = at_most(from + i, count - 1), row = first + place;
            UNROLL for (int j = 0; j < 4; j++)
                store(out + place * TILE + LANES * j, vexp(logits[i][j] - l->shift[row]) * l->scale[row]);
        }
    }
    for (long i = 0; i < count; i++)
        if (l->targets[first + i] / TILE == tile) out[i * TILE + l->targets[first + i] % TILE] -= l->weights[first + i];
}

INLINE void add_grad_bias(const float *grad, long count, float *bias) {
    UNROLL for (int j = 0; j < 4; j++) {
        vec sum = load(bias + LANES * j);
        for (long i = 0; i < count; i++) sum += load(grad + i * TILE + LANES * j);
        store(bias + LANES * j, sum);
    }
}

APART void add_grad_weight(const Likelihood *l, const float *grad, long first, long count, float *out) {
    enum { UNITS = 4 };
    const long depth = l->layer->depth;
    for (long unit = 0; unit < depth; unit += UNITS) {
        const float *hidden[UNITS];
        float *here[UNITS];
        UNROLL for (int i = 0; i < UNITS; i++) {
            hidden[i] = l->hidden + first * depth + at_most(unit + i, depth - 1);
            here[i] = out + at_most(unit + i, depth - 1) * TILE;
        }
        /* WIDE vectors from load to store: with all four, 16 registers do not hold the sums through the loop. */
        UNROLL for (int from = 0; from < TILE; from += WIDE * LANES) {
            vec sum[UNITS][4];
            UNROLL for (int i = 0; i < UNITS; i++)
                UNROLL for (int j = 0; j < WIDE; j++) sum[i][j] = load(here[i] + from + LANES * j);
            multiply(UNITS, WIDE, sum, hidden, depth, grad + from, TILE, count);
            UNROLL for (int i = 0; i < UNITS; i++)
                UNROLL for (int j = 0; j < WIDE; j++) store(here[i] + from + LANES * j, sum[i][j]);
        }
    }
}

/* The units from..from + 16 vectors - 1 of the gradient of up to ROWS states. */
INLINE void add_grad_units(
    int vectors, const Likelihood *l, const float *const *grad, float *const *out, long from, long tile) {
    vec sum[ROWS][4];
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = load(out[i] + from + LANES * j);
    const float *weight = l->by_token + tile * TILE * l->width + from;
    const long tokens = at_most(TILE, l->vocab - tile * TILE);
    multiply(ROWS, vectors, sum, grad, 1, weight, l->width, tokens);
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < vectors; j++) store(out[i] + from + LANES * j, sum[i][j]);
}

APART void add_grad_hidden(const Likelihood *l, const float *grad, long first, long count, long tile) {
    for (long row = 0; row < count; row += ROWS) {
        const float *here[ROWS];
        float *out[ROWS];
        UNROLL for (int i = 0; i < ROWS; i++) {
            here[i] = grad + at_most(row + i, count - 1) * TILE;
            out[i] = l->grad_hidden + (first + at_most(row + i, count - 1)) * l->width;
        }
        long from = 0;
        for (; from + WIDE * LANES <= l->width; from += WIDE * LANES) add_grad_units(WIDE, l, here, out, from, tile);
        for (; from + 2 * LANES <= l->width; from += 2 * LANES) add_grad_units(2, l, here, out, from, tile);
        for (; from < l->width; from += LANES) add_grad_units(1, l, here, out, from, tile);
    }
}

INLINE void add_part(const Likelihood *l, long num_rows, long begin, long end) {
    float grad[GRADIENT_ROWS * TILE] __attribute__((aligned(64)));
    for (long first = 0; first < num_rows; first += GRADIENT_ROWS) {
        const long count = at_most(GRADIENT_ROWS, num_rows - first);
        for (long tile = begin; tile < end; tile++) {
            grad_logits(l, first, count, tile, grad);
            add_grad_bias(grad, count, l->grad_bias + (tile - begin) * TILE);
            add_grad_weight(l, grad, first, count, l->grad_weight + (tile - begin) * l->layer->depth * TILE);
            add_grad_hidden(l, grad, first, count, tile);
        }
    }
}

/* Adds the packed gradients of a part to those of its tokens, (vocab, depth) and (vocab,). */
INLINE void unpack(const Likelihood *l, long begin, long end, float *weight, float *bias) {
    const long depth = l->layer->depth;
    for (long token = begin * TILE; token < at_most(end * TILE, l->vocab); token++) {
        const long tile = token / TILE - begin, column = token % TILE;
        for (long k = 0; k < depth; k++) weight[token * depth + k] += l->grad_weight[(tile * depth + k) * TILE + column];
        bias[token] += l->grad_bias[tile * TILE + column];
    }
}

KERNEL int softmax_gradients(const softmax_gradients_arguments *a) {
    const Layer layer = LAYER_OF(a, );
    const long num_rows = a->num_rows, tiles_per_part = a->tiles_per_part, size = tiles_per_part * TILE * (layer.depth + 1);
    float *room = malloc(sizeof(float) * size);
    if (!room) return NO_MEMORY;
    Likelihood l = {
        .layer = &layer,
        .by_token = a->by_token,
        .vocab = a->vocab,
        .width = a->width,
        .hidden = a->hidden,
        .shift = a->shift,
        .scale = a->scale,
        .weights = a->weights,
        .targets = a->targets,
        .grad_bias = room,
        .grad_weight = room + tiles_per_part * TILE,
    };
    for (long part = a->range.begin; part < a->range.end; part++) {
        const long begin = part * tiles_per_part, end = at_most(begin + tiles_per_part, layer.tiles);
        l.grad_hidden = a->grad_hidden + part * num_rows * l.width;
        memset(room, 0, sizeof(float) * size);
        memset(l.grad_hidden, 0, sizeof(float) * num_rows * l.width);
        add_part(&l, num_rows, begin, end);
        unpack(&l, begin, end, a->grad_weight, a->grad_bias);
    }
    free(room);
    return FINE;
}
