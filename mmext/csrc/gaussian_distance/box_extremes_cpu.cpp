// Extremes of boxes, by which losses tell whether these are in order.

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <mutex>

#include "gaussian_distance/gaussian_distance_torch.h"
#include "gaussian_distance/rows_cpu.h"

namespace mmext::gaussian_distance {

constexpr int64_t kExtremesGrain = 1 << 14;  // rows per thread at least

template <typename T>
struct Extremes {
  T fault = 0;  // NaN if an entry is not finite
  T pred_side = std::numeric_limits<T>::infinity(), target_side = pred_side;  // the shortest
  T pred_angle = 0, target_angle = 0;                                         // the largest

  void merge(const Extremes& other) {
    fault += other.fault;
    pred_side = std::min(pred_side, other.pred_side);
    target_side = std::min(target_side, other.target_side);
    pred_angle = std::max(pred_angle, other.pred_angle);
    target_angle = std::max(target_angle, other.target_angle);
  }
};

template <bool rotated, typename T>
MMEXT_HOST_DEVICE void measure(
    const Columns<T>& boxes, int count, T& all_faults, T& shortest, T& largest) {
  T fault = 0, side = shortest, angle = largest;
#pragma omp simd reduction(+ : fault) reduction(min : side) reduction(max : angle)
  for (int i = 0; i < count; ++i) {
    const T a = boxes[0][i], b = boxes[1][i], c = boxes[2][i], d = boxes[3][i];
    const T w = rotated ? c : c - a, h = rotated ? d : d - b, shorter = w < h ? w : h;
    const T turn = rotated ? std::abs(boxes[4][i]) : T(0);
    fault += T(0) * a + T(0) * b + (T(0) * c + T(0) * d) + T(0) * turn;
    side = shorter < side ? shorter : side;
    angle = turn > angle ? turn : angle;
  }
  all_faults += fault;
  shortest = side;
  largest = angle;
}

#define MMEXT_DEFINE_ENTRIES(T)                                                             \
  MMEXT_MULTIVERSION void load_columns(                                                     \
      const T* rows, int count, bool rotated, Columns<T>& columns) {                        \
    if (rotated) {                                                                          \
      load_rows<5>(rows, count, columns);                                                   \
    } else {                                                                                \
      load_rows<4>(rows, count, columns);                                                   \
    }                                                                                       \
  }                                                                                         \
  MMEXT_MULTIVERSION void measure_columns(                                                  \
      const Columns<T>& boxes, int count, bool rotated, T& fault, T& side, T& angle) {      \
    if (rotated) {                                                                          \
      measure<true>(boxes, count, fault, side, angle);                                      \
    } else {                                                                                \
      measure<false>(boxes, count, fault, side, angle);                                     \
    }                                                                                       \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

template <int kColumns, typename T>
Extremes<T> extremes_of(const T* pred, const T* target, const T* weight, int64_t rows) {
  Extremes<T> all;
  std::mutex mutex;
  at::parallel_for(0, rows, kExtremesGrain, [&](int64_t begin, int64_t end) {
    Extremes<T> mine;
    const auto add = [&](const T* boxes, const int64_t* index, int count, T& side, T& angle) {
      Columns<T> columns;
      if (are_neighbours(index, count)) {
        load_columns(boxes + index[0] * kColumns, count, kColumns == 5, columns);
      } else {
        gather<kColumns>(boxes, index, count, columns);
      }
      measure_columns(columns, count, kColumns == 5, mine.fault, side, angle);
    };
    const auto flush = [&](const int64_t* index, int count) {
      add(pred, index, count, mine.pred_side, mine.pred_angle);
      add(target, index, count, mine.target_side, mine.target_angle);
    };
    for_each_block(weight, begin, end, flush, [](int64_t, int64_t) {});
    const std::lock_guard lock(mutex);
    all.merge(mine);
  });
  return all;
}

at::Tensor box_extremes_cpu(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& weight) {
  check_boxes(pred, target, weight);
  return with_dtype_of(pred, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor p = pred.contiguous(), t = target.contiguous(), w = contiguous(weight);
    const auto run = pred.size(1) == 5 ? extremes_of<5, T> : extremes_of<4, T>;
    const Extremes<T> found = run(
        p.const_data_ptr<T>(), t.const_data_ptr<T>(),
        w.defined() ? w.const_data_ptr<T>() : nullptr, pred.size(0));
    const at::Tensor out = at::empty({5}, pred.options());
    T* numbers = out.mutable_data_ptr<T>();
    numbers[0] = found.fault;
    numbers[1] = found.pred_side;
    numbers[2] = found.target_side;
    numbers[3] = found.pred_angle;
    numbers[4] = found.target_angle;
    return out;
  });
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) { m.impl("_box_extremes", &box_extremes_cpu); }

}  // namespace
}  // namespace mmext::gaussian_distance
