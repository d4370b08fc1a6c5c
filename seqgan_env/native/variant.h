/* The processor that this build of the kernels is for. The same sources are built once for each,
   with -DVARIANT_... */
#ifndef SEQGAN_ENV_VARIANT_H
#define SEQGAN_ENV_VARIANT_H

#if defined(VARIANT_AVX512)
#define VARIANT avx512
#define TARGET "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl"
#define IS_SUPPORTED \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && \
     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
enum {
    LANES = 16, /* floats of a vector */
    WIDE = 4    /* vectors of a row that the 32 registers hold for ROWS rows, beside the operands */
};
#elif defined(VARIANT_AVX2)
#define VARIANT avx2
#define TARGET "avx2,fma"
#define IS_SUPPORTED (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
enum {
    LANES = 8,
    WIDE = 2 /* of 16 registers */
};
#elif defined(VARIANT_NEON)
#define VARIANT neon
#ifdef __aarch64__ /* every one of these has NEON, so that there is no target to ask for */
#define IS_SUPPORTED 1
#else /* a universal build for macOS compiles the sources for Intel's processors too */
#define IS_SUPPORTED 0
#endif
enum {
    LANES = 4,
    WIDE = 4 /* of 32 registers */
};
#else
#error "define VARIANT_AVX512, VARIANT_AVX2 or VARIANT_NEON"
#endif

#endif
