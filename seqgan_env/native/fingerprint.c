/* Whether memory still holds what it held: two hashes of 64 bits a block. Every step is a bijection of the state and of the word that
   it reads, so that one changed word always changes the first hash; changes of several cancel with a probability of 2^-64. */
#include "vectors.h"

typedef uint64_t u8 __attribute__((vector_size(64)));
typedef uint64_t unaligned8 __attribute__((vector_size(64), aligned(4), may_alias));

enum { NUMBERS = 8192 }; /* of a block, 4 bytes each */

/* A tensor of `size` numbers. */
typedef struct {
    const float *numbers;
    int64_t size;
} Part;

/* The lanes of a state, one after the other, as one number. */
INLINE int64_t join(u8 state) {
    uint64_t hash = 0;
    UNROLL for (int i = 0; i < 8; i++) {
        hash = (hash ^ state[i]) * 0x9E3779B97F4A7C15;
        hash ^= hash >> 32;
    }
    return (int64_t)hash;
}

/* Of up to NUMBERS numbers; what is missing of the last vector counts as 0. */
INLINE void hash_block(const float *numbers, long size, int64_t *out) {
    const long whole = size / LANES * LANES;
    u8 state = {1, 2, 3, 4, 5, 6, 7, 8}, sum = {};
    float last[LANES] = {};
    for (long i = 0; i < whole; i += LANES) {
        state += *(const unaligned8 *)(numbers + i);
        state = state << 13 | state >> 51;
        sum += state;
    }
    memcpy(last, numbers + whole, (size - whole) * sizeof(float));
    state += *(const unaligned8 *)last;
    out[0] = join(state);
    out[1] = join(sum);
}

/* fingerprint(begin, end, parts, num, out (blocks, 2)): the hashes of the blocks begin..end - 1 of NUMBERS numbers, or what is left
   of a tensor. */
INLINE int fingerprint_body(int wide, const Argument *a) {
    const Part *parts = a[2].address;
    int64_t *out = a[4].address;
    long first = 0; /* block of a tensor */
    (void)wide;
    for (const Part *p = parts; p < parts + a[3].size; p++) {
        const long blocks = (p->size + NUMBERS - 1) / NUMBERS;
        const long from = a[0].size > first ? a[0].size - first : 0, to = at_most(blocks, a[1].size - first);
        for (long b = from; b < to; b++)
            hash_block(p->numbers + b * NUMBERS, at_most(NUMBERS, p->size - b * NUMBERS), out + 2 * (first + b));
        first += blocks;
    }
    return FINE;
}
KERNEL(fingerprint)
