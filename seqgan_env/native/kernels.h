/* What Python and the kernels agree upon: the sizes of layouts, and every kernel with the names,
   types and counts of its arguments. Python reads all of it from the module; nothing is written
   down twice. */
#ifndef SEQGAN_ENV_KERNELS_H
#define SEQGAN_ENV_KERNELS_H

#include <stdint.h>

#include "variant.h"

enum {
    TILE = 4 * LANES,  /* columns of a packed weight that stand together, [tile][depth][TILE]: a
                          vector for each of four gates */
    ROWS = 6,          /* rows of a register block */
    BLOCK = 96,        /* states that share a tile of the weight while it is in cache */
    SLOTS = 64,        /* shares of the gradient of tables: threads write to lines of their own */
    ADAM_BLOCK = 4096, /* numbers that a step of Adam works on at once */
    FINGERPRINT_BLOCK = 8192 /* numbers that a fingerprint is of */
};

/* The constants that the module exports. */
#define CONSTANTS(X) X(LANES) X(TILE) X(ROWS) X(BLOCK) X(SLOTS) X(ADAM_BLOCK) X(FINGERPRINT_BLOCK)

/* A token that is none, and the last that would be one. */
typedef struct {
    int64_t token, last;
} Fault;

/* What every kernel is given first: the length of the axis that is split, and the part of it that
   this call works on. */
typedef struct {
    long size, begin, end;
    Fault *fault;
} Range;

/* What a kernel returns: nothing wrong, or the Python error that is raised. */
enum { FINE = 0, NO_MEMORY = 1, BAD_TOKEN = 2 };

/* For kernels to return: `token` is not in 0..last. */
static inline int bad_token(const Range *range, int64_t token, int64_t last) {
    *range->fault = (Fault){token, last};
    return BAD_TOKEN;
}

/* A filter of a convolution: C `channels`, and where its features and its weights begin. */
typedef struct {
    int64_t width, channels, feature, begin;
} Filter;

enum { FILTER_NUMBERS = sizeof(Filter) / sizeof(int64_t) };

static inline long round_up(long size, long multiple) {
    return (size + multiple - 1) / multiple * multiple;
}

/* Taps of all channels of `num` filters; the channels of each are rounded up to a multiple. */
static inline long taps(const int64_t *filters, long num, long multiple) {
    const Filter *filter = (const Filter *)filters;
    long sum = 0;
    for (long i = 0; i < num; i++) sum += filter[i].width * round_up(filter[i].channels, multiple);
    return sum;
}

/* clang-format would take the counts in these lists for declarations. */
/* clang-format off */

/* How Python gives an argument: a tensor as an address and a count, whole numbers as int, others as
   float. */
typedef enum { AS_TENSOR, AS_SIZE, AS_WHOLE, AS_NUMBER } Form;

/* Kinds of arguments, X(kind, type, form, what torch or Python call it, whether None is allowed):
   tensors are contiguous and on the CPU, those that are `new` are written; a `size` is a whole
   number that is not negative, a `whole` one may be. */
#define KINDS(X) \
    X(floats, const float *, AS_TENSOR, "float32", 0) \
    X(maybe_floats, const float *, AS_TENSOR, "float32", 1) \
    X(new_floats, float *, AS_TENSOR, "float32", 0) \
    X(maybe_new_floats, float *, AS_TENSOR, "float32", 1) \
    X(halves, const uint16_t *, AS_TENSOR, "bfloat16", 0) \
    X(longs, const int64_t *, AS_TENSOR, "int64", 0) \
    X(maybe_longs, const int64_t *, AS_TENSOR, "int64", 1) \
    X(new_longs, int64_t *, AS_TENSOR, "int64", 0) \
    X(ints, const int32_t *, AS_TENSOR, "int32", 0) \
    X(new_ints, int32_t *, AS_TENSOR, "int32", 0) \
    X(maybe_new_ints, int32_t *, AS_TENSOR, "int32", 1) \
    X(bools, const char *, AS_TENSOR, "bool", 0) \
    X(size, long, AS_SIZE, "int", 0) \
    X(whole, long, AS_WHOLE, "int", 0) \
    X(number, float, AS_NUMBER, "float", 0)

#define DEFINE_KIND(kind, type, form, python_name, optional) typedef type kind;
KINDS(DEFINE_KIND)

/* Every argument as X(kind, name, how many numbers it must have); `a` are the arguments, of a
   tensor's axes the one that is split is a->range.size. V tokens, T steps, F features, B sequences,
   R rows. */

/* softmax(h W + b): W packed (tiles, depth, TILE), b padded by minus infinity to tiles * TILE; the
   largest norm of a column of W, and the largest bias. */
#define LAYER(X, of) \
    X(floats, of##weight, a->of##tiles * a->of##depth * TILE) \
    X(floats, of##bias, a->of##tiles * TILE) \
    X(size, of##depth, 1) \
    X(size, of##tiles, 1) \
    X(number, of##norm, 1) \
    X(number, of##top, 1)

/* Gates stand as input, forget, cell, output for every LANES units, so that one tile holds all four
   of them. `gates` is what an input token contributes, `recurrent` multiplies the state. Nothing
   stands behind a token `last`, which is -1 if there is none. */
#define MODEL(X) \
    X(floats, gates, a->vocab * a->chunks * TILE) \
    X(floats, recurrent, a->chunks * a->depth * TILE) \
    X(size, vocab, 1) \
    X(size, depth, 1) \
    X(size, chunks, 1) \
    X(size, steps, 1) \
    X(size, start, 1) \
    X(whole, last, 1) \
    X(size, min_length, 1) \
    LAYER(X, open_) \
    LAYER(X, masked_)

/* By tiles: lays out the weights, with zeros where there is no token, and finds the largest squared
   norm in each. */
#define SOFTMAX_PACK(X) \
    X(floats, by_token, a->vocab * a->depth) \
    X(size, vocab, 1) \
    X(size, depth, 1) \
    X(new_floats, weight, a->range.size * a->depth * TILE) \
    X(new_floats, norms, a->range.size)

/* By rows: draws tokens, and says their log-probabilities if there is room for them. */
#define SOFTMAX_DRAW(X) \
    LAYER(X, ) \
    X(floats, hidden, a->range.size * a->depth) \
    X(floats, uniform, a->range.size) \
    X(new_longs, tokens, a->range.size) \
    X(maybe_new_floats, log_probs, a->range.size)

/* By rows: the log-probabilities of the targets, and the total of every row. Its mass of a token is
   exp(logit - shift), and mass / total its probability. `masses`, if there is room for them, are by
   blocks of rows, (blocks, tiles, BLOCK, TILE); ranges must then begin at a block. */
#define SOFTMAX_LOG_PROBS(X) \
    LAYER(X, ) \
    X(size, vocab, 1) \
    X(floats, hidden, a->range.size * a->depth) \
    X(longs, targets, a->range.size) \
    X(new_floats, log_probs, a->range.size) \
    X(new_floats, total, a->range.size) \
    X(maybe_new_floats, masses, round_up(a->range.size, BLOCK) * a->tiles * TILE)

/* By parts: adds the gradients that come from the tokens of a part, which is `tiles_per_part`
   tiles. A part writes a grad_hidden of its own, so that sums have one order however parts are
   spread. `by_token` is the weight, its rows padded to whole vectors, `masses` are those of
   softmax_log_probs, and `scale` is the weights over the total. The gradients of weight and bias
   are packed as these are. */
#define SOFTMAX_GRADIENTS(X) \
    X(floats, by_token, a->vocab * a->width) \
    X(size, vocab, 1) \
    X(size, width, 1) \
    X(size, depth, 1) \
    X(size, tiles, 1) \
    X(floats, hidden, a->num_rows * a->depth) \
    X(floats, masses, round_up(a->num_rows, BLOCK) * a->tiles * TILE) \
    X(floats, scale, a->num_rows) \
    X(floats, weights, a->num_rows) \
    X(longs, targets, a->num_rows) \
    X(size, num_rows, 1) \
    X(size, tiles_per_part, 1) \
    X(new_floats, grad_weight, a->tiles * a->depth * TILE) \
    X(new_floats, grad_bias, a->tiles * TILE) \
    X(new_floats, grad_hidden, a->range.size * a->num_rows * a->width)

/* By rows: finishes the sequences in place. */
#define LSTM_COMPLETE(X) \
    MODEL(X) \
    X(new_longs, tokens, a->range.size * a->steps) \
    X(longs, lengths, a->range.size) \
    X(bools, finished, a->range.size) \
    X(floats, uniform, a->range.size * a->steps)

/* By rows: the log-probabilities of tokens up to the first `last`, which is the padding here. */
#define LSTM_LOG_PROBS(X) \
    MODEL(X) \
    X(longs, tokens, a->range.size * a->steps) \
    X(new_floats, log_probs, a->range.size * a->steps)

/* By rows: the hidden states of a layer, and what their gradient needs. */
#define LSTM_STATES(X) \
    X(floats, inputs, a->range.size * a->steps * a->num_inputs) \
    X(floats, weight_ih, 4 * a->num_units * a->num_inputs) \
    X(floats, weight_hh, 4 * a->num_units * a->num_units) \
    X(floats, bias, 4 * a->num_units) \
    X(new_floats, read, a->range.size * a->steps * (a->num_inputs + a->num_units)) \
    X(new_floats, hidden, a->range.size * a->steps * a->num_units) \
    X(new_floats, cells, a->range.size * a->steps * round_up(a->num_units, LANES)) \
    X(maybe_new_floats, gates, a->range.size * a->steps * 4 * round_up(a->num_units, LANES)) \
    X(size, steps, 1) \
    X(size, num_inputs, 1) \
    X(size, num_units, 1)

/* By rows: the gradients of the inputs and of the sums that the gates come from, given that of the
   hidden states. */
#define LSTM_STATES_GRADIENT(X) \
    X(floats, weight_ih, 4 * a->num_units * a->num_inputs) \
    X(floats, weight_hh, 4 * a->num_units * a->num_units) \
    X(floats, cells, a->range.size * a->steps * round_up(a->num_units, LANES)) \
    X(floats, gates, a->range.size * a->steps * 4 * round_up(a->num_units, LANES)) \
    X(floats, of_hidden, a->range.size * a->steps * a->num_units) \
    X(new_floats, of_inputs, a->range.size * a->steps * a->num_inputs) \
    X(new_floats, of_sums, a->range.size * a->steps * 4 * a->num_units) \
    X(size, steps, 1) \
    X(size, num_inputs, 1) \
    X(size, num_units, 1)

#define FILTERS(X) \
    X(longs, filters, a->num_filters * FILTER_NUMBERS) \
    X(size, num_filters, 1)

/* By sequences: features by tables, conv(Y)[t] = sum_k table[y_{t+k}][k]. The table of a filter is
   (rows, width, P). */
#define POOL_TABLES(X) \
    FILTERS(X) \
    X(longs, tokens, a->range.size * a->steps) \
    X(floats, tables, a->rows * taps(a->filters, a->num_filters, LANES)) \
    X(floats, bias, a->num_features) \
    X(new_floats, features, a->range.size * a->num_features) \
    X(maybe_new_ints, where, a->range.size * a->num_features) \
    X(size, steps, 1) \
    X(size, rows, 1) \
    X(size, num_features, 1)

/* By the number of a channel in its filter, modulo SLOTS: adds to the tables the gradient that the
   features' own makes. */
#define SCATTER_TABLES(X) \
    FILTERS(X) \
    X(longs, tokens, a->batch * a->steps) \
    X(floats, grad, a->batch * a->num_features) \
    X(ints, where, a->batch * a->num_features) \
    X(new_floats, tables, a->rows * taps(a->filters, a->num_filters, LANES)) \
    X(size, batch, 1) \
    X(size, steps, 1) \
    X(size, rows, 1) \
    X(size, num_features, 1)

/* By sequences: features by multiplication. The weights of a filter are (P / LANES, width * dim,
   LANES); dim is whole vectors. */
#define POOL_WINDOWS(X) \
    FILTERS(X) \
    X(floats, embedded, a->range.size * a->steps * a->dim) \
    X(floats, weights, a->dim * taps(a->filters, a->num_filters, LANES)) \
    X(floats, bias, a->num_features) \
    X(new_floats, features, a->range.size * a->num_features) \
    X(new_ints, where, a->range.size * a->num_features) \
    X(size, steps, 1) \
    X(size, dim, 1) \
    X(size, num_features, 1)

/* By P * width of all filters, where a vector of channels is worked on if it begins there: lays out
   the weights (C, dim, width) at the addresses as rows (C, width * padded_dim) and as pool_windows
   reads them. */
#define PACK_WINDOWS(X) \
    FILTERS(X) \
    X(longs, addresses, a->num_filters) \
    X(new_floats, rows, a->padded_dim * taps(a->filters, a->num_filters, 1)) \
    X(new_floats, packed, a->padded_dim * taps(a->filters, a->num_filters, LANES)) \
    X(size, dim, 1) \
    X(size, padded_dim, 1)

/* By C * width of all filters, where a channel is worked on if it begins there: the gradients of
   the weights, (C, dim, width) each, and of the bias. */
#define WEIGHT_GRADIENT(X) \
    FILTERS(X) \
    X(floats, embedded, a->batch * a->steps * a->padded_dim) \
    X(floats, grad, a->batch * a->num_features) \
    X(floats, features, a->batch * a->num_features) \
    X(ints, where, a->batch * a->num_features) \
    X(new_floats, weights, a->dim * taps(a->filters, a->num_filters, 1)) \
    X(new_floats, bias, a->num_features) \
    X(size, batch, 1) \
    X(size, steps, 1) \
    X(size, padded_dim, 1) \
    X(size, dim, 1) \
    X(size, num_features, 1)

/* By sequences: adds to the gradient of the embedded tokens; weights are rows (C, width *
   padded_dim). */
#define WINDOW_GRADIENT(X) \
    FILTERS(X) \
    X(floats, weights, a->padded_dim * taps(a->filters, a->num_filters, 1)) \
    X(floats, grad, a->range.size * a->num_features) \
    X(floats, features, a->range.size * a->num_features) \
    X(ints, where, a->range.size * a->num_features) \
    X(new_floats, embedded, a->range.size * a->steps * a->padded_dim) \
    X(size, steps, 1) \
    X(size, padded_dim, 1) \
    X(size, num_features, 1)

/* By rows, in chunks of them, or else by columns: out (rows, columns) is left (rows, depth) times
   right (depth, columns). The numbers of `left` stand left_row apart from row to row and left_step
   within one. The depth is worked on in blocks of at most `most`. */
#define PRODUCT(X) \
    X(size, by_rows, 1) \
    X(floats, left, a->rows * a->depth) \
    X(size, left_row, 1) \
    X(size, left_step, 1) \
    X(floats, right, a->depth * a->columns) \
    X(maybe_floats, bias, a->rows) \
    X(new_floats, out, a->rows * a->columns) \
    X(size, rows, 1) \
    X(size, columns, 1) \
    X(size, depth, 1) \
    X(size, chunk, 1) \
    X(size, most, 1)

/* What is dropped: where the draw of a feature's key for a sequence, by its counter, is below the
   share; nothing if there are no keys. Draws are those of `seqgan_env.streams`. */
#define DROPOUT(X) \
    X(maybe_longs, keys, a->range.size) \
    X(maybe_longs, counters, round_up(a->batch, LANES)) \
    X(number, share, 1)

/* By features: those behind the highway layer and dropout; z (2 F, B) are transform and gate, x (F,
   B) what is carried past them. */
#define HEAD(X) \
    X(floats, z, 2 * a->range.size * a->batch) \
    X(floats, x, a->range.size * a->batch) \
    DROPOUT(X) \
    X(new_floats, out, a->range.size * a->batch) \
    X(size, batch, 1)

/* By features: the gradients that `grad`, of the logits, makes; of_bias is of the highway layer,
   of_weight of the output layer. */
#define HEAD_GRADIENT(X) \
    X(floats, z, 2 * a->range.size * a->batch) \
    X(floats, x, a->range.size * a->batch) \
    DROPOUT(X) \
    X(floats, weight, a->range.size) \
    X(floats, grad, a->batch) \
    X(new_floats, of_z, 2 * a->range.size * a->batch) \
    X(new_floats, of_x, a->range.size * a->batch) \
    X(new_floats, of_bias, 2 * a->range.size) \
    X(new_floats, of_weight, a->range.size) \
    X(size, batch, 1)

/* By rows: logits, given z (B, 2 F) in bfloat16. */
#define HALF_HEAD(X) \
    X(halves, z, 2 * a->range.size * a->num_features) \
    X(floats, x, a->range.size * a->num_features) \
    X(floats, weight, a->num_features) \
    X(number, bias, 1) \
    X(new_floats, out, a->range.size) \
    X(size, num_features, 1)

/* Of Adam at step t: `rate` is the learning rate over 1 - beta1^t, `correction` the inverse root of
   1 - beta2^t. */
#define RATES(X) \
    X(number, beta1, 1) \
    X(number, beta2, 1) \
    X(number, rate, 1) \
    X(number, correction, 1) \
    X(number, eps, 1)

/* By rows of the weight: a step with the gradient left (rows, depth) times right (depth,
   columns). */
#define ADAM_PRODUCT(X) \
    X(floats, left, a->range.size * a->depth) \
    X(floats, right, a->depth * a->columns) \
    X(new_floats, weight, a->range.size * a->columns) \
    X(new_floats, mean, a->range.size * a->columns) \
    X(new_floats, square, a->range.size * a->columns) \
    X(size, columns, 1) \
    X(size, depth, 1) \
    RATES(X)

/* A parameter of `count` numbers, its moments and its gradient. */
typedef struct {
    float *weight, *mean, *square;
    const float *grad;
    int64_t count;
} Parameter;

enum { PARAMETER_NUMBERS = sizeof(Parameter) / sizeof(int64_t) };

/* By blocks of ADAM_BLOCK numbers, or what is left of a parameter. */
#define ADAM(X) \
    X(longs, parameters, a->num_parameters * PARAMETER_NUMBERS) \
    X(size, num_parameters, 1) \
    RATES(X)

/* Memory that holds `count` numbers. */
typedef struct {
    const float *numbers;
    int64_t count;
} Part;

enum { PART_NUMBERS = sizeof(Part) / sizeof(int64_t) };

/* By blocks of FINGERPRINT_BLOCK numbers, or what is left of a part: two hashes each. */
#define FINGERPRINT(X) \
    X(longs, parts, a->num_parts * PART_NUMBERS) \
    X(size, num_parts, 1) \
    X(new_longs, out, 2 * a->range.size)

/* Every kernel; a new one needs its line here. */
#define KERNELS(X) \
    X(softmax_pack, SOFTMAX_PACK) \
    X(softmax_draw, SOFTMAX_DRAW) \
    X(softmax_log_probs, SOFTMAX_LOG_PROBS) \
    X(softmax_gradients, SOFTMAX_GRADIENTS) \
    X(lstm_complete, LSTM_COMPLETE) \
    X(lstm_log_probs, LSTM_LOG_PROBS) \
    X(lstm_states, LSTM_STATES) \
    X(lstm_states_gradient, LSTM_STATES_GRADIENT) \
    X(pool_tables, POOL_TABLES) \
    X(scatter_tables, SCATTER_TABLES) \
    X(pool_windows, POOL_WINDOWS) \
    X(pack_windows, PACK_WINDOWS) \
    X(weight_gradient, WEIGHT_GRADIENT) \
    X(window_gradient, WINDOW_GRADIENT) \
    X(product, PRODUCT) \
    X(head, HEAD) \
    X(head_gradient, HEAD_GRADIENT) \
    X(half_head, HALF_HEAD) \
    X(adam_product, ADAM_PRODUCT) \
    X(adam, ADAM) \
    X(fingerprint, FINGERPRINT)

/* `int head(const head_arguments *)`, and so on. */
#define MEMBER(kind, name, count) kind name;
#define DECLARE(kernel, ARGUMENTS) \
    typedef struct { \
        Range range; \
        ARGUMENTS(MEMBER) \
    } kernel##_arguments; \
    int kernel(const kernel##_arguments *);
KERNELS(DECLARE)

/* clang-format on */

#endif
