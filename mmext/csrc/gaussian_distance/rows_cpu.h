// Rows of boxes on a CPU: which count, and their copies as columns.

#pragma once

#include <cstdint>

#include "portability.h"

namespace mmext::gaussian_distance {

constexpr int kBlock = 128;  // rows; the columns of a block of doubles still fit a level 1 cache

template <typename T>
using Columns = T[5][kBlock];

// Copies rows that lie one after the other into columns, and asks for the next ones: by the time a
// block is computed, a CPU no longer does on its own. (One loop for each column, but one for all in
// the function after it, is what compilers do best.)
template <int kColumns, typename T>
MMEXT_HOST_DEVICE void load_rows(const T* rows, int count, Columns<T>& columns) {
  prefetch(rows + kBlock * kColumns, kBlock * kColumns);
  for (int k = 0; k < kColumns; ++k) {
#pragma omp simd
    for (int i = 0; i < count; ++i) columns[k][i] = rows[i * kColumns + k];
  }
}

template <int kColumns, typename T>
MMEXT_HOST_DEVICE void store_rows(const Columns<T>& columns, int count, T* rows) {
  prefetch<true>(rows + kBlock * kColumns, kBlock * kColumns);
#pragma omp simd
  for (int i = 0; i < count; ++i) {
    for (int k = 0; k < kColumns; ++k) rows[i * kColumns + k] = columns[k][i];
  }
}

// Copies rows that are anywhere into columns, and back.
template <int kColumns, typename T>
void gather(const T* rows, const int64_t* index, int count, Columns<T>& columns) {
  for (int i = 0; i < count; ++i) {
    for (int k = 0; k < kColumns; ++k) columns[k][i] = rows[index[i] * kColumns + k];
  }
}

template <int kColumns, typename T>
void scatter(const Columns<T>& columns, const int64_t* index, int count, T* rows) {
  for (int i = 0; i < count; ++i) {
    for (int k = 0; k < kColumns; ++k) rows[index[i] * kColumns + k] = columns[k][i];
  }
}

// Whether rows lie one after the other; indices ascend.
inline bool are_neighbours(const int64_t* index, int count) {
  return index[count - 1] - index[0] == count - 1;
}

// How many weights are not 0.
template <typename T>
int count_live(const T* weight, int rows) {
  int live = 0;
  for (int i = 0; i < rows; ++i) live += weight[i] != T(0);
  return live;
}

// Calls flush(indices, count) for all rows of [begin, end) whose weight is not 0, in order and up to
// kBlock at a time, and clear(first row, rows) before for stretches in which there are others. No
// weights stand for ones.
template <typename T, typename Flush, typename Clear>
void for_each_block(
    const T* weight, int64_t begin, int64_t end, const Flush& flush, const Clear& clear) {
  int64_t index[kBlock + 1];
  int count = 0;
  for (int64_t first = begin; first < end; first += kBlock) {
    const int rows = static_cast<int>(end - first < kBlock ? end - first : kBlock);
    const int live = weight ? count_live(weight + first, rows) : rows;
    if (live < rows) clear(first, rows);
    if (live == 0) continue;
    if (count + live > kBlock) {
      flush(index, count);
      count = 0;
    }
    if (live == rows) {
      for (int i = 0; i < rows; ++i) index[count + i] = first + i;
    } else {
      // Rows that do not count are overwritten by the next one that does.
      for (int i = 0, next = count; i < rows; ++i) {
        index[next] = first + i;
        next += weight[first + i] != T(0);
      }
    }
    count += live;
  }
  if (count > 0) flush(index, count);
}

}  // namespace mmext::gaussian_distance
