// What differs between compilers, in one place.

#pragma once

#include <cstdint>

// A function that host and device both compile.
#if defined(__CUDACC__)
#define MMEXT_HOST_DEVICE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define MMEXT_HOST_DEVICE inline __attribute__((always_inline))
#else
#define MMEXT_HOST_DEVICE inline
#endif

// [](...) MMEXT_INLINE_LAMBDA {...}: a lambda that is compiled for the CPU of its caller.
#if defined(__GNUC__)
#define MMEXT_INLINE_LAMBDA __attribute__((always_inline))
#else
#define MMEXT_INLINE_LAMBDA
#endif

// Before a short loop that is to be written out turn by turn.
#if defined(__CUDACC__) || defined(__clang__)
#define MMEXT_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define MMEXT_UNROLL _Pragma("GCC unroll 16")
#else
#define MMEXT_UNROLL
#endif

// One binary for all CPUs: the function is compiled twice and the loader picks. GCC clones no
// templates, so an inner loop that is one needs an entry for each dtype.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MMEXT_MULTIVERSION __attribute__((target_clones("arch=x86-64-v3", "default")))
// Without instructions that multiply and add at once, which no pragma keeps GCC from using.
#define MMEXT_MULTIVERSION_UNFUSED __attribute__((target_clones("avx2", "default")))
#else
#define MMEXT_MULTIVERSION
#define MMEXT_MULTIVERSION_UNFUSED
#endif

// The first line of a function that calls product().
#if defined(__clang__)
#define MMEXT_UNFUSED _Pragma("clang fp contract(off)")
#else
#define MMEXT_UNFUSED
#endif

namespace mmext {

// A product that is rounded before it is added: one instruction for both, which compilers use where
// the CPU has it, decides near ties differently. What calls it is compiled with
// MMEXT_MULTIVERSION_UNFUSED, and its first line is MMEXT_UNFUSED.
template <typename T>
MMEXT_HOST_DEVICE T product(T a, T b) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == sizeof(double)) {
    return __dmul_rn(a, b);
  } else {
    return __fmul_rn(a, b);
  }
#else
  return a * b;
#endif
}

// Asks for elements that will be read, or written; they need not exist.
template <bool write = false, typename T>
MMEXT_HOST_DEVICE void prefetch([[maybe_unused]] const T* from, [[maybe_unused]] int64_t count) {
#if defined(__GNUC__)
  constexpr int64_t cache_line = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += cache_line) __builtin_prefetch(from + i, write);
#endif
}

}  // namespace mmext
