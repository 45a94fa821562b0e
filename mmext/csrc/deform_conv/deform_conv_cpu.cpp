// CPU walk of the deformable convolution.
//
// The output points are cut into blocks. For each block the threads sample its columns, then one
// matrix product follows, so the column matrix never exists as a whole and stays in the cache.
// The backward pass samples the columns again. Its only race, the addition into grad_x, is avoided
// by giving each thread its own channels; every sum over points then has a fixed order, and the
// result does not change from run to run (the products are as repeatable as BLAS at a given number
// of threads).

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "deform_conv/deform_conv_torch.h"

// One binary for all CPUs: the inner loops are compiled twice and the loader picks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MMEXT_MULTIVERSION __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define MMEXT_MULTIVERSION
#endif

namespace mmext::deform_conv {
namespace {

// A block of columns takes about this much per thread (measured: 1-4 MB are alike, more is slower).
constexpr int64_t kBlockBytesPerThread = 2 << 20;
constexpr int64_t kPointGrain = 16;    // points per task at least
constexpr int64_t kChannelGrain = 16;  // channels per task: a cache line of float

struct Range {
  int64_t begin, end;
};

// What one block of one convolution group needs to know.
template <typename T>
struct Block {
  const Geometry& geometry;
  Range points;       // output points of the block
  Range channels;     // input channels of the group
  const T* x;         // (N * H * W, C)
  const T* offset;    // (N, 2 * deform_groups * taps, out_h, out_w)
  const T* mask;      // (N, deform_groups * taps, out_h, out_w) or null: v1
  const T* zeros;     // (C,), read in place of corners outside the image

  int64_t group_channels() const { return channels.end - channels.begin; }
};

// Calls visit(index, sample, mask, channels, column) for each tap of the points [begin, end) and
// each deform group that meets [channels.begin, channels.end); `column` is the place of the first
// of these channels in the column matrix.
template <typename T, typename Visit>
MMEXT_HOST_DEVICE void for_each_tap(
    const Block<T>& block, Range points, Range channels, const Visit& visit) {
  const Geometry& g = block.geometry;
  const int64_t span = g.channels / g.deform_groups;
  for (int64_t point = points.begin; point < points.end; ++point) {
    TapIndex index = tap_index(g, point);
    for (index.tap = 0; index.tap < g.taps(); ++index.tap) {
      const int64_t row = (point - block.points.begin) * g.taps() + index.tap;
      for (int64_t begin = channels.begin; begin < channels.end;) {
        index.deform_group = begin / span;
        const int64_t end = std::min(channels.end, (index.deform_group + 1) * span);
        const T mask = block.mask ? block.mask[mask_position(g, index)] : T(1);
        const Sample<T> sample = locate(g, index, block.offset);
        const int64_t column = row * block.group_channels() + begin - block.channels.begin;
        visit(index, sample, mask, Range{begin, end}, column);
        begin = end;
      }
    }
  }
}

template <typename T>
MMEXT_HOST_DEVICE void sample_columns(const Block<T>& block, Range points, T* columns) {
  const auto visit = [&](const TapIndex&, const Sample<T>& sample, T mask, Range channels,
                         int64_t column) {
    T* out = columns + column;
    const int64_t count = channels.end - channels.begin;
    if (!sample.inside) {
      std::fill(out, out + count, T(0));
      return;
    }
    T w[4];
    sample.weights(mask, w);
    const T* source[4];
    for (int i = 0; i < 4; ++i) {
      source[i] = sample.pixel[i] < 0
          ? block.zeros
          : block.x + sample.pixel[i] * block.geometry.channels + channels.begin;
    }
    const T *a = source[0], *b = source[1], *c = source[2], *d = source[3];
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      out[j] = w[0] * a[j] + w[1] * b[j] + w[2] * c[j] + w[3] * d[j];
    }
  };
  for_each_tap(block, points, block.channels, visit);
}

// Adds to grad_offset and grad_mask (shapes of offset and mask; grad_mask may be null).
template <typename T>
MMEXT_HOST_DEVICE void add_offset_gradients(
    const Block<T>& block, Range points, const T* grad_columns, T* grad_offset, T* grad_mask) {
  const Geometry& g = block.geometry;
  const auto visit = [&](const TapIndex& index, const Sample<T>& sample, T mask, Range channels,
                         int64_t column) {
    if (!sample.inside) return;
    const T* grad = grad_columns + column;
    const int64_t count = channels.end - channels.begin;
    const T* source[4];
    for (int i = 0; i < 4; ++i) {
      source[i] = sample.pixel[i] < 0 ? block.zeros
                                      : block.x + sample.pixel[i] * g.channels + channels.begin;
    }
    const T *a = source[0], *b = source[1], *c = source[2], *d = source[3];
    T dot_a = 0, dot_b = 0, dot_c = 0, dot_d = 0;
#pragma omp simd reduction(+ : dot_a, dot_b, dot_c, dot_d)
    for (int64_t j = 0; j < count; ++j) {
      dot_a += grad[j] * a[j];
      dot_b += grad[j] * b[j];
      dot_c += grad[j] * c[j];
      dot_d += grad[j] * d[j];
    }
    const OffsetGradient<T> result = offset_gradient(sample, mask, {dot_a, dot_b, dot_c, dot_d});
    T* target = grad_offset + offset_position(g, index);
    target[0] += result.row;
    target[g.out_pixels()] += result.col;
    if (grad_mask) grad_mask[mask_position(g, index)] += result.mask;
  };
  for_each_tap(block, points, block.channels, visit);
}

// Adds the given channels of all points of the block to grad_x (N * H * W, C).
template <typename T>
MMEXT_HOST_DEVICE void add_x_gradients(
    const Block<T>& block, Range channels, const T* grad_columns, T* grad_x) {
  const auto visit = [&](const TapIndex&, const Sample<T>& sample, T mask, Range part,
                         int64_t column) {
    if (!sample.inside) return;
    const T* grad = grad_columns + column;
    const int64_t count = part.end - part.begin;
    T w[4];
    sample.weights(mask, w);
    for (int i = 0; i < 4; ++i) {
      if (sample.pixel[i] < 0) continue;
      T* target = grad_x + sample.pixel[i] * block.geometry.channels + part.begin;
      const T weight = w[i];
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) target[j] += weight * grad[j];
    }
  };
  for_each_tap(block, block.points, channels, visit);
}

}  // namespace

// The multiversioned entries: GCC cannot clone templates, so there is one of each per dtype.
#define MMEXT_DEFINE_ENTRIES(T)                                                             \
  MMEXT_MULTIVERSION void run_sample_columns(const Block<T>& b, Range points, T* columns) { \
    sample_columns(b, points, columns);                                                     \
  }                                                                                         \
  MMEXT_MULTIVERSION void run_offset_gradients(                                             \
      const Block<T>& b, Range points, const T* grad_columns, T* grad_offset, T* grad_mask) { \
    add_offset_gradients(b, points, grad_columns, grad_offset, grad_mask);                  \
  }                                                                                         \
  MMEXT_MULTIVERSION void run_x_gradients(                                                  \
      const Block<T>& b, Range channels, const T* grad_columns, T* grad_x) {                \
    add_x_gradients(b, channels, grad_columns, grad_x);                                     \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

// The tensors of one call in the layout and dtype in which the kernels work.
template <typename T>
struct Operands {
  Geometry geometry;
  at::Tensor x, offset, weight, mask, zeros;
  int64_t block_points;

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
    const int64_t row_bytes = weight.size(1) * static_cast<int64_t>(sizeof(T));
    block_points =
        std::max<int64_t>(64, kBlockBytesPerThread * at::get_num_threads() / row_bytes);
    block_points = std::min(block_points, std::max<int64_t>(g.points(), 1));
  }

  Block<T> block(Range points, int64_t group) const {
    const int64_t width = geometry.channels / geometry.groups;
    return {
        geometry, points, {group * width, (group + 1) * width}, x.const_data_ptr<T>(),
        offset.const_data_ptr<T>(), mask.defined() ? mask.const_data_ptr<T>() : nullptr,
        zeros.const_data_ptr<T>()};
  }

  at::Tensor new_columns() const { return at::empty({block_points, weight.size(1)}, x.options()); }

  at::Tensor group_weight(int64_t group) const {
    const int64_t width = geometry.out_channels / geometry.groups;
    return weight.narrow(0, group * width, width);
  }

  // The (points, out channels) part of a (N * out_h * out_w, out_channels) matrix.
  at::Tensor part(const at::Tensor& rows, Range points, int64_t group) const {
    const int64_t width = geometry.out_channels / geometry.groups;
    return rows.narrow(0, points.begin, points.end - points.begin)
        .narrow(1, group * width, width);
  }

  // Calls run(points, group) for every block of points and every convolution group.
  template <typename Run>
  void for_each_block(const Run& run) const {
    for (int64_t begin = 0; begin < geometry.points(); begin += block_points) {
      const Range points{begin, std::min(begin + block_points, geometry.points())};
      for (int64_t group = 0; group < geometry.groups; ++group) run(points, group);
    }
  }
};

template <typename T>
void fill_columns(const Block<T>& block, const at::Tensor& columns) {
  T* out = columns.mutable_data_ptr<T>();
  at::parallel_for(
      block.points.begin, block.points.end, kPointGrain, [&](int64_t begin, int64_t end) {
        run_sample_columns(block, {begin, end}, out);
      });
}

template <typename T>
at::Tensor forward(const Operands<T>& operands, const at::Tensor& bias) {
  const Geometry& g = operands.geometry;
  at::Tensor out = at::empty({g.points(), g.out_channels}, operands.x.options());
  const at::Tensor columns = operands.new_columns();
  operands.for_each_block([&](Range points, int64_t group) {
    fill_columns(operands.block(points, group), columns);
    const at::Tensor used = columns.narrow(0, 0, points.end - points.begin);
    at::Tensor target = operands.part(out, points, group);
    at::mm_out(target, used, operands.group_weight(group).t());
  });
  return bias.defined() ? out.add_(bias.to(out.scalar_type())) : out;
}

template <typename T>
struct RowGradients {
  at::Tensor x, offset, weight, mask;  // undefined where not asked for
};

template <typename T>
RowGradients<T> backward(
    const Operands<T>& operands, const at::Tensor& grad, std::array<bool, 4> output_mask) {
  const Geometry& g = operands.geometry;
  const bool v2 = operands.mask.defined();
  const bool need_x = output_mask[0], need_weight = output_mask[2];
  const bool need_offset = output_mask[1] || (v2 && output_mask[3]);
  RowGradients<T> result;
  if (need_x) result.x = at::zeros_like(operands.x);
  if (need_offset) result.offset = at::zeros_like(operands.offset);
  if (need_offset && v2) result.mask = at::zeros_like(operands.mask);
  if (need_weight) result.weight = at::zeros_like(operands.weight);
  const at::Tensor columns = operands.new_columns();
  const int64_t group_out = g.out_channels / g.groups;
  operands.for_each_block([&](Range points, int64_t group) {
    const Block<T> block = operands.block(points, group);
    at::Tensor used = columns.narrow(0, 0, points.end - points.begin);
    const at::Tensor grad_part = operands.part(grad, points, group);
    if (need_weight) {
      fill_columns(block, columns);
      result.weight.narrow(0, group * group_out, group_out).addmm_(grad_part.t(), used);
    }
    if (!need_x && !need_offset) return;
    at::mm_out(used, grad_part, operands.group_weight(group));
    const T* grad_columns = columns.const_data_ptr<T>();
    if (need_offset) {
      T* grad_offset = result.offset.template mutable_data_ptr<T>();
      T* grad_mask = v2 ? result.mask.template mutable_data_ptr<T>() : nullptr;
      at::parallel_for(
          points.begin, points.end, kPointGrain, [&](int64_t begin, int64_t end) {
            run_offset_gradients(block, {begin, end}, grad_columns, grad_offset, grad_mask);
          });
    }
    if (need_x) {
      T* grad_x = result.x.template mutable_data_ptr<T>();
      const int64_t slices = (block.group_channels() + kChannelGrain - 1) / kChannelGrain;
      at::parallel_for(0, slices, 1, [&](int64_t begin, int64_t end) {
        const Range channels{
            block.channels.begin + begin * kChannelGrain,
            std::min(block.channels.begin + end * kChannelGrain, block.channels.end)};
        run_x_gradients(block, channels, grad_columns, grad_x);
      });
    }
  });
  return result;
}

at::Tensor deform_conv2d_cpu(
    const at::Tensor& x, const at::Tensor& offset, const at::Tensor& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& mask,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, int64_t groups,
    int64_t deform_groups) {
  const Geometry g =
      make_geometry(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups);
  const auto run = [&](auto zero) {
    const Operands<decltype(zero)> operands(g, x, offset, weight, mask);
    return forward(operands, bias.value_or(at::Tensor()));
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
  const Geometry g =
      make_geometry(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups);
  const auto dtype = x.scalar_type();
  const at::Tensor absent = at::empty({0}, x.options());
  const auto run = [&](auto zero) -> Gradients {
    using T = decltype(zero);
    const Operands<T> operands(g, x, offset, weight, mask);
    const RowGradients<T> rows =
        backward(operands, rows_of(grad.to(operands.x.scalar_type())), output_mask);
    return {
        output_mask[0]
            ? image_of(rows.x.to(dtype), g.batch, g.height, g.width, format_like(x))
            : absent,
        output_mask[1] ? rows.offset.to(dtype) : absent.clone(),
        output_mask[2] ? unpack_weight(rows.weight.to(dtype), g) : absent.clone(),
        output_mask[3] && mask ? rows.mask.to(dtype) : absent.clone()};
  };
  return dtype == at::kDouble ? run(0.0) : run(0.0f);
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("deform_conv2d", &deform_conv2d_cpu);
  m.impl("_deform_conv2d_backward", &deform_conv2d_backward_cpu);
}

}  // namespace
}  // namespace mmext::deform_conv
