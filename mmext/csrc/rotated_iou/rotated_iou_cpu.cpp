// CPU walk of the rotated IoU: blocks of rows in vector order for threads, and the torch side.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <array>

#include "rotated_iou/rotated_iou.h"
#include "rotated_iou/rotated_iou_torch.h"

namespace mmext::rotated_iou {

constexpr int64_t kFields = 5;
constexpr int64_t kBlock = 64;     // rows that are computed together
constexpr int64_t kGrain = 2048;   // rows per thread at least

// One field of all boxes of a block after the other.
template <typename T>
struct Columns {
  T at[kFields][kBlock];

  MMEXT_HOST_DEVICE Box<T> box(int64_t i) const {
    return {at[0][i], at[1][i], at[2][i], at[3][i], at[4][i]};
  }
  MMEXT_HOST_DEVICE void set(int64_t i, const Box<T>& box) {
    at[0][i] = box.x, at[1][i] = box.y, at[2][i] = box.w, at[3][i] = box.h, at[4][i] = box.angle;
  }
  void read(int64_t i, const T* row) {
    for (int64_t field = 0; field < kFields; ++field) at[field][i] = row[field];
  }
  void write(int64_t i, T* row) const {
    for (int64_t field = 0; field < kFields; ++field) row[field] = at[field][i];
  }
};

template <typename T>
struct Block {
  Columns<T> pred, target;
  T values[kBlock];  // the IoU, or the gradient of it
  int64_t rows[kBlock], count = 0;
};

template <typename T>
struct GradientBlock {
  Columns<T> pred, target;
  T tied[kBlock];
};

template <typename T>
MMEXT_HOST_DEVICE void block_ious(Block<T>& block) {
#pragma omp simd
  for (int64_t i = 0; i < kBlock; ++i) {
    block.values[i] = iou(block.pred.box(i), block.target.box(i));
  }
}

template <typename T>
MMEXT_HOST_DEVICE void block_gradients(const Block<T>& block, GradientBlock<T>& out) {
#pragma omp simd
  for (int64_t i = 0; i < kBlock; ++i) {
    const Box<T> p = block.pred.box(i), t = block.target.box(i);
    const Pair<T> pair = make_pair_of(p, t);
    const Gradient<T> gradient = iou_gradient<false>(pair, p, t, block.values[i]);
    out.pred.set(i, gradient.pred);
    out.target.set(i, gradient.target);
    out.tied[i] = pair.tied ? T(1) : T(0);
  }
}

#define MMEXT_DEFINE_ENTRIES(T)                                                   \
  MMEXT_MULTIVERSION void run_ious(Block<T>& block) { block_ious(block); }        \
  MMEXT_MULTIVERSION void run_gradients(const Block<T>& block, GradientBlock<T>& out) { \
    block_gradients(block, out);                                                  \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

template <typename T>
struct Boxes {
  const T* pred;
  const T* target;
  const bool* mask;  // null: all rows
  int64_t count;
};

// Calls visit(block) for the rows of the mask, kBlock at a time, from several threads;
// prepare(block, place, row) adds to a row what else is needed.
template <typename T, typename Prepare, typename Visit>
void for_each_block(const Boxes<T>& boxes, const Prepare& prepare, const Visit& visit) {
  at::parallel_for(0, boxes.count, kGrain, [&](int64_t begin, int64_t end) {
    Block<T> block{};  // what lies behind the last row is computed too, and must not be slow
    for (int64_t row = begin; row < end; ++row) {
      if (!boxes.mask || boxes.mask[row]) {
        block.pred.read(block.count, boxes.pred + row * kFields);
        block.target.read(block.count, boxes.target + row * kFields);
        block.rows[block.count] = row;
        prepare(block, block.count++, row);
      }
      if (block.count == kBlock || (row + 1 == end && block.count > 0)) {
        visit(block);
        block.count = 0;
      }
    }
  });
}

template <typename T>
void forward(const Boxes<T>& boxes, T* out) {
  for_each_block(boxes, [](Block<T>&, int64_t, int64_t) {}, [&](Block<T>& block) {
    run_ious(block);
    for (int64_t i = 0; i < block.count; ++i) out[block.rows[i]] = block.values[i];
  });
}

template <typename T>
void backward(const Boxes<T>& boxes, const T* grad, T* grad_pred, T* grad_target) {
  const auto prepare = [&](Block<T>& block, int64_t place, int64_t row) {
    block.values[place] = grad[row];
  };
  for_each_block(boxes, prepare, [&](Block<T>& block) {
    GradientBlock<T> out;
    run_gradients(block, out);
    for (int64_t i = 0; i < block.count; ++i) {
      if (out.tied[i] != T(0)) {
        const Box<T> p = block.pred.box(i), t = block.target.box(i);
        const Gradient<T> gradient =
            iou_gradient<true>(make_pair_of(p, t), p, t, block.values[i]);
        out.pred.set(i, gradient.pred);
        out.target.set(i, gradient.target);
      }
      if (grad_pred) out.pred.write(i, grad_pred + block.rows[i] * kFields);
      if (grad_target) out.target.write(i, grad_target + block.rows[i] * kFields);
    }
  });
}

// The operands in the working dtype, which `boxes` points to.
template <typename T>
struct Operands {
  at::Tensor pred, target, mask;
  Boxes<T> boxes;

  Operands(
      const at::Tensor& any_pred, const at::Tensor& any_target,
      const std::optional<at::Tensor>& any_mask)
      : pred(any_pred.to(c10::CppTypeToScalarType<T>::value).contiguous()),
        target(any_target.to(c10::CppTypeToScalarType<T>::value).contiguous()),
        mask(any_mask ? any_mask->contiguous() : at::Tensor()),
        boxes{
            pred.const_data_ptr<T>(), target.const_data_ptr<T>(),
            any_mask ? mask.const_data_ptr<bool>() : nullptr, pred.size(0)} {}
};

// Calls run(zero of the working dtype).
template <typename Run>
auto with_dtype_of(const at::Tensor& tensor, const Run& run) {
  return tensor.scalar_type() == at::kDouble ? run(0.0) : run(0.0f);
}

at::Tensor rotated_iou_cpu(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  check_boxes(pred, target, mask);
  return with_dtype_of(pred, [&](auto zero) {
    using T = decltype(zero);
    const Operands<T> operands(pred, target, mask);
    const auto options = operands.pred.options();
    at::Tensor out = mask ? at::zeros({pred.size(0)}, options) : at::empty({pred.size(0)}, options);
    forward(operands.boxes, out.mutable_data_ptr<T>());
    return out.to(pred.scalar_type());
  });
}

Gradients rotated_iou_backward_cpu(
    const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target,
    const std::optional<at::Tensor>& mask, std::array<bool, 2> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_boxes(pred, target, mask);
  check_grad(grad, pred);
  return with_dtype_of(pred, [&](auto zero) -> Gradients {
    using T = decltype(zero);
    const Operands<T> operands(pred, target, mask);
    const at::Tensor grads = grad.to(operands.pred.scalar_type()).contiguous();
    std::array<at::Tensor, 2> results;
    for (int i = 0; i < 2; ++i) {
      results[i] = !output_mask[i] ? at::empty({0}, operands.pred.options())
          : mask                   ? at::zeros_like(operands.pred)
                                   : at::empty_like(operands.pred);
    }
    backward(
        operands.boxes, grads.const_data_ptr<T>(),
        output_mask[0] ? results[0].mutable_data_ptr<T>() : nullptr,
        output_mask[1] ? results[1].mutable_data_ptr<T>() : nullptr);
    return {results[0].to(pred.scalar_type()), results[1].to(pred.scalar_type())};
  });
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("rotated_iou", &rotated_iou_cpu);
  m.impl("_rotated_iou_backward", &rotated_iou_backward_cpu);
}

}  // namespace
}  // namespace mmext::rotated_iou
