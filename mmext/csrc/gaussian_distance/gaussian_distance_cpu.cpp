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

at::Tensor empty_like_if(bool asked, const at::Tensor& boxes) {
  return asked ? at::empty(boxes.sizes(), boxes.options()) : at::empty({0}, boxes.options());
}

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
  const T* end = block.fault + block.rows;
  const T* first = std::find_if(block.fault, end, [](T fault) { return fault != T(0); });
  const int64_t row = index[first - block.fault];
  int64_t lowest = bad;
  while (row < lowest && !bad.compare_exchange_weak(lowest, row)) {
  }
}

// Rows of gradients; null if they are not asked for.
template <typename T>
struct Gradients {
  T *of_pred, *of_target;

  Gradients(const at::Tensor& of_pred, const at::Tensor& of_target, std::array<bool, 2> asked)
      : of_pred(asked[0] ? of_pred.mutable_data_ptr<T>() : nullptr),
        of_target(asked[1] ? of_target.mutable_data_ptr<T>() : nullptr) {}
};

// Rows of gradients that do not count are left as they are.
template <int kColumns, typename T>
void forward(
    const Boxes<T>& boxes, const Options& options, T* out, const Gradients<T>& gradients,
    std::atomic<int64_t>& bad) {
  const auto [of_pred, of_target] = gradients;
  at::parallel_for(0, boxes.rows, kGrain, [&](int64_t begin, int64_t end) {
    Block<T> block;
    const auto flush = [&](const int64_t* index, int count) {
      load<kColumns>(boxes, index, count, block);
      if (of_pred || of_target) {
        run_gradients(block, kColumns == 5, options, of_pred != nullptr, of_target != nullptr);
        if (of_pred) store<kColumns>(block.p, index, count, of_pred);
        if (of_target) store<kColumns>(block.t, index, count, of_target);
      } else {
        run_losses(block, kColumns == 5, options);
      }
      for_each_pair(index, count, [&](int i, int64_t row) { out[row] = block.value[i]; });
      note_faults(block, index, bad);
    };
    const auto clear = [&](int64_t first, int64_t rows) { std::fill_n(out + first, rows, T(0)); };
    for_each_block(boxes.weight, begin, end, flush, clear);
  });
}

// Multiplies rows by `grad`, which is one number for all if `same`. Those of weight 0 become 0.
template <typename T>
void scale(
    const T* rows, const T* weight, const T* grad, bool same, int64_t count, int64_t columns,
    T* out) {
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    const auto flush = [&](const int64_t* index, int live) {
      if (same && are_neighbours(index, live)) {
        const int64_t first = index[0] * columns;
        for (int64_t i = first; i < first + live * columns; ++i) out[i] = rows[i] * grad[0];
        return;
      }
      for_each_pair(index, live, [&](int, int64_t row) {
        const T factor = grad[same ? 0 : row];
        for (int64_t i = row * columns; i < (row + 1) * columns; ++i) out[i] = rows[i] * factor;
      });
    };
    const auto clear = [&](int64_t first, int64_t dead) {
      std::fill_n(out + first * columns, dead * columns, T(0));
    };
    for_each_block(weight, begin, end, flush, clear);
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gaussian_distance_with_gradients_cpu(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& weight,
    std::string_view kind, double alpha, bool normalize, double scale, bool sqrt,
    std::string_view fun, double tau, std::array<bool, 2> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the results must not count as views
  check_boxes(pred, target, weight);
  const Options options = make_options(kind, alpha, normalize, scale, sqrt, fun, tau);
  return with_dtype_of(pred, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor out = at::empty({pred.size(0)}, pred.options());
    const at::Tensor of_pred = empty_like_if(output_mask[0], pred);
    const at::Tensor of_target = empty_like_if(output_mask[1], pred);
    const at::Tensor p = pred.contiguous(), t = target.contiguous(), w = contiguous(weight);
    std::atomic<int64_t> bad(pred.size(0));
    const auto run = pred.size(1) == 5 ? forward<5, T> : forward<4, T>;
    run(Boxes<T>(p, t, w), options, out.mutable_data_ptr<T>(),
        Gradients<T>(of_pred, of_target, output_mask), bad);
    TORCH_CHECK_VALUE(
        bad == pred.size(0), "gaussian_distance: pred[", bad, "] or target[", bad,
        "] has a negative side or an entry that is not finite. Boxes must be decoded, in pixels: "
        "set reg_decoded_bbox=True in a head that predicts deltas.");
    return std::make_tuple(out, of_pred, of_target);
  });
}

at::Tensor gaussian_distance_cpu(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& weight,
    std::string_view kind, double alpha, bool normalize, double scale, bool sqrt,
    std::string_view fun, double tau) {
  return std::get<0>(gaussian_distance_with_gradients_cpu(
      pred, target, weight, kind, alpha, normalize, scale, sqrt, fun, tau, {false, false}));
}

at::Tensor scale_gradient_cpu(
    const at::Tensor& grad, const at::Tensor& rows, const std::optional<at::Tensor>& weight) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  check_boxes(rows, rows, weight);
  check_grad(grad, rows);
  return with_dtype_of(rows, [&](auto zero) {
    using T = decltype(zero);
    const bool same = grad.stride(0) == 0;  // as sums pass it on
    const at::Tensor grads = (same ? grad : grad.contiguous()).to(rows.scalar_type());
    const at::Tensor r = rows.contiguous(), w = contiguous(weight);
    const at::Tensor out = at::empty(rows.sizes(), rows.options());
    scale(
        r.const_data_ptr<T>(), w.defined() ? w.const_data_ptr<T>() : nullptr,
        grads.const_data_ptr<T>(), same, rows.size(0), rows.size(1), out.mutable_data_ptr<T>());
    return out;
  });
}

std::tuple<at::Tensor, at::Tensor> gaussian_distance_backward_cpu(
    const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target,
    const std::optional<at::Tensor>& weight, std::string_view kind, double alpha, bool normalize,
    double scale, bool sqrt, std::string_view fun, double tau, std::array<bool, 2> output_mask) {
  check_grad(grad, pred);
  const auto [out, of_pred, of_target] = gaussian_distance_with_gradients_cpu(
      pred, target, weight, kind, alpha, normalize, scale, sqrt, fun, tau, output_mask);
  const auto scaled = [&](const at::Tensor& rows, bool asked) {
    return asked ? scale_gradient_cpu(grad, rows, weight) : rows;
  };
  return {scaled(of_pred, output_mask[0]), scaled(of_target, output_mask[1])};
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("gaussian_distance", &gaussian_distance_cpu);
  m.impl("_gaussian_distance_with_gradients", &gaussian_distance_with_gradients_cpu);
  m.impl("_scale_gradient", &scale_gradient_cpu);
  m.impl("_gaussian_distance_backward", &gaussian_distance_backward_cpu);
}

}  // namespace
}  // namespace mmext::gaussian_distance
