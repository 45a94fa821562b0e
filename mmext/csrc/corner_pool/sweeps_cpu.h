// The sweeps of corner pooling on a CPU, as vector instructions.
//
// Lines that lie side by side in memory (`Bundle`) are swept by loops over lines, which compilers
// vectorise. Of lines that lie one after the other (`Rows`) as many are taken as a vector has
// places; squares of their elements are transposed in registers.

#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "corner_pool/corner_pool.h"

namespace mmext::corner_pool {

constexpr int64_t kBundle = 256;  // lines side by side that are swept together at most
constexpr int64_t kStrips = 4;    // rows are swept by so many vectors, to keep a core busy

// Vectors of 16 bytes, which every CPU has.
template <typename T>
struct VectorOf {
#if defined(__GNUC__) && __has_builtin(__builtin_shufflevector)
  typedef T type __attribute__((vector_size(16)));  // gcc drops the attribute of an alias template
#else
  typedef T type;
#endif
};

template <typename T>
using Lanes = typename VectorOf<T>::type;

// Each step of a sweep prefetches a piece of what the next call works on, in the order of memory.
// CPUs do so on their own for sweeps that run forwards through a whole tensor, but not for others:
// where tensors do not fit the cache this halves the time.

// Line j has element i at i * stride + j; `next` is where the bundle of the next call begins.
struct Bundle {
  int64_t length, lines, stride, next;
  bool backwards;

  MMEXT_HOST_DEVICE Bundle reversed() const { return {length, lines, stride, next, !backwards}; }

  // Calls visit(position of element i of line 0, position of what to prefetch), in the order of the
  // sweep.
  template <typename Visit>
  MMEXT_HOST_DEVICE void sweep(const Visit& visit) const {
    const int64_t step = backwards ? -stride : stride;
    int64_t at = backwards ? (length - 1) * stride : 0, later = next;
    for (int64_t i = 0; i < length; ++i, at += step, later += stride) visit(at, later);
  }
};

template <typename T>
MMEXT_HOST_DEVICE void column_maxima(const Bundle& bundle, const T* x, T* out) {
  T lowest[kBundle];
  std::fill_n(lowest, bundle.lines, T(-INFINITY));
  const T* best = lowest;
  bundle.sweep([&](int64_t at, int64_t later) MMEXT_INLINE_LAMBDA {
    prefetch(x + later, bundle.lines);
    prefetch<true>(out + later, bundle.lines);
#pragma omp simd
    for (int64_t j = 0; j < bundle.lines; ++j) out[at + j] = maximum(x[at + j], best[j]);
    best = out + at;
  });
}

template <typename T>
MMEXT_HOST_DEVICE void column_gradients(const Bundle& bundle, const T* grad, const T* x, T* out) {
  T best[kBundle], sum[kBundle];
  std::fill_n(best, bundle.lines, T(-INFINITY));
  std::fill_n(sum, bundle.lines, T(0));
  T* flags = out;  // until the second sweep overwrites them
  bundle.sweep([&](int64_t at, int64_t later) MMEXT_INLINE_LAMBDA {
    prefetch(x + later, bundle.lines);
#pragma omp simd
    for (int64_t j = 0; j < bundle.lines; ++j) {
      const bool credited = takes_over(x[at + j], best[j]);
      best[j] = credited ? x[at + j] : best[j];
      flags[at + j] = credited ? T(1) : T(0);
    }
  });
  bundle.reversed().sweep([&](int64_t at, int64_t later) MMEXT_INLINE_LAMBDA {
    prefetch(grad + later, bundle.lines);
    prefetch<true>(out + later, bundle.lines);
#pragma omp simd
    for (int64_t j = 0; j < bundle.lines; ++j) {
      out[at + j] = collect(flags[at + j] != T(0), grad[at + j], sum[j]);
    }
  });
}

// As many elements of as many lines as V has places: element i of all lines is at[i]. V is a vector
// or, for lines that do not fill one, a number.
template <typename V, typename T>
struct Square {
  static constexpr int64_t n = sizeof(V) / sizeof(T);
  V at[n];

  // `stride` is the distance of the lines. A square that is not whole has `elements` of each line
  // in memory; the others read as `rest`.
  template <bool whole>
  MMEXT_HOST_DEVICE static Square load(
      std::bool_constant<whole>, const T* from, int64_t stride, int64_t elements, T rest) {
    Square square;
    if constexpr (whole) {
#pragma GCC unroll 4
      for (int64_t i = 0; i < n; ++i) std::memcpy(&square.at[i], from + i * stride, sizeof(V));
    } else {
      T lines[n * n];
      std::fill_n(lines, n * n, rest);
      for (int64_t i = 0; i < n; ++i) std::copy_n(from + i * stride, elements, lines + i * n);
      std::memcpy(square.at, lines, sizeof(lines));
    }
    return square.transposed();
  }

  template <bool whole>
  MMEXT_HOST_DEVICE void store(
      std::bool_constant<whole>, T* to, int64_t stride, int64_t elements) const {
    const Square square = transposed();
    if constexpr (whole) {
#pragma GCC unroll 4
      for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * stride, &square.at[i], sizeof(V));
    } else {
      T lines[n * n];
      std::memcpy(lines, square.at, sizeof(lines));
      for (int64_t i = 0; i < n; ++i) std::copy_n(lines + i * n, elements, to + i * stride);
    }
  }

  MMEXT_HOST_DEVICE Square transposed() const {
    if constexpr (n == 1) {
      return *this;
    } else if constexpr (n == 2) {
      return {{
          __builtin_shufflevector(at[0], at[1], 0, 2),
          __builtin_shufflevector(at[0], at[1], 1, 3)}};
    } else {
      static_assert(n == 4);
      return riffled().riffled();
    }
  }

  // The elements in the order in which two halves of a deck of cards fall together.
  MMEXT_HOST_DEVICE Square riffled() const {
    return {{
        __builtin_shufflevector(at[0], at[2], 0, 4, 1, 5),
        __builtin_shufflevector(at[0], at[2], 2, 6, 3, 7),
        __builtin_shufflevector(at[1], at[3], 0, 4, 1, 5),
        __builtin_shufflevector(at[1], at[3], 2, 6, 3, 7)}};
  }

  // Calls visit(element i of all lines), in the order of a sweep.
  template <bool backwards, typename Visit>
  MMEXT_HOST_DEVICE void sweep(const Visit& visit) {
#pragma GCC unroll 4
    for (int64_t i = 0; i < n; ++i) visit(at[backwards ? n - 1 - i : i]);
  }
};

// Lines one after the other: `strips` times as many as V has places.
template <typename V, typename T>
struct Rows {
  static constexpr int64_t n = Square<V, T>::n;
  int64_t length, strips;

  // Calls visit(whole, strip, first, elements) in the order of the sweep, for squares that begin at
  // element `first` of the lines of a strip, and ahead(position, count) for what to prefetch.
  template <bool backwards, typename Ahead, typename Visit>
  MMEXT_HOST_DEVICE void sweep(const Ahead& ahead, const Visit& visit) const {
    const int64_t left_over = length % n, end = length - left_over;
    const auto visit_strips = [&](auto whole, int64_t first, int64_t elements) MMEXT_INLINE_LAMBDA {
      for (int64_t strip = 0; strip < strips; ++strip) visit(whole, strip, first, elements);
    };
    if (backwards && left_over > 0) visit_strips(std::false_type(), end, left_over);
    for (int64_t i = 0; i < end; i += n) {
      ahead((length + i) * strips * n, strips * n * n);
      visit_strips(std::true_type(), backwards ? end - n - i : i, n);
    }
    if (!backwards && left_over > 0) visit_strips(std::false_type(), end, left_over);
  }

  MMEXT_HOST_DEVICE int64_t offset(int64_t strip, int64_t first) const {
    return strip * n * length + first;
  }
};

template <bool backwards, typename V, typename T>
MMEXT_HOST_DEVICE void row_maxima(const Rows<V, T>& rows, const T* x, T* out) {
  V best[kStrips];
  std::fill_n(best, kStrips, V{} - T(INFINITY));
  rows.template sweep<backwards>(
      [&](int64_t later, int64_t count) MMEXT_INLINE_LAMBDA {
        prefetch(x + later, count);
        prefetch<true>(out + later, count);
      },
      [&](auto whole, int64_t strip, int64_t first, int64_t elements) MMEXT_INLINE_LAMBDA {
        const int64_t offset = rows.offset(strip, first);
        auto square = Square<V, T>::load(whole, x + offset, rows.length, elements, -INFINITY);
        square.template sweep<backwards>(
            [&](V& value) MMEXT_INLINE_LAMBDA { best[strip] = value = maximum(value, best[strip]); });
        square.store(whole, out + offset, rows.length, elements);
      });
}

// `flags` has room for kStrips squares for each of the n elements of a line, or part of them.
template <bool backwards, typename V, typename T>
MMEXT_HOST_DEVICE void row_gradients(
    const Rows<V, T>& rows, const T* grad, const T* x, T* flags, T* out) {
  V best[kStrips], sum[kStrips];
  std::fill_n(best, kStrips, V{} - T(INFINITY));
  std::fill_n(sum, kStrips, V{});
  constexpr int64_t n = Square<V, T>::n;
  rows.template sweep<backwards>(
      [&](int64_t later, int64_t count) MMEXT_INLINE_LAMBDA { prefetch(x + later, count); },
      [&](auto whole, int64_t strip, int64_t first, int64_t elements) MMEXT_INLINE_LAMBDA {
        const int64_t offset = rows.offset(strip, first);
        auto square = Square<V, T>::load(whole, x + offset, rows.length, elements, -INFINITY);
        square.template sweep<backwards>([&](V& value) MMEXT_INLINE_LAMBDA {
          const auto credited = takes_over(value, best[strip]);
          best[strip] = credited ? value : best[strip];
          value = credited ? V{} + T(1) : V{};
        });
        std::memcpy(flags + (first * kStrips + strip * n) * n, square.at, sizeof(square));
      });
  rows.template sweep<!backwards>(
      [&](int64_t later, int64_t count) MMEXT_INLINE_LAMBDA {
        prefetch(grad + later, count);
        prefetch<true>(out + later, count);
      },
      [&](auto whole, int64_t strip, int64_t first, int64_t elements) MMEXT_INLINE_LAMBDA {
        const int64_t offset = rows.offset(strip, first);
        auto square = Square<V, T>::load(whole, grad + offset, rows.length, elements, 0);
        const T* flag = flags + (first * kStrips + strip * n) * n;
        if constexpr (!backwards) flag += (n - 1) * n;
        square.template sweep<!backwards>([&](V& value) MMEXT_INLINE_LAMBDA {
          V credited;
          std::memcpy(&credited, flag, sizeof(credited));
          flag += backwards ? n : -n;
          value = collect(credited != V{}, value, sum[strip]);
        });
        square.store(whole, out + offset, rows.length, elements);
      });
}

// Up to kTileLines lines one after the other, the work of one call.
struct Tile {
  int64_t length, lines;
  bool backwards;
};

template <typename T>
constexpr int64_t kTileLines = kStrips * sizeof(Lanes<T>) / sizeof(T);

// The elements of the flags of a tile.
template <typename T>
int64_t flags_of_tile(int64_t length) {
  constexpr int64_t n = Square<Lanes<T>, T>::n;
  return (length + n - 1) / n * n * kTileLines<T>;
}

// Calls visit(rows, offset of their first element, whether the sweep is backwards): for the lines
// that fill vectors and for those left over.
template <typename T, typename Visit>
MMEXT_HOST_DEVICE void visit_rows(const Tile& tile, const Visit& visit) {
  constexpr int64_t n = Square<Lanes<T>, T>::n;
  const Rows<Lanes<T>, T> vectors{tile.length, tile.lines / n};
  const Rows<T, T> left_over{tile.length, tile.lines % n};
  const int64_t offset = (tile.lines - left_over.strips) * tile.length;
  if (tile.backwards) {
    visit(vectors, 0, std::true_type());
    visit(left_over, offset, std::true_type());
  } else {
    visit(vectors, 0, std::false_type());
    visit(left_over, offset, std::false_type());
  }
}

template <typename T>
MMEXT_HOST_DEVICE void tile_maxima(const Tile& tile, const T* x, T* out) {
  visit_rows<T>(tile, [&](const auto& rows, int64_t offset, auto backwards) MMEXT_INLINE_LAMBDA {
    row_maxima<backwards.value>(rows, x + offset, out + offset);
  });
}

template <typename T>
MMEXT_HOST_DEVICE void tile_gradients(
    const Tile& tile, const T* grad, const T* x, T* flags, T* out) {
  visit_rows<T>(tile, [&](const auto& rows, int64_t offset, auto backwards) MMEXT_INLINE_LAMBDA {
    row_gradients<backwards.value>(rows, grad + offset, x + offset, flags, out + offset);
  });
}

}  // namespace mmext::corner_pool
