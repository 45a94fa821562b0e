// Torch side of the CUDA kernels: layouts and registration.

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <array>

#include "rotated_iou/rotated_iou_cuda.h"
#include "rotated_iou/rotated_iou_torch.h"

namespace mmext::rotated_iou {
namespace {

Dtype dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return Dtype::kFloat;
    case at::kDouble: return Dtype::kDouble;
    case at::kHalf: return Dtype::kHalf;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: TORCH_CHECK(false, "rotated_iou: no CUDA kernel for ", tensor.scalar_type());
  }
}

void check_launch(const char* error) { TORCH_CHECK(!error, "rotated_iou: ", error); }

// The contiguous operands, which `boxes` points to.
struct Operands {
  at::Tensor pred, target, mask;
  Boxes boxes;

  Operands(
      const at::Tensor& any_pred, const at::Tensor& any_target,
      const std::optional<at::Tensor>& any_mask)
      : pred(any_pred.contiguous()),
        target(any_target.contiguous()),
        mask(any_mask ? any_mask->contiguous() : at::Tensor()),
        boxes{
            pred.const_data_ptr(), target.const_data_ptr(),
            any_mask ? mask.const_data_ptr<bool>() : nullptr, pred.size(0), dtype_of(pred)} {}
};

at::Tensor rotated_iou_cuda(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const c10::cuda::CUDAGuard device(pred.device());
  check_boxes(pred, target, mask);
  const Operands operands(pred, target, mask);
  at::Tensor out = at::empty({pred.size(0)}, pred.options());
  check_launch(launch_forward(
      operands.boxes, out.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return out;
}

Gradients rotated_iou_backward_cuda(
    const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target,
    const std::optional<at::Tensor>& mask, std::array<bool, 2> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const c10::cuda::CUDAGuard device(pred.device());
  check_boxes(pred, target, mask);
  check_grad(grad, pred);
  const Operands operands(pred, target, mask);
  const at::Tensor grads = grad.to(pred.scalar_type()).contiguous();
  std::array<at::Tensor, 2> results;
  for (int i = 0; i < 2; ++i) {
    results[i] = output_mask[i] ? at::empty(pred.sizes(), pred.options())
                                : at::empty({0}, pred.options());
  }
  check_launch(launch_backward(
      operands.boxes, grads.const_data_ptr(),
      output_mask[0] ? results[0].mutable_data_ptr() : nullptr,
      output_mask[1] ? results[1].mutable_data_ptr() : nullptr,
      c10::cuda::getCurrentCUDAStream()));
  return {results[0], results[1]};
}

TORCH_LIBRARY_IMPL(mmext, CUDA, m) {
  m.impl("rotated_iou", &rotated_iou_cuda);
  m.impl("_rotated_iou_backward", &rotated_iou_backward_cuda);
}

}  // namespace
}  // namespace mmext::rotated_iou
