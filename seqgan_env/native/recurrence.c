/* An LSTM layer over sequences, and its gradient: B sequences of T inputs with E numbers, H units,
   zero initial state. A step reads its input and the hidden state before it, which stand side by
   side. */
#include "vectors.h"

enum {
    FEW = ROWS / 2, /* rows of the register block for what may be left over */
    TOGETHER =
        16 * ROWS /* rows that take a step together, so that a tile of weights serves all of them */
};

typedef struct {
    long steps, inputs, units; /* T, E, H */
} Sizes;

INLINE long depth_of(Sizes sizes) { return sizes.inputs + sizes.units; }
INLINE long chunks_of(Sizes sizes) { return (sizes.units + LANES - 1) / LANES; }

/* Gates stand as input, forget, cell, output for every LANES units, so that one tile holds all four
   of them. */
typedef struct {
    const float *weight, *bias; /* (chunks, E + H, TILE), (4 H,) */
    float *read, *hidden, *cells,
        *gates; /* (B, T, E + H), (B, T, H), (B, T, LANES chunks), (B, T, chunks, TILE) or 0 */
} Layer;

/* LANES units of `count` rows from `first` on read what step t reads. */
INLINE void advance_units(
    const int rows, const Layer *layer, Sizes sizes, long first, long count, long chunk, long t
) {
    const long depth = depth_of(sizes);
    const long chunks = chunks_of(sizes);
    const long left = sizes.units - chunk * LANES;
    const float *read[ROWS];
    vec bias[4], sums[ROWS][4];
    UNROLL_FOR (int j = 0; j < 4; j++)
        bias[j] = read_some(layer->bias + j * sizes.units + chunk * LANES, left);
    UNROLL_FOR (int i = 0; i < rows; i++) {
        read[i] = layer->read + ((first + at_most(i, count - 1)) * sizes.steps + t) * depth;
        UNROLL_FOR (int j = 0; j < 4; j++) sums[i][j] = bias[j];
    }
    multiply(rows, 4, sums, read, 1, layer->weight + chunk * depth * TILE, TILE, depth);
    for (long i = 0; i < count; i++) {
        const long place = (first + i) * sizes.steps + t, at = place * chunks + chunk;
        const vec gates[4] = {
            vsigmoid(sums[i][0]), vsigmoid(sums[i][1]), vtanh(sums[i][2]), vsigmoid(sums[i][3])
        };
        const vec past = t ? load(layer->cells + (at - chunks) * LANES) : fill(0.0f);
        const vec cell = gates[1] * past + gates[0] * gates[2], hidden = gates[3] * vtanh(cell);
        store(layer->cells + at * LANES, cell);
        write_some(layer->hidden + place * sizes.units + chunk * LANES, hidden, left);
        if (t + 1 < sizes.steps)
            write_some(
                layer->read + (place + 1) * depth + sizes.inputs + chunk * LANES, hidden, left
            );
        if (layer->gates)
            UNROLL_FOR (int j = 0; j < 4; j++)
                store(layer->gates + at * TILE + LANES * j, gates[j]);
    }
}

INLINE void advance_all(
    const Layer *layer, Sizes sizes, long first, long count, long chunk, long t
) {
    for (long i = 0; i < count; i += ROWS) {
        const long left = at_most(ROWS, count - i);
        if (left > FEW)
            advance_units(ROWS, layer, sizes, first + i, left, chunk, t);
        else
            advance_units(FEW, layer, sizes, first + i, left, chunk, t);
    }
}

/* Packs weights (4 H, width) of what begins at `from` where a step reads it; where there is no unit
   they are 0. */
INLINE void pack_weights(const float *weight, long width, long from, Sizes sizes, float *packed) {
    for (long chunk = 0; chunk < chunks_of(sizes); chunk++)
        for (int j = 0; j < 4; j++) {
            const long unit = chunk * LANES, count = at_most(LANES, sizes.units - unit);
            const float *rows = weight + (j * sizes.units + unit) * width;
            float *out = packed + (chunk * depth_of(sizes) + from) * TILE + j * LANES;
            for (long d = 0; d < width; d++)
                for (long lane = 0; lane < LANES; lane++)
                    out[d * TILE + lane] = lane < count ? rows[lane * width + d] : 0.0f;
        }
}

/* Lays the inputs (B, T, E) of a row where its steps read them, and the zero state where the first
   does. */
INLINE void lay_inputs(const Layer *layer, Sizes sizes, const float *inputs, long row) {
    const long depth = depth_of(sizes);
    float *read = layer->read + row * sizes.steps * depth;
    for (long t = 0; t < sizes.steps; t++)
        memcpy(
            read + t * depth, inputs + (row * sizes.steps + t) * sizes.inputs,
            sizes.inputs * sizeof(float)
        );
    if (sizes.steps) memset(read + sizes.inputs, 0, sizes.units * sizeof(float));
}

KERNEL int lstm_states(const lstm_states_arguments *a) {
    const Sizes sizes = {a->steps, a->num_inputs, a->num_units};
    float *packed = malloc(sizeof(float) * chunks_of(sizes) * depth_of(sizes) * TILE);
    const Layer layer = {packed, a->bias, a->read, a->hidden, a->cells, a->gates};
    if (!packed) return NO_MEMORY;
    pack_weights(a->weight_ih, sizes.inputs, 0, sizes, packed);
    pack_weights(a->weight_hh, sizes.units, sizes.inputs, sizes, packed);
    for (long first = a->range.begin; first < a->range.end; first += TOGETHER) {
        const long count = at_most(TOGETHER, a->range.end - first);
        for (long i = 0; i < count; i++) lay_inputs(&layer, sizes, a->inputs, first + i);
        for (long t = 0; t < sizes.steps; t++)
            for (long chunk = 0; chunk < chunks_of(sizes); chunk++)
                advance_all(&layer, sizes, first, count, chunk, t);
    }
    free(packed);
    return FINE;
}

/* Given the gradients of the hidden states, those of the inputs and, for the weights', of the sums
   that the gates come from. */
typedef struct {
    const float *weight, *cells, *gates,
        *of_hidden;             /* weight (4 H, E + H), its rows `pitch` apart, whole vectors */
    float *of_inputs, *of_sums; /* (B, T, E), (B, T, 4 H) */
    float *of_read, *of_cells;  /* of one step: (TOGETHER, room), (TOGETHER, LANES chunks) */
    long pitch, room;
} Gradient;

/* Of LANES units of the row `first` + i at step t: the gradients of the sums for their gates, and
   of their cells a step before. */
INLINE void gate_gradient(const Gradient *g, Sizes sizes, long first, long i, long chunk, long t) {
    const long place = (first + i) * sizes.steps + t;
    const long chunks = chunks_of(sizes);
    const long at = place * chunks + chunk;
    const long unit = chunk * LANES, left = sizes.units - unit;
    float *out = g->of_sums + place * 4 * sizes.units + unit,
          *carried = g->of_cells + i * chunks * LANES + unit;
    const float *gates = g->gates + at * TILE;
    const vec in = load(gates);
    const vec forget = load(gates + LANES);
    const vec new = load(gates + 2 * LANES);
    const vec open = load(gates + 3 * LANES);
    const vec past = t ? load(g->cells + (at - chunks) * LANES) : fill(0.0f);
    const vec shown = vtanh(load(g->cells + at * LANES));
    const vec from_later = load(g->of_read + i * g->room + sizes.inputs + unit);
    const vec of_hidden = read_some(g->of_hidden + place * sizes.units + unit, left) + from_later;
    const vec of_cell = load(carried) + of_hidden * open * (1.0f - shown * shown);
    write_some(out, of_cell * new *in * (1.0f - in), left);
    write_some(out + sizes.units, of_cell * past * forget * (1.0f - forget), left);
    write_some(out + 2 * sizes.units, of_cell * in * (1.0f - new *new), left);
    write_some(out + 3 * sizes.units, of_hidden * shown * open * (1.0f - open), left);
    store(carried, of_cell * forget);
}

/* `vectors` vectors, from `column` on, of the gradient of what step t of the rows from `first` + i
   on has read. */
INLINE void read_gradient(
    const int rows, const int vectors, const Gradient *g, Sizes sizes, long first, long i,
    long count, long column, long t
) {
    const long width = 4 * sizes.units;
    const float *sums[ROWS];
    vec of_read[ROWS][4] = {};
    UNROLL_FOR (int k = 0; k < rows; k++)
        sums[k] = g->of_sums + ((first + i + at_most(k, count - 1)) * sizes.steps + t) * width;
    multiply(rows, vectors, of_read, sums, 1, g->weight + column, g->pitch, width);
    for (long k = 0; k < count; k++)
        UNROLL_FOR (int j = 0; j < vectors; j++)
            store(g->of_read + (i + k) * g->room + column + LANES * j, of_read[k][j]);
}

INLINE void read_gradients(
    const int vectors, const Gradient *g, Sizes sizes, long first, long count, long column, long t
) {
    for (long i = 0; i < count; i += ROWS) {
        const long left = at_most(ROWS, count - i);
        if (left > FEW)
            read_gradient(ROWS, vectors, g, sizes, first, i, left, column, t);
        else
            read_gradient(FEW, vectors, g, sizes, first, i, left, column, t);
    }
}

INLINE void step_back(const Gradient *g, Sizes sizes, long first, long count, long t) {
    for (long i = 0; i < count; i++)
        for (long chunk = 0; chunk < chunks_of(sizes); chunk++)
            gate_gradient(g, sizes, first, i, chunk, t);
    for (long column = 0; column < depth_of(sizes); column += TILE) {
        const long vectors = (depth_of(sizes) - column + LANES - 1) / LANES;
        if (vectors == 1)
            read_gradients(1, g, sizes, first, count, column, t);
        else if (vectors == 2)
            read_gradients(2, g, sizes, first, count, column, t);
        else if (vectors == 3)
            read_gradients(3, g, sizes, first, count, column, t);
        else
            read_gradients(4, g, sizes, first, count, column, t);
    }
    for (long i = 0; i < count; i++) {
        float *out = g->of_inputs + ((first + i) * sizes.steps + t) * sizes.inputs;
        memcpy(out, g->of_read + i * g->room, sizes.inputs * sizeof(float));
    }
}

/* Both weights side by side, (4 H, E + H), in rows `pitch` apart. */
INLINE void join_weights(
    const float *weight_ih, const float *weight_hh, Sizes sizes, float *out, long pitch
) {
    for (long row = 0; row < 4 * sizes.units; row++) {
        memcpy(out + row * pitch, weight_ih + row * sizes.inputs, sizes.inputs * sizeof(float));
        memcpy(
            out + row * pitch + sizes.inputs, weight_hh + row * sizes.units,
            sizes.units * sizeof(float)
        );
    }
}

KERNEL int lstm_states_gradient(const lstm_states_gradient_arguments *a) {
    const Sizes sizes = {a->steps, a->num_inputs, a->num_units};
    const long pitch = round_up(depth_of(sizes), LANES), room = pitch + LANES;
    const long size = TOGETHER * (room + chunks_of(sizes) * LANES);
    float *carried = calloc(size + 4 * sizes.units * pitch, sizeof(float)),
          *weight = carried + size;
    const Gradient g = {
        .weight = weight,
        .cells = a->cells,
        .gates = a->gates,
        .of_hidden = a->of_hidden,
        .of_inputs = a->of_inputs,
        .of_sums = a->of_sums,
        .of_read = carried,
        .of_cells = carried + TOGETHER * room,
        .pitch = pitch,
        .room = room,
    };
    if (!carried) return NO_MEMORY;
    join_weights(a->weight_ih, a->weight_hh, sizes, weight, pitch);
    for (long first = a->range.begin; first < a->range.end; first += TOGETHER) {
        memset(carried, 0, sizeof(float) * size);
        for (long t = sizes.steps; t-- > 0;)
            step_back(&g, sizes, first, at_most(TOGETHER, a->range.end - first), t);
    }
    free(carried);
    return FINE;
}
