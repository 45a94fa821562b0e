// CPU walk of the ops on 3-D boxes: pairs that are not obviously apart, in blocks for vectors.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <vector>

#include "boxes3d/boxes3d.h"
#include "boxes3d/boxes3d_torch.h"

namespace mmext::boxes3d {

constexpr int64_t kBlock = 64;          // pairs that are computed together
constexpr int64_t kGrain = 16384;       // pairs per thread at least
constexpr int64_t kPointGrain = 4096;   // points per thread at least

// A set of boxes, one field of all of them after the other, with what rules pairs out.
template <typename T>
struct Columns {
  int64_t count;
  std::vector<T> at[kFields], reaches;

  explicit Columns(const T* rows, int64_t size) : count(size), reaches(size) {
    for (auto& column : at) column.resize(size);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t field = 0; field < kFields; ++field) at[field][i] = rows[i * kFields + field];
      reaches[i] = reach(box(i));
    }
  }
  MMEXT_HOST_DEVICE Box3D<T> box(int64_t i) const {
    return {{at[0][i], at[1][i], at[3][i], at[4][i], at[6][i]}, at[2][i], at[5][i]};
  }
};

// Some boxes of a set that are paired with one box.
template <typename T>
struct Block {
  T fields[kFields][kBlock];
  T values[kBlock];
  int64_t places[kBlock], count = 0;

  MMEXT_HOST_DEVICE Box3D<T> box(int64_t i) const {
    return {
        {fields[0][i], fields[1][i], fields[3][i], fields[4][i], fields[6][i]}, fields[2][i],
        fields[5][i]};
  }
  MMEXT_HOST_DEVICE void add(const Columns<T>& boxes, int64_t place) {
    for (int64_t field = 0; field < kFields; ++field) fields[field][count] = boxes.at[field][place];
    places[count++] = place;
  }
};

template <typename T>
MMEXT_HOST_DEVICE void block_ious(const Box3D<T>& box, Block<T>& block) {
#pragma omp simd
  for (int64_t i = 0; i < kBlock; ++i) block.values[i] = iou(box, block.box(i));
}

// Sets near[i - begin] to whether box i of a set may share something with a box.
template <typename T>
MMEXT_HOST_DEVICE void find_near(
    const Box3D<T>& box, const Columns<T>& boxes, int64_t begin, int64_t end, bool* near) {
  const T box_reach = reach(box);
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    near[i - begin] = !apart(box, box_reach, boxes.box(i), boxes.reaches[i]);
  }
}

// Says of up to kBlock points in which of the boxes they are.
template <typename T>
MMEXT_HOST_DEVICE void piece_in_boxes(
    const T* points, int64_t count, const Container<T>* boxes, int64_t boxes_count, bool* out) {
  T x[kBlock] = {}, y[kBlock] = {}, z[kBlock] = {};  // what lies behind the last point is computed too
  bool inside[kBlock];
  for (int64_t i = 0; i < count; ++i) {
    x[i] = points[3 * i], y[i] = points[3 * i + 1], z[i] = points[3 * i + 2];
  }
  for (int64_t place = 0; place < boxes_count; ++place) {
    const Container<T> box = boxes[place];
#pragma omp simd
    for (int64_t i = 0; i < kBlock; ++i) inside[i] = box.holds(x[i], y[i], z[i]);
    for (int64_t i = 0; i < count; ++i) out[i * boxes_count + place] = inside[i];
  }
}

#define MMEXT_DEFINE_ENTRIES(T)                                                               \
  MMEXT_MULTIVERSION void run_ious(const Box3D<T>& box, Block<T>& block) {                    \
    block_ious(box, block);                                                                   \
  }                                                                                           \
  MMEXT_MULTIVERSION void run_near(                                                           \
      const Box3D<T>& box, const Columns<T>& boxes, int64_t begin, int64_t end, bool* near) { \
    find_near(box, boxes, begin, end, near);                                                  \
  }                                                                                           \
  MMEXT_MULTIVERSION Gradient3D<T> run_gradient(                                              \
      const Box3D<T>& a, const Box3D<T>& b, T grad) {                                         \
    return iou_gradient(a, b, grad);                                                          \
  }                                                                                           \
  MMEXT_MULTIVERSION_UNFUSED void run_piece(                                                  \
      const T* points, int64_t count, const Container<T>* boxes, int64_t boxes_count,         \
      bool* out) {                                                                            \
    piece_in_boxes(points, count, boxes, boxes_count, out);                                   \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

// Calls visit(block) with the boxes of a set from `begin` on that `wanted` says yes to and that may
// share something with a box; their IoUs are block.values.
template <typename T, typename Wanted, typename Visit>
void for_each_iou(
    const Box3D<T>& box, const Columns<T>& boxes, int64_t begin, Block<T>& block,
    const Wanted& wanted, const Visit& visit) {
  bool near[kBlock];
  block.count = 0;
  const auto flush = [&] {
    run_ious(box, block);
    visit(block);
    block.count = 0;
  };
  for (; begin < boxes.count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, boxes.count);
    run_near(box, boxes, begin, end, near);
    for (int64_t i = begin; i < end; ++i) {
      if (!near[i - begin] || !wanted(i)) continue;
      block.add(boxes, i);
      if (block.count == kBlock) flush();
    }
  }
  if (block.count > 0) flush();
}

at::Tensor box3d_iou_cpu(const at::Tensor& boxes_a, const at::Tensor& boxes_b) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  check_sets(boxes_a, boxes_b);
  const at::Tensor a = boxes_a.contiguous(), b = boxes_b.contiguous();
  at::Tensor out = at::zeros({a.size(0), b.size(0)}, a.options());
  visit_dtype(a, [&](auto zero) {
    using T = decltype(zero);
    const T* rows = a.const_data_ptr<T>();
    T* values = out.mutable_data_ptr<T>();
    const Columns<T> columns(b.const_data_ptr<T>(), b.size(0));
    const int64_t grain = 1 + kGrain / std::max<int64_t>(1, columns.count);
    at::parallel_for(0, a.size(0), grain, [&](int64_t begin, int64_t end) {
      Block<T> block{};  // what lies behind the last pair is computed too, and must not be slow
      for (int64_t row = begin; row < end; ++row) {
        T* of_row = values + row * columns.count;
        for_each_iou(
            Box3D<T>::read(rows + row * kFields), columns, 0, block, [](int64_t) { return true; },
            [&](const Block<T>& done) {
              for (int64_t i = 0; i < done.count; ++i) of_row[done.places[i]] = done.values[i];
            });
      }
    });
  });
  return out;
}

// Adds to the gradient of each box what its pairs contribute, in the order of the other set, so that
// the sum does not depend on threads. `of_b` says whose gradient is wanted.
template <typename T>
void sum_gradients(
    const Columns<T>& ours, const Columns<T>& others, bool of_b, const T* grad, T* out) {
  const int64_t stride = of_b ? 1 : others.count, step = of_b ? ours.count : 1;
  const int64_t grain = 1 + kGrain / 16 / std::max<int64_t>(1, others.count);
  at::parallel_for(0, ours.count, grain, [&](int64_t begin, int64_t end) {
    std::vector<char> near(others.count);
    for (int64_t row = begin; row < end; ++row) {
      const Box3D<T> box = ours.box(row);
      bool* flags = reinterpret_cast<bool*>(near.data());
      run_near(box, others, 0, others.count, flags);
      for (int64_t i = 0; i < others.count; ++i) {
        const T upstream = grad[row * stride + i * step];
        if (!flags[i] || upstream == T(0)) continue;
        const auto gradient = of_b ? run_gradient(others.box(i), box, upstream).b
                                   : run_gradient(box, others.box(i), upstream).a;
        gradient.add_to(out + row * kFields);
      }
    }
  });
}

Gradients box3d_iou_backward_cpu(
    const at::Tensor& grad, const at::Tensor& boxes_a, const at::Tensor& boxes_b,
    std::array<bool, 2> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_sets(boxes_a, boxes_b);
  check_grad(grad, boxes_a, boxes_b);
  const at::Tensor a = boxes_a.contiguous(), b = boxes_b.contiguous();
  const at::Tensor grads = grad.to(a.scalar_type()).contiguous();
  at::Tensor grad_a = output_mask[0] ? at::zeros(a.sizes(), a.options()) : at::empty({0}, a.options());
  at::Tensor grad_b = output_mask[1] ? at::zeros(b.sizes(), b.options()) : at::empty({0}, b.options());
  visit_dtype(a, [&](auto zero) {
    using T = decltype(zero);
    const Columns<T> set_a(a.const_data_ptr<T>(), a.size(0)), set_b(b.const_data_ptr<T>(), b.size(0));
    const T* upstream = grads.const_data_ptr<T>();
    if (output_mask[0]) sum_gradients(set_a, set_b, false, upstream, grad_a.mutable_data_ptr<T>());
    if (output_mask[1]) sum_gradients(set_b, set_a, true, upstream, grad_b.mutable_data_ptr<T>());
  });
  return {grad_a, grad_b};
}

at::Tensor nms3d_kept_cpu(
    const at::Tensor& boxes, const std::optional<at::Tensor>& labels, double iou_threshold) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_labels(boxes, labels);
  const at::Tensor rows = boxes.contiguous();
  const at::Tensor groups = labels ? labels->contiguous() : at::Tensor();
  const int64_t* group = labels ? groups.const_data_ptr<int64_t>() : nullptr;
  at::Tensor kept = at::ones({boxes.size(0)}, boxes.options().dtype(at::kBool));
  bool* keeps = kept.mutable_data_ptr<bool>();
  visit_dtype(rows, [&](auto zero) {
    using T = decltype(zero);
    const Columns<T> columns(rows.const_data_ptr<T>(), rows.size(0));
    const T threshold = static_cast<T>(iou_threshold);
    Block<T> block{};
    for (int64_t row = 0; row < columns.count; ++row) {
      if (!keeps[row]) continue;
      for_each_iou(
          columns.box(row), columns, row + 1, block,
          [&](int64_t i) { return keeps[i] && (!group || group[i] == group[row]); },
          [&](const Block<T>& done) {
            for (int64_t i = 0; i < done.count; ++i) {
              if (done.values[i] > threshold) keeps[done.places[i]] = false;
            }
          });
    }
  });
  return kept;
}

at::Tensor points_in_boxes_cpu(const at::Tensor& points, const at::Tensor& boxes) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_points(points, boxes);
  const at::Tensor cloud = points.contiguous(), in = containers(boxes).contiguous();
  at::Tensor out = at::empty({points.size(0), boxes.size(0)}, points.options().dtype(at::kBool));
  visit_dtype(cloud, [&](auto zero) {
    using T = decltype(zero);
    const T* at = cloud.const_data_ptr<T>();
    const auto* box = reinterpret_cast<const Container<T>*>(in.const_data_ptr<T>());
    bool* result = out.mutable_data_ptr<bool>();
    at::parallel_for(0, points.size(0), kPointGrain, [&](int64_t begin, int64_t end) {
      for (; begin < end; begin += kBlock) {
        run_piece(
            at + 3 * begin, std::min(kBlock, end - begin), box, boxes.size(0),
            result + begin * boxes.size(0));
      }
    });
  });
  return out;
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("box3d_iou", &box3d_iou_cpu);
  m.impl("_box3d_iou_backward", &box3d_iou_backward_cpu);
  m.impl("_nms3d_kept", &nms3d_kept_cpu);
  m.impl("points_in_boxes", &points_in_boxes_cpu);
}

}  // namespace
}  // namespace mmext::boxes3d
