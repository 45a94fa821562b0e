// What the CPU and CUDA implementations share on the torch side: arguments.

#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <tuple>

#include "boxes3d/boxes3d.h"

namespace mmext::boxes3d {

using Gradients = std::tuple<at::Tensor, at::Tensor>;

// The Python wrappers explain bad arguments; the checks here keep a direct call of torch.ops.mmext
// from reading outside its tensors.
inline void check_boxes(const char* op, const at::Tensor& boxes) {
  TORCH_CHECK(
      boxes.dim() == 2 && boxes.size(1) == kFields &&
          (boxes.scalar_type() == at::kFloat || boxes.scalar_type() == at::kDouble),
      op, ": boxes must be (N, 7) float32 or float64, got ", boxes.sizes(), " ",
      boxes.scalar_type());
}

inline void check_sets(const at::Tensor& boxes_a, const at::Tensor& boxes_b) {
  check_boxes("box3d_iou", boxes_a);
  check_boxes("box3d_iou", boxes_b);
  TORCH_CHECK(
      boxes_a.scalar_type() == boxes_b.scalar_type() && boxes_a.device() == boxes_b.device(),
      "box3d_iou: boxes must have one dtype and device");
}

inline void check_grad(const at::Tensor& grad, const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(
      grad.dim() == 2 && grad.size(0) == a.size(0) && grad.size(1) == b.size(0) &&
          grad.device() == a.device(),
      "box3d_iou: grad has shape ", grad.sizes(), " on ", grad.device(), ", expected (", a.size(0),
      ", ", b.size(0), ") on ", a.device());
}

inline void check_labels(const at::Tensor& boxes, const std::optional<at::Tensor>& labels) {
  check_boxes("nms3d", boxes);
  TORCH_CHECK(
      !labels || (labels->dim() == 1 && labels->size(0) == boxes.size(0) &&
                  labels->scalar_type() == at::kLong && labels->device() == boxes.device()),
      "nms3d: labels must be (N,) int64 on the device of boxes");
}

inline void check_points(const at::Tensor& points, const at::Tensor& boxes) {
  check_boxes("points_in_boxes", boxes);
  TORCH_CHECK(
      points.dim() == 2 && points.size(1) == 3 && points.scalar_type() == boxes.scalar_type() &&
          points.device() == boxes.device(),
      "points_in_boxes: points must be (N, 3) of the dtype and device of boxes, got ",
      points.sizes(), " ", points.scalar_type());
}

// (G, 8) containers of boxes. Sines are torch's, so that borders are those of the reference.
inline at::Tensor containers(const at::Tensor& boxes) {
  const at::Tensor yaw = boxes.narrow(1, 6, 1);
  return at::cat({boxes.narrow(1, 0, 3), boxes.narrow(1, 3, 3) * 0.5, yaw.cos(), yaw.sin()}, 1);
}

// Calls run(zero of the dtype).
template <typename Run>
void visit_dtype(const at::Tensor& tensor, const Run& run) {
  if (tensor.scalar_type() == at::kDouble) {
    run(0.0);
  } else {
    run(0.0f);
  }
}

}  // namespace mmext::boxes3d
