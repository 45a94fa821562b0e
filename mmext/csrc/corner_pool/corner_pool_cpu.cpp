// CPU walk of corner pooling: parts of a tensor for threads, and the torch side.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <vector>

#include "corner_pool/corner_pool_torch.h"
#include "corner_pool/sweeps_cpu.h"

namespace mmext::corner_pool {

#define MMEXT_DEFINE_ENTRIES(T)                                                                  \
  MMEXT_MULTIVERSION void run_columns(Bundle bundle, const T* x, T* out) {                       \
    column_maxima(bundle, x, out);                                                               \
  }                                                                                              \
  MMEXT_MULTIVERSION void run_column_gradients(                                                  \
      Bundle bundle, const T* grad, const T* x, T* out) {                                        \
    column_gradients(bundle, grad, x, out);                                                      \
  }                                                                                              \
  MMEXT_MULTIVERSION void run_rows(Tile tile, const T* x, T* out) { tile_maxima(tile, x, out); } \
  MMEXT_MULTIVERSION void run_row_gradients(                                                     \
      Tile tile, const T* grad, const T* x, T* flags, T* out) {                                  \
    tile_gradients(tile, grad, x, flags, out);                                                   \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

constexpr int64_t kGrain = 1 << 15;  // elements per thread at least

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls visit(bundle, offset of its first element) for all lines, from several threads.
template <typename Visit>
void for_each_bundle(const Shape& shape, const Visit& visit) {
  const int64_t bundles = divide_up(shape.inner, kBundle);
  const int64_t lines = divide_up(shape.inner, bundles);
  const int64_t grain = divide_up(kGrain, shape.length * lines);
  const auto offset_of = [&](int64_t i) {
    return i / bundles * shape.length * shape.inner + i % bundles * lines;
  };
  at::parallel_for(0, shape.outer * bundles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t offset = offset_of(i), left = shape.inner - i % bundles * lines;
      const Bundle bundle{
          shape.length, std::min(lines, left), shape.inner, offset_of(i + 1) - offset,
          shape.backwards};
      visit(bundle, offset);
    }
  });
}

// Calls visit(tile, offset of its first element, room for flags) for all lines, from several
// threads.
template <typename T, typename Visit>
void for_each_tile(const Shape& shape, const Visit& visit) {
  constexpr int64_t lines = kTileLines<T>;
  const int64_t grain = divide_up(kGrain, shape.length * lines);
  at::parallel_for(0, divide_up(shape.outer, lines), grain, [&](int64_t begin, int64_t end) {
    std::vector<T> flags(flags_of_tile<T>(shape.length));
    for (int64_t i = begin; i < end; ++i) {
      const Tile tile{shape.length, std::min(lines, shape.outer - i * lines), shape.backwards};
      visit(tile, i * lines * shape.length, flags.data());
    }
  });
}

template <typename T>
void forward(const Shape& shape, const T* x, T* out) {
  if (shape.inner > 1) {
    for_each_bundle(shape, [&](const Bundle& bundle, int64_t offset) {
      run_columns(bundle, x + offset, out + offset);
    });
  } else {
    for_each_tile<T>(shape, [&](const Tile& tile, int64_t offset, T*) {
      run_rows(tile, x + offset, out + offset);
    });
  }
}

template <typename T>
void backward(const Shape& shape, const T* grad, const T* x, T* out) {
  if (shape.inner > 1) {
    for_each_bundle(shape, [&](const Bundle& bundle, int64_t offset) {
      run_column_gradients(bundle, grad + offset, x + offset, out + offset);
    });
  } else {
    for_each_tile<T>(shape, [&](const Tile& tile, int64_t offset, T* flags) {
      run_row_gradients(tile, grad + offset, x + offset, flags, out + offset);
    });
  }
}

// Calls run(zero of the working dtype).
template <typename Run>
at::Tensor with_dtype_of(const at::Tensor& x, const Run& run) {
  return (x.scalar_type() == at::kDouble ? run(0.0) : run(0.0f)).to(x.scalar_type());
}

template <typename T>
at::Tensor operand(const at::Tensor& tensor, at::MemoryFormat format) {
  return tensor.to(c10::CppTypeToScalarType<T>::value).contiguous(format);
}

at::Tensor corner_pool_cpu(const at::Tensor& x, std::string_view mode) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const at::MemoryFormat format = format_like(x);
  const Shape shape = make_shape(x, mode, format);
  return with_dtype_of(x, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor values = operand<T>(x, format);
    at::Tensor out = at::empty(x.sizes(), values.options(), format);
    if (out.numel() > 0) forward(shape, values.const_data_ptr<T>(), out.mutable_data_ptr<T>());
    return out;
  });
}

at::Tensor corner_pool_backward_cpu(
    const at::Tensor& grad, const at::Tensor& x, std::string_view mode) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const at::MemoryFormat format = format_like(x);
  const Shape shape = make_shape(x, mode, format);
  check_grad(grad, x);
  return with_dtype_of(x, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor values = operand<T>(x, format), grads = operand<T>(grad, format);
    at::Tensor out = at::empty(x.sizes(), values.options(), format);
    if (out.numel() > 0) {
      backward(
          shape, grads.const_data_ptr<T>(), values.const_data_ptr<T>(), out.mutable_data_ptr<T>());
    }
    return out;
  });
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("corner_pool", &corner_pool_cpu);
  m.impl("_corner_pool_backward", &corner_pool_backward_cpu);
}

}  // namespace
}  // namespace mmext::corner_pool
