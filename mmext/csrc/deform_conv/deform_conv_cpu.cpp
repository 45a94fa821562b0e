// CPU walk of the deformable convolution.
//
// Every thread takes a range of output points and works through it in blocks: it samples the
// columns of a block and multiplies them at once, so the column matrix never exists as a whole and
// stays in the cache. The backward pass samples the columns again.
//
// Results do not change from run to run at a given number of threads. The one race, the addition
// into grad_x, is avoided by giving each thread its own channels; the weight gradients of the
// threads are added in order at the end.

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <algorithm>

#include "deform_conv/deform_conv_torch.h"

// One binary for all CPUs: the inner loops are compiled twice and the loader picks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MMEXT_MULTIVERSION __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define MMEXT_MULTIVERSION
#endif

namespace mmext::deform_conv {
namespace {

constexpr int64_t kBlockBytes = 1 << 20;  // columns of a block; 1 to 4 MB measure alike
constexpr int64_t kPointGrain = 32;       // points per thread at least
constexpr int64_t kChannelGrain = 16;     // channels per thread at least: a cache line of floats
constexpr int64_t kStrip = 16;            // points that pass under one tap before the next one

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Transposes (rows, cols) matrices in tiles of one cache line, `unit` numbering the row tiles.
template <typename T>
void transpose_tiles(const T* source, T* target, int64_t rows, int64_t cols, Range units) {
  constexpr int64_t tile = 64 / sizeof(T);
  const int64_t row_tiles = divide_up(rows, tile);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const int64_t matrix = unit / row_tiles * rows * cols, first_row = unit % row_tiles * tile;
    const int64_t last_row = std::min(first_row + tile, rows);
    for (int64_t first_col = 0; first_col < cols; first_col += tile) {
      const int64_t last_col = std::min(first_col + tile, cols);
      for (int64_t row = first_row; row < last_row; ++row) {
        for (int64_t col = first_col; col < last_col; ++col) {
          target[matrix + col * rows + row] = source[matrix + row * cols + col];
        }
      }
    }
  }
}

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
// each deform group that meets `channels`; `column` points at the first of these channels.
template <typename T, typename Visit>
MMEXT_HOST_DEVICE void for_each_tap(const Block<T>& block, Range channels, const Visit& visit) {
  const Geometry& g = block.geometry;
  const int64_t span = g.channels / g.deform_groups, width = block.channels.size();
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
          T* column = block.columns + row * width + part.begin - block.channels.begin;
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
      block, block.channels,
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
      block, block.channels,
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

// Adds the given channels of the block to grad_x (N * H * W, C).
template <typename T>
MMEXT_HOST_DEVICE void add_x_gradients(const Block<T>& block, Range channels, T* grad_x) {
  for_each_tap(
      block, channels,
      [&](const Point&, const Tap&, Range part, const T* grad, const Sample<T>& sample, T mask) {
        if (!sample.inside) return;
        T w[4];
        sample.weights(mask, w);
        for (int i = 0; i < 4; ++i) {
          if (sample.pixel[i] < 0) continue;
          T* target = grad_x + sample.pixel[i] * block.geometry.channels + part.begin;
#pragma omp simd
          for (int64_t j = 0; j < part.size(); ++j) target[j] += w[i] * grad[j];
        }
      });
}

}  // namespace

at::Tensor swap_last_axes_cpu(const at::Tensor& tensor) {
  const int64_t batch = tensor.size(0), rows = tensor.size(1), cols = tensor.size(2);
  at::Tensor out = at::empty({batch, cols, rows}, tensor.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, tensor.scalar_type(), "deform_conv2d", [&] {
        const scalar_t* source = tensor.const_data_ptr<scalar_t>();
        scalar_t* target = out.mutable_data_ptr<scalar_t>();
        const int64_t units = batch * divide_up(rows, 64 / sizeof(scalar_t));
        const int64_t grain = divide_up(4096, std::max<int64_t>(cols, 1));
        at::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) {
          transpose_tiles(source, target, rows, cols, {begin, end});
        });
      });
  return out;
}

// GCC clones functions for several CPUs, but no templates: hence one entry for each dtype.
#define MMEXT_DEFINE_ENTRIES(T)                                                                  \
  MMEXT_MULTIVERSION void run_columns(const Block<T>& block) { sample_columns(block); }          \
  MMEXT_MULTIVERSION void run_offset_gradients(const Block<T>& block, T* offset, T* mask) {      \
    add_offset_gradients(block, offset, mask);                                                   \
  }                                                                                              \
  MMEXT_MULTIVERSION void run_x_gradients(const Block<T>& block, Range channels, T* grad_x) {    \
    add_x_gradients(block, channels, grad_x);                                                    \
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
    const int64_t row_bytes = geometry.taps() * geometry.channels * int64_t{sizeof(T)};
    return std::max(kBlockBytes / row_bytes, 2 * kPointGrain);
  }

  // Room for the columns of some points: (groups, points, taps * channels of a group).
  at::Tensor new_columns(int64_t points) const {
    return at::empty({geometry.groups, points, weight.size(1)}, x.options());
  }

  // The columns of `points`, which start at row `first` of a tensor made by `new_columns`.
  Block<T> block(Range points, int64_t group, const at::Tensor& columns, int64_t first) const {
    const int64_t width = geometry.channels / geometry.groups;
    return {
        geometry, points, {group * width, (group + 1) * width}, x.const_data_ptr<T>(),
        offset.const_data_ptr<T>(), data_or_null<T>(mask), zeros.const_data_ptr<T>(),
        columns.mutable_data_ptr<T>() + (group * columns.size(1) + first) * columns.size(2)};
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
        run_columns(operands.block(points, group, columns, 0));
        at::Tensor target = operands.values(out, points, group);
        at::mm_out(
            target, columns[group].narrow(0, 0, points.size()),
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

// The part of the backward pass in which each thread keeps to its own points. Leaves the gradient
// of the columns in `columns`, whose row 0 belongs to point `first`.
template <typename T>
void backward_points(
    const Operands<T>& operands, const at::Tensor& grad, Range points, int64_t first,
    const at::Tensor& columns, const OperandGradients& result) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // also in the worker threads
  for (int64_t group = 0; group < operands.geometry.groups; ++group) {
    const Block<T> block = operands.block(points, group, columns, points.begin - first);
    at::Tensor used = columns[group].narrow(0, points.begin - first, points.size());
    const at::Tensor values = operands.values(grad, points, group);
    if (result.weight.defined()) {
      run_columns(block);
      operands.filters(result.weight[at::get_thread_num()], group).addmm_(values.t(), used);
    }
    if (!result.x.defined() && !result.offset.defined()) continue;
    at::mm_out(used, values, operands.filters(operands.weight, group));
    if (result.offset.defined()) {
      run_offset_gradients(
          block, result.offset.mutable_data_ptr<T>(), data_or_null<T>(result.mask));
    }
  }
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
  const int64_t step = std::min(operands.block_points() * threads, g.points());
  const at::Tensor columns = operands.new_columns(step);
  for (int64_t first = 0; first < g.points(); first += step) {
    const Range round{first, std::min(first + step, g.points())};
    at::parallel_for(round.begin, round.end, kPointGrain, [&](int64_t begin, int64_t end) {
      backward_points(operands, grad, {begin, end}, first, columns, result);
    });
    if (!result.x.defined()) continue;
    const int64_t slices = divide_up(g.channels, kChannelGrain);
    at::parallel_for(0, slices, 1, [&](int64_t begin, int64_t end) {
      for (int64_t group = 0; group < g.groups; ++group) {
        const Block<T> block = operands.block(round, group, columns, 0);
        const Range channels{
            std::max(block.channels.begin, begin * kChannelGrain),
            std::min(block.channels.end, end * kChannelGrain)};
        if (channels.size() > 0) run_x_gradients(block, channels, result.x.template mutable_data_ptr<T>());
      }
    });
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
