// CUDA walk of the deformable convolution: one warp for each tap of each output point, its lanes
// side by side on the channels, so that reads of channels-last data coalesce.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "deform_conv/deform_conv_cuda.h"

namespace mmext::deform_conv {
namespace {

constexpr int kLanes = 32;
constexpr int kWarpsPerBlock = 8;

template <typename T>
using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Calls visit(point, tap, begin, end, column, sample, mask) for each deform group that meets the
// channels [begin, end) of this warp's tap; `column` points at channel `begin`.
template <typename T, typename Visit>
__device__ void visit_tap(const DeviceBlock& block, const Visit& visit) {
  using S = Sum<T>;
  const Geometry& g = block.geometry;
  const int64_t warp =
      (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kLanes;
  if (warp >= block.points * g.taps()) return;
  const Point point = point_at(g, block.first_point + warp / g.taps());
  T* columns = static_cast<T*>(block.columns) + warp * block.channels;
  const S* masks = static_cast<const S*>(block.mask);
  const int64_t span = g.channels / g.deform_groups, last = block.first_channel + block.channels;
  for (int64_t begin = block.first_channel; begin < last;) {
    const Tap tap = tap_at(g, begin / span, warp % g.taps());
    const int64_t group_end = (tap.deform_group + 1) * span;
    const int64_t end = group_end < last ? group_end : last;
    const S mask = masks ? masks[mask_position(g, point, tap)] : S(1);
    const Sample<S> sample = locate(g, point, tap, static_cast<const S*>(block.offset));
    visit(point, tap, begin, end, columns + begin - block.first_channel, sample, mask);
    begin = end;
  }
}

template <typename T>
__device__ Sum<T> corner_value(const DeviceBlock& block, int64_t pixel, int64_t channel) {
  if (pixel < 0) return 0;
  return static_cast<Sum<T>>(
      static_cast<const T*>(block.x)[pixel * block.geometry.channels + channel]);
}

template <typename T>
__global__ void columns_kernel(const DeviceBlock block) {
  using S = Sum<T>;
  visit_tap<T>(
      block, [&](const Point&, const Tap&, int64_t begin, int64_t end, T* column,
                 const Sample<S>& sample, S mask) {
        S w[4];
        sample.weights(mask, w);
        for (int64_t c = begin + threadIdx.x % kLanes; c < end; c += kLanes) {
          S value = 0;
          for (int i = 0; i < 4; ++i) value += w[i] * corner_value<T>(block, sample.pixel[i], c);
          column[c - begin] = static_cast<T>(value);
        }
      });
}

template <typename T>
__global__ void offset_gradients_kernel(
    const DeviceBlock block, Sum<T>* grad_offset, Sum<T>* grad_mask) {
  using S = Sum<T>;
  visit_tap<T>(
      block, [&](const Point& point, const Tap& tap, int64_t begin, int64_t end, const T* grad,
                 const Sample<S>& sample, S mask) {
        if (!sample.inside) return;  // the same for all lanes
        S dot[4] = {0, 0, 0, 0};
        for (int64_t c = begin + threadIdx.x % kLanes; c < end; c += kLanes) {
          const S value = static_cast<S>(grad[c - begin]);
          for (int i = 0; i < 4; ++i) {
            dot[i] += value * corner_value<T>(block, sample.pixel[i], c);
          }
        }
        for (int i = 0; i < 4; ++i) {
          for (int step = kLanes / 2; step > 0; step /= 2) {
            dot[i] += __shfl_xor_sync(0xffffffffu, dot[i], step);
          }
        }
        if (threadIdx.x % kLanes != 0) return;
        // No other warp has this tap and deform group: plain additions do.
        const OffsetGradient<S> result = offset_gradient(sample, mask, dot);
        S* target = grad_offset + offset_position(block.geometry, point, tap);
        target[0] += result.row;
        target[block.geometry.out_pixels()] += result.col;
        if (grad_mask) grad_mask[mask_position(block.geometry, point, tap)] += result.mask;
      });
}

template <typename T>
__global__ void x_gradients_kernel(const DeviceBlock block, Sum<T>* grad_x) {
  using S = Sum<T>;
  visit_tap<T>(
      block, [&](const Point&, const Tap&, int64_t begin, int64_t end, const T* grad,
                 const Sample<S>& sample, S mask) {
        if (!sample.inside) return;
        S w[4];
        sample.weights(mask, w);
        for (int64_t c = begin + threadIdx.x % kLanes; c < end; c += kLanes) {
          const S value = static_cast<S>(grad[c - begin]);
          for (int i = 0; i < 4; ++i) {
            if (sample.pixel[i] < 0) continue;
            atomicAdd(grad_x + sample.pixel[i] * block.geometry.channels + c, w[i] * value);
          }
        }
      });
}

// Calls launch(T{}, grid, threads) for the block's dtype and reports what CUDA says.
template <typename Launch>
const char* dispatch(const DeviceBlock& block, const Launch& launch) {
  const int64_t warps = block.points * block.geometry.taps();
  const unsigned grid = static_cast<unsigned>((warps + kWarpsPerBlock - 1) / kWarpsPerBlock);
  if (grid == 0) return nullptr;
  constexpr unsigned threads = kWarpsPerBlock * kLanes;
  switch (block.dtype) {
    case Dtype::kFloat: launch(float{}, grid, threads); break;
    case Dtype::kDouble: launch(double{}, grid, threads); break;
    case Dtype::kHalf: launch(__half{}, grid, threads); break;
    case Dtype::kBFloat16: launch(__nv_bfloat16{}, grid, threads); break;
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* launch_columns(const DeviceBlock& block, CUstream_st* stream) {
  return dispatch(block, [&](auto zero, unsigned grid, unsigned threads) {
    columns_kernel<decltype(zero)><<<grid, threads, 0, stream>>>(block);
  });
}

const char* launch_offset_gradients(
    const DeviceBlock& block, void* grad_offset, void* grad_mask, CUstream_st* stream) {
  return dispatch(block, [&](auto zero, unsigned grid, unsigned threads) {
    using T = decltype(zero);
    offset_gradients_kernel<T><<<grid, threads, 0, stream>>>(
        block, static_cast<Sum<T>*>(grad_offset), static_cast<Sum<T>*>(grad_mask));
  });
}

const char* launch_x_gradients(const DeviceBlock& block, void* grad_x, CUstream_st* stream) {
  return dispatch(block, [&](auto zero, unsigned grid, unsigned threads) {
    using T = decltype(zero);
    x_gradients_kernel<T><<<grid, threads, 0, stream>>>(block, static_cast<Sum<T>*>(grad_x));
  });
}

}  // namespace mmext::deform_conv
