// What the CUDA kernels offer to their torch side. Neither torch nor CUDA headers are needed here.

#pragma once

#include "deform_conv/deform_conv.h"

struct CUstream_st;

namespace mmext::deform_conv {

enum class Dtype { kFloat, kDouble, kHalf, kBFloat16 };

// The columns of some output points for one convolution group, and what they are sampled from.
// Offsets, masks and all sums are double for double data and float otherwise.
struct DeviceBlock {
  Geometry geometry;
  Dtype dtype;           // of x and columns
  int64_t first_point;   // output points of the block
  int64_t points;
  int64_t first_channel; // input channels of the group
  int64_t channels;
  const void* x;         // (N * H * W, C)
  const void* offset;    // (N, 2 * deform_groups * taps, out_h, out_w)
  const void* mask;      // (N, deform_groups * taps, out_h, out_w), or null for v1
  void* columns;         // (points, taps, channels), or their gradient
};

// Each returns null or CUDA's description of the error.
const char* launch_columns(const DeviceBlock& block, CUstream_st* stream);
// Adds to grad_offset and grad_mask, which have the shapes of offset and mask (grad_mask may be
// null).
const char* launch_offset_gradients(
    const DeviceBlock& block, void* grad_offset, void* grad_mask, CUstream_st* stream);
// Adds to grad_x (N * H * W, C) with atomics.
const char* launch_x_gradients(const DeviceBlock& block, void* grad_x, CUstream_st* stream);

}  // namespace mmext::deform_conv
