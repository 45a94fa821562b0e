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
      const T(&columns)[5][kBlock], int count, T* rows, bool rotated) {                           \
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

// Numbers of the rows; a stride of 0 is one number for all.
template <typename T>
struct Column {
  const T* data;  // null: ones
  int64_t stride;

  explicit Column(const std::optional<at::Tensor>& tensor)
      : data(tensor ? tensor->const_data_ptr<T>() : nullptr),
        stride(tensor ? tensor->stride(0) : 0) {}

  T operator[](int64_t row) const { return data ? data[row * stride] : T(1); }
};

template <typename T>
struct Boxes {
  const T *pred, *target;
  int64_t rows;
  Column<T> weight;

  Boxes(const at::Tensor& p, const at::Tensor& t, const std::optional<at::Tensor>& weight)
      : pred(p.const_data_ptr<T>()),
        target(t.const_data_ptr<T>()),
        rows(p.size(0)),
        weight(weight) {}
};

// Copies rows that are anywhere into columns, and back.
template <int kColumns, typename T>
void gather(const T* rows, const int64_t* index, int count, T (&columns)[5][kBlock]) {
  for (int i = 0; i < count; ++i) {
    for (int k = 0; k < kColumns; ++k) columns[k][i] = rows[index[i] * kColumns + k];
  }
}

template <int kColumns, typename T>
void scatter(const T (&columns)[5][kBlock], const int64_t* index, int count, T* rows) {
  for (int i = 0; i < count; ++i) {
    for (int k = 0; k < kColumns; ++k) rows[index[i] * kColumns + k] = columns[k][i];
  }
}

// Whether rows lie one after the other; indices ascend.
bool are_neighbours(const int64_t* index, int count) {
  return index[count - 1] - index[0] == count - 1;
}

template <int kColumns, typename T>
void load(const Boxes<T>& boxes, const int64_t* index, Block<T>& block) {
  if (are_neighbours(index, block.rows)) {
    const int64_t first = index[0] * kColumns;
    load_boxes(block, boxes.pred + first, boxes.target + first, kColumns == 5);
  } else {
    gather<kColumns>(boxes.pred, index, block.rows, block.p);
    gather<kColumns>(boxes.target, index, block.rows, block.t);
  }
  for (int i = 0; i < block.rows; ++i) block.weight[i] = boxes.weight[index[i]];
}

template <int kColumns, typename T>
void store(const T (&columns)[5][kBlock], const int64_t* index, int count, T* rows) {
  if (are_neighbours(index, count)) {
    store_boxes(columns, count, rows + index[0] * kColumns, kColumns == 5);
  } else {
    scatter<kColumns>(columns, index, count, rows);
  }
}

// Calls flush(block, rows of the block) for all rows of [begin, end) whose weight is not 0, and
// clear(first row, rows) before for stretches in which there are others.
template <int kColumns, typename T, typename Flush, typename Clear>
void for_each_block(
    const Boxes<T>& boxes, int64_t begin, int64_t end, const Flush& flush, const Clear& clear) {
  Block<T> block;
  int64_t index[kBlock];
  block.rows = 0;
  const auto flush_block = [&] {
    if (block.rows == 0) return;
    load<kColumns>(boxes, index, block);
    flush(block, index);
    block.rows = 0;
  };
  for (int64_t first = begin; first < end; first += kBlock) {
    const int64_t rows = std::min<int64_t>(kBlock, end - first);
    int live = 0;
    for (int64_t row = first; row < first + rows; ++row) live += boxes.weight[row] != T(0);
    if (live < rows) clear(first, rows);
    if (block.rows + live > kBlock) flush_block();
    // Rows that do not count are overwritten by the next one that does.
    for (int64_t row = first; row < first + rows && live > 0; ++row) {
      index[block.rows] = row;
      const bool counts = boxes.weight[row] != T(0);
      block.rows += counts;
      live -= counts;
    }
  }
  flush_block();
}

// Lowers `bad` to the first row of the block that has a fault.
template <typename T>
void note_faults(const Block<T>& block, const int64_t* index, std::atomic<int64_t>& bad) {
  for (int i = 0; i < block.rows; ++i) {
    if (block.fault[i] == T(0)) continue;
    int64_t lowest = bad;
    while (index[i] < lowest && !bad.compare_exchange_weak(lowest, index[i])) {
    }
    return;
  }
}

template <int kColumns, typename T>
void forward(const Boxes<T>& boxes, const Options& options, T* out, std::atomic<int64_t>& bad) {
  at::parallel_for(0, boxes.rows, kGrain, [&](int64_t begin, int64_t end) {
    const auto flush = [&](Block<T>& block, const int64_t* index) {
      run_losses(block, kColumns == 5, options);
      for (int i = 0; i < block.rows; ++i) out[index[i]] = block.value[i];
      note_faults(block, index, bad);
    };
    const auto clear = [&](int64_t first, int64_t rows) { std::fill_n(out + first, rows, T(0)); };
    for_each_block<kColumns>(boxes, begin, end, flush, clear);
  });
}

// Null stands for a gradient that is not asked for.
template <int kColumns, typename T>
void backward(
    const Boxes<T>& boxes, const Column<T>& grad, const Options& options, T* of_pred,
    T* of_target) {
  at::parallel_for(0, boxes.rows, kGrain, [&](int64_t begin, int64_t end) {
    const auto flush = [&](Block<T>& block, const int64_t* index) {
      for (int i = 0; i < block.rows; ++i) block.weight[i] *= grad[index[i]];
      run_gradients(block, kColumns == 5, options, of_pred != nullptr, of_target != nullptr);
      if (of_pred) store<kColumns>(block.p, index, block.rows, of_pred);
      if (of_target) store<kColumns>(block.t, index, block.rows, of_target);
    };
    const auto clear = [&](int64_t first, int64_t rows) {
      for (T* out : {of_pred, of_target}) {
        if (out) std::fill_n(out + first * kColumns, rows * kColumns, T(0));
      }
    };
    for_each_block<kColumns>(boxes, begin, end, flush, clear);
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
    const at::Tensor p = pred.contiguous(), t = target.contiguous();
    std::atomic<int64_t> bad(pred.size(0));
    const auto run = pred.size(1) == 5 ? forward<5, T> : forward<4, T>;
    run(Boxes<T>(p, t, weight), options, out.mutable_data_ptr<T>(), bad);
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
    const at::Tensor p = pred.contiguous(), t = target.contiguous();
    const auto run = pred.size(1) == 5 ? backward<5, T> : backward<4, T>;
    run(
        Boxes<T>(p, t, weight), Column<T>(grad.to(pred.scalar_type())), options,
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
