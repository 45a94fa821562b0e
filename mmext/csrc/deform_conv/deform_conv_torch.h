// What the CPU and CUDA implementations share on the torch side: argument checks and layouts.

#pragma once

#include <ATen/ATen.h>

#include <array>
#include <optional>
#include <tuple>

#include "deform_conv/deform_conv.h"

namespace mmext::deform_conv {

using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// Sizes of a call. The Python wrapper explains bad arguments; the checks here keep a direct call of
// torch.ops.mmext.deform_conv2d from reading outside its tensors.
inline Geometry make_geometry(
    const at::Tensor& x, const at::Tensor& offset, const at::Tensor& weight,
    const std::optional<at::Tensor>& mask, at::IntArrayRef stride, at::IntArrayRef padding,
    at::IntArrayRef dilation, int64_t groups, int64_t deform_groups) {
  TORCH_CHECK(
      x.dim() == 4 && offset.dim() == 4 && weight.dim() == 4,
      "deform_conv2d: x, offset and weight must have 4 dimensions");
  TORCH_CHECK(
      stride.size() == 2 && padding.size() == 2 && dilation.size() == 2 && stride[0] > 0 &&
          stride[1] > 0 && dilation[0] > 0 && dilation[1] > 0 && groups > 0 && deform_groups > 0,
      "deform_conv2d: stride, dilation, groups and deform_groups must be positive");
  Geometry g{};
  g.batch = x.size(0), g.channels = x.size(1), g.height = x.size(2), g.width = x.size(3);
  g.out_channels = weight.size(0), g.kernel_h = weight.size(2), g.kernel_w = weight.size(3);
  g.stride_h = stride[0], g.stride_w = stride[1];
  g.pad_h = padding[0], g.pad_w = padding[1];
  g.dilation_h = dilation[0], g.dilation_w = dilation[1];
  g.groups = groups, g.deform_groups = deform_groups;
  g.out_height =
      (g.height + 2 * g.pad_h - g.dilation_h * (g.kernel_h - 1) - 1) / g.stride_h + 1;
  g.out_width = (g.width + 2 * g.pad_w - g.dilation_w * (g.kernel_w - 1) - 1) / g.stride_w + 1;
  TORCH_CHECK(
      g.out_height > 0 && g.out_width > 0, "deform_conv2d: the output would be empty for x ",
      x.sizes(), " and weight ", weight.sizes());
  TORCH_CHECK(
      weight.size(1) * groups == g.channels && g.out_channels % groups == 0 &&
          g.channels % deform_groups == 0,
      "deform_conv2d: channels of x ", x.sizes(), " and weight ", weight.sizes(),
      " do not fit groups=", groups, ", deform_groups=", deform_groups);
  const std::array<int64_t, 4> offset_shape{
      g.batch, 2 * deform_groups * g.taps(), g.out_height, g.out_width};
  const std::array<int64_t, 4> mask_shape{
      g.batch, deform_groups * g.taps(), g.out_height, g.out_width};
  TORCH_CHECK(
      offset.sizes() == at::IntArrayRef(offset_shape), "deform_conv2d: offset has shape ",
      offset.sizes(), ", expected ", at::IntArrayRef(offset_shape));
  TORCH_CHECK(
      !mask || mask->sizes() == at::IntArrayRef(mask_shape), "deform_conv2d: mask has shape ",
      mask ? mask->sizes() : at::IntArrayRef(), ", expected ", at::IntArrayRef(mask_shape));
  for (const auto* tensor : {&offset, &weight, mask ? &*mask : &offset}) {
    TORCH_CHECK(
        tensor->scalar_type() == x.scalar_type() && tensor->device() == x.device(),
        "deform_conv2d: all tensors must have the dtype and device of x");
  }
  return g;
}

// The memory format of the result follows x (a tensor that is both counts as contiguous).
inline at::MemoryFormat format_like(const at::Tensor& x) {
  return x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous()
      ? at::MemoryFormat::ChannelsLast
      : at::MemoryFormat::Contiguous;
}

// (B, R, C) to contiguous (B, C, R). Each device has its own: torch's copy is slow on a CPU where
// rows lie a power of two apart, as those of feature maps often do.
at::Tensor swap_last_axes_cpu(const at::Tensor& tensor);

inline at::Tensor swap_last_axes(const at::Tensor& tensor) {
  return tensor.is_cpu() ? swap_last_axes_cpu(tensor) : tensor.transpose(1, 2).contiguous();
}

// (N, C, H, W) as a contiguous (N * H * W, C) matrix; free of cost for a channels-last tensor.
inline at::Tensor rows_of(const at::Tensor& x) {
  const at::Tensor last = x.permute({0, 2, 3, 1});
  return (last.is_contiguous() ? last : swap_last_axes(x.contiguous().flatten(2)))
      .reshape({-1, x.size(1)});
}

// The inverse of `rows_of`, in the memory format that the caller wants.
inline at::Tensor image_of(
    const at::Tensor& rows, int64_t batch, int64_t height, int64_t width, at::MemoryFormat format) {
  if (format == at::MemoryFormat::ChannelsLast) {
    return rows.view({batch, height, width, rows.size(1)}).permute({0, 3, 1, 2});
  }
  return swap_last_axes(rows.view({batch, height * width, rows.size(1)}))
      .view({batch, rows.size(1), height, width});
}

// (O, C / groups, kh, kw) as (O, kh * kw * C / groups), the order of a row of columns.
inline at::Tensor pack_weight(const at::Tensor& weight) {
  return swap_last_axes(weight.contiguous().flatten(2)).flatten(1);
}

inline at::Tensor unpack_weight(const at::Tensor& packed, const Geometry& g) {
  return swap_last_axes(packed.view({g.out_channels, g.taps(), g.channels / g.groups}))
      .view({g.out_channels, g.channels / g.groups, g.kernel_h, g.kernel_w});
}

}  // namespace mmext::deform_conv
