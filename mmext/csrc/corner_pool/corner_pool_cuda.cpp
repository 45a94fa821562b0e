// Torch side of the CUDA kernels: layouts and registration.

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "corner_pool/corner_pool_cuda.h"
#include "corner_pool/corner_pool_torch.h"

namespace mmext::corner_pool {
namespace {

Dtype dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return Dtype::kFloat;
    case at::kDouble: return Dtype::kDouble;
    case at::kHalf: return Dtype::kHalf;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: TORCH_CHECK(false, "corner_pool: no CUDA kernel for ", tensor.scalar_type());
  }
}

void check_launch(const char* error) { TORCH_CHECK(!error, "corner_pool: ", error); }

at::Tensor corner_pool_cuda(const at::Tensor& x, std::string_view mode) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const c10::cuda::CUDAGuard device(x.device());
  const at::MemoryFormat format = format_like(x);
  const Shape shape = make_shape(x, mode, format);
  const at::Tensor values = x.contiguous(format);
  at::Tensor out = at::empty(x.sizes(), x.options(), format);
  check_launch(launch_forward(
      shape, dtype_of(x), values.const_data_ptr(), out.mutable_data_ptr(),
      c10::cuda::getCurrentCUDAStream()));
  return out;
}

at::Tensor corner_pool_backward_cuda(
    const at::Tensor& grad, const at::Tensor& x, std::string_view mode) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const c10::cuda::CUDAGuard device(x.device());
  const at::MemoryFormat format = format_like(x);
  const Shape shape = make_shape(x, mode, format);
  check_grad(grad, x);
  const at::Tensor values = x.contiguous(format);
  const at::Tensor grads = grad.to(x.scalar_type()).contiguous(format);
  at::Tensor out = at::empty(x.sizes(), x.options(), format);
  check_launch(launch_backward(
      shape, dtype_of(x), grads.const_data_ptr(), values.const_data_ptr(), out.mutable_data_ptr(),
      c10::cuda::getCurrentCUDAStream()));
  return out;
}

TORCH_LIBRARY_IMPL(mmext, CUDA, m) {
  m.impl("corner_pool", &corner_pool_cuda);
  m.impl("_corner_pool_backward", &corner_pool_backward_cuda);
}

}  // namespace
}  // namespace mmext::corner_pool
