// CPU walk of gaussian_distance: rows that count, gathered into blocks, and the torch side.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <tuple>

#include "gaussian_distance/blocks_cpu.h"
#include "gaussian_distance/gaussian_distance_torch.h"

namespace mmext::gaussian_distance {

#define MMEXT_DEFINE_ENTRIES(T)                                                                   \
  MMEXT_MULTIVERSION void load_boxes(Block<T>& b, const T* pred, const T* target, bool rotated) { \
    if (rotated) {                                                                                \
      load_rows<5>(pred, b.rows, b.p);                                                            \
      load_rows<5>(target, b.rows, b.t);                                                          \
    } else {                                                                                      \
      load_rows<4>(pred, b.rows, b.p);                                                            \
      load_rows<4>(target, b.rows, b.t);                                                          \
    }                                                                                             \
  }                                                                                               \
  MMEXT_MULTIVERSION void store_boxes(                                                            \
      const Columns<T>& columns, int count, T* rows, bool rotated) {                              \
    if (rotated) {                                                                                \
      store_rows<5>(columns, count, rows);                                                        \
    } else {                                                                                      \
      store_rows<4>(columns, count, rows);                                                        \
    }                                                                                             \
  }                                                                                               \
  MMEXT_MULTIVERSION void run_losses(Block<T>& b, bool rotated, const Options& options) {         \
    if (rotated) {                                                                                \
      block_losses<true>(b, options);                                                             \
    } else {                                                                                      \
      block_losses<false>(b, options);                                                            \
    }                                                                                             \
  }                                                                                               \
  MMEXT_MULTIVERSION void run_gradients(                                                          \
      Block<T>& b, bool rotated, const Options& options, bool of_pred, bool of_target) {          \
    if (rotated) {                                                                                \
      block_gradients<true>(b, options, of_pred, of_target);                                      \
    } else {                                                                                      \
      block_gradients<false>(b, options, of_pred, of_target);                                     \
    }                                                                                             \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

constexpr int64_t kGrain = 1 << 11;  // rows per thread at least

template <typename T>
struct Boxes {
  const T *pred, *target;
  int64_t rows;
  const T* weight;  // null: ones

  Boxes(const at::Tensor& p, const at::Tensor& t, const at::Tensor& weight)
      : pred(p.const_data_ptr<T>()),
        target(t.const_data_ptr<T>()),
        rows(p.size(0)),
        weight(weight.defined() ? weight.const_data_ptr<T>() : nullptr) {}
};

// Calls visit(row of the block, row of all).
template <typename Visit>
void for_each_pair(const int64_t* index, int count, const Visit& visit) {
  if (are_neighbours(index, count)) {
    const int64_t first = index[0];
    for (int i = 0; i < count; ++i) visit(i, first + i);
  } else {
    for (int i = 0; i < count; ++i) visit(i, index[i]);
  }
}

template <int kColumns, typename T>
void load(const Boxes<T>& boxes, const int64_t* index, int count, Block<T>& block) {
  block.rows = count;
  if (are_neighbours(index, count)) {
    const int64_t first = index[0] * kColumns;
    load_boxes(block, boxes.pred + first, boxes.target + first, kColumns == 5);
  } else {
    gather<kColumns>(boxes.pred, index, count, block.p);
    gather<kColumns>(boxes.target, index, count, block.t);
  }
  if (boxes.weight) {
    for_each_pair(index, count, [&](int i, int64_t row) { block.weight[i] = boxes.weight[row]; });
  } else {
    std::fill_n(block.weight, count, T(1));
  }
}

template <int kColumns, typename T>
void store(const Columns<T>& columns, const int64_t* index, int count, T* rows) {
  if (are_neighbours(index, count)) {
    store_boxes(columns, count, rows + index[0] * kColumns, kColumns == 5);
  } else {
    scatter<kColumns>(columns, index, count, rows);
  }
}

// Lowers `bad` to the first row of the block that has a fault.
template <typename T>
void note_faults(const Block<T>& block, const int64_t* index, std::atomic<int64_t>& bad) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < block.rows; ++i) sum += block.fault[i];
  if (sum == T(0)) return;
  const auto* first = std::find_if(block.fault, block.fault + block.rows, [](T x) { return x != 0; });
  const int64_t row = index[first - block.fault];
  int64_t lowest = bad;
  while (row < lowest && !bad.compare_exchange_weak(lowest, row)) {
  }
}

template <int kColumns, typename T>
void forward(const Boxes<T>& boxes, const Options& options, T* out, std::atomic<int64_t>& bad) {
  at::parallel_for(0, boxes.rows, kGrain, [&](int64_t begin, int64_t end) {
    Block<T> block;
    const auto flush = [&](const int64_t* index, int count) {
      load<kColumns>(boxes, index, count, block);
      run_losses(block, kColumns == 5, options);
      for_each_pair(index, count, [&](int i, int64_t row) { out[row] = block.value[i]; });
      note_faults(block, index, bad);
    };
    const auto clear = [&](int64_t first, int64_t rows) { std::fill_n(out + first, rows, T(0)); };
    for_each_block(boxes.weight, begin, end, flush, clear);
  });
}

// `grad` is one number for all rows if `same`. Null stands for a gradient that is not asked for.
template <int kColumns, typename T>
void backward(
    const Boxes<T>& boxes, const T* grad, bool same, const Options& options, T* of_pred,
    T* of_target) {
  at::parallel_for(0, boxes.rows, kGrain, [&](int64_t begin, int64_t end) {
    Block<T> block;
    const auto flush = [&](const int64_t* index, int count) {
      load<kColumns>(boxes, index, count, block);
      if (same) {
        for (int i = 0; i < count; ++i) block.weight[i] *= grad[0];
      } else {
        for_each_pair(index, count, [&](int i, int64_t row) { block.weight[i] *= grad[row]; });
      }
      run_gradients(block, kColumns == 5, options, of_pred != nullptr, of_target != nullptr);
      if (of_pred) store<kColumns>(block.p, index, count, of_pred);
      if (of_target) store<kColumns>(block.t, index, count, of_target);
    };
    const auto clear = [&](int64_t first, int64_t rows) {
      for (T* out : {of_pred, of_target}) {
        if (out) std::fill_n(out + first * kColumns, rows * kColumns, T(0));
      }
    };
    for_each_block(boxes.weight, begin, end, flush, clear);
  });
}

at::Tensor gaussian_distance_cpu(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& weight,
    std::string_view kind, double alpha, bool normalize, double scale, bool sqrt,
    std::string_view fun, double tau) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  check_boxes(pred, target, weight);
  const Options options = make_options(kind, alpha, normalize, scale, sqrt, fun, tau);
  return with_dtype_of(pred, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor out = at::empty({pred.size(0)}, pred.options());
    const at::Tensor p = pred.contiguous(), t = target.contiguous(), w = contiguous(weight);
    std::atomic<int64_t> bad(pred.size(0));
    const auto run = pred.size(1) == 5 ? forward<5, T> : forward<4, T>;
    run(Boxes<T>(p, t, w), options, out.mutable_data_ptr<T>(), bad);
    TORCH_CHECK_VALUE(
        bad == pred.size(0), "gaussian_distance: pred[", bad, "] or target[", bad,
        "] has a negative side or an entry that is not finite. Boxes must be decoded, in pixels: "
        "set reg_decoded_bbox=True in a head that predicts deltas.");
    return out;
  });
}

std::tuple<at::Tensor, at::Tensor> gaussian_distance_backward_cpu(
    const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target,
    const std::optional<at::Tensor>& weight, std::string_view kind, double alpha, bool normalize,
    double scale, bool sqrt, std::string_view fun, double tau, std::array<bool, 2> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the results must not count as views
  check_boxes(pred, target, weight);
  check_grad(grad, pred);
  const Options options = make_options(kind, alpha, normalize, scale, sqrt, fun, tau);
  return with_dtype_of(pred, [&](auto zero) {
    using T = decltype(zero);
    const auto make = [&](bool asked) {
      return asked ? at::empty(pred.sizes(), pred.options()) : at::empty({0}, pred.options());
    };
    const auto data_of = [](const at::Tensor& out, bool asked) {
      return asked ? out.mutable_data_ptr<T>() : nullptr;
    };
    const at::Tensor of_pred = make(output_mask[0]), of_target = make(output_mask[1]);
    const at::Tensor p = pred.contiguous(), t = target.contiguous(), w = contiguous(weight);
    const bool same = grad.stride(0) == 0;  // as sums pass it on
    const at::Tensor grads = (same ? grad : grad.contiguous()).to(pred.scalar_type());
    const auto run = pred.size(1) == 5 ? backward<5, T> : backward<4, T>;
    run(
        Boxes<T>(p, t, w), grads.const_data_ptr<T>(), same, options,
        data_of(of_pred, output_mask[0]), data_of(of_target, output_mask[1]));
    return std::make_tuple(of_pred, of_target);
  });
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("gaussian_distance", &gaussian_distance_cpu);
  m.impl("_gaussian_distance_backward", &gaussian_distance_backward_cpu);
}

}  // namespace
}  // namespace mmext::gaussian_distance
