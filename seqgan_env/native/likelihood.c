/* Log-probabilities under softmax(h W + b), and the gradients of their weighted sum, without
   storing the logits. */
#include "softmax.h"

KERNEL int softmax_log_probs(const softmax_log_probs_arguments *a) {
    const Layer layer = LAYER_OF(a, );
    const long vocab = a->vocab;
    const float *hidden = a->hidden;
    const int64_t *targets = a->targets;
    float *log_probs = a->log_probs, *total = a->total;
    States states = {.sums = malloc(sizeof(float) * BLOCK * layer.tiles)};
    if (!states.sums) return NO_MEMORY;
    int status = FINE;
    for (long first = a->range.begin; first < a->range.end; first += BLOCK) {
        states.count = at_most(BLOCK, a->range.end - first);
        states.masses = a->masses ? a->masses + first * layer.tiles * TILE : NULL;
        for (long i = 0; i < states.count; i++)
            states.hidden[i] = hidden + (first + i) * layer.depth;
        sum_by_tile(&layer, &states);
        for (long i = 0; i < states.count; i++) {
            const long row = first + i, target = targets[row];
            if (target < 0 || target >= vocab) {
                status = bad_token(&a->range, target, vocab - 1);
                continue;
            }
            const double mass = total_mass(&layer, &states, i);
            total[row] = (float)mass;
            log_probs[row] = log_prob_of(&layer, &states, i, target, mass);
        }
    }
    free(states.sums);
    return status;
}

/* Rows whose gradients of one tile stay in cache between the products that need them. */
enum { GRADIENT_ROWS = BLOCK / 2 };

/* Rows of a weighted likelihood: -sum of weights * log p(targets), and what of its gradient is
   written. See SOFTMAX_GRADIENTS. */
typedef struct {
    const float *by_token;
    long vocab, width, depth, tiles;
    const float *hidden, *masses, *scale, *weights;
    const int64_t *targets;
    float *grad_weight, *grad_bias, *grad_hidden;
} Likelihood;

/* weight * (probability - one hot) of one tile for the rows first..first + count - 1 of one block,
   (count, TILE). */
APART void grad_logits(const Likelihood *l, long first, long count, long tile, float *out) {
    const float *masses =
        l->masses + ((first / BLOCK * l->tiles + tile) * BLOCK + first % BLOCK) * TILE;
    for (long i = 0; i < count; i++)
        UNROLL_FOR (int j = 0; j < 4; j++)
            store(
                out + i * TILE + LANES * j,
                load(masses + i * TILE + LANES * j) * l->scale[first + i]
            );
    for (long i = 0; i < count; i++)
        if (l->targets[first + i] / TILE == tile)
            out[i * TILE + l->targets[first + i] % TILE] -= l->weights[first + i];
}

INLINE void add_grad_bias(const float *grad, long count, float *bias) {
    UNROLL_FOR (int j = 0; j < 4; j++) {
        vec sum = load(bias + LANES * j);
        for (long i = 0; i < count; i++) sum += load(grad + i * TILE + LANES * j);
        store(bias + LANES * j, sum);
    }
}

APART void add_grad_weight(
    const Likelihood *l, const float *grad, long first, long count, float *out
) {
    enum { UNITS = 4 };
    const long depth = l->depth;
    for (long unit = 0; unit < depth; unit += UNITS) {
        const float *hidden[UNITS];
        float *here[UNITS];
        UNROLL_FOR (int i = 0; i < UNITS; i++) {
            hidden[i] = l->hidden + first * depth + at_most(unit + i, depth - 1);
            here[i] = out + at_most(unit + i, depth - 1) * TILE;
        }
        /* WIDE vectors from load to store: with all four, 16 registers do not hold the sums through
           the loop. */
        UNROLL_FOR (int from = 0; from < TILE; from += WIDE * LANES) {
            vec sum[UNITS][4];
            UNROLL_FOR (int i = 0; i < UNITS; i++)
                UNROLL_FOR (int j = 0; j < WIDE; j++) sum[i][j] = load(here[i] + from + LANES * j);
            multiply(UNITS, WIDE, sum, hidden, depth, grad + from, TILE, count);
            UNROLL_FOR (int i = 0; i < UNITS; i++)
                UNROLL_FOR (int j = 0; j < WIDE; j++) store(here[i] + from + LANES * j, sum[i][j]);
        }
    }
}

/* The units from..from + 16 vectors - 1 of the gradient of up to ROWS states. */
INLINE void add_grad_units(
    int vectors, const Likelihood *l, const float *const *grad, float *const *out, long from,
    long tile
) {
    vec sum[ROWS][4];
    UNROLL_FOR (int i = 0; i < ROWS; i++)
        UNROLL_FOR (int j = 0; j < vectors; j++) sum[i][j] = load(out[i] + from + LANES * j);
    const float *weight = l->by_token + tile * TILE * l->width + from;
    const long tokens = at_most(TILE, l->vocab - tile * TILE);
    multiply(ROWS, vectors, sum, grad, 1, weight, l->width, tokens);
    UNROLL_FOR (int i = 0; i < ROWS; i++)
        UNROLL_FOR (int j = 0; j < vectors; j++) store(out[i] + from + LANES * j, sum[i][j]);
}

APART void add_grad_hidden(
    const Likelihood *l, const float *grad, long first, long count, long tile
) {
    for (long row = 0; row < count; row += ROWS) {
        const float *here[ROWS];
        float *out[ROWS];
        UNROLL_FOR (int i = 0; i < ROWS; i++) {
            here[i] = grad + at_most(row + i, count - 1) * TILE;
            out[i] = l->grad_hidden + (first + at_most(row + i, count - 1)) * l->width;
        }
        long from = 0;
        for (; from + WIDE * LANES <= l->width; from += WIDE * LANES)
            add_grad_units(WIDE, l, here, out, from, tile);
        for (; from + 2 * LANES <= l->width; from += 2 * LANES)
            add_grad_units(2, l, here, out, from, tile);
        for (; from < l->width; from += LANES) add_grad_units(1, l, here, out, from, tile);
    }
}

KERNEL int softmax_gradients(const softmax_gradients_arguments *a) {
    Likelihood l = {
        .by_token = a->by_token,
        .vocab = a->vocab,
        .width = a->width,
        .depth = a->depth,
        .tiles = a->tiles,
        .hidden = a->hidden,
        .masses = a->masses,
        .scale = a->scale,
        .weights = a->weights,
        .targets = a->targets,
        .grad_weight = a->grad_weight,
        .grad_bias = a->grad_bias,
    };
    float grad[GRADIENT_ROWS * TILE] __attribute__((aligned(64)));
    for (long part = a->range.begin; part < a->range.end; part++) {
        const long begin = part * a->tiles_per_part;
        const long end = at_most(begin + a->tiles_per_part, a->tiles);
        l.grad_hidden = a->grad_hidden + part * a->num_rows * a->width;
        memset(l.grad_hidden, 0, sizeof(float) * a->num_rows * a->width);
        for (long first = 0; first < a->num_rows; first += GRADIENT_ROWS) {
            const long count = at_most(GRADIENT_ROWS, a->num_rows - first);
            for (long tile = begin; tile < end; tile++) {
                grad_logits(&l, first, count, tile, grad);
                add_grad_bias(grad, count, l.grad_bias + tile * TILE);
                add_grad_weight(&l, grad, first, count, l.grad_weight + tile * l.depth * TILE);
                add_grad_hidden(&l, grad, first, count, tile);
            }
        }
    }
    return FINE;
}
