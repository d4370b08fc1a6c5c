/* Whether memory still holds what it held: two hashes of 64 bits a block. Every step is a bijection
   of the state and of the word that it reads, so that one changed word always changes the first
   hash; changes of several cancel with a probability of 2^-64. */
#include "vectors.h"

/* 16 numbers at once on every processor: a fingerprint is the same on all. */
typedef uint64_t u8 __attribute__((vector_size(64)));
typedef uint64_t unaligned8 __attribute__((vector_size(64), aligned(4), may_alias));

/* The lanes of a state, one after the other, as one number. */
INLINE int64_t join(u8 state) {
    uint64_t hash = 0;
    UNROLL_FOR (int i = 0; i < 8; i++) {
        hash = (hash ^ state[i]) * 0x9E3779B97F4A7C15;
        hash ^= hash >> 32;
    }
    return (int64_t)hash;
}

/* Of up to FINGERPRINT_BLOCK numbers; what is missing of the last vector counts as 0. */
INLINE void hash_block(const float *numbers, long size, int64_t *out) {
    enum { STEP = sizeof(u8) / sizeof(float) };
    const long whole = size / STEP * STEP;
    u8 state = {1, 2, 3, 4, 5, 6, 7, 8}, sum = {};
    float last[STEP] = {};
    for (long i = 0; i < whole; i += STEP) {
        state += *(const unaligned8 *)(numbers + i);
        state = state << 13 | state >> 51;
        sum += state;
    }
    memcpy(last, numbers + whole, (size - whole) * sizeof(float));
    state += *(const unaligned8 *)last;
    out[0] = join(state);
    out[1] = join(sum);
}

KERNEL int fingerprint(const fingerprint_arguments *a) {
    const Part *parts = (const Part *)a->parts;
    int64_t *out = a->out;
    long first = 0; /* block of a tensor */
    for (const Part *p = parts; p < parts + a->num_parts; p++) {
        const long blocks = (p->count + FINGERPRINT_BLOCK - 1) / FINGERPRINT_BLOCK;
        const long from = a->range.begin > first ? a->range.begin - first : 0;
        const long to = at_most(blocks, a->range.end - first);
        for (long b = from; b < to; b++)
            hash_block(
                p->numbers + b * FINGERPRINT_BLOCK,
                at_most(FINGERPRINT_BLOCK, p->count - b * FINGERPRINT_BLOCK), out + 2 * (first + b)
            );
        first += blocks;
    }
    return FINE;
}
