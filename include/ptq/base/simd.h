// Lets a hot loop use the vector instructions of the processor it runs on.
#pragma once

/// In front of a function with plain loops: it is compiled for x86-64-v4 (AVX-512), v3 (AVX2, FMA)
/// and the baseline, and the loader takes the best that the processor has. Results are the same, as
/// the compiler neither contracts nor reorders float operations (-ffp-contract=off). Not under
/// sanitizers, which instrument before the loader has chosen.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PTQ_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PTQ_VECTOR_CLONES
#endif
