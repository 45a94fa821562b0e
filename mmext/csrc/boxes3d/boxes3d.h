// The maths of 3-D boxes that turn about the vertical axis, written once for host and device.
//
// What two boxes share is the product of what their outlines share, seen from above (rotated_iou.h),
// and of what their heights share.

#pragma once

#include "portability.h"
#include "rotated_iou/rotated_iou.h"

namespace mmext::boxes3d {

using rotated_iou::larger;
using rotated_iou::smaller;

constexpr int64_t kFields = 7;

// Gravity centre and full sizes in metres, yaw in radians; also the derivatives with respect to
// them.
template <typename T>
struct Box3D {
  rotated_iou::Box<T> outline;
  T z, height;

  MMEXT_HOST_DEVICE static Box3D read(const T* row) {
    return {{row[0], row[1], row[3], row[4], row[6]}, row[2], row[5]};
  }
  MMEXT_HOST_DEVICE void add_to(T* row) const {
    row[0] += outline.x, row[1] += outline.y, row[2] += z;
    row[3] += outline.w, row[4] += outline.h, row[5] += height, row[6] += outline.angle;
  }
  MMEXT_HOST_DEVICE T area() const {
    return larger(outline.w, T(0)) * larger(outline.h, T(0));
  }
  MMEXT_HOST_DEVICE T volume() const { return area() * larger(height, T(0)); }
  MMEXT_HOST_DEVICE T zero_if_finite() const {
    return rotated_iou::zero_if_finite(outline, outline) + T(0) * z + T(0) * height;
  }
};

// Half the diagonal of the outline, a little too much, so that rounding loses no pair; NaN for a box
// that is not finite.
template <typename T>
MMEXT_HOST_DEVICE T reach(const Box3D<T>& box) {
  const T w = larger(box.outline.w, T(0)), h = larger(box.outline.h, T(0));
  return T(0.50001) * std::sqrt(w * w + h * h) + box.zero_if_finite();
}

// Whether the boxes are so far apart that they share nothing. Boxes that are not finite are not.
template <typename T>
MMEXT_HOST_DEVICE bool apart(const Box3D<T>& a, T reach_a, const Box3D<T>& b, T reach_b) {
  const T x = a.outline.x - b.outline.x, y = a.outline.y - b.outline.y;
  const T reaches = reach_a + reach_b;
  const T heights =
      T(0.50001) * (larger(a.height, T(0)) + larger(b.height, T(0))) + T(0) * reaches;
  const T z = a.z - b.z, up = z < T(0) ? -z : z;
  return (x * x + y * y > reaches * reaches) | (up > heights);
}

// What the heights of two boxes have in common, and its derivatives.
template <typename T>
struct SharedHeight {
  T value, by_height_a, by_height_b, by_z_b;  // that by z of A is the negative one by z of B
};

// One of two values is the less: 1 if it is the first one, 0 if the second, 1/2 if they are equal.
template <typename T>
MMEXT_HOST_DEVICE T share_of_less(T first, T second) {
  return first < second ? T(1) : first == second ? T(0.5) : T(0);
}

// At kinks the derivatives are means of the one-sided ones.
template <typename T>
MMEXT_HOST_DEVICE SharedHeight<T> shared_height(const Box3D<T>& a, const Box3D<T>& b) {
  const T height_a = larger(a.height, T(0)), height_b = larger(b.height, T(0));
  const T z = b.z - a.z, up = z < T(0) ? -z : z;
  // Of a box within the other its own height, which a difference of borders would round.
  const T inside = smaller(height_a, height_b);
  const T slid = T(0.5) * (height_a + height_b) - up;
  const T value = smaller(inside, slid);
  const T sliding = share_of_less(slid, inside), a_inside = share_of_less(height_a, height_b);
  const T counts = share_of_less(T(0), value);
  const T by_up = counts * sliding;
  return {
      larger(value, T(0)), counts * (T(0.5) * sliding + (T(1) - sliding) * a_inside),
      counts * (T(0.5) * sliding + (T(1) - sliding) * (T(1) - a_inside)),
      z > T(0) ? -by_up : z < T(0) ? by_up : T(0)};
}

// The volumes of a pair and its IoU.
template <typename T>
struct Volumes {
  T a, b, shared, all;  // `all` is the union

  MMEXT_HOST_DEVICE static Volumes of(
      const Box3D<T>& a, const Box3D<T>& b, T shared_area, T shared_height) {
    Volumes volumes;
    volumes.a = a.volume();
    volumes.b = b.volume();
    const T least = smaller(volumes.a, volumes.b), most = larger(volumes.a, volumes.b);
    volumes.shared = smaller(shared_area * shared_height, least);
    // In this order equal boxes have a union of exactly their volume, also with fused products.
    volumes.all = (least - volumes.shared) + most;
    return volumes;
  }
  // Volumes of zero share nothing.
  MMEXT_HOST_DEVICE T divisor() const { return all > T(0) ? all : T(1); }
  MMEXT_HOST_DEVICE T iou() const { return shared / divisor(); }
};

template <typename T>
MMEXT_HOST_DEVICE T iou(const Box3D<T>& a, const Box3D<T>& b) {
  const auto pair = rotated_iou::make_pair_of(a.outline, b.outline);
  const auto areas = rotated_iou::make_areas(
      a.outline, b.outline, pair, rotated_iou::make_pieces(pair, T(1)));
  return Volumes<T>::of(a, b, areas.overlap, shared_height(a, b).value).iou() +
      a.zero_if_finite() + b.zero_if_finite();
}

template <typename T>
struct Gradient3D {
  Box3D<T> a, b;
};

// factor times the derivative of the IoU by one box, where factor contains the inverse of the union.
template <typename T>
MMEXT_HOST_DEVICE Box3D<T> iou_gradient_of(
    const Box3D<T>& box, const rotated_iou::Box<T>& area, T shared_area, T shared_height, T by_z,
    T by_height, T iou, T factor, T nan) {
  const T more = factor * (T(1) + iou), less = factor * iou;
  const T w = larger(box.outline.w, T(0)), h = larger(box.outline.h, T(0));
  const T height = larger(box.height, T(0)), high = more * shared_height;
  return {
      {high * area.x + nan, high * area.y + nan, high * area.w - less * (h * height) + nan,
       high * area.h - less * (w * height) + nan, high * area.angle + nan},
      more * (shared_area * by_z) + nan,
      more * (shared_area * by_height) - less * (w * h) + nan};
}

// grad times the derivative of the IoU.
template <typename T>
MMEXT_HOST_DEVICE Gradient3D<T> iou_gradient(const Box3D<T>& a, const Box3D<T>& b, T grad) {
  const auto pair = rotated_iou::make_pair_of(a.outline, b.outline);
  const auto pieces = rotated_iou::make_pieces(pair, T(1));
  auto area = rotated_iou::overlap_gradient(pair, pieces);
  if (pair.tied) {
    const auto other = rotated_iou::overlap_gradient(pair, rotated_iou::make_pieces(pair, T(-1)));
    area = {rotated_iou::mean(area.pred, other.pred), rotated_iou::mean(area.target, other.target)};
  }
  const T shared_area = rotated_iou::make_areas(a.outline, b.outline, pair, pieces).overlap;
  const SharedHeight<T> height = shared_height(a, b);
  const auto volumes = Volumes<T>::of(a, b, shared_area, height.value);
  const T factor = (volumes.all > T(0) ? grad : T(0)) / volumes.divisor();
  const T iou = volumes.iou(), nan = a.zero_if_finite() + b.zero_if_finite();
  return {
      iou_gradient_of(
          a, area.pred, shared_area, height.value, -height.by_z_b, height.by_height_a, iou, factor,
          nan),
      iou_gradient_of(
          b, area.target, shared_area, height.value, height.by_z_b, height.by_height_b, iou, factor,
          nan)};
}

// A box for points: half sizes and the direction of its length.
template <typename T>
struct Container {
  T x, y, z, half_l, half_w, half_h, cosine, sine;

  // Faces belong to it. Products are rounded before they are added, as everywhere.
  MMEXT_HOST_DEVICE bool holds(T point_x, T point_y, T point_z) const {
    MMEXT_UNFUSED
    const T dx = point_x - x, dy = point_y - y, dz = point_z - z;
    const T along_l = product(cosine, dx) + product(sine, dy);
    const T along_w = product(cosine, dy) - product(sine, dx);
    // Without branches, so that loops become vector code.
    return (larger(along_l, -along_l) <= half_l) & (larger(along_w, -along_w) <= half_w) &
        (larger(dz, -dz) <= half_h);
  }
};

}  // namespace mmext::boxes3d
