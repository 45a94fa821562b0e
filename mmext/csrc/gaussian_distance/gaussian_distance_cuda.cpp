// Torch side of the CUDA kernels: registration.

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <tuple>

#include "gaussian_distance/gaussian_distance_cuda.h"
#include "gaussian_distance/gaussian_distance_torch.h"

namespace mmext::gaussian_distance {
namespace {

void check_launch(const char* error) { TORCH_CHECK(!error, "gaussian_distance: ", error); }

template <typename T>
Inputs<T> make_inputs(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& weight) {
  return {
      pred.const_data_ptr<T>(),
      target.const_data_ptr<T>(),
      weight ? weight->const_data_ptr<T>() : nullptr,
      weight ? weight->stride(0) : 0,
      pred.size(0),
      static_cast<int>(pred.size(1))};
}

at::Tensor gaussian_distance_cuda(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& weight,
    std::string_view kind, double alpha, bool normalize, double scale, bool sqrt,
    std::string_view fun, double tau) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  check_boxes(pred, target, weight);
  const c10::cuda::CUDAGuard device(pred.device());
  const Options options = make_options(kind, alpha, normalize, scale, sqrt, fun, tau);
  return with_dtype_of(pred, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor p = pred.contiguous(), t = target.contiguous();
    const at::Tensor out = at::empty({pred.size(0)}, pred.options());
    check_launch(launch_forward(
        make_inputs<T>(p, t, weight), options, out.mutable_data_ptr<T>(),
        c10::cuda::getCurrentCUDAStream()));
    return out;
  });
}

std::tuple<at::Tensor, at::Tensor> gaussian_distance_backward_cuda(
    const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target,
    const std::optional<at::Tensor>& weight, std::string_view kind, double alpha, bool normalize,
    double scale, bool sqrt, std::string_view fun, double tau, std::array<bool, 2> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the results must not count as views
  check_boxes(pred, target, weight);
  check_grad(grad, pred);
  const c10::cuda::CUDAGuard device(pred.device());
  const Options options = make_options(kind, alpha, normalize, scale, sqrt, fun, tau);
  return with_dtype_of(pred, [&](auto zero) {
    using T = decltype(zero);
    const auto make = [&](bool asked) {
      return asked ? at::empty(pred.sizes(), pred.options()) : at::empty({0}, pred.options());
    };
    const auto data_of = [](const at::Tensor& out, bool asked) {
      return asked ? out.mutable_data_ptr<T>() : nullptr;
    };
    const at::Tensor of_pred = make(output_mask[0]), of_target = make(output_mask[1]);
    const at::Tensor p = pred.contiguous(), t = target.contiguous();
    const at::Tensor grads = grad.to(pred.scalar_type());
    check_launch(launch_backward(
        make_inputs<T>(p, t, weight), options, grads.const_data_ptr<T>(), grads.stride(0),
        data_of(of_pred, output_mask[0]), data_of(of_target, output_mask[1]),
        c10::cuda::getCurrentCUDAStream()));
    return std::make_tuple(of_pred, of_target);
  });
}

TORCH_LIBRARY_IMPL(mmext, CUDA, m) {
  m.impl("gaussian_distance", &gaussian_distance_cuda);
  m.impl("_gaussian_distance_backward", &gaussian_distance_backward_cuda);
}

}  // namespace
}  // namespace mmext::gaussian_distance
