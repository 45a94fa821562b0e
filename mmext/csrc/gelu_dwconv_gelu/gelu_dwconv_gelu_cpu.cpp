// CPU walk: tiles for threads, and the torch side.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <vector>

#include "gelu_dwconv_gelu/tiles_cpu.h"

namespace mmext::gelu_dwconv_gelu {

#define MMEXT_DEFINE_ENTRIES(T)                                                                \
  MMEXT_MULTIVERSION void run_forward(                                                         \
      const Tile& tile, const T* x, const Filter<T>& filter, T* out) {                         \
    forward_tile(tile, x, filter, out);                                                        \
  }                                                                                            \
  MMEXT_MULTIVERSION void run_backward(                                                        \
      const Tile& tile, const T* grad, const T* x, const Filter<T>& filter, T* x_grad,         \
      Filter<T>& sums) {                                                                       \
    backward_tile(tile, grad, x, filter, x_grad, sums);                                        \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

constexpr int64_t kGrain = 1 << 15;  // numbers per thread at least

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The tiles of a batch, all blocks of channels of a place one after the other.
struct Tiling {
  int64_t batch, height, width, channels;
  int64_t down = divide_up(height, kRows), across = divide_up(width, kColumns);
  int64_t blocks = divide_up(channels, kDepth);

  explicit Tiling(const at::Tensor& x)
      : batch(x.size(0)), height(x.size(1)), width(x.size(2)), channels(x.size(3)) {}

  int64_t places() const { return batch * down * across; }

  // Calls visit(tile, offset of its image, place, block), from several threads.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    const int64_t size = std::min(height, kRows) * std::min(width, kColumns) * kDepth;
    const int64_t grain = divide_up(kGrain, std::max<int64_t>(size, 1));
    at::parallel_for(0, places() * blocks, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t block = i % blocks, place = i / blocks;
        const int64_t row = place / across % down * kRows, column = place % across * kColumns;
        const int64_t channel = block * kDepth;
        const Tile tile{
            height, width, channels, row, std::min(kRows, height - row), column,
            std::min(kColumns, width - column), channel, std::min(kDepth, channels - channel)};
        visit(tile, place / (across * down) * height * width * channels, place, block);
      }
    });
  }
};

// Calls run(zero of the working dtype).
template <typename Run>
auto with_dtype_of(const at::Tensor& x, const Run& run) {
  return x.scalar_type() == at::kDouble ? run(0.0) : run(0.0f);
}

template <typename T>
at::Tensor operand(const at::Tensor& tensor) {
  return tensor.to(c10::CppTypeToScalarType<T>::value).contiguous();
}

// The Python wrapper explains bad arguments; the checks here keep a direct call of the op from doing
// something undefined.
void check(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TORCH_CHECK(x.dim() == 4, "gelu_dwconv_gelu: x must be (B, H, W, C)");
  const int64_t channels = x.size(3);
  TORCH_CHECK(
      weight.sizes() == at::IntArrayRef({channels, 1, 3, 3}) && weight.device() == x.device(),
      "gelu_dwconv_gelu: weight must be (C, 1, 3, 3), on the device of x");
  TORCH_CHECK(
      bias.sizes() == at::IntArrayRef({channels}) && bias.device() == x.device(),
      "gelu_dwconv_gelu: bias must be (C,), on the device of x");
}

// (blocks, 10, kDepth)
template <typename T>
at::Tensor pack_filters(const at::Tensor& weight, const at::Tensor& bias, int64_t blocks) {
  const int64_t channels = bias.size(0);
  const at::Tensor rows =
      at::cat({operand<T>(weight).view({channels, 9}), operand<T>(bias).unsqueeze(1)}, 1);
  return at::constant_pad_nd(rows, {0, 0, 0, blocks * kDepth - channels})
      .view({blocks, kDepth, 10})
      .transpose(1, 2)
      .contiguous();
}

at::Tensor gelu_dwconv_gelu_cpu(
    const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  check(x, weight, bias);
  return with_dtype_of(x, [&](auto zero) {
    using T = decltype(zero);
    const Tiling tiling(x);
    const at::Tensor values = operand<T>(x), filters = pack_filters<T>(weight, bias, tiling.blocks);
    const at::Tensor out = at::empty(x.sizes(), values.options());
    const T* from = values.const_data_ptr<T>();
    const auto* filter = reinterpret_cast<const Filter<T>*>(filters.const_data_ptr<T>());
    T* to = out.mutable_data_ptr<T>();
    tiling.for_each([&](const Tile& tile, int64_t image, int64_t, int64_t block) {
      run_forward(tile, from + image, filter[block], to + image);
    });
    return out.to(x.scalar_type());
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gelu_dwconv_gelu_backward_cpu(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the results must not count as views
  check(x, weight, bias);
  TORCH_CHECK(
      grad.sizes() == x.sizes() && grad.device() == x.device(),
      "gelu_dwconv_gelu: grad has shape ", grad.sizes(), " on ", grad.device(), ", expected ",
      x.sizes(), " on ", x.device());
  return with_dtype_of(x, [&](auto zero) {
    using T = decltype(zero);
    const Tiling tiling(x);
    const at::Tensor values = operand<T>(x), filters = pack_filters<T>(weight, bias, tiling.blocks);
    const at::Tensor grads = operand<T>(grad);
    const at::Tensor x_grad = at::empty(x.sizes(), values.options());
    const at::Tensor sums =
        at::zeros({tiling.places(), tiling.blocks, 10, kDepth}, values.options());
    const T* from = values.const_data_ptr<T>();
    const T* from_grad = grads.const_data_ptr<T>();
    const auto* filter = reinterpret_cast<const Filter<T>*>(filters.const_data_ptr<T>());
    T* to = x_grad.mutable_data_ptr<T>();
    auto* sum = reinterpret_cast<Filter<T>*>(sums.mutable_data_ptr<T>());
    tiling.for_each([&](const Tile& tile, int64_t image, int64_t place, int64_t block) {
      run_backward(
          tile, from_grad + image, from + image, filter[block], to + image,
          sum[place * tiling.blocks + block]);
    });
    const at::Tensor rows = sums.sum(0)
                                .transpose(1, 2)
                                .reshape({tiling.blocks * kDepth, 10})
                                .slice(0, 0, tiling.channels);
    const auto columns = [&](int64_t begin, int64_t end, const at::Tensor& like) {
      const at::Tensor part = rows.slice(1, begin, end).clone(at::MemoryFormat::Contiguous);
      return part.view(like.sizes()).to(like.scalar_type());
    };
    return std::make_tuple(
        x_grad.to(x.scalar_type()), columns(0, 9, weight), columns(9, 10, bias));
  });
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("gelu_dwconv_gelu", &gelu_dwconv_gelu_cpu);
  m.impl("_gelu_dwconv_gelu_backward", &gelu_dwconv_gelu_backward_cpu);
}

}  // namespace
}  // namespace mmext::gelu_dwconv_gelu
