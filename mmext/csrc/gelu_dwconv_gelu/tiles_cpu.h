// One tile of the op on a CPU: some rows, columns and channels of an image, row by row.
//
// Only three rows of what is between the layers exist at a time, in cache. Neighbouring tiles
// compute the borders that they share twice.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gelu_dwconv_gelu/gelu.h"

namespace mmext::gelu_dwconv_gelu {

constexpr int64_t kRows = 64, kColumns = 32, kDepth = 64;  // of a tile at most

// Where a tile is in an image of (height, width, channels).
struct Tile {
  int64_t height, width, channels;
  int64_t row, rows, column, columns, channel, depth;

  MMEXT_HOST_DEVICE int64_t offset(int64_t at_row, int64_t at_column) const {
    return (at_row * width + at_column) * channels + channel;
  }
};

// kDepth channels of a pixel; what a tile does not have of them is zero.
template <typename T>
using Pixel = T[kDepth];

// The nine weights of each channel, row by row, and its bias.
template <typename T>
using Filter = Pixel<T>[10];

template <typename T>
MMEXT_HOST_DEVICE void copy_pixel(const T* from, int64_t depth, T* to) {
  if (depth == kDepth) {  // the usual case, for which a constant is faster
    std::memcpy(to, from, sizeof(Pixel<T>));
  } else {
    std::copy_n(from, depth, to);
  }
}

// Reads a row of a tile and `halo` columns on both sides; zeros beyond the image.
template <typename T>
MMEXT_HOST_DEVICE void load_row(
    const Tile& tile, const T* image, int64_t row, int64_t halo, Pixel<T>* to) {
  const bool above_or_below = row < 0 || row >= tile.height;
  for (int64_t i = 0; i < tile.columns + 2 * halo; ++i) {
    const int64_t column = tile.column - halo + i;
    const bool outside = above_or_below || column < 0 || column >= tile.width;
    if (outside || tile.depth < kDepth) std::fill_n(to[i], kDepth, T(0));
    if (outside) continue;
    const T* from = image + tile.offset(row, column);
    copy_pixel(from, tile.depth, to[i]);
    prefetch(from + tile.width * tile.channels, tile.depth);
  }
}

template <typename T>
MMEXT_HOST_DEVICE void store_row(const Tile& tile, const Pixel<T>* from, int64_t row, T* image) {
  for (int64_t i = 0; i < tile.columns; ++i) {
    T* to = image + tile.offset(row, tile.column + i);
    copy_pixel(from[i], tile.depth, to);
    prefetch<true>(to + tile.width * tile.channels, tile.depth);
  }
}

// Three rows of an image, one above the other.
template <typename T>
struct Rows {
  const Pixel<T>* at[3];
};

// The convolution of `count` neighbouring pixels; their left neighbours are the first of the rows.
// The transposed convolution takes weights from the end and no bias.
template <bool transposed, int count, typename T>
MMEXT_HOST_DEVICE void convolve(
    const Rows<T>& rows, int64_t first, const Filter<T>& filter, Pixel<T>* out) {
#pragma omp simd
  for (int64_t c = 0; c < kDepth; ++c) {
    T sums[count];
    MMEXT_UNROLL
    for (int j = 0; j < count; ++j) sums[j] = transposed ? T(0) : filter[9][c];
    MMEXT_UNROLL
    for (int k = 0; k < 9; ++k) {
      const T weight = filter[transposed ? 8 - k : k][c];
      MMEXT_UNROLL
      for (int j = 0; j < count; ++j) sums[j] += weight * rows.at[k / 3][first + j + k % 3][c];
    }
    MMEXT_UNROLL
    for (int j = 0; j < count; ++j) out[first + j][c] = sums[j];
  }
}

template <bool transposed, typename T>
MMEXT_HOST_DEVICE void convolve_row(
    const Rows<T>& rows, int64_t columns, const Filter<T>& filter, Pixel<T>* out) {
  int64_t i = 0;
  for (; i + 4 <= columns; i += 4) convolve<transposed, 4>(rows, i, filter, out);
  for (; i < columns; ++i) convolve<transposed, 1>(rows, i, filter, out);
}

// Adds to the gradient of a filter what `count` pixels of the convolution have to do with it.
template <int count, typename T>
MMEXT_HOST_DEVICE void collect(
    const Rows<T>& rows, int64_t first, const Pixel<T>* grad, Filter<T>& sums) {
#pragma omp simd
  for (int64_t c = 0; c < kDepth; ++c) {
    MMEXT_UNROLL
    for (int k = 0; k < 9; ++k) {
      T sum = sums[k][c];
      MMEXT_UNROLL
      for (int j = 0; j < count; ++j) {
        sum += grad[first + j][c] * rows.at[k / 3][first + j + k % 3][c];
      }
      sums[k][c] = sum;
    }
    MMEXT_UNROLL
    for (int j = 0; j < count; ++j) sums[9][c] += grad[first + j][c];
  }
}

template <typename T>
MMEXT_HOST_DEVICE void collect_row(
    const Rows<T>& rows, int64_t columns, const Pixel<T>* grad, Filter<T>& sums) {
  int64_t i = 0;
  for (; i + 4 <= columns; i += 4) collect<4>(rows, i, grad, sums);
  for (; i < columns; ++i) collect<1>(rows, i, grad, sums);
}

template <typename T>
MMEXT_HOST_DEVICE void forward_tile(
    const Tile& tile, const T* x, const Filter<T>& filter, T* out) {
  Pixel<T> hidden[3][kColumns + 2], result[kColumns];  // rows by their number modulo 3
  for (int64_t row = tile.row - 1; row <= tile.row + tile.rows; ++row) {
    Pixel<T>* latest = hidden[(row + 3) % 3];
    load_row(tile, x, row, 1, latest);
    T* numbers = latest[0];
#pragma omp simd
    for (int64_t i = 0; i < (tile.columns + 2) * kDepth; ++i) numbers[i] = gelu(numbers[i]);
    if (row <= tile.row) continue;
    const Rows<T> rows{{hidden[(row + 1) % 3], hidden[(row + 2) % 3], latest}};
    convolve_row<false>(rows, tile.columns, filter, result);
    numbers = result[0];
#pragma omp simd
    for (int64_t i = 0; i < tile.columns * kDepth; ++i) numbers[i] = gelu(numbers[i]);
    store_row(tile, result, row - 1, out);
  }
}

// Three rows of everything that the backward pass makes, by their number modulo 3.
template <typename T>
struct BackwardRows {
  Pixel<T> hidden[3][kColumns + 4], slope[3][kColumns + 4];  // gelu(x) and its derivative
  Pixel<T> grad[3][kColumns + 2];                            // of the convolution
  Pixel<T> result[kColumns + 2];

  MMEXT_HOST_DEVICE static int64_t at(int64_t row) { return (row + 3) % 3; }

  MMEXT_HOST_DEVICE Rows<T> hidden_around(int64_t row, int64_t skip) const {
    return {{hidden[at(row - 1)] + skip, hidden[at(row)] + skip, hidden[at(row + 1)] + skip}};
  }

  MMEXT_HOST_DEVICE Rows<T> grad_around(int64_t row) const {
    return {{grad[at(row - 1)], grad[at(row)], grad[at(row + 1)]}};
  }
};

// Each turn reads a row of x, makes the gradient of the convolution one row above it, and with that
// the gradient of x two rows above. `sums` gets the gradient of the filter.
template <typename T>
MMEXT_HOST_DEVICE void backward_tile(
    const Tile& tile, const T* grad, const T* x, const Filter<T>& filter, T* x_grad,
    Filter<T>& sums) {
  BackwardRows<T> rows;
  for (int64_t row = tile.row - 2; row < tile.row + tile.rows + 2; ++row) {
    const int64_t latest = rows.at(row);
    load_row(tile, x, row, 2, rows.hidden[latest]);
    T* numbers = rows.hidden[latest][0];
    T* slopes = rows.slope[latest][0];
#pragma omp simd
    for (int64_t i = 0; i < (tile.columns + 4) * kDepth; ++i) {
      const ValueAndSlope<T> y = gelu_and_slope(numbers[i]);
      numbers[i] = y.value;
      slopes[i] = y.slope;
    }
    if (row < tile.row) continue;
    const int64_t middle = row - 1, last = row - 2;
    convolve_row<false>(rows.hidden_around(middle, 0), tile.columns + 2, filter, rows.result);
    Pixel<T>* middle_grad = rows.grad[rows.at(middle)];
    load_row(tile, grad, middle, 1, middle_grad);
    numbers = middle_grad[0];
    const T* values = rows.result[0];
#pragma omp simd
    for (int64_t i = 0; i < (tile.columns + 2) * kDepth; ++i) {
      numbers[i] *= gelu_and_slope(values[i]).slope;
    }
    if (middle >= tile.row && middle < tile.row + tile.rows) {
      collect_row(rows.hidden_around(middle, 1), tile.columns, middle_grad + 1, sums);
    }
    if (last < tile.row) continue;
    convolve_row<true>(rows.grad_around(last), tile.columns, filter, rows.result);
    numbers = rows.result[0];
    slopes = rows.slope[rows.at(last)][2];
#pragma omp simd
    for (int64_t i = 0; i < tile.columns * kDepth; ++i) numbers[i] *= slopes[i];
    store_row(tile, rows.result, last, x_grad);
  }
}

}  // namespace mmext::gelu_dwconv_gelu
