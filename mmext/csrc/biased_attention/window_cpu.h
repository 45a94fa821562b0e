// Attention of one window and head on a CPU: everything it makes stays in cache.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "elementary.h"

namespace mmext::biased_attention {

// A vector register of AVX2, or two of SSE; GCC and Clang know arithmetic with it.
template <typename T>
struct Register {
  typedef T Value __attribute__((vector_size(32)));
  typedef T Memory __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));
  static constexpr int64_t kCount = 32 / sizeof(T);
};

constexpr int64_t kRows = 4, kRegisters = 2;  // of a block of a product
template <typename T>
constexpr int64_t kColumns = kRegisters* Register<T>::kCount;

MMEXT_HOST_DEVICE int64_t round_up(int64_t count, int64_t step) {
  return (count + step - 1) / step * step;
}

// Tokens of a head: `row` numbers from one to the next.
template <typename T>
struct Tokens {
  T* at;
  int64_t row;
};

struct Size {
  int64_t queries, keys, depth;
};

// out = left right, (rows, inner) times (inner, columns). An element of `left` is at
// i * left_row + k * left_column, so a transposed one costs nothing; `rows` and `columns` are
// whole blocks.
template <typename T>
MMEXT_HOST_DEVICE void multiply(
    const T* left, int64_t left_row, int64_t left_column, const T* right, int64_t rows,
    int64_t inner, int64_t columns, T* out) {
  using Value = typename Register<T>::Value;
  using Memory = typename Register<T>::Memory;
  constexpr int64_t count = Register<T>::kCount;
  for (int64_t i = 0; i < rows; i += kRows) {
    for (int64_t j = 0; j < columns; j += kColumns<T>) {
      Value sums[kRows][kRegisters] = {};
      const T* from = left + i * left_row;
      for (int64_t k = 0; k < inner; ++k, from += left_column) {
        Value factors[kRegisters];
        MMEXT_UNROLL
        for (int64_t r = 0; r < kRegisters; ++r) {
          factors[r] = *reinterpret_cast<const Memory*>(right + k * columns + j + r * count);
        }
        MMEXT_UNROLL
        for (int64_t row = 0; row < kRows; ++row) {
          const T factor = from[row * left_row];
          MMEXT_UNROLL
          for (int64_t r = 0; r < kRegisters; ++r) sums[row][r] += factor * factors[r];
        }
      }
      MMEXT_UNROLL
      for (int64_t row = 0; row < kRows; ++row) {
        MMEXT_UNROLL
        for (int64_t r = 0; r < kRegisters; ++r) {
          *reinterpret_cast<Memory*>(out + (i + row) * columns + j + r * count) = sums[row][r];
        }
      }
    }
  }
}

// Largest of `count` numbers, a whole number of registers.
template <typename T>
MMEXT_HOST_DEVICE T largest(const T* numbers, int64_t count) {
  using Value = typename Register<T>::Value;
  using Memory = typename Register<T>::Memory;
  Value most = *reinterpret_cast<const Memory*>(numbers);
  for (int64_t i = Register<T>::kCount; i < count; i += Register<T>::kCount) {
    const Value next = *reinterpret_cast<const Memory*>(numbers + i);
    most = next > most ? next : most;
  }
  T result = most[0];
  for (int64_t i = 1; i < Register<T>::kCount; ++i) result = std::max(result, T(most[i]));
  return result;
}

// Room for what one window and head needs. Matrices are filled up to whole blocks; what is read of
// the filling is zero, or has no part in the result.
template <typename T>
struct Workspace {
  Size size;
  int64_t queries, keys, depth;  // filled up
  std::vector<T> q, k, keys_by_depth, v, logits, grad, logits_grad, out, sums;

  Workspace(const Size& size, bool backward)
      : size(size),
        queries(round_up(size.queries, kRows)),
        keys(round_up(size.keys, kColumns<T>)),
        depth(round_up(size.depth, kColumns<T>)),
        q(queries * depth),
        keys_by_depth(depth * keys),
        v(keys * depth),
        logits(queries * keys),
        out(std::max(queries, keys) * depth),
        sums(queries) {
    if (!backward) return;
    k.resize(keys * depth);
    grad.resize(queries * depth);
    logits_grad.resize(queries * keys);
  }
};

template <typename T>
MMEXT_HOST_DEVICE void load(
    const Tokens<const T>& from, int64_t count, int64_t depth, int64_t row, T scale, T* to) {
  for (int64_t i = 0; i < count; ++i) {
    const T* token = from.at + i * from.row;
    for (int64_t c = 0; c < depth; ++c) to[i * row + c] = token[c] * scale;
  }
}

// The same with a row for each channel.
template <typename T>
MMEXT_HOST_DEVICE void load_transposed(
    const Tokens<const T>& from, int64_t count, int64_t depth, int64_t row, T* to) {
  for (int64_t i = 0; i < count; ++i) {
    const T* token = from.at + i * from.row;
    for (int64_t c = 0; c < depth; ++c) to[c * row + i] = token[c];
  }
}

template <typename T>
MMEXT_HOST_DEVICE void store(
    const T* from, int64_t row, int64_t count, int64_t depth, const Tokens<T>& to) {
  for (int64_t i = 0; i < count; ++i) std::copy_n(from + i * row, depth, to.at + i * to.row);
}

// Turns logits into exponentials of logit and bias less the largest of the row, and fills `sums`
// with the sums of rows. `bias` has rows as long as those of the logits, -inf in the filling.
template <typename T>
MMEXT_HOST_DEVICE void exponentiate(Workspace<T>& work, const T* bias) {
  for (int64_t i = 0; i < work.size.queries; ++i) {
    T* row = work.logits.data() + i * work.keys;
    const T* of_bias = bias + i * work.keys;
#pragma omp simd
    for (int64_t j = 0; j < work.keys; ++j) row[j] += of_bias[j];
    const T most = largest(row, work.keys);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < work.keys; ++j) {
      row[j] = exponential(row[j] - most).value;
      sum += row[j];
    }
    work.sums[i] = sum;
  }
}

// Makes the exponentials of a window in `work.logits`; `work.q` holds scaled queries afterwards.
template <typename T>
MMEXT_HOST_DEVICE void score(
    const Tokens<const T>& q, const Tokens<const T>& k, const T* bias, Workspace<T>& work) {
  const Size& size = work.size;
  load(q, size.queries, size.depth, work.depth, T(1) / std::sqrt(T(size.depth)), work.q.data());
  load_transposed(k, size.keys, size.depth, work.keys, work.keys_by_depth.data());
  multiply(
      work.q.data(), work.depth, int64_t(1), work.keys_by_depth.data(), work.queries, size.depth,
      work.keys, work.logits.data());
  exponentiate(work, bias);
}

template <typename T>
MMEXT_HOST_DEVICE void forward_window(
    const Tokens<const T>& q, const Tokens<const T>& k, const Tokens<const T>& v, const T* bias,
    Workspace<T>& work, const Tokens<T>& out) {
  const Size& size = work.size;
  score(q, k, bias, work);
  load(v, size.keys, size.depth, work.depth, T(1), work.v.data());
  multiply(
      work.logits.data(), work.keys, int64_t(1), work.v.data(), work.queries, size.keys,
      work.depth, work.out.data());
  for (int64_t i = 0; i < size.queries; ++i) {
    const T* from = work.out.data() + i * work.depth;
    const T scale = T(1) / work.sums[i];
    for (int64_t c = 0; c < size.depth; ++c) out.at[i * out.row + c] = from[c] * scale;
  }
}

// Turns exponentials into probabilities, and the gradient of probabilities into that of logits,
// which is added to `bias_grad` too.
template <typename T>
MMEXT_HOST_DEVICE void differentiate_softmax(Workspace<T>& work, T* bias_grad) {
  for (int64_t i = 0; i < work.size.queries; ++i) {
    T* probabilities = work.logits.data() + i * work.keys;
    T* grads = work.logits_grad.data() + i * work.keys;
    T* sums = bias_grad + i * work.keys;
    const T scale = T(1) / work.sums[i];
    T mean = 0;
#pragma omp simd reduction(+ : mean)
    for (int64_t j = 0; j < work.keys; ++j) {
      probabilities[j] *= scale;
      mean += probabilities[j] * grads[j];
    }
#pragma omp simd
    for (int64_t j = 0; j < work.keys; ++j) {
      grads[j] = probabilities[j] * (grads[j] - mean);
      sums[j] += grads[j];
    }
  }
}

// The gradients of a window's tokens.
template <typename T>
struct Gradients {
  Tokens<T> q, k, v;
};

template <typename T>
MMEXT_HOST_DEVICE void backward_window(
    const Tokens<const T>& grad, const Tokens<const T>& q, const Tokens<const T>& k,
    const Tokens<const T>& v, const T* bias, Workspace<T>& work, const Gradients<T>& to,
    T* bias_grad) {
  const Size& size = work.size;
  const T scale = T(1) / std::sqrt(T(size.depth));
  score(q, k, bias, work);
  load(grad, size.queries, size.depth, work.depth, T(1), work.grad.data());
  T* const values_by_depth = work.keys_by_depth.data();  // the keys have been used
  load_transposed(v, size.keys, size.depth, work.keys, values_by_depth);
  multiply(
      work.grad.data(), work.depth, int64_t(1), values_by_depth, work.queries, size.depth,
      work.keys, work.logits_grad.data());
  differentiate_softmax(work, bias_grad);
  multiply(
      work.logits.data(), int64_t(1), work.keys, work.grad.data(), work.keys, size.queries,
      work.depth, work.out.data());
  store(work.out.data(), work.depth, size.keys, size.depth, to.v);
  multiply(
      work.logits_grad.data(), int64_t(1), work.keys, work.q.data(), work.keys, size.queries,
      work.depth, work.out.data());
  store(work.out.data(), work.depth, size.keys, size.depth, to.k);
  load(k, size.keys, size.depth, work.depth, scale, work.k.data());
  multiply(
      work.logits_grad.data(), work.keys, int64_t(1), work.k.data(), work.queries, size.keys,
      work.depth, work.out.data());
  store(work.out.data(), work.depth, size.queries, size.depth, to.q);
}

}  // namespace mmext::biased_attention
