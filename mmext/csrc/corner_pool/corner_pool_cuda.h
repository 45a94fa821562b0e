// What the CUDA kernels offer to their torch side. Neither torch nor CUDA headers are needed here.

#pragma once

#include "corner_pool/corner_pool.h"

struct CUstream_st;

namespace mmext::corner_pool {

enum class Dtype { kFloat, kDouble, kHalf, kBFloat16 };

// All tensors are (outer, length, inner), in memory too. Each function returns null or CUDA's
// description of the error.
const char* launch_forward(
    const Shape& shape, Dtype dtype, const void* x, void* out, CUstream_st* stream);
const char* launch_backward(
    const Shape& shape, Dtype dtype, const void* grad, const void* x, void* out,
    CUstream_st* stream);

}  // namespace mmext::corner_pool
