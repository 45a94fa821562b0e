// Torch side of the CUDA kernels: layouts and registration.

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <array>
#include <optional>

#include "boxes3d/boxes3d_cuda.h"
#include "boxes3d/boxes3d_torch.h"

namespace mmext::boxes3d {
namespace {

void check_launch(const char* op, const char* error) { TORCH_CHECK(!error, op, ": ", error); }

// The contiguous operands, which `sets` points to.
struct Operands {
  at::Tensor a, b;
  Sets sets;

  Operands(const at::Tensor& boxes_a, const at::Tensor& boxes_b)
      : a(boxes_a.contiguous()),
        b(boxes_b.contiguous()),
        sets{
            a.const_data_ptr(), b.const_data_ptr(), a.size(0), b.size(0),
            a.scalar_type() == at::kDouble} {}
};

at::Tensor box3d_iou_cuda(const at::Tensor& boxes_a, const at::Tensor& boxes_b) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  check_sets(boxes_a, boxes_b);
  const c10::cuda::CUDAGuard device(boxes_a.device());
  const Operands operands(boxes_a, boxes_b);
  at::Tensor out = at::empty({boxes_a.size(0), boxes_b.size(0)}, boxes_a.options());
  check_launch(
      "box3d_iou",
      launch_iou(operands.sets, out.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return out;
}

Gradients box3d_iou_backward_cuda(
    const at::Tensor& grad, const at::Tensor& boxes_a, const at::Tensor& boxes_b,
    std::array<bool, 2> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_sets(boxes_a, boxes_b);
  check_grad(grad, boxes_a, boxes_b);
  const c10::cuda::CUDAGuard device(boxes_a.device());
  const Operands operands(boxes_a, boxes_b);
  const at::Tensor grads = grad.to(boxes_a.scalar_type()).contiguous();
  std::array<at::Tensor, 2> results;
  for (int i = 0; i < 2; ++i) {
    const at::Tensor& boxes = i == 0 ? boxes_a : boxes_b;
    results[i] = output_mask[i] ? at::empty(boxes.sizes(), boxes.options())
                                : at::empty({0}, boxes.options());
  }
  check_launch(
      "box3d_iou",
      launch_iou_backward(
          operands.sets, grads.const_data_ptr(),
          output_mask[0] ? results[0].mutable_data_ptr() : nullptr,
          output_mask[1] ? results[1].mutable_data_ptr() : nullptr,
          c10::cuda::getCurrentCUDAStream()));
  return {results[0], results[1]};
}

at::Tensor nms3d_kept_cuda(
    const at::Tensor& boxes, const std::optional<at::Tensor>& labels, double iou_threshold) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_labels(boxes, labels);
  const c10::cuda::CUDAGuard device(boxes.device());
  const at::Tensor rows = boxes.contiguous();
  const at::Tensor groups = labels ? labels->contiguous() : at::Tensor();
  const int64_t count = boxes.size(0), words = (count + 63) / 64;
  at::Tensor overlaps = at::empty({count, words}, boxes.options().dtype(at::kLong));
  at::Tensor kept = at::empty({count}, boxes.options().dtype(at::kBool));
  check_launch(
      "nms3d",
      launch_nms(
          {rows.const_data_ptr(), labels ? groups.const_data_ptr<int64_t>() : nullptr, count, words,
           rows.scalar_type() == at::kDouble},
          iou_threshold, reinterpret_cast<uint64_t*>(overlaps.mutable_data_ptr<int64_t>()),
          kept.mutable_data_ptr<bool>(), c10::cuda::getCurrentCUDAStream()));
  return kept;
}

at::Tensor points_in_boxes_cuda(const at::Tensor& points, const at::Tensor& boxes) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_points(points, boxes);
  const c10::cuda::CUDAGuard device(points.device());
  const at::Tensor cloud = points.contiguous(), in = containers(boxes).contiguous();
  at::Tensor out = at::empty({points.size(0), boxes.size(0)}, points.options().dtype(at::kBool));
  check_launch(
      "points_in_boxes",
      launch_points_in_boxes(
          {cloud.const_data_ptr(), in.const_data_ptr(), points.size(0), boxes.size(0),
           points.scalar_type() == at::kDouble},
          out.mutable_data_ptr<bool>(), c10::cuda::getCurrentCUDAStream()));
  return out;
}

TORCH_LIBRARY_IMPL(mmext, CUDA, m) {
  m.impl("box3d_iou", &box3d_iou_cuda);
  m.impl("_box3d_iou_backward", &box3d_iou_backward_cuda);
  m.impl("_nms3d_kept", &nms3d_kept_cuda);
  m.impl("points_in_boxes", &points_in_boxes_cuda);
}

}  // namespace
}  // namespace mmext::boxes3d
