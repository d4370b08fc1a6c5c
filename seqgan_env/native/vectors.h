/* Vectors of 16 floats, the register-blocked product that all kernels share, and the instructions they are compiled for. */
#ifndef SEQGAN_ENV_VECTORS_H
#define SEQGAN_ENV_VECTORS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef float unaligned16 __attribute__((vector_size(64), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum {
    LANES = 16,
    TILE = 64, /* columns of a packed weight that stand together: [tile][depth][TILE] */
    ROWS = 6   /* rows of a register block */
};

/* What a kernel is called with: an address or a size (a Python int), or a number (a Python float). */
typedef union {
    int64_t size;
    double number;
    void *address;
} Argument;

/* What a kernel returns: nothing wrong, or the Python error that is raised. */
enum { FINE = 0, NO_MEMORY = 1, BAD_INDEX = 2 };

INLINE v16 load(const float *p) { return *(const unaligned16 *)p; }
INLINE void store(float *p, v16 x) { *(unaligned16 *)p = x; }
INLINE v16 fill(float x) { return (v16){} + x; }
INLINE v16 choose(i16 mask, v16 yes, v16 no) { return (v16)((mask & (i16)yes) | (~mask & (i16)no)); }
INLINE long at_most(long a, long b) { return a < b ? a : b; }
INLINE long round_up(long size, long multiple) { return (size + multiple - 1) / multiple * multiple; }

/* The vector of `left` numbers from p on, of which only the first LANES count. */
INLINE v16 read_some(const float *p, long left) {
    v16 x = {};
    if (left >= LANES) return load(p);
    memcpy(&x, p, left * sizeof(float));
    return x;
}

INLINE void write_some(float *p, v16 x, long left) {
    if (left >= LANES) store(p, x);
    else memcpy(p, &x, left * sizeof(float));
}

INLINE float sum16(v16 x) {
    float part[8], sum = 0;
    UNROLL for (int i = 0; i < 8; i++) part[i] = x[i] + x[i + 8];
    UNROLL for (int i = 0; i < 8; i++) sum += part[i];
    return sum;
}

/* exp(x) to a relative 2e-7; exactly 0 below -86, so that minus infinity has no mass. Rounds x / ln 2 to an integer by adding
   1.5 * 2^23, which needs arithmetic that is not reassociated. */
INLINE v16 vexp(v16 x) {
    const i16 none = x < fill(-86.0f), huge = x > fill(88.0f);
    x = choose(none, fill(-86.0f), choose(huge, fill(88.0f), x));
    const v16 n = (x * 1.44269504089f + 12582912.0f) - 12582912.0f;
    const v16 f = (x - n * 0.693359375f) - n * -2.12194440e-4f; /* ln 2 in two parts */
    v16 p = f * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * (f * f) + (f + 1.0f);
    const i16 exponent = __builtin_convertvector(n, i16) << 23;
    return (v16)(((i16)p + exponent) & ~none);
}

INLINE v16 vsigmoid(v16 x) { return 1.0f / (1.0f + vexp(-x)); }
INLINE v16 vtanh(v16 x) { return 1.0f - 2.0f / (1.0f + vexp(2.0f * x)); }

/* sum[i][j] += sum over k of x[i][k * step] * w[k * pitch + 16 j ..], for i < rows, j < vectors and k < depth.
   At most `wide` vectors are worked on at once. rows, wide and vectors are constants where this is inlined. */
INLINE void multiply(
    int rows, int wide, int vectors, v16 (*sum)[4], const float *const *x, long step, const float *w, long pitch, long depth) {
    wide = wide < vectors ? wide : vectors;
    UNROLL for (int from = 0; from < vectors; from += wide) {
        v16 a[ROWS][4];
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++) a[i][j] = sum[i][from + j];
        for (long k = 0; k < depth; k++) {
            v16 column[4];
            UNROLL for (int j = 0; j < wide; j++) column[j] = load(w + k * pitch + LANES * (from + j));
            UNROLL for (int i = 0; i < rows; i++) {
                const float value = x[i][k * step];
                UNROLL for (int j = 0; j < wide; j++) a[i][j] += column[j] * value;
            }
        }
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++) sum[i][from + j] = a[i][j];
    }
}

/* Kernels are for processors with AVX-512, of which most of their speed comes: compiled for narrower vectors they are slower than
   torch. On others the module refuses to be imported. */
#if !defined(__x86_64__)
#error "the kernels need x86-64 and AVX-512; without them torch does the work"
#endif
#define AVX512 __attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")))
#define HAS_AVX512 \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && \
     __builtin_cpu_supports("avx512vl"))

enum { WIDE = 4 }; /* vectors of a row that the 32 registers hold for ROWS rows, beside the operands */

/* Defines `int name(const Argument *)` from `INLINE int name_body(int wide, const Argument *)`. */
#define KERNEL(name) \
    AVX512 int name(const Argument *a) { return name##_body(WIDE, a); }

/* For a function of its own, where registers are so scarce that what it would be inlined into takes some. */
#define APART AVX512 __attribute__((noinline)) static

#endif
