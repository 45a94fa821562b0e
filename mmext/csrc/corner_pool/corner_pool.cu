// CUDA walk of corner pooling: one thread sweeps one line.
//
// Neighbouring threads read neighbouring elements where lines lie side by side in memory. Where
// lines lie one after the other, a warp brings its lines into shared memory a tile at a time.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "corner_pool/corner_pool_cuda.h"

namespace mmext::corner_pool {
namespace {

constexpr int kLanes = 32;
constexpr int kThreads = 256;  // of a block, where lines lie side by side

// Gradients are summed, and values compared, in float or, for double data, in double.
template <typename T>
using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T, int kInputs>
struct Streams {
  const T* in[kInputs];
  T* out;  // may be one of the inputs
};

// Both functions replace each element of a line by step(elements of the inputs), in the order of
// the sweep.
template <typename T, int kInputs, typename Step>
__device__ void sweep_columns(
    const Shape& shape, bool backwards, const Streams<T, kInputs>& data, const Step& step) {
  const int64_t line = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (line >= shape.lines()) return;
  const int64_t first = line / shape.inner * shape.length * shape.inner + line % shape.inner;
  for (int64_t i = 0; i < shape.length; ++i) {
    const int64_t at = first + (backwards ? shape.length - 1 - i : i) * shape.inner;
    Sum<T> values[kInputs];
    for (int k = 0; k < kInputs; ++k) values[k] = static_cast<Sum<T>>(data.in[k][at]);
    data.out[at] = static_cast<T>(step(values));
  }
}

// A block is one warp here.
template <typename T, int kInputs, typename Step>
__device__ void sweep_rows(
    const Shape& shape, bool backwards, const Streams<T, kInputs>& data, const Step& step) {
  __shared__ Sum<T> tile[kInputs][kLanes][kLanes + 1];  // the odd width avoids bank conflicts
  const int lane = threadIdx.x;
  const int64_t first_line = static_cast<int64_t>(blockIdx.x) * kLanes;
  const int64_t rest = shape.outer - first_line;
  const int lines = rest < kLanes ? static_cast<int>(rest) : kLanes;
  const int64_t tiles = (shape.length + kLanes - 1) / kLanes;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t begin = (backwards ? tiles - 1 - i : i) * kLanes;
    const int64_t left = shape.length - begin;
    const int width = left < kLanes ? static_cast<int>(left) : kLanes;
    const int64_t corner = first_line * shape.length + begin + lane;
    for (int row = 0; row < lines && lane < width; ++row) {
      for (int k = 0; k < kInputs; ++k) {
        tile[k][row][lane] = static_cast<Sum<T>>(data.in[k][corner + row * shape.length]);
      }
    }
    __syncwarp();
    for (int j = 0; j < width && lane < lines; ++j) {
      const int column = backwards ? width - 1 - j : j;
      Sum<T> values[kInputs];
      for (int k = 0; k < kInputs; ++k) values[k] = tile[k][lane][column];
      tile[0][lane][column] = step(values);
    }
    __syncwarp();
    for (int row = 0; row < lines && lane < width; ++row) {
      data.out[corner + row * shape.length] = static_cast<T>(tile[0][row][lane]);
    }
    __syncwarp();
  }
}

template <bool kRows, typename T, int kInputs, typename Step>
__device__ void sweep(
    const Shape& shape, bool backwards, const Streams<T, kInputs>& data, const Step& step) {
  if constexpr (kRows) {
    sweep_rows(shape, backwards, data, step);
  } else {
    sweep_columns(shape, backwards, data, step);
  }
}

template <bool kRows, typename T>
__global__ void forward_kernel(const Shape shape, const T* x, T* out) {
  using S = Sum<T>;
  S best = -INFINITY;
  sweep<kRows>(shape, shape.backwards, Streams<T, 1>{{x}, out}, [&](const S* values) {
    return best = maximum(values[0], best);
  });
}

template <bool kRows, typename T>
__global__ void backward_kernel(const Shape shape, const T* grad, const T* x, T* out) {
  using S = Sum<T>;
  S best = -INFINITY, sum = 0;
  // `out` holds flags until the second sweep. What a thread reads there it has written itself: the
  // tiles of both sweeps are the same.
  sweep<kRows>(shape, shape.backwards, Streams<T, 1>{{x}, out}, [&](const S* values) {
    const bool credited = takes_over(values[0], best);
    best = credited ? values[0] : best;
    return credited ? S(1) : S(0);
  });
  sweep<kRows>(shape, !shape.backwards, Streams<T, 2>{{grad, out}, out}, [&](const S* values) {
    return collect(values[1] != S(0), values[0], sum);
  });
}

// Calls launch(T{}, whether lines lie one after the other, grid, threads) and reports what CUDA
// says.
template <typename Launch>
const char* dispatch(const Shape& shape, Dtype dtype, const Launch& launch) {
  if (shape.lines() == 0 || shape.length == 0) return nullptr;
  const auto launch_with = [&](auto zero) {
    const auto blocks = [&](int64_t size) {
      return static_cast<unsigned>((shape.lines() + size - 1) / size);
    };
    if (shape.inner == 1) {
      launch(zero, std::true_type(), blocks(kLanes), unsigned{kLanes});
    } else {
      launch(zero, std::false_type(), blocks(kThreads), unsigned{kThreads});
    }
  };
  switch (dtype) {
    case Dtype::kFloat: launch_with(float{}); break;
    case Dtype::kDouble: launch_with(double{}); break;
    case Dtype::kHalf: launch_with(__half{}); break;
    case Dtype::kBFloat16: launch_with(__nv_bfloat16{}); break;
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* launch_forward(
    const Shape& shape, Dtype dtype, const void* x, void* out, CUstream_st* stream) {
  return dispatch(shape, dtype, [&](auto zero, auto rows, unsigned grid, unsigned threads) {
    using T = decltype(zero);
    forward_kernel<decltype(rows)::value><<<grid, threads, 0, stream>>>(
        shape, static_cast<const T*>(x), static_cast<T*>(out));
  });
}

const char* launch_backward(
    const Shape& shape, Dtype dtype, const void* grad, const void* x, void* out,
    CUstream_st* stream) {
  return dispatch(shape, dtype, [&](auto zero, auto rows, unsigned grid, unsigned threads) {
    using T = decltype(zero);
    backward_kernel<decltype(rows)::value><<<grid, threads, 0, stream>>>(
        shape, static_cast<const T*>(grad), static_cast<const T*>(x), static_cast<T*>(out));
  });
}

}  // namespace mmext::corner_pool
