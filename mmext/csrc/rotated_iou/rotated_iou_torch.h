// What the CPU and CUDA implementations share on the torch side: arguments.

#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <tuple>

namespace mmext::rotated_iou {

using Gradients = std::tuple<at::Tensor, at::Tensor>;

// The Python wrapper explains bad arguments; the checks here keep a direct call of
// torch.ops.mmext.rotated_iou from reading outside its tensors.
inline void check_boxes(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& mask) {
  TORCH_CHECK(
      pred.dim() == 2 && pred.size(1) == 5 && target.sizes() == pred.sizes() &&
          target.scalar_type() == pred.scalar_type() && target.device() == pred.device(),
      "rotated_iou: pred and target must be (N, 5) of one dtype and device, got ", pred.sizes(),
      " and ", target.sizes());
  TORCH_CHECK(
      !mask || (mask->dim() == 1 && mask->size(0) == pred.size(0) &&
                mask->scalar_type() == at::kBool && mask->device() == pred.device()),
      "rotated_iou: mask must be (N,) bool on the device of pred");
}

inline void check_grad(const at::Tensor& grad, const at::Tensor& pred) {
  TORCH_CHECK(
      grad.dim() == 1 && grad.size(0) == pred.size(0) && grad.device() == pred.device(),
      "rotated_iou: grad has shape ", grad.sizes(), " on ", grad.device(), ", expected (",
      pred.size(0), ") on ", pred.device());
}

}  // namespace mmext::rotated_iou
