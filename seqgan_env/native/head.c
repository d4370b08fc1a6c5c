/* The discriminator behind its features: a highway layer, g max(0, t) + (1 - g) x with t and the
   logit of g multiplied before, dropout, and an output layer with one number. F features, B
   sequences. */
#include "vectors.h"

enum { HALF = LANES / 2 }; /* integers of 64 bits in a vector */

typedef uint64_t ulongs __attribute__((vector_size(8 * HALF)));
typedef uint64_t unaligned_ulongs __attribute__((vector_size(8 * HALF), aligned(8), may_alias));
typedef int64_t slongs __attribute__((vector_size(8 * HALF)));
typedef float half_vec __attribute__((vector_size(4 * HALF)));

/* See DROPOUT; no keys, nothing is dropped. */
typedef struct {
    const uint64_t *keys, *counters;
    float share;
} Dropout;

/* The finaliser of SplitMix64, and of its result the upper 24 bits as a number in 0..1. */
INLINE half_vec draw(ulongs x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    x ^= x >> 31;
    return __builtin_convertvector((slongs)(x >> 40), half_vec) * 0x1p-24f;
}

/* What the values of LANES sequences, from `b` on, are multiplied with. */
INLINE vec kept(const Dropout *dropout, long feature, long b) {
    half_vec half[2];
    vec uniform;
    if (!dropout->keys) return fill(1.0f);
    UNROLL_FOR (int i = 0; i < 2; i++)
        half[i] = draw(
            dropout->keys[feature] ^ *(const unaligned_ulongs *)(dropout->counters + b + HALF * i)
        );
    memcpy(&uniform, half, sizeof uniform);
    return choose(
        uniform >= fill(dropout->share), fill(1.0f / (1.0f - dropout->share)), fill(0.0f)
    );
}

KERNEL int head(const head_arguments *a) {
    const float *z = a->z, *x = a->x;
    const Dropout dropout = {(const uint64_t *)a->keys, (const uint64_t *)a->counters, a->share};
    const long features = a->range.size, batch = a->batch;
    float *out = a->out;
    const vec zero = {};
    for (long f = a->range.begin; f < a->range.end; f++)
        for (long b = 0; b < batch; b += LANES) {
            const long at = f * batch + b, left = batch - b;
            const vec t = read_some(z + at, left);
            const vec gate = vsigmoid(read_some(z + features * batch + at, left));
            const vec value =
                gate * choose(t > zero, t, zero) + (1.0f - gate) * read_some(x + at, left);
            write_some(out + at, value * kept(&dropout, f, b), left);
        }
    return FINE;
}

KERNEL int head_gradient(const head_gradient_arguments *a) {
    const float *z = a->z, *x = a->x, *weight = a->weight, *grad = a->grad;
    const Dropout dropout = {(const uint64_t *)a->keys, (const uint64_t *)a->counters, a->share};
    const long features = a->range.size, batch = a->batch, gates = features * batch;
    float *of_z = a->of_z, *of_x = a->of_x, *of_bias = a->of_bias, *of_weight = a->of_weight;
    const vec zero = {};
    for (long f = a->range.begin; f < a->range.end; f++) {
        vec of_t_sum = {}, of_g_sum = {}, of_w_sum = {};
        for (long b = 0; b < batch; b += LANES) {
            const long at = f * batch + b, left = batch - b;
            const vec t = read_some(z + at, left), gate = vsigmoid(read_some(z + gates + at, left));
            const vec open = choose(t > zero, t, zero), past = read_some(x + at, left);
            const vec given = read_some(grad + b, left) * kept(&dropout, f, b);
            const vec g = given * weight[f];
            const vec of_t = choose(t > zero, g * gate, zero);
            const vec of_g = g * (open - past) * gate * (1.0f - gate);
            write_some(of_z + at, of_t, left);
            write_some(of_z + gates + at, of_g, left);
            write_some(of_x + at, g * (1.0f - gate), left);
            of_t_sum += of_t;
            of_g_sum += of_g;
            of_w_sum += given * (gate * open + (1.0f - gate) * past);
        }
        of_bias[f] = sum_lanes(of_t_sum);
        of_bias[features + f] = sum_lanes(of_g_sum);
        of_weight[f] = sum_lanes(of_w_sum);
    }
    return FINE;
}

typedef uint16_t halves_vec __attribute__((vector_size(2 * LANES)));
typedef uint32_t uints __attribute__((vector_size(4 * LANES)));

/* LANES numbers in bfloat16, which are the upper halves of floats. */
INLINE vec load_half(const uint16_t *p) {
    halves_vec x;
    memcpy(&x, p, sizeof x);
    return (vec)(__builtin_convertvector(x, uints) << 16);
}

/* The last vector of a row is read from a copy: there may be any number of features. */
KERNEL int half_head(const half_head_arguments *a) {
    const uint16_t *z = a->z;
    const float *x = a->x, *weight = a->weight;
    const long features = a->num_features;
    const long whole = features / LANES * LANES;
    const long rest = features - whole;
    float *out = a->out;
    const vec zero = {};
    for (long row = a->range.begin; row < a->range.end; row++) {
        const uint16_t *t = z + 2 * row * features, *g = t + features;
        uint16_t last[2][LANES] = {};
        vec sum = zero;
        memcpy(last[0], t + whole, rest * sizeof(uint16_t));
        memcpy(last[1], g + whole, rest * sizeof(uint16_t));
        for (long i = 0; i < features; i += LANES) {
            const int inside = i < whole;
            const vec open = load_half(inside ? t + i : last[0]);
            const vec gate = vsigmoid(load_half(inside ? g + i : last[1]));
            const vec past = read_some(x + row * features + i, features - i);
            const vec w = read_some(weight + i, features - i);
            sum += (gate * choose(open > zero, open, zero) + (1.0f - gate) * past) * w;
        }
        out[row] = sum_lanes(sum) + a->bias;
    }
    return FINE;
}
