/* Sequences written by an LSTM with a softmax over tokens. */
#include <string.h>

#include "softmax.h"

/* The model: gates stand as input, forget, cell, output for every 16 units, so that one tile holds all four of them.
   gates (vocab, chunks, TILE) is what an input token contributes; recurrent (chunks, depth, TILE) multiplies the state. */
typedef struct {
    const float *gates, *recurrent;
    long vocab, depth, chunks, steps, start, eos, min_length;
    Layer open, masked; /* the output layer, and the one that never writes the end */
} Writer;

/* The unfinished rows of a block. A row that has read the same tokens as the row before it is in the same state, which is computed
   once, for the first of them: its leader. */
typedef struct {
    long count, length[BLOCK], leader[BLOCK];
    int64_t *tokens[BLOCK];
    const float *uniform[BLOCK];
    char follows[BLOCK];
    float *hidden, *next, *cell; /* (BLOCK, 16 chunks) */
} Rows;

INLINE int find_leaders(const Writer *writer, Rows *rows, long t) {
    for (long i = 0; i < rows->count; i++) {
        if (t && rows->tokens[i][t - 1] < 0) return BAD_INDEX;
        if (i && t && rows->tokens[i][t - 1] != rows->tokens[i - 1][t - 1]) rows->follows[i] = 0;
        rows->leader[i] = rows->follows[i] ? rows->leader[i - 1] : i;
    }
    return FINE;
}

INLINE const float *input_gates(const Writer *writer, const Rows *rows, long i, long t) {
    const long token = t ? at_most(rows->tokens[i][t - 1], writer->vocab - 1) : writer->start;
    return writer->gates + token * writer->chunks * TILE;
}

/* 16 units of a few leaders read their next token. */
INLINE void advance_units(int wide, const Writer *writer, Rows *rows, const long *leaders, long count, long chunk, long t) {
    const long width = writer->chunks * LANES;
    const float *hidden[ROWS];
    v16 gates[ROWS][4];
    UNROLL for (int i = 0; i < ROWS; i++) {
        const long row = leaders[at_most(i, count - 1)];
        const float *input = input_gates(writer, rows, row, t) + chunk * TILE;
        hidden[i] = rows->hidden + row * width;
        UNROLL for (int j = 0; j < 4; j++) gates[i][j] = load(input + LANES * j);
    }
    multiply(ROWS, wide, 4, gates, hidden, 1, writer->recurrent + chunk * writer->depth * TILE, TILE, writer->depth);
    for (int i = 0; i < at_most(ROWS, count); i++) {
        const long place = leaders[i] * width + chunk * LANES;
        const v16 kept = vsigmoid(gates[i][1]) * load(rows->cell + place);
        const v16 cell = kept + vsigmoid(gates[i][0]) * vtanh(gates[i][2]);
        store(rows->cell + place, cell);
        store(rows->next + place, vsigmoid(gates[i][3]) * vtanh(cell));
    }
}

INLINE void advance(int wide, const Writer *writer, Rows *rows, long t) {
    const long width = writer->chunks * LANES;
    long leaders[BLOCK], count = 0;
    for (long i = 0; i < rows->count; i++)
        if (rows->leader[i] == i) leaders[count++] = i;
    for (long chunk = 0; chunk < writer->chunks; chunk++)
        for (long from = 0; from < count; from += ROWS)
            advance_units(wide, writer, rows, leaders + from, count - from, chunk, t);
    for (long i = 0; i < rows->count; i++)
        if (rows->leader[i] != i) {
            memcpy(rows->next + i * width, rows->next + rows->leader[i] * width, sizeof(float) * width);
            memcpy(rows->cell + i * width, rows->cell + rows->leader[i] * width, sizeof(float) * width);
        }
    float *read = rows->hidden;
    rows->hidden = rows->next;
    rows->next = read;
}

/* Token t of every row whose prefix ends before it. */
INLINE void write_tokens(int wide, const Writer *writer, Rows *rows, States *states, long t) {
    const Layer *layer = t < writer->min_length ? &writer->masked : &writer->open;
    long state_of[BLOCK], leader = -1;
    states->count = 0;
    for (long i = 0; i < rows->count; i++) {
        if (rows->length[i] > t) continue;
        if (rows->leader[i] != leader) {
            leader = rows->leader[i];
            states->hidden[states->count++] = rows->hidden + leader * writer->chunks * LANES;
        }
        state_of[i] = states->count - 1;
    }
    if (!states->count) return;
    sum_by_tile(wide, layer, states);
    for (long i = 0; i < rows->count; i++)
        if (rows->length[i] <= t) rows->tokens[i][t] = pick(wide, layer, states, state_of[i], rows->uniform[i][t], NULL);
}

/* Leaves out the rows whose token t is the end. */
INLINE void drop_finished(const Writer *writer, Rows *rows, long t) {
    const long width = writer->chunks * LANES;
    long count = 0;
    for (long i = 0; i < rows->count; i++) {
        if (rows->tokens[i][t] == writer->eos) continue;
        if (count != i) {
            rows->follows[count] = rows->follows[i] && rows->tokens[i - 1][t] != writer->eos;
            rows->length[count] = rows->length[i];
            rows->uniform[count] = rows->uniform[i];
            memcpy(rows->hidden + count * width, rows->hidden + i * width, sizeof(float) * width);
            memcpy(rows->cell + count * width, rows->cell + i * width, sizeof(float) * width);
        }
        rows->tokens[count++] = rows->tokens[i];
    }
    rows->count = count;
}

INLINE int write_block(int wide, const Writer *writer, Rows *rows, States *states) {
    memset(rows->hidden, 0, sizeof(float) * BLOCK * writer->chunks * LANES);
    memset(rows->cell, 0, sizeof(float) * BLOCK * writer->chunks * LANES);
    for (long i = 0; i < rows->count; i++) rows->follows[i] = i > 0;
    for (long t = 0; t < writer->steps && rows->count; t++) {
        if (find_leaders(writer, rows, t)) return BAD_INDEX;
        advance(wide, writer, rows, t);
        write_tokens(wide, writer, rows, states, t);
        if (writer->eos >= 0) drop_finished(writer, rows, t);
    }
    return FINE;
}

/* lstm_complete(begin, end, gates, recurrent, vocab, depth, chunks, steps, start, eos or -1, min_length, open layer, masked layer,
   tokens (B, steps), lengths (B,), finished (B,) bytes, uniform (B, steps)) finishes the rows begin..end - 1 of tokens in place. */
INLINE int lstm_complete_body(int wide, const Argument *a) {
    const Writer writer = {a[2].address, a[3].address, a[4].size, a[5].size, a[6].size, a[7].size, a[8].size, a[9].size, a[10].size,
                           read_layer(a + 11), read_layer(a + 17)};
    int64_t *tokens = a[23].address;
    const int64_t *lengths = a[24].address;
    const char *finished = a[25].address;
    const float *uniform = a[26].address;
    const long end = a[1].size, width = writer.chunks * LANES;
    float *room = malloc(sizeof(float) * BLOCK * (3 * width + writer.open.tiles));
    if (!room) return NO_MEMORY;
    States states = {.sums = room + 3 * BLOCK * width};
    Rows rows = {.hidden = room, .next = room + BLOCK * width, .cell = room + 2 * BLOCK * width};
    int status = FINE;
    for (long row = a[0].size; row < end && status == FINE;) {
        for (rows.count = 0; row < end && rows.count < BLOCK; row++) {
            if (finished[row]) continue;
            rows.tokens[rows.count] = tokens + row * writer.steps;
            rows.uniform[rows.count] = uniform + row * writer.steps;
            rows.length[rows.count++] = lengths[row];
        }
        status = write_block(wide, &writer, &rows, &states);
    }
    free(room);
    return status;
}

KERNEL(lstm_complete)
