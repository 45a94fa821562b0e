// CUDA walk of the rotated IoU: one thread computes one row.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "rotated_iou/rotated_iou.h"
#include "rotated_iou/rotated_iou_cuda.h"

namespace mmext::rotated_iou {
namespace {

constexpr int kThreads = 128;
constexpr int kFields = 5;

// Half types are computed in float.
template <typename T>
using Working = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T>
__device__ Box<Working<T>> read(const void* boxes, int64_t row) {
  using W = Working<T>;
  const T* at = static_cast<const T*>(boxes) + row * kFields;
  return {
      static_cast<W>(at[0]), static_cast<W>(at[1]), static_cast<W>(at[2]), static_cast<W>(at[3]),
      static_cast<W>(at[4])};
}

template <typename T>
__device__ void write(T* boxes, int64_t row, const Box<Working<T>>& box) {
  T* at = boxes + row * kFields;
  at[0] = static_cast<T>(box.x), at[1] = static_cast<T>(box.y), at[2] = static_cast<T>(box.w);
  at[3] = static_cast<T>(box.h), at[4] = static_cast<T>(box.angle);
}

__device__ int64_t row_of_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <typename T>
__global__ void forward_kernel(const Boxes boxes, T* out) {
  const int64_t row = row_of_thread();
  if (row >= boxes.count) return;
  const bool wanted = !boxes.mask || boxes.mask[row];
  out[row] = wanted ? static_cast<T>(iou(read<T>(boxes.pred, row), read<T>(boxes.target, row)))
                    : static_cast<T>(0.0f);
}

template <typename T>
__global__ void backward_kernel(const Boxes boxes, const T* grad, T* grad_pred, T* grad_target) {
  using W = Working<T>;
  const int64_t row = row_of_thread();
  if (row >= boxes.count) return;
  Gradient<W> gradient{};
  if (!boxes.mask || boxes.mask[row]) {
    const Box<W> p = read<T>(boxes.pred, row), t = read<T>(boxes.target, row);
    const Pair<W> pair = make_pair_of(p, t);
    const W upstream = static_cast<W>(grad[row]);
    gradient = pair.tied ? iou_gradient<true>(pair, p, t, upstream)
                         : iou_gradient<false>(pair, p, t, upstream);
  }
  if (grad_pred) write(grad_pred, row, gradient.pred);
  if (grad_target) write(grad_target, row, gradient.target);
}

// Calls launch(T{}, blocks) and reports what CUDA says.
template <typename Launch>
const char* dispatch(const Boxes& boxes, const Launch& launch) {
  if (boxes.count == 0) return nullptr;
  const unsigned blocks = static_cast<unsigned>((boxes.count + kThreads - 1) / kThreads);
  switch (boxes.dtype) {
    case Dtype::kFloat: launch(float{}, blocks); break;
    case Dtype::kDouble: launch(double{}, blocks); break;
    case Dtype::kHalf: launch(__half{}, blocks); break;
    case Dtype::kBFloat16: launch(__nv_bfloat16{}, blocks); break;
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* launch_forward(const Boxes& boxes, void* out, CUstream_st* stream) {
  return dispatch(boxes, [&](auto zero, unsigned blocks) {
    using T = decltype(zero);
    forward_kernel<<<blocks, kThreads, 0, stream>>>(boxes, static_cast<T*>(out));
  });
}

const char* launch_backward(
    const Boxes& boxes, const void* grad, void* grad_pred, void* grad_target,
    CUstream_st* stream) {
  return dispatch(boxes, [&](auto zero, unsigned blocks) {
    using T = decltype(zero);
    backward_kernel<<<blocks, kThreads, 0, stream>>>(
        boxes, static_cast<const T*>(grad), static_cast<T*>(grad_pred),
        static_cast<T*>(grad_target));
  });
}

}  // namespace mmext::rotated_iou
