/* An LSTM layer over sequences, and its gradient: B sequences of T inputs with E numbers, H units, zero initial state. A step
   reads its input and the hidden state before it, which stand side by side. */
#include <string.h>

#include "vectors.h"

typedef struct {
    long steps, inputs, units; /* T, E, H */
} Sizes;

INLINE long depth_of(Sizes sizes) { return sizes.inputs + sizes.units; }
INLINE long chunks_of(Sizes sizes) { return (sizes.units + LANES - 1) / LANES; }

/* Gates stand as input, forget, cell, output for every 16 units, so that one tile holds all four of them. */
typedef struct {
    const float *weight, *bias;           /* (chunks, E + H, TILE), (4 H,) */
    float *read, *hidden, *cells, *gates; /* (B, T, E + H), (B, T, H), (B, T, 16 chunks), (B, T, chunks, TILE) or 0 */
} Layer;

/* 16 units of `count` rows from `first` on read what step t reads. */
INLINE void advance_units(int wide, const Layer *layer, Sizes sizes, long first, long count, long chunk, long t) {
    const long depth = depth_of(sizes), chunks = chunks_of(sizes), left = sizes.units - chunk * LANES;
    const float *read[ROWS];
    v16 bias[4], sums[ROWS][4];
    UNROLL for (int j = 0; j < 4; j++) bias[j] = read_some(layer->bias + j * sizes.units + chunk * LANES, left);
    UNROLL for (int i = 0; i < ROWS; i++) {
        read[i] = layer->read + ((first + at_most(i, count - 1)) * sizes.steps + t) * depth;
        UNROLL for (int j = 0; j < 4; j++) sums[i][j] = bias[j];
    }
    multiply(ROWS, wide, 4, sums, read, 1, layer->weight + chunk * depth * TILE, TILE, depth);
    for (long i = 0; i < count; i++) {
        const long place = (first + i) * sizes.steps + t, at = place * chunks + chunk;
        const v16 gates[4] = {vsigmoid(sums[i][0]), vsigmoid(sums[i][1]), vtanh(sums[i][2]), vsigmoid(sums[i][3])};
        const v16 past = t ? load(layer->cells + (at - chunks) * LANES) : fill(0.0f);
        const v16 cell = gates[1] * past + gates[0] * gates[2], hidden = gates[3] * vtanh(cell);
        store(layer->cells + at * LANES, cell);
        write_some(layer->hidden + place * sizes.units + chunk * LANES, hidden, left);
        if (t + 1 < sizes.steps) write_some(layer->read + (place + 1) * depth + sizes.inputs + chunk * LANES, hidden, left);
        if (layer->gates)
            UNROLL for (int j = 0; j < 4; j++) store(layer->gates + at * TILE + LANES * j, gates[j]);
    }
}

/* Lays the inputs (B, T, E) of a row where its steps read them, and the zero state where the first does. */
INLINE void lay_inputs(const Layer *layer, Sizes sizes, const float *inputs, long row) {
    const long depth = depth_of(sizes);
    float *read = layer->read + row * sizes.steps * depth;
    for (long t = 0; t < sizes.steps; t++)
        memcpy(read + t * depth, inputs + (row * sizes.steps + t) * sizes.inputs, sizes.inputs * sizeof(float));
    if (sizes.steps) memset(read + sizes.inputs, 0, sizes.units * sizeof(float));
}

/* lstm_states(begin, end, inputs (B, T, E), weight, bias, read, hidden, cells, gates, T, E, H): the hidden states of the rows
   begin..end - 1, and what their gradient needs. */
INLINE int lstm_states_body(int wide, const Argument *a) {
    const Layer layer = {a[3].address, a[4].address, a[5].address, a[6].address, a[7].address, a[8].address};
    const Sizes sizes = {a[9].size, a[10].size, a[11].size};
    for (long first = a[0].size; first < a[1].size; first += ROWS) {
        const long count = at_most(ROWS, a[1].size - first);
        for (long i = 0; i < count; i++) lay_inputs(&layer, sizes, a[2].address, first + i);
        for (long t = 0; t < sizes.steps; t++)
            for (long chunk = 0; chunk < chunks_of(sizes); chunk++)
                advance_units(wide, &layer, sizes, first, count, chunk, t);
    }
    return FINE;
}
KERNEL(lstm_states)

/* Given the gradients of the hidden states, those of the inputs and, for the weights', of the sums that the gates are made from. */
typedef struct {
    const float *weight, *cells, *gates, *of_hidden; /* weight (4 H, E + H), its rows filled up to whole vectors */
    float *of_inputs, *of_sums;                      /* (B, T, E), (B, T, 4 H) */
    float *of_read, *of_cells;                       /* of ROWS rows at one step: (ROWS, room), (ROWS, 16 chunks) */
    long room;
} Gradient;

/* Of 16 units of the row `first` + i at step t: the gradients of the sums for their gates, and of their cells a step before. */
INLINE void gate_gradient(const Gradient *g, Sizes sizes, long first, long i, long chunk, long t) {
    const long place = (first + i) * sizes.steps + t, chunks = chunks_of(sizes), at = place * chunks + chunk;
    const long unit = chunk * LANES, left = sizes.units - unit;
    float *out = g->of_sums + place * 4 * sizes.units + unit, *carried = g->of_cells + i * chunks * LANES + unit;
    const float *gates = g->gates + at * TILE;
    const v16 in = load(gates), forget = load(gates + LANES), new = load(gates + 2 * LANES), open = load(gates + 3 * LANES);
    const v16 past = t ? load(g->cells + (at - chunks) * LANES) : fill(0.0f), shown = vtanh(load(g->cells + at * LANES));
    const v16 from_later = load(g->of_read + i * g->room + sizes.inputs + unit);
    const v16 of_hidden = read_some(g->of_hidden + place * sizes.units + unit, left) + from_later;
    const v16 of_cell = load(carried) + of_hidden * open * (1.0f - shown * shown);
    write_some(out, of_cell * new * in * (1.0f - in), left);
    write_some(out + sizes.units, of_cell * past * forget * (1.0f - forget), left);
    write_some(out + 2 * sizes.units, of_cell * in * (1.0f - new * new), left);
    write_some(out + 3 * sizes.units, of_hidden * shown * open * (1.0f - open), left);
    store(carried, of_cell * forget);
}

/* `vectors` vectors, from `column` on, of the gradient of what step t of the rows has read. */
INLINE void read_gradient(
    int wide, const int vectors, const Gradient *g, Sizes sizes, long first, long count, long column, long t) {
    const long width = 4 * sizes.units;
    const float *sums[ROWS];
    v16 of_read[ROWS][4] = {};
    UNROLL for (int i = 0; i < ROWS; i++) sums[i] = g->of_sums + ((first + at_most(i, count - 1)) * sizes.steps + t) * width;
    multiply(ROWS, wide, vectors, of_read, sums, 1, g->weight + column, round_up(depth_of(sizes), LANES), width);
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < vectors; j++) store(g->of_read + i * g->room + column + LANES * j, of_read[i][j]);
}

INLINE void step_back(int wide, const Gradient *g, Sizes sizes, long first, long count, long t) {
    for (long i = 0; i < count; i++)
        for (long chunk = 0; chunk < chunks_of(sizes); chunk++) gate_gradient(g, sizes, first, i, chunk, t);
    for (long column = 0; column < depth_of(sizes); column += TILE) {
        const long vectors = (depth_of(sizes) - column + LANES - 1) / LANES;
        if (vectors == 1) read_gradient(wide, 1, g, sizes, first, count, column, t);
        else if (vectors == 2) read_gradient(wide, 2, g, sizes, first, count, column, t);
        else if (vectors == 3) read_gradient(wide, 3, g, sizes, first, count, column, t);
        else read_gradient(wide, 4, g, sizes, first, count, column, t);
    }
    for (long i = 0; i < count; i++) {
        float *out = g->of_inputs + ((first + i) * sizes.steps + t) * sizes.inputs;
        memcpy(out, g->of_read + i * g->room, sizes.inputs * sizeof(float));
    }
}

/* lstm_states_gradient(begin, end, weight, cells, gates, of_hidden, of_inputs, of_sums, T, E, H): the gradients of the rows
   begin..end - 1. */
INLINE int lstm_states_gradient_body(int wide, const Argument *a) {
    const Sizes sizes = {a[8].size, a[9].size, a[10].size};
    const long room = round_up(depth_of(sizes), LANES) + LANES, size = ROWS * (room + chunks_of(sizes) * LANES);
    float *carried = malloc(sizeof(float) * size);
    const Gradient g = {a[2].address, a[3].address, a[4].address, a[5].address, a[6].address,
                        a[7].address, carried,      carried + ROWS * room,      room};
    if (!carried) return NO_MEMORY;
    for (long first = a[0].size; first < a[1].size; first += ROWS) {
        memset(carried, 0, sizeof(float) * size);
        for (long t = sizes.steps; t-- > 0;) step_back(wide, &g, sizes, first, at_most(ROWS, a[1].size - first), t);
    }
    free(carried);
    return FINE;
}
KERNEL(lstm_states_gradient)
