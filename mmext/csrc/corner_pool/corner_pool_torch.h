// What the CPU and CUDA implementations share on the torch side: arguments and layouts.

#pragma once

#include <ATen/ATen.h>

#include <string_view>

#include "corner_pool/corner_pool.h"

namespace mmext::corner_pool {

// The memory format of the result follows x (a tensor that is both counts as contiguous).
inline at::MemoryFormat format_like(const at::Tensor& x) {
  return x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous()
      ? at::MemoryFormat::ChannelsLast
      : at::MemoryFormat::Contiguous;
}

// How a call sweeps an x of the given memory format. The Python wrapper explains bad arguments; the
// checks here keep a direct call of torch.ops.mmext.corner_pool from doing something undefined.
inline Shape make_shape(const at::Tensor& x, std::string_view mode, at::MemoryFormat format) {
  TORCH_CHECK(x.dim() >= 2, "corner_pool: x must have at least 2 dimensions");
  const bool vertical = mode == "top" || mode == "bottom";
  TORCH_CHECK(
      vertical || mode == "left" || mode == "right",
      "corner_pool: mode must be top, bottom, left or right, got ", std::string(mode));
  const int64_t height = x.size(-2), width = x.size(-1);
  const bool channels_last = format == at::MemoryFormat::ChannelsLast;
  const int64_t channels = channels_last ? x.size(1) : 1;
  int64_t outer = vertical ? 1 : height;
  for (int64_t axis = 0; axis < x.dim() - 2; ++axis) {
    if (!(channels_last && axis == 1)) outer *= x.size(axis);
  }
  return {
      outer, vertical ? height : width, (vertical ? width : 1) * channels,
      mode == "top" || mode == "left"};
}

inline void check_grad(const at::Tensor& grad, const at::Tensor& x) {
  TORCH_CHECK(
      grad.sizes() == x.sizes() && grad.device() == x.device(), "corner_pool: grad has shape ",
      grad.sizes(), " on ", grad.device(), ", expected ", x.sizes(), " on ", x.device());
}

}  // namespace mmext::corner_pool
