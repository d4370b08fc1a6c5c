/* Vectors of 16 floats, the register-blocked product that all kernels share, and the choice of instructions at run time. */
#ifndef SEQGAN_ENV_VECTORS_H
#define SEQGAN_ENV_VECTORS_H

#include <stdint.h>
#include <stdlib.h>

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef float unaligned16 __attribute__((vector_size(64), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum {
    LANES = 16,
    TILE = 64, /* columns of a packed weight that stand together: [tile][depth][TILE] */
    ROWS = 6   /* rows of a register block: 6 x 4 vectors of AVX-512, or 6 x 1 pairs of AVX2, leave room for the operands */
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

/* Instruction sets that kernels are compiled for. */
enum { PLAIN, AVX2, AVX512 };

/* sum[i][j] += sum over k of x[i][k * step] * w[k * pitch + 16 j ..], for i < rows, j < vectors and k < depth.
   rows, isa and vectors are constants where this is inlined. */
INLINE void multiply(
    int rows, int isa, int vectors, v16 (*sum)[4], const float *const *x, long step, const float *w, long pitch, long depth) {
    const int wide = isa == AVX512 ? vectors : 1; /* vectors at once: as many as the registers hold */
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

/* KERNEL(name) defines `int name(const Argument *)` from `INLINE int name_body(int isa, const Argument *)`, compiled for several
   instruction sets; the best one that the processor has is called. OUT_OF_LINE(name, A, B) defines `void name(int isa, A, B)` from
   `INLINE void name_body(int isa, A, B)`, a function of its own for each, where registers are so scarce that what it is inlined
   into would take some. */
#if defined(__x86_64__)
#define WITH_AVX512 __attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")))
#define WITH_AVX2 __attribute__((target("avx2,fma")))
#define HAS_AVX512 \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && \
     __builtin_cpu_supports("avx512vl"))
#define HAS_AVX2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#else
#define WITH_AVX512
#define WITH_AVX2
#define HAS_AVX512 0
#define HAS_AVX2 0
#endif
#define KERNEL(name) \
    WITH_AVX512 static int name##_avx512(const Argument *a) { return name##_body(AVX512, a); } \
    WITH_AVX2 static int name##_avx2(const Argument *a) { return name##_body(AVX2, a); } \
    static int name##_plain(const Argument *a) { return name##_body(PLAIN, a); } \
    int name(const Argument *a) { return HAS_AVX512 ? name##_avx512(a) : HAS_AVX2 ? name##_avx2(a) : name##_plain(a); }
#define OUT_OF_LINE(name, A, B) \
    WITH_AVX512 __attribute__((noinline)) static void name##_avx512(A a, B b) { name##_body(AVX512, a, b); } \
    WITH_AVX2 __attribute__((noinline)) static void name##_avx2(A a, B b) { name##_body(AVX2, a, b); } \
    __attribute__((noinline)) static void name##_plain(A a, B b) { name##_body(PLAIN, a, b); } \
    INLINE void name(int isa, A a, B b) { \
        isa == AVX512 ? name##_avx512(a, b) : isa == AVX2 ? name##_avx2(a, b) : name##_plain(a, b); \
    }

#endif
