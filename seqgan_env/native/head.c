/* The discriminator behind its features: a highway layer, g max(0, t) + (1 - g) x with t and the logit of g multiplied before,
   dropout, and an output layer with one number. F features, B sequences. */
#include <string.h>

#include "vectors.h"

typedef uint64_t u8 __attribute__((vector_size(64)));
typedef uint64_t unaligned8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef int64_t i8 __attribute__((vector_size(64)));
typedef float f8 __attribute__((vector_size(32)));

/* What is dropped: where the draw of a feature's key (F,) for a sequence, by its counter, is below the share; nothing if keys is 0. Draws
   are those of `seqgan_env.streams`, and there are as many counters as whole vectors of sequences need. */
typedef struct {
    const uint64_t *keys, *counters;
    float share;
} Dropout;

/* The finaliser of SplitMix64, and of its result the upper 24 bits as a number in 0..1. */
INLINE f8 draw(u8 x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    x ^= x >> 31;
    return __builtin_convertvector((i8)(x >> 40), f8) * 0x1p-24f;
}

/* What the values of 16 sequences, from `b` on, are multiplied with. */
INLINE v16 kept(const Dropout *dropout, long feature, long b) {
    f8 half[2];
    v16 uniform;
    if (!dropout->keys) return fill(1.0f);
    UNROLL for (int i = 0; i < 2; i++)
        half[i] = draw(dropout->keys[feature] ^ *(const unaligned8 *)(dropout->counters + b + 8 * i));
    memcpy(&uniform, half, sizeof uniform);
    return choose(uniform >= fill(dropout->share), fill(1.0f / (1.0f - dropout->share)), fill(0.0f));
}

/* head(begin, end, z (2 F, B), x (F, B), keys (F,) or 0, counters, share, out (F, B), F, B): the features begin..end - 1 behind the
   highway layer and dropout. */
INLINE int head_body(int wide, const Argument *a) {
    const float *z = a[2].address, *x = a[3].address;
    const Dropout dropout = {a[4].address, a[5].address, (float)a[6].number};
    const long features = a[8].size, batch = a[9].size;
    float *out = a[7].address;
    const v16 zero = {};
    (void)wide;
    for (long f = a[0].size; f < a[1].size; f++)
        for (long b = 0; b < batch; b += LANES) {
            const long at = f * batch + b, left = batch - b;
            const v16 t = read_some(z + at, left), gate = vsigmoid(read_some(z + features * batch + at, left));
            const v16 value = gate * choose(t > zero, t, zero) + (1.0f - gate) * read_some(x + at, left);
            write_some(out + at, value * kept(&dropout, f, b), left);
        }
    return FINE;
}
KERNEL(head)

/* head_gradient(begin, end, z, x, keys, counters, share, weight (F,), grad (B,), of_z (2 F, B), of_x (F, B), of_bias (2 F,),
   of_weight (F,), F, B): of the features begin..end - 1, the gradients that `grad`, of the logits, makes; bias is of the highway layer,
   weight of the output layer. */
INLINE int head_gradient_body(int wide, const Argument *a) {
    const float *z = a[2].address, *x = a[3].address, *weight = a[7].address, *grad = a[8].address;
    const Dropout dropout = {a[4].address, a[5].address, (float)a[6].number};
    const long features = a[13].size, batch = a[14].size, gates = features * batch;
    float *of_z = a[9].address, *of_x = a[10].address, *of_bias = a[11].address, *of_weight = a[12].address;
    const v16 zero = {};
    (void)wide;
    for (long f = a[0].size; f < a[1].size; f++) {
        v16 of_t_sum = {}, of_g_sum = {}, of_w_sum = {};
        for (long b = 0; b < batch; b += LANES) {
            const long at = f * batch + b, left = batch - b;
            const v16 t = read_some(z + at, left), gate = vsigmoid(read_some(z + gates + at, left));
            const v16 open = choose(t > zero, t, zero), past = read_some(x + at, left);
            const v16 given = read_some(grad + b, left) * kept(&dropout, f, b), g = given * weight[f];
            const v16 of_t = choose(t > zero, g * gate, zero), of_g = g * (open - past) * gate * (1.0f - gate);
            write_some(of_z + at, of_t, left);
            write_some(of_z + gates + at, of_g, left);
            write_some(of_x + at, g * (1.0f - gate), left);
            of_t_sum += of_t;
            of_g_sum += of_g;
            of_w_sum += given * (gate * open + (1.0f - gate) * past);
        }
        of_bias[f] = sum16(of_t_sum);
        of_bias[features + f] = sum16(of_g_sum);
        of_weight[f] = sum16(of_w_sum);
    }
    return FINE;
}
KERNEL(head_gradient)

typedef uint16_t h16 __attribute__((vector_size(32)));
typedef uint32_t u16 __attribute__((vector_size(64)));

/* LANES numbers in bfloat16, which are the upper halves of floats. */
INLINE v16 load_half(const uint16_t *p) {
    h16 x;
    memcpy(&x, p, sizeof x);
    return (v16)(__builtin_convertvector(x, u16) << 16);
}

/* half_head(begin, end, z (B, 2 F) bfloat16, x (B, F), weight (F,), bias, out (B,), F): the logits of the rows begin..end - 1. F may
   be any number: the last vector of a row is read from a copy. */
INLINE int half_head_body(int wide, const Argument *a) {
    const uint16_t *z = a[2].address;
    const float *x = a[3].address, *weight = a[4].address;
    const long features = a[7].size, whole = features / LANES * LANES, rest = features - whole;
    float *out = a[6].address;
    const v16 zero = {};
    (void)wide;
    for (long row = a[0].size; row < a[1].size; row++) {
        const uint16_t *t = z + 2 * row * features, *g = t + features;
        uint16_t last[2][LANES] = {};
        v16 sum = zero;
        memcpy(last[0], t + whole, rest * sizeof(uint16_t));
        memcpy(last[1], g + whole, rest * sizeof(uint16_t));
        for (long i = 0; i < features; i += LANES) {
            const int inside = i < whole;
            const v16 open = load_half(inside ? t + i : last[0]), gate = vsigmoid(load_half(inside ? g + i : last[1]));
            const v16 past = read_some(x + row * features + i, features - i), w = read_some(weight + i, features - i);
            sum += (gate * choose(open > zero, open, zero) + (1.0f - gate) * past) * w;
        }
        out[row] = sum16(sum) + (float)a[5].number;
    }
    return FINE;
}
KERNEL(half_head)
