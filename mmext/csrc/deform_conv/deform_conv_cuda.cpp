// Torch side of the CUDA kernels: layouts, matrix products and registration.

#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>

#include "deform_conv/deform_conv_cuda.h"
#include "deform_conv/deform_conv_torch.h"

namespace mmext::deform_conv {
namespace {

constexpr int64_t kBlockBytes = int64_t{1} << 28;  // columns of a block of output points

Dtype dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return Dtype::kFloat;
    case at::kDouble: return Dtype::kDouble;
    case at::kHalf: return Dtype::kHalf;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: TORCH_CHECK(false, "deform_conv2d: no CUDA kernel for ", tensor.scalar_type());
  }
}

// The tensors of one call in the layout and dtype in which the kernels work.
struct Operands {
  Geometry geometry;
  at::Tensor x, offset, weight, mask, columns;

  Operands(
      const Geometry& g, const at::Tensor& x_in, const at::Tensor& offset_in,
      const at::Tensor& weight_in, const std::optional<at::Tensor>& mask_in)
      : geometry(g), x(rows_of(x_in)), weight(pack_weight(weight_in)) {
    const auto sum = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    offset = offset_in.to(sum).contiguous();
    if (mask_in) mask = mask_in->to(sum).contiguous();
    const int64_t fitting =
        std::max<int64_t>(kBlockBytes / (weight.size(1) * x.element_size()), 1);
    columns = at::empty({std::min(fitting, g.points()), weight.size(1)}, x.options());
  }

  DeviceBlock block(int64_t first_point, int64_t points, int64_t group) const {
    const int64_t width = geometry.channels / geometry.groups;
    return {
        geometry, dtype_of(x), first_point, points, group * width, width, x.const_data_ptr(),
        offset.const_data_ptr(), mask.defined() ? mask.const_data_ptr() : nullptr,
        columns.mutable_data_ptr()};
  }

  at::Tensor filters(const at::Tensor& weights, int64_t group) const {
    const int64_t width = geometry.out_channels / geometry.groups;
    return weights.narrow(0, group * width, width);
  }

  at::Tensor values(const at::Tensor& rows, int64_t first, int64_t points, int64_t group) const {
    const int64_t width = geometry.out_channels / geometry.groups;
    return rows.narrow(0, first, points).narrow(1, group * width, width);
  }

  // Calls run(first point, number of points, group) for all blocks.
  template <typename Run>
  void for_each_block(const Run& run) const {
    const int64_t step = std::max<int64_t>(columns.size(0), 1);
    for (int64_t first = 0; first < geometry.points(); first += step) {
      const int64_t points = std::min(step, geometry.points() - first);
      for (int64_t group = 0; group < geometry.groups; ++group) run(first, points, group);
    }
  }
};

void check_launch(const char* error) { TORCH_CHECK(!error, "deform_conv2d: ", error); }

at::Tensor deform_conv2d_cuda(
    const at::Tensor& x, const at::Tensor& offset, const at::Tensor& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& mask,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups,
    int64_t deform_groups) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const c10::cuda::CUDAGuard device(x.device());
  const Geometry g =
      make_geometry(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups);
  const Operands operands(g, x, offset, weight, mask);
  const auto stream = c10::cuda::getCurrentCUDAStream();
  at::Tensor out = at::empty({g.points(), g.out_channels}, x.options());
  operands.for_each_block([&](int64_t first, int64_t points, int64_t group) {
    check_launch(launch_columns(operands.block(first, points, group), stream));
    at::Tensor target = operands.values(out, first, points, group);
    at::mm_out(
        target, operands.columns.narrow(0, 0, points),
        operands.filters(operands.weight, group).t());
  });
  if (bias) out.add_(*bias);
  return image_of(out, g.batch, g.out_height, g.out_width, format_like(x));
}

Gradients deform_conv2d_backward_cuda(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& offset,
    const at::Tensor& weight, const std::optional<at::Tensor>& mask, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups, int64_t deform_groups,
    std::array<bool, 4> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the results must not count as views
  const c10::cuda::CUDAGuard device(x.device());
  const Geometry g =
      make_geometry(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups);
  output_mask[3] = output_mask[3] && mask;
  if (output_mask[0]) at::globalContext().alertNotDeterministic("mmext::deform_conv2d backward");
  const Operands operands(g, x, offset, weight, mask);
  const at::Tensor grad_rows = rows_of(grad.to(x.scalar_type()));
  const auto stream = c10::cuda::getCurrentCUDAStream();
  const auto sum = operands.offset.options();
  const bool need_offset = output_mask[1] || output_mask[3];
  at::Tensor grad_x, grad_offset, grad_mask, grad_weight;
  if (output_mask[0]) grad_x = at::zeros(operands.x.sizes(), sum);
  if (need_offset) grad_offset = at::zeros_like(operands.offset);
  if (need_offset && mask) grad_mask = at::zeros_like(operands.mask);
  if (output_mask[2]) grad_weight = at::zeros(operands.weight.sizes(), sum);
  operands.for_each_block([&](int64_t first, int64_t points, int64_t group) {
    const DeviceBlock block = operands.block(first, points, group);
    at::Tensor columns = operands.columns.narrow(0, 0, points);
    const at::Tensor values = operands.values(grad_rows, first, points, group);
    if (output_mask[2]) {
      check_launch(launch_columns(block, stream));
      operands.filters(grad_weight, group).add_(at::mm(values.t(), columns));
    }
    if (!output_mask[0] && !need_offset) return;
    at::mm_out(columns, values, operands.filters(operands.weight, group));
    if (need_offset) {
      void* mask_target = mask ? grad_mask.mutable_data_ptr() : nullptr;
      check_launch(launch_offset_gradients(
          block, grad_offset.mutable_data_ptr(), mask_target, stream));
    }
    if (output_mask[0]) check_launch(launch_x_gradients(block, grad_x.mutable_data_ptr(), stream));
  });
  const auto dtype = x.scalar_type();
  const auto absent = [&] { return at::empty({0}, x.options()); };
  return {
      output_mask[0] ? image_of(grad_x.to(dtype), g.batch, g.height, g.width, format_like(x))
                     : absent(),
      output_mask[1] ? grad_offset.to(dtype) : absent(),
      output_mask[2] ? unpack_weight(grad_weight.to(dtype), g) : absent(),
      output_mask[3] ? grad_mask.to(dtype) : absent()};
}

TORCH_LIBRARY_IMPL(mmext, CUDA, m) {
  m.impl("deform_conv2d", &deform_conv2d_cuda);
  m.impl("_deform_conv2d_backward", &deform_conv2d_backward_cuda);
}

}  // namespace
}  // namespace mmext::deform_conv
