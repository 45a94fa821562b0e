// The maths of the deformable convolution, written once for host and device.
//
// Everything works on channels-last data: x is (N, H, W, C), a row of the column matrix belongs to
// one output point and holds (kernel_h * kernel_w, C / groups) sampled values. Offsets and masks
// stay as the user gives them, (N, channels, out_h, out_w), with the channels of an offset ordered
// (deform_group, kernel point, [row, column]).
//
// The bilinear weights of a sample do not depend on the channel. So its gradients reduce to four
// dot products over the channels, one for each corner pixel (see `OffsetGradient`).

#pragma once

#include <cmath>
#include <cstdint>

#include "portability.h"

namespace mmext::deform_conv {

struct Geometry {
  int64_t batch, channels, height, width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel_h, kernel_w;
  int64_t stride_h, stride_w;
  int64_t pad_h, pad_w;
  int64_t dilation_h, dilation_w;
  int64_t groups, deform_groups;

  MMEXT_HOST_DEVICE int64_t taps() const { return kernel_h * kernel_w; }
  MMEXT_HOST_DEVICE int64_t out_pixels() const { return out_height * out_width; }
  MMEXT_HOST_DEVICE int64_t points() const { return batch * out_pixels(); }
};

// An output point.
struct Point {
  int64_t image, pixel, row, col;
};

MMEXT_HOST_DEVICE Point point_at(const Geometry& g, int64_t index) {
  const int64_t image = index / g.out_pixels(), pixel = index % g.out_pixels();
  const int64_t row = pixel / g.out_width;
  return {image, pixel, row, pixel - row * g.out_width};
}

// A kernel point of a deform group.
struct Tap {
  int64_t deform_group, index, row, col;
};

MMEXT_HOST_DEVICE Tap tap_at(const Geometry& g, int64_t deform_group, int64_t index) {
  const int64_t row = index / g.kernel_w;
  return {deform_group, index, row, index - row * g.kernel_w};
}

// Where a mask lies in a (N, deform_groups * taps, out_h, out_w) tensor.
MMEXT_HOST_DEVICE int64_t mask_position(const Geometry& g, const Point& p, const Tap& t) {
  const int64_t channel = (p.image * g.deform_groups + t.deform_group) * g.taps() + t.index;
  return channel * g.out_pixels() + p.pixel;
}

// Where a row offset lies in a (N, 2 * deform_groups * taps, out_h, out_w) tensor; the column
// offset lies `out_pixels()` further on.
MMEXT_HOST_DEVICE int64_t offset_position(const Geometry& g, const Point& p, const Tap& t) {
  const int64_t channel = (p.image * g.deform_groups + t.deform_group) * g.taps() + t.index;
  return 2 * channel * g.out_pixels() + p.pixel;
}

// A bilinear sample: its four corner pixels (top left, top right, bottom left, bottom right).
template <typename T>
struct Sample {
  int64_t pixel[4];  // index over (N, H, W); -1 where the corner lies outside the image
  T row_fraction, col_fraction;
  bool inside;  // false: farther than one pixel outside, value and gradients are zero

  MMEXT_HOST_DEVICE void weights(T scale, T (&weight)[4]) const {
    const T top = scale * (1 - row_fraction), bottom = scale * row_fraction;
    weight[0] = top * (1 - col_fraction);
    weight[1] = top * col_fraction;
    weight[2] = bottom * (1 - col_fraction);
    weight[3] = bottom * col_fraction;
  }
};

// The sample under tap `t` of output point `p`, moved by `offset` (all offsets of the batch).
template <typename T>
MMEXT_HOST_DEVICE Sample<T> locate(
    const Geometry& g, const Point& p, const Tap& t, const T* offset) {
  const T* moved = offset + offset_position(g, p, t);
  const T row =
      static_cast<T>(p.row * g.stride_h - g.pad_h + t.row * g.dilation_h) + moved[0];
  const T col =
      static_cast<T>(p.col * g.stride_w - g.pad_w + t.col * g.dilation_w) + moved[g.out_pixels()];
  Sample<T> sample{{-1, -1, -1, -1}, 0, 0, false};
  // Compared before any conversion to integers: offsets may be huge, infinite or NaN.
  if (!(row > -1 && col > -1 && row < static_cast<T>(g.height) && col < static_cast<T>(g.width))) {
    return sample;
  }
  const T row_floor = std::floor(row), col_floor = std::floor(col);
  const int64_t top = static_cast<int64_t>(row_floor), left = static_cast<int64_t>(col_floor);
  const bool has_top = top >= 0, has_bottom = top + 1 < g.height;
  const bool has_left = left >= 0, has_right = left + 1 < g.width;
  const int64_t first = (p.image * g.height + top) * g.width + left;
  if (has_top && has_left) sample.pixel[0] = first;
  if (has_top && has_right) sample.pixel[1] = first + 1;
  if (has_bottom && has_left) sample.pixel[2] = first + g.width;
  if (has_bottom && has_right) sample.pixel[3] = first + g.width + 1;
  sample.row_fraction = row - row_floor;
  sample.col_fraction = col - col_floor;
  sample.inside = true;
  return sample;
}

// The gradients of one tap from `dot`, the products over its channels of the column gradient with
// the four corner pixels (zero for a corner outside the image).
template <typename T>
struct OffsetGradient {
  T row, col, mask;
};

template <typename T>
MMEXT_HOST_DEVICE OffsetGradient<T> offset_gradient(
    const Sample<T>& sample, T mask, const T (&dot)[4]) {
  const T bottom = sample.row_fraction, top = 1 - bottom;
  const T right = sample.col_fraction, left = 1 - right;
  const T top_value = left * dot[0] + right * dot[1];
  const T bottom_value = left * dot[2] + right * dot[3];
  return {
      mask * (bottom_value - top_value),
      mask * (top * (dot[1] - dot[0]) + bottom * (dot[3] - dot[2])),
      top * top_value + bottom * bottom_value};
}

}  // namespace mmext::deform_conv
