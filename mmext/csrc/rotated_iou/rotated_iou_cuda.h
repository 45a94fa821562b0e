// What the CUDA kernels offer to their torch side. Neither torch nor CUDA headers are needed here.

#pragma once

#include <cstdint>

struct CUstream_st;

namespace mmext::rotated_iou {

enum class Dtype { kFloat, kDouble, kHalf, kBFloat16 };

// (count, 5) boxes, contiguous, of one dtype; `mask` is null or says which of them to look at.
struct Boxes {
  const void* pred;
  const void* target;
  const bool* mask;
  int64_t count;
  Dtype dtype;
};

// Rows outside the mask become zero. A null gradient is not wanted. Each function returns null or
// CUDA's description of the error.
const char* launch_forward(const Boxes& boxes, void* out, CUstream_st* stream);
const char* launch_backward(
    const Boxes& boxes, const void* grad, void* grad_pred, void* grad_target, CUstream_st* stream);

}  // namespace mmext::rotated_iou
