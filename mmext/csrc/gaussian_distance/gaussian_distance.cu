// CUDA walk of gaussian_distance: one thread for each pair of boxes.

#include <cuda_runtime.h>

#include "gaussian_distance/gaussian_distance_cuda.h"

namespace mmext::gaussian_distance {
namespace {

constexpr int kThreads = 256;

template <typename T>
struct Measured {
  Pair<T> pair;
  bool exchanged;
};

template <bool rotated, typename T>
__device__ Measured<T> measure(const T* p, const T* t, Kind kind) {
  Measured<T> m;
  m.pair = make_pair<rotated>(Box<T>{p[0], p[1], p[2], p[3]}, Box<T>{t[0], t[1], t[2], t[3]});
  raise_sides(m.pair);
  m.exchanged = false;
  m.pair.turn = m.pair.p_frame = m.pair.t_frame = {T(0), T(1)};
  if constexpr (rotated) {
    m.exchanged = align(m.pair);
    m.pair.turn = turn_between(p[4], t[4], m.exchanged);
    if (needs_p_frame(kind)) m.pair.p_frame = direction(p[4], T(0), T(0));
    if (needs_t_frame(kind)) m.pair.t_frame = direction(t[4], T(0), T(m.exchanged));
  }
  return m;
}

template <typename T>
__device__ Terms<T> measure_distance(
    const Pair<T>& pair, const Options& options, const Factors<T>& factors) {
  Terms<T> terms;
  with_kind(options.kind, [&](auto kind) {
    terms = distance<decltype(kind)::value>(pair, factors);
  });
  return options.normalize ? normalized(pair, terms) : terms;
}

template <typename T>
__device__ Loss<T> make_loss(T value, const Options& options, const Factors<T>& factors) {
  Loss<T> loss{factors.scale * value, factors.scale};
  if (options.sqrt) loss = apply<Fun::kSqrt>(loss);
  with_fun(options.fun, [&](auto fun) { loss = apply<decltype(fun)::value>(loss); });
  return factors.tau == T(0) ? loss : saturate(loss, factors.tau);
}

template <bool rotated, typename T>
__global__ void forward_kernel(
    const Inputs<T> inputs, const Options options, const Factors<T> factors, T* out) {
  constexpr int columns = rotated ? 5 : 4;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= inputs.rows) return;
  const T weight = inputs.weight ? inputs.weight[row * inputs.weight_stride] : T(1);
  T value = 0;
  if (weight != T(0)) {
    const Measured<T> m = measure<rotated>(
        inputs.pred + row * columns, inputs.target + row * columns, options.kind);
    value = measure_distance(m.pair, options, factors).value;
    value = weight * make_loss(value, options, factors).value;
  }
  out[row] = value;
}

template <bool rotated, typename T>
__device__ void write(const BoxGradient<T>& gradient, T* out) {
  for (int i = 0; i < 4; ++i) out[i] = gradient.box.entries[i];
  if constexpr (rotated) out[4] = gradient.angle;
}

template <bool rotated, typename T>
__global__ void backward_kernel(
    const Inputs<T> inputs, const Options options, const Factors<T> factors, const T* grad,
    int64_t grad_stride, T* of_pred, T* of_target) {
  constexpr int columns = rotated ? 5 : 4;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= inputs.rows) return;
  const T weight = inputs.weight ? inputs.weight[row * inputs.weight_stride] : T(1);
  BoxGradient<T> pred_gradient{}, target_gradient{};
  if (weight != T(0)) {
    const Measured<T> m = measure<rotated>(
        inputs.pred + row * columns, inputs.target + row * columns, options.kind);
    const Terms<T> terms = measure_distance(m.pair, options, factors);
    const T slope =
        make_loss(terms.value, options, factors).slope * (weight * grad[row * grad_stride]);
    pred_gradient = gradient_of_pred<rotated>(m.pair, terms, slope);
    target_gradient = gradient_of_target<rotated>(m.pair, terms, slope, m.exchanged);
  }
  if (of_pred) write<rotated>(pred_gradient, of_pred + row * columns);
  if (of_target) write<rotated>(target_gradient, of_target + row * columns);
}

// Calls launch(whether boxes are rotated, grid) and reports what CUDA says.
template <typename T, typename Launch>
const char* dispatch(const Inputs<T>& inputs, const Launch& launch) {
  if (inputs.rows == 0) return nullptr;
  const auto grid = static_cast<unsigned>((inputs.rows + kThreads - 1) / kThreads);
  if (inputs.columns == 5) {
    launch(std::true_type(), grid);
  } else {
    launch(std::false_type(), grid);
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

template <typename T>
const char* launch_forward(
    const Inputs<T>& inputs, const Options& options, T* out, CUstream_st* stream) {
  return dispatch(inputs, [&](auto rotated, unsigned grid) {
    forward_kernel<decltype(rotated)::value>
        <<<grid, kThreads, 0, stream>>>(inputs, options, Factors<T>(options), out);
  });
}

template <typename T>
const char* launch_backward(
    const Inputs<T>& inputs, const Options& options, const T* grad, int64_t grad_stride,
    T* of_pred, T* of_target, CUstream_st* stream) {
  return dispatch(inputs, [&](auto rotated, unsigned grid) {
    backward_kernel<decltype(rotated)::value><<<grid, kThreads, 0, stream>>>(
        inputs, options, Factors<T>(options), grad, grad_stride, of_pred, of_target);
  });
}

#define MMEXT_INSTANTIATE(T)                                                                     \
  template const char* launch_forward(const Inputs<T>&, const Options&, T*, CUstream_st*);       \
  template const char* launch_backward(                                                          \
      const Inputs<T>&, const Options&, const T*, int64_t, T*, T*, CUstream_st*);
MMEXT_INSTANTIATE(float)
MMEXT_INSTANTIATE(double)
#undef MMEXT_INSTANTIATE

}  // namespace mmext::gaussian_distance
