// CPU walk of the deformable convolution.
//
// Every thread takes a range of output points and works through it in blocks: it samples the
// columns of a block and multiplies them at once, so the column matrix never exists as a whole and
// stays in the cache. The backward pass samples the columns again.
//
// The threads meet only at the end, since waiting costs much where other processes compete for the
// cores. What two threads would both add to is kept apart: each has its own weight gradient, and a
// thread that starts amid an image its own gradient of that image. The sums over threads have a
// fixed order, so results do not change from run to run at a given number of threads.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "deform_conv/deform_conv_torch.h"

namespace mmext::deform_conv {
namespace {

constexpr int64_t kBlockBytes = 1 << 20;  // columns of a block; 1 to 4 MB measure alike
constexpr int64_t kPointGrain = 32;       // points per thread at least
constexpr int64_t kStrip = 16;            // points that pass under one tap before the next one

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The columns of some points for one convolution group, and what they are sampled from.
template <typename T>
struct Block {
  const Geometry& geometry;
  Range points;
  Range channels;   // input channels of the group
  const T* x;       // (N * H * W, C)
  const T* offset;  // (N, 2 * deform_groups * taps, out_h, out_w)
  const T* mask;    // (N, deform_groups * taps, out_h, out_w), or null for v1
  const T* zeros;   // (C,), read in place of corners outside the image
  T* columns;       // (points, taps, channels), or their gradient
};

// Calls visit(point, tap, channels, column, sample, mask) for each tap of the block's points and
// each deform group that meets the block's channels; `column` points at the first of `channels`.
template <typename T, typename Visit>
MMEXT_HOST_DEVICE void for_each_tap(const Block<T>& block, const Visit& visit) {
  const Geometry& g = block.geometry;
  const Range channels = block.channels;
  const int64_t span = g.channels / g.deform_groups;
  Point strip[kStrip];
  for (int64_t start = block.points.begin; start < block.points.end; start += kStrip) {
    const int64_t count = std::min(kStrip, block.points.end - start);
    for (int64_t i = 0; i < count; ++i) strip[i] = point_at(g, start + i);
    Range part{channels.begin, channels.begin};
    for (; part.begin < channels.end; part.begin = part.end) {
      const int64_t deform_group = part.begin / span;
      part.end = std::min(channels.end, (deform_group + 1) * span);
      for (int64_t k = 0; k < g.taps(); ++k) {
        const Tap tap = tap_at(g, deform_group, k);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t row = (start - block.points.begin + i) * g.taps() + k;
          T* column = block.columns + row * channels.size() + part.begin - channels.begin;
          const T mask = block.mask ? block.mask[mask_position(g, strip[i], tap)] : T(1);
          visit(strip[i], tap, part, column, locate(g, strip[i], tap, block.offset), mask);
        }
      }
    }
  }
}

// The channel vectors of a sample's corner pixels.
template <typename T>
struct Corners {
  const T *a, *b, *c, *d;

  MMEXT_HOST_DEVICE Corners(const Block<T>& block, const Sample<T>& sample, Range channels) {
    const auto at = [&](int64_t pixel) {
      return pixel < 0 ? block.zeros
                       : block.x + pixel * block.geometry.channels + channels.begin;
    };
    a = at(sample.pixel[0]), b = at(sample.pixel[1]);
    c = at(sample.pixel[2]), d = at(sample.pixel[3]);
  }
};

template <typename T>
MMEXT_HOST_DEVICE void sample_columns(const Block<T>& block) {
  for_each_tap(
      block,
      [&](const Point&, const Tap&, Range part, T* column, const Sample<T>& sample, T mask) {
        if (!sample.inside) {
          std::fill_n(column, part.size(), T(0));
          return;
        }
        const Corners<T> x(block, sample, part);
        T w[4];
        sample.weights(mask, w);
#pragma omp simd
        for (int64_t j = 0; j < part.size(); ++j) {
          column[j] = w[0] * x.a[j] + w[1] * x.b[j] + w[2] * x.c[j] + w[3] * x.d[j];
        }
      });
}

// Adds to grad_offset and grad_mask, which have the shapes of offset and mask.
template <typename T>
MMEXT_HOST_DEVICE void add_offset_gradients(const Block<T>& block, T* grad_offset, T* grad_mask) {
  const Geometry& g = block.geometry;
  for_each_tap(
      block,
      [&](const Point& point, const Tap& tap, Range part, const T* grad, const Sample<T>& sample,
          T mask) {
        if (!sample.inside) return;
        const Corners<T> x(block, sample, part);
        T a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
        for (int64_t j = 0; j < part.size(); ++j) {
          a += grad[j] * x.a[j];
          b += grad[j] * x.b[j];
          c += grad[j] * x.c[j];
          d += grad[j] * x.d[j];
        }
        const OffsetGradient<T> result = offset_gradient(sample, mask, {a, b, c, d});
        T* target = grad_offset + offset_position(g, point, tap);
        target[0] += result.row;
        target[g.out_pixels()] += result.col;
        if (grad_mask) grad_mask[mask_position(g, point, tap)] += result.mask;
      });
}

// Adds to grad_x, whose first row is pixel `first_pixel` of the batch: (H * W or more, C).
template <typename T>
MMEXT_HOST_DEVICE void add_x_gradients(const Block<T>& block, T* grad_x, int64_t first_pixel) {
  const int64_t channels = block.geometry.channels;
  for_each_tap(
      block,
      [&](const Point&, const Tap&, Range part, const T* grad, const Sample<T>& sample, T mask) {
        if (!sample.inside) return;
        T w[4];
        sample.weights(mask, w);
        for (int i = 0; i < 4; ++i) {
          if (sample.pixel[i] < 0) continue;
          T* target = grad_x + (sample.pixel[i] - first_pixel) * channels + part.begin;
#pragma omp simd
          for (int64_t j = 0; j < part.size(); ++j) target[j] += w[i] * grad[j];
        }
      });
}

}  // namespace

#define MMEXT_DEFINE_ENTRIES(T)                                                                  \
  MMEXT_MULTIVERSION void run_columns(const Block<T>& block) { sample_columns(block); }          \
  MMEXT_MULTIVERSION void run_offset_gradients(const Block<T>& block, T* offset, T* mask) {      \
    add_offset_gradients(block, offset, mask);                                                   \
  }                                                                                              \
  MMEXT_MULTIVERSION void run_x_gradients(const Block<T>& block, T* x, int64_t first_pixel) {    \
    add_x_gradients(block, x, first_pixel);                                                      \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

template <typename T>
T* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

// The tensors of one call, in the layout and dtype in which the kernels work.
template <typename T>
struct Operands {
  Geometry geometry;
  at::Tensor x, offset, weight, mask, zeros;

  Operands(
      const Geometry& g, const at::Tensor& x_in, const at::Tensor& offset_in,
      const at::Tensor& weight_in, const std::optional<at::Tensor>& mask_in)
      : geometry(g) {
    const auto dtype = c10::CppTypeToScalarType<T>::value;
    x = rows_of(x_in.to(dtype));
    offset = offset_in.to(dtype).contiguous();
    weight = pack_weight(weight_in.to(dtype));
    if (mask_in) mask = mask_in->to(dtype).contiguous();
    zeros = at::zeros({g.channels}, x.options());
  }

  int64_t block_points() const {
    const int64_t row_bytes = weight.size(1) * int64_t{sizeof(T)};
    return std::max(kBlockBytes / row_bytes, 2 * kPointGrain);
  }

  // Room for the columns of some points and one group: (points, taps * channels of a group).
  at::Tensor new_columns(int64_t points) const {
    return at::empty({points, weight.size(1)}, x.options());
  }

  Block<T> block(Range points, int64_t group, const at::Tensor& columns) const {
    const int64_t width = geometry.channels / geometry.groups;
    return {
        geometry, points, {group * width, (group + 1) * width}, x.const_data_ptr<T>(),
        offset.const_data_ptr<T>(), data_or_null<T>(mask), zeros.const_data_ptr<T>(),
        columns.mutable_data_ptr<T>()};
  }

  // The filters of a group in (..., out_channels, taps * channels of a group).
  at::Tensor filters(const at::Tensor& weights, int64_t group) const {
    const int64_t width = geometry.out_channels / geometry.groups;
    return weights.narrow(-2, group * width, width);
  }

  // The values of some points and a group in (N * out_h * out_w, out_channels).
  at::Tensor values(const at::Tensor& rows, Range points, int64_t group) const {
    const int64_t width = geometry.out_channels / geometry.groups;
    return rows.narrow(0, points.begin, points.size()).narrow(1, group * width, width);
  }
};

template <typename T>
at::Tensor forward(const Operands<T>& operands, const std::optional<at::Tensor>& bias) {
  const Geometry& g = operands.geometry;
  at::Tensor out = at::empty({g.points(), g.out_channels}, operands.x.options());
  at::parallel_for(0, g.points(), kPointGrain, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;  // also in the worker threads
    const int64_t step = std::min(operands.block_points(), end - begin);
    const at::Tensor columns = operands.new_columns(step);
    for (; begin < end; begin += step) {
      const Range points{begin, std::min(begin + step, end)};
      for (int64_t group = 0; group < g.groups; ++group) {
        run_columns(operands.block(points, group, columns));
        at::Tensor target = operands.values(out, points, group);
        at::mm_out(
            target, columns.narrow(0, 0, points.size()),
            operands.filters(operands.weight, group).t());
      }
    }
  });
  return bias ? out.add_(bias->to(out.scalar_type())) : out;
}

// Gradients in the layout of the operands; undefined where not asked for.
struct OperandGradients {
  at::Tensor x, offset, mask;
  at::Tensor weight;  // (threads, out_channels, taps * channels of a group), to be summed
};

// Where one thread adds the gradient of x.
template <typename T>
struct XTarget {
  T* data;
  int64_t first_pixel;  // of the batch, at `data`
};

template <typename T>
void backward_block(
    const Operands<T>& operands, const at::Tensor& grad, const Block<T>& block, int64_t group,
    const at::Tensor& columns, const at::Tensor& grad_weight, const OperandGradients& result,
    XTarget<T> x_target) {
  at::Tensor used = columns.narrow(0, 0, block.points.size());
  const at::Tensor values = operands.values(grad, block.points, group);
  if (grad_weight.defined()) {
    run_columns(block);
    operands.filters(grad_weight, group).addmm_(values.t(), used);
  }
  if (!result.x.defined() && !result.offset.defined()) return;
  at::mm_out(used, values, operands.filters(operands.weight, group));
  if (result.offset.defined()) {
    run_offset_gradients(
        block, result.offset.mutable_data_ptr<T>(), data_or_null<T>(result.mask));
  }
  if (result.x.defined()) run_x_gradients(block, x_target.data, x_target.first_pixel);
}

// The share of one thread. Returns the gradient of the image in which its points start, (H * W, C),
// if another thread has the beginning of that image; undefined otherwise.
template <typename T>
at::Tensor backward_points(
    const Operands<T>& operands, const at::Tensor& grad, Range share,
    const at::Tensor& grad_weight, const OperandGradients& result) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // also in the worker threads
  const Geometry& g = operands.geometry;
  const int64_t image = share.begin / g.out_pixels(), image_end = (image + 1) * g.out_pixels();
  const bool amid = result.x.defined() && share.begin % g.out_pixels() != 0;
  at::Tensor shared_image;
  if (amid) shared_image = at::zeros({g.height * g.width, g.channels}, operands.x.options());
  const int64_t step = std::min(operands.block_points(), share.size());
  const at::Tensor columns = operands.new_columns(step);
  Range points{share.begin, share.begin};
  for (; points.begin < share.end; points.begin = points.end) {
    points.end = std::min(points.begin + step, share.end);
    XTarget<T> x_target{data_or_null<T>(result.x), 0};
    if (amid && points.begin < image_end) {
      points.end = std::min(points.end, image_end);
      x_target = {shared_image.mutable_data_ptr<T>(), image * g.height * g.width};
    }
    for (int64_t group = 0; group < g.groups; ++group) {
      const Block<T> block = operands.block(points, group, columns);
      backward_block(operands, grad, block, group, columns, grad_weight, result, x_target);
    }
  }
  return shared_image;
}

template <typename T>
OperandGradients backward(
    const Operands<T>& operands, const at::Tensor& grad, std::array<bool, 4> output_mask) {
  const Geometry& g = operands.geometry;
  const int64_t threads = std::min<int64_t>(
      at::get_num_threads(), std::max<int64_t>(divide_up(g.points(), kPointGrain), 1));
  OperandGradients result;
  if (output_mask[0]) result.x = at::zeros_like(operands.x);
  if (output_mask[1] || output_mask[3]) {
    result.offset = at::zeros_like(operands.offset);
    if (operands.mask.defined()) result.mask = at::zeros_like(operands.mask);
  }
  if (output_mask[2]) {
    result.weight =
        at::zeros({threads, g.out_channels, operands.weight.size(1)}, operands.x.options());
  }
  const auto share_of = [&](int64_t thread) {
    return Range{g.points() * thread / threads, g.points() * (thread + 1) / threads};
  };
  std::vector<at::Tensor> shared_images(threads);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      const at::Tensor grad_weight = output_mask[2] ? result.weight[thread] : at::Tensor();
      shared_images[thread] =
          backward_points(operands, grad, share_of(thread), grad_weight, result);
    }
  });
  for (int64_t thread = 0; thread < threads; ++thread) {
    if (!shared_images[thread].defined()) continue;
    const int64_t image = share_of(thread).begin / g.out_pixels();
    result.x.narrow(0, image * g.height * g.width, g.height * g.width)
        .add_(shared_images[thread]);
  }
  return result;
}

at::Tensor deform_conv2d_cpu(
    const at::Tensor& x, const at::Tensor& offset, const at::Tensor& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& mask,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups,
    int64_t deform_groups) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const Geometry g =
      make_geometry(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups);
  const auto run = [&](auto zero) {
    return forward(Operands<decltype(zero)>(g, x, offset, weight, mask), bias);
  };
  const at::Tensor rows = x.scalar_type() == at::kDouble ? run(0.0) : run(0.0f);
  return image_of(
      rows.to(x.scalar_type()), g.batch, g.out_height, g.out_width, format_like(x));
}

Gradients deform_conv2d_backward_cpu(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& offset,
    const at::Tensor& weight, const std::optional<at::Tensor>& mask, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups, int64_t deform_groups,
    std::array<bool, 4> output_mask) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the results must not count as views
  const Geometry g =
      make_geometry(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups);
  output_mask[3] = output_mask[3] && mask;
  const auto run = [&](auto zero) {
    const Operands<decltype(zero)> operands(g, x, offset, weight, mask);
    return backward(operands, rows_of(grad.to(operands.x.scalar_type())), output_mask);
  };
  // The operands are gone before the results are brought into their final layout.
  const OperandGradients result = x.scalar_type() == at::kDouble ? run(0.0) : run(0.0f);
  const auto dtype = x.scalar_type();
  const auto absent = [&] { return at::empty({0}, x.options()); };
  return {
      output_mask[0] ? image_of(result.x.to(dtype), g.batch, g.height, g.width, format_like(x))
                     : absent(),
      output_mask[1] ? result.offset.to(dtype) : absent(),
      output_mask[2] ? unpack_weight(result.weight.sum(0).to(dtype), g) : absent(),
      output_mask[3] ? result.mask.to(dtype) : absent()};
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("deform_conv2d", &deform_conv2d_cpu);
  m.impl("_deform_conv2d_backward", &deform_conv2d_backward_cpu);
}

}  // namespace
}  // namespace mmext::deform_conv
