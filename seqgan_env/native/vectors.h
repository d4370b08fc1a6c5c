/* Vectors of LANES floats, the register-blocked product that all kernels share, and the
   instructions they are compiled for. */
#ifndef SEQGAN_ENV_VECTORS_H
#define SEQGAN_ENV_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* For kernels, which are compiled for the variant's processor; the module itself, which asks for
   it, is compiled for any. */
#ifdef TARGET
#define KERNEL __attribute__((target(TARGET)))
#else
#define KERNEL
#endif

/* Clang passes vectors only between functions for the same processor, even where it inlines them.
   GCC makes other code if asked for it. */
#ifdef __clang__
#define INLINE KERNEL static inline __attribute__((always_inline))
#else
#define INLINE static inline __attribute__((always_inline))
#endif
#define UNROLL_FOR(...) _Pragma("GCC unroll 16") for (__VA_ARGS__)

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const unaligned *)p; }
INLINE void store(float *p, vec x) { *(unaligned *)p = x; }
INLINE vec fill(float x) { return (vec){} + x; }
INLINE vec choose(ivec mask, vec yes, vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}
INLINE long at_most(long a, long b) { return a < b ? a : b; }

/* The vector of `left` numbers from p on, of which only the first LANES count. */
INLINE vec read_some(const float *p, long left) {
    vec x = {};
    if (left >= LANES) return load(p);
    memcpy(&x, p, left * sizeof(float));
    return x;
}

INLINE void write_some(float *p, vec x, long left) {
    if (left >= LANES)
        store(p, x);
    else
        memcpy(p, &x, left * sizeof(float));
}

INLINE float sum_lanes(vec x) {
    float part[LANES / 2], sum = 0;
    UNROLL_FOR (int i = 0; i < LANES / 2; i++) part[i] = x[i] + x[i + LANES / 2];
    UNROLL_FOR (int i = 0; i < LANES / 2; i++) sum += part[i];
    return sum;
}

/* exp(x) to a relative 2e-7; exactly 0 below -86, so that minus infinity has no mass. Rounds x / ln
   2 to an integer by adding 1.5 * 2^23, which needs arithmetic that is not reassociated. */
INLINE vec vexp(vec x) {
    const ivec none = x < fill(-86.0f);
    const ivec huge = x > fill(88.0f);
    x = choose(none, fill(-86.0f), choose(huge, fill(88.0f), x));
    const vec n = (x * 1.44269504089f + 12582912.0f) - 12582912.0f;
    const vec f = (x - n * 0.693359375f) - n * -2.12194440e-4f; /* ln 2 in two parts */
    vec p = f * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * (f * f) + (f + 1.0f);
    const ivec exponent = __builtin_convertvector(n, ivec) << 23;
    return (vec)(((ivec)p + exponent) & ~none);
}

INLINE vec vsigmoid(vec x) { return 1.0f / (1.0f + vexp(-x)); }
INLINE vec vtanh(vec x) { return 1.0f - 2.0f / (1.0f + vexp(2.0f * x)); }

/* sum[i][j] += sum over k of x[i][k * step] * w[k * pitch + LANES j ..], for i < rows, j < vectors
   and k < depth, at most WIDE vectors at once. rows and vectors are constants where this is
   inlined. */
INLINE void multiply(
    int rows, int vectors, vec (*sum)[4], const float *const *x, long step, const float *w,
    long pitch, long depth
) {
    UNROLL_FOR (int from = 0; from < vectors; from += WIDE) {
        const int wide =
            WIDE < vectors - from ? WIDE : vectors - from; /* not beyond the last vector of a row */
        vec a[ROWS][4];
        UNROLL_FOR (int i = 0; i < rows; i++)
            UNROLL_FOR (int j = 0; j < wide; j++) a[i][j] = sum[i][from + j];
        for (long k = 0; k < depth; k++) {
            vec column[4];
            UNROLL_FOR (int j = 0; j < wide; j++)
                column[j] = load(w + k * pitch + LANES * (from + j));
            UNROLL_FOR (int i = 0; i < rows; i++) {
                const float value = x[i][k * step];
                UNROLL_FOR (int j = 0; j < wide; j++) a[i][j] += column[j] * value;
            }
        }
        UNROLL_FOR (int i = 0; i < rows; i++)
            UNROLL_FOR (int j = 0; j < wide; j++) sum[i][from + j] = a[i][j];
    }
}

/* Not inlined: the caller would spill its accumulators. */
#define APART KERNEL __attribute__((noinline)) static

#endif
