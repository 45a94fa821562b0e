// What the CUDA kernels offer to their torch side. Neither torch nor CUDA headers are needed here.

#pragma once

#include "gaussian_distance/gaussian_distance.h"

struct CUstream_st;

namespace mmext::gaussian_distance {

// (rows, columns) boxes; weights, or null, and gradients of losses have strides of their own.
template <typename T>
struct Inputs {
  const T *pred, *target, *weight;
  int64_t weight_stride, rows;
  int columns;
};

// Each function returns null or CUDA's description of the error. T is float or double.
template <typename T>
const char* launch_forward(
    const Inputs<T>& inputs, const Options& options, T* out, CUstream_st* stream);

// Null stands for a gradient that is not asked for.
template <typename T>
const char* launch_backward(
    const Inputs<T>& inputs, const Options& options, const T* grad, int64_t grad_stride,
    T* of_pred, T* of_target, CUstream_st* stream);

}  // namespace mmext::gaussian_distance
