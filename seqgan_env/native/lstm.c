/* Sequences written, and read, by an LSTM with a softmax over tokens. */
#include "softmax.h"

/* See MODEL. */
typedef struct {
    const float *gates, *recurrent;
    long vocab, depth, chunks, steps, start, last, min_length; /* `chunks` of LANES units */
    Layer open, masked; /* the output layer, and the one that never writes the end */
} Model;

/* The unfinished rows of a block. A row that has read the same tokens as the row before it is in
   the same state, which is computed once, for the first of them: its leader. */
typedef struct {
    long count, length[BLOCK], leader[BLOCK];
    int64_t *tokens[BLOCK];
    const float *uniform[BLOCK]; /* of the rows that are written */
    float *log_probs[BLOCK];     /* of the rows that are read */
    char follows[BLOCK];
    float *hidden, *next, *cell; /* (BLOCK, LANES chunks) */
} Rows;

/* Whether a token, or the padding, stands there. */
INLINE int is_token(const Model *model, int64_t token) {
    return token >= 0 && token <= model->vocab;
}

INLINE int find_leaders(const Range *range, const Model *model, Rows *rows, long t) {
    for (long i = 0; i < rows->count; i++) {
        if (t && !is_token(model, rows->tokens[i][t - 1]))
            return bad_token(range, rows->tokens[i][t - 1], model->vocab);
        if (i && t && rows->tokens[i][t - 1] != rows->tokens[i - 1][t - 1]) rows->follows[i] = 0;
        rows->leader[i] = rows->follows[i] ? rows->leader[i - 1] : i;
    }
    return FINE;
}

INLINE const float *input_gates(const Model *model, const Rows *rows, long i, long t) {
    const long token = t ? at_most(rows->tokens[i][t - 1], model->vocab - 1) : model->start;
    return model->gates + token * model->chunks * TILE;
}

/* LANES units of a few leaders read their next token. */
INLINE void advance_units(
    const Model *model, Rows *rows, const long *leaders, long count, long chunk, long t
) {
    const long width = model->chunks * LANES;
    const float *hidden[ROWS];
    vec gates[ROWS][4];
    UNROLL_FOR (int i = 0; i < ROWS; i++) {
        const long row = leaders[at_most(i, count - 1)];
        const float *input = input_gates(model, rows, row, t) + chunk * TILE;
        hidden[i] = rows->hidden + row * width;
        UNROLL_FOR (int j = 0; j < 4; j++) gates[i][j] = load(input + LANES * j);
    }
    multiply(
        ROWS, 4, gates, hidden, 1, model->recurrent + chunk * model->depth * TILE, TILE,
        model->depth
    );
    for (int i = 0; i < at_most(ROWS, count); i++) {
        const long place = leaders[i] * width + chunk * LANES;
        const vec kept = vsigmoid(gates[i][1]) * load(rows->cell + place);
        const vec cell = kept + vsigmoid(gates[i][0]) * vtanh(gates[i][2]);
        store(rows->cell + place, cell);
        store(rows->next + place, vsigmoid(gates[i][3]) * vtanh(cell));
    }
}

INLINE void advance(const Model *model, Rows *rows, long t) {
    const long width = model->chunks * LANES;
    long leaders[BLOCK], count = 0;
    for (long i = 0; i < rows->count; i++)
        if (rows->leader[i] == i) leaders[count++] = i;
    for (long chunk = 0; chunk < model->chunks; chunk++)
        for (long from = 0; from < count; from += ROWS)
            advance_units(model, rows, leaders + from, count - from, chunk, t);
    for (long i = 0; i < rows->count; i++)
        if (rows->leader[i] != i) {
            memcpy(
                rows->next + i * width, rows->next + rows->leader[i] * width, sizeof(float) * width
            );
            memcpy(
                rows->cell + i * width, rows->cell + rows->leader[i] * width, sizeof(float) * width
            );
        }
    float *read = rows->hidden;
    rows->hidden = rows->next;
    rows->next = read;
}

INLINE const Layer *layer_at(const Model *model, long t) {
    return t < model->min_length ? &model->masked : &model->open;
}

/* Chooses the states that the rows marked in `wanted` are in, each once, and says which state a row
   is in. */
INLINE void gather_states(
    const Model *model, const Rows *rows, const char *wanted, long t, States *states, long *state_of
) {
    long leader = -1;
    states->count = 0;
    for (long i = 0; i < rows->count; i++) {
        if (!wanted[i]) continue;
        if (rows->leader[i] != leader) {
            leader = rows->leader[i];
            states->hidden[states->count++] = rows->hidden + leader * model->chunks * LANES;
        }
        state_of[i] = states->count - 1;
    }
    sum_by_tile(layer_at(model, t), states);
}

/* Token t of every row whose prefix ends before it. */
INLINE void write_tokens(const Model *model, Rows *rows, States *states, long t) {
    long state_of[BLOCK];
    char wanted[BLOCK];
    for (long i = 0; i < rows->count; i++) wanted[i] = rows->length[i] <= t;
    gather_states(model, rows, wanted, t, states, state_of);
    for (long i = 0; i < rows->count; i++)
        if (wanted[i])
            rows->tokens[i][t] =
                pick(layer_at(model, t), states, state_of[i], rows->uniform[i][t], NULL);
}

/* The log-probability of token t of every row that has one. */
INLINE int read_tokens(const Range *range, const Model *model, Rows *rows, States *states, long t) {
    long state_of[BLOCK];
    char wanted[BLOCK];
    for (long i = 0; i < rows->count; i++) {
        if (!is_token(model, rows->tokens[i][t]))
            return bad_token(range, rows->tokens[i][t], model->vocab);
        wanted[i] = rows->tokens[i][t] != model->last;
    }
    gather_states(model, rows, wanted, t, states, state_of);
    for (long i = 0; i < rows->count; i++)
        if (wanted[i]) {
            const double total = total_mass(layer_at(model, t), states, state_of[i]);
            rows->log_probs[i][t] =
                log_prob_of(layer_at(model, t), states, state_of[i], rows->tokens[i][t], total);
        }
    return FINE;
}

/* Leaves out the rows whose token t is the last. */
INLINE void drop_finished(const Model *model, Rows *rows, long t) {
    const long width = model->chunks * LANES;
    long count = 0;
    for (long i = 0; i < rows->count; i++) {
        if (rows->tokens[i][t] == model->last) continue;
        if (count != i) {
            rows->follows[count] = rows->follows[i] && rows->tokens[i - 1][t] != model->last;
            rows->length[count] = rows->length[i];
            rows->uniform[count] = rows->uniform[i];
            rows->log_probs[count] = rows->log_probs[i];
            memcpy(rows->hidden + count * width, rows->hidden + i * width, sizeof(float) * width);
            memcpy(rows->cell + count * width, rows->cell + i * width, sizeof(float) * width);
        }
        rows->tokens[count++] = rows->tokens[i];
    }
    rows->count = count;
}

/* Writes the rows of a block, or reads them. */
INLINE int go_through(
    const Range *range, const Model *model, int writes, Rows *rows, States *states
) {
    int status = FINE;
    memset(rows->hidden, 0, sizeof(float) * BLOCK * model->chunks * LANES);
    memset(rows->cell, 0, sizeof(float) * BLOCK * model->chunks * LANES);
    for (long i = 0; i < rows->count; i++) rows->follows[i] = i > 0;
    for (long t = 0; t < model->steps && rows->count && status == FINE; t++) {
        if (find_leaders(range, model, rows, t)) return BAD_TOKEN;
        advance(model, rows, t);
        if (writes)
            write_tokens(model, rows, states, t);
        else
            status = read_tokens(range, model, rows, states, t);
        if (model->last >= 0) drop_finished(model, rows, t);
    }
    return status;
}

/* The model among the arguments of a kernel. */
#define MODEL_OF(a) \
    ((Model){(a)->gates, (a)->recurrent, (a)->vocab, (a)->depth, (a)->chunks, (a)->steps, \
             (a)->start, (a)->last, (a)->min_length, LAYER_OF(a, open_), LAYER_OF(a, masked_)})

/* Room for a block of rows and their states in one allocation, or NULL. */
INLINE void *make_room(const Model *model, Rows *rows, States *states) {
    const long size = BLOCK * model->chunks * LANES;
    float *room = malloc(sizeof(float) * (3 * size + BLOCK * model->open.tiles));
    rows->hidden = room;
    if (room) {
        rows->next = room + size;
        rows->cell = room + 2 * size;
        states->sums = room + 3 * size;
    }
    return room;
}

KERNEL int lstm_complete(const lstm_complete_arguments *a) {
    const Model model = MODEL_OF(a);
    int64_t *tokens = a->tokens;
    const int64_t *lengths = a->lengths;
    const char *finished = a->finished;
    const float *uniform = a->uniform;
    States states = {};
    Rows rows;
    int status = FINE;
    void *room = make_room(&model, &rows, &states);
    if (!room) return NO_MEMORY;
    for (long row = a->range.begin; row < a->range.end && status == FINE;) {
        for (rows.count = 0; row < a->range.end && rows.count < BLOCK; row++) {
            if (finished[row]) continue;
            rows.tokens[rows.count] = tokens + row * model.steps;
            rows.uniform[rows.count] = uniform + row * model.steps;
            rows.length[rows.count++] = lengths[row];
        }
        status = go_through(&a->range, &model, 1, &rows, &states);
    }
    free(room);
    return status;
}

KERNEL int lstm_log_probs(const lstm_log_probs_arguments *a) {
    const Model model = MODEL_OF(a);
    int64_t *tokens = (int64_t *)a->tokens; /* only read here */
    float *log_probs = a->log_probs;
    States states = {};
    Rows rows;
    int status = FINE;
    void *room = make_room(&model, &rows, &states);
    if (!room) return NO_MEMORY;
    for (long row = a->range.begin; row < a->range.end && status == FINE; row += BLOCK) {
        rows.count = at_most(BLOCK, a->range.end - row);
        for (long i = 0; i < rows.count; i++) {
            rows.tokens[i] = tokens + (row + i) * model.steps;
            rows.log_probs[i] = log_probs + (row + i) * model.steps;
        }
        status = go_through(&a->range, &model, 0, &rows, &states);
    }
    free(room);
    return status;
}
