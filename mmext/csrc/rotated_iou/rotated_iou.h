// The maths of the IoU of two rotated boxes, written once for host and device.
//
// No polygon is built. The border of the intersection consists of pieces of the eight edges, at
// most one of each: the part of the edge that lies in the other box. These pieces are all that is
// needed. The area is an integral along them (Green's theorem), and its derivative with respect to
// moving an edge outwards is the length of the edge's piece.
//
// One box, P, is |x| <= a, |y| <= b in its own frame; the other, T, is |u| <= c, |v| <= d in its
// own, whose origin is at (x, y) of P's. Both frames are turned by quarter turns (a rectangle does
// not change when its sides change places) and mirrored until the angle between them is in
// [0, pi / 4]. So edges meet in two ways: "steep" crossings of x with v or of y with u, which
// divide by a cosine of at least 0.7, and "flat" ones of x with u or of y with v, which divide by
// the sine. A flat crossing can be far off by rounding, which does no harm: it ends a piece of P
// and begins one of T at the same place, and between nearly parallel edges it does not matter which
// of the two is followed.
//
// All functions are free of branches where rows differ, so that loops over rows become vector code.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "portability.h"

namespace mmext::rotated_iou {

// Centre and sides in pixels, angle in radians; also the derivatives with respect to them.
template <typename T>
struct Box {
  T x, y, w, h, angle;
};

// The part of an edge in the other box, on an axis along the edge that starts in its middle.
template <typename T>
struct Piece {
  T length, middle;

  MMEXT_HOST_DEVICE T moment() const { return length * middle; }
};

// Where two edges, or their extensions, cross: on the axis of P's edge and on that of T's.
template <typename T>
struct Crossing {
  T on_p, on_t;
};

template <typename T>
struct Pair {
  T a, b, c, d, x, y;          // see above
  T sine, cosine;              // of the angle between the frames, after mirroring
  T per_sine, per_cosine;      // their reciprocals; 1 for parallel boxes
  T mirror;                    // 1, or -1 where y and v were turned round
  T p_sine, p_cosine;          // of P's frame against the image
  bool p_swapped, t_swapped;   // the sides changed places: a is h / 2
  bool parallel;               // then the sine is exactly 0
  bool tied;                   // parallel, with edges on one line
};

// The pieces, each for the negative and the positive side of its axis.
template <typename T>
struct Pieces {
  Piece<T> x[2], y[2], u[2], v[2];
};

// A sine that makes no difference, even to a box a million times as long as wide.
template <typename T>
constexpr T kNoSine = std::numeric_limits<T>::epsilon() * std::numeric_limits<T>::epsilon();

template <typename T>
constexpr T kNever = std::numeric_limits<T>::max() / 8;  // a position beyond all edges

template <typename T>
MMEXT_HOST_DEVICE T smaller(T a, T b) { return a < b ? a : b; }

template <typename T>
MMEXT_HOST_DEVICE T larger(T a, T b) { return a > b ? a : b; }

// 1 - z / (k (k + 1)) (1 - z / ((k + 2) (k + 3)) (...)): the cosine from k = 1 and, but for a
// factor, the sine from k = 2, where z is the square of the angle.
template <int k, typename T>
MMEXT_HOST_DEVICE T alternating(T z) {
  // Up to pi / 4 the rest is below the rounding of T.
  constexpr int last = std::is_same_v<T, double> ? 17 : 9;
  if constexpr (k > last) {
    return T(1);
  } else {
    return T(1) - z * T(1.0 / (k * (k + 1))) * alternating<k + 2>(z);
  }
}

// The two parts of a quarter turn; few bits in the first make its products with counts exact.
template <typename T>
MMEXT_HOST_DEVICE T less_quarter_turns(T angle, T turns) {
  return (angle - turns * T(1.5703125)) - turns * T(4.8382679489661923e-4);
}

template <typename T>
MMEXT_HOST_DEVICE T quarter_turns(T angle) { return std::rint(angle * T(0.63661977236758134)); }

template <typename T>
MMEXT_HOST_DEVICE bool is_odd(T count) {
  const T half = T(0.5) * count;
  return std::rint(half) != half;
}

// A side below zero counts as zero.
template <typename T>
MMEXT_HOST_DEVICE T half_side(T side) { return larger(T(0.5) * side, T(0)); }

// How far the middle of T's edge u = U is from x = X, and the middle of v = V from y = Y.
template <typename T>
MMEXT_HOST_DEVICE T gap_xu(const Pair<T>& pair, T X, T U) { return pair.x + pair.cosine * U - X; }

template <typename T>
MMEXT_HOST_DEVICE T gap_yv(const Pair<T>& pair, T Y, T V) { return Y - (pair.y + pair.cosine * V); }

template <typename T>
MMEXT_HOST_DEVICE Pair<T> make_pair_of(const Box<T>& p, const Box<T>& t) {
  Pair<T> pair;
  const T p_turns = quarter_turns(p.angle), t_turns = quarter_turns(t.angle);
  const T p_angle = less_quarter_turns(p.angle, p_turns);
  const T apart = less_quarter_turns(t.angle, t_turns) - p_angle;
  const T last_turns = quarter_turns(apart);
  const T angle = less_quarter_turns(apart, last_turns);
  pair.p_swapped = is_odd(p_turns);
  pair.t_swapped = is_odd(t_turns + last_turns);
  const T pw = half_side(p.w), ph = half_side(p.h), tw = half_side(t.w), th = half_side(t.h);
  pair.a = pair.p_swapped ? ph : pw;
  pair.b = pair.p_swapped ? pw : ph;
  pair.c = pair.t_swapped ? th : tw;
  pair.d = pair.t_swapped ? tw : th;

  pair.p_sine = p_angle * alternating<2>(p_angle * p_angle);
  pair.p_cosine = alternating<1>(p_angle * p_angle);
  pair.mirror = angle < T(0) ? T(-1) : T(1);
  const T sine = pair.mirror * angle * alternating<2>(angle * angle);
  pair.parallel = sine <= kNoSine<T>;
  pair.sine = pair.parallel ? T(0) : sine;
  pair.cosine = alternating<1>(angle * angle);  // 1 where the sine is 0
  pair.per_sine = T(1) / (pair.parallel ? T(1) : sine);
  pair.per_cosine = T(1) / pair.cosine;

  const T dx = t.x - p.x, dy = t.y - p.y;
  pair.x = pair.p_cosine * dx + pair.p_sine * dy;
  pair.y = pair.mirror * (pair.p_cosine * dy - pair.p_sine * dx);
  const T a = pair.a, b = pair.b, c = pair.c, d = pair.d;
  pair.tied = pair.parallel &
      ((gap_xu(pair, a, c) == T(0)) | (gap_xu(pair, a, -c) == T(0)) |
       (gap_xu(pair, -a, c) == T(0)) | (gap_xu(pair, -a, -c) == T(0)) |
       (gap_yv(pair, b, d) == T(0)) | (gap_yv(pair, b, -d) == T(0)) |
       (gap_yv(pair, -b, d) == T(0)) | (gap_yv(pair, -b, -d) == T(0)));
  return pair;
}

// The position gap / sine. Parallel edges cross nowhere, and which of them is inside depends on the
// sign of the gap or, where they lie on one line, on that of `tie`.
template <typename T>
MMEXT_HOST_DEVICE T flat(const Pair<T>& pair, T gap, T tie) {
  const T side = (gap == T(0) ? tie : gap) < T(0) ? -kNever<T> : kNever<T>;
  return (pair.parallel ? side : gap) * pair.per_sine;
}

// Lines x = X and u = U.
template <typename T>
MMEXT_HOST_DEVICE Crossing<T> cross_xu(const Pair<T>& pair, T X, T U, T tie) {
  const T v = flat(pair, gap_xu(pair, X, U), tie);
  return {pair.y + pair.sine * U + pair.cosine * v, v};
}

// Lines y = Y and v = V.
template <typename T>
MMEXT_HOST_DEVICE Crossing<T> cross_yv(const Pair<T>& pair, T Y, T V, T tie) {
  const T u = flat(pair, gap_yv(pair, Y, V), -tie);
  return {pair.x + pair.cosine * u - pair.sine * V, u};
}

// Lines x = X and v = V.
template <typename T>
MMEXT_HOST_DEVICE Crossing<T> cross_xv(const Pair<T>& pair, T X, T V) {
  const T u = (X - pair.x + pair.sine * V) * pair.per_cosine;
  return {pair.y + pair.sine * u + pair.cosine * V, u};
}

// Lines y = Y and u = U.
template <typename T>
MMEXT_HOST_DEVICE Crossing<T> cross_yu(const Pair<T>& pair, T Y, T U) {
  const T v = (Y - pair.y - pair.sine * U) * pair.per_cosine;
  return {pair.x + pair.cosine * U - pair.sine * v, v};
}

// What both intervals and [-half, half] have in common.
template <typename T>
MMEXT_HOST_DEVICE Piece<T> common_piece(T low0, T low1, T high0, T high1, T half) {
  const T low = larger(smaller(larger(low0, low1), half), -half);
  const T high = larger(smaller(smaller(high0, high1), half), -half);
  return {larger(high - low, T(0)), T(0.5) * (low + high)};
}

// Edges on one line: the result is that for a P which is smaller (tie = 1) or larger (tie = -1) by
// next to nothing. Both give the same area. The derivative is the mean of both.
template <typename T>
MMEXT_HOST_DEVICE Pieces<T> make_pieces(const Pair<T>& pair, T tie) {
  Crossing<T> xu[2][2], xv[2][2], yu[2][2], yv[2][2];  // the first index belongs to P
  MMEXT_UNROLL
  for (int i = 0; i < 2; ++i) {
    const T X = i ? pair.a : -pair.a, Y = i ? pair.b : -pair.b, sign = i ? tie : -tie;
    MMEXT_UNROLL
    for (int j = 0; j < 2; ++j) {
      const T U = j ? pair.c : -pair.c, V = j ? pair.d : -pair.d;
      xu[i][j] = cross_xu(pair, X, U, sign);
      xv[i][j] = cross_xv(pair, X, V);
      yu[i][j] = cross_yu(pair, Y, U);
      yv[i][j] = cross_yv(pair, Y, V, sign);
    }
  }
  Pieces<T> pieces;
  MMEXT_UNROLL
  for (int i = 0; i < 2; ++i) {
    pieces.x[i] =
        common_piece(xu[i][0].on_p, xv[i][0].on_p, xu[i][1].on_p, xv[i][1].on_p, pair.b);
    pieces.y[i] =
        common_piece(yu[i][0].on_p, yv[i][1].on_p, yu[i][1].on_p, yv[i][0].on_p, pair.a);
    pieces.u[i] =
        common_piece(xu[1][i].on_t, yu[0][i].on_t, xu[0][i].on_t, yu[1][i].on_t, pair.d);
    pieces.v[i] =
        common_piece(xv[0][i].on_t, yv[0][i].on_t, xv[1][i].on_t, yv[1][i].on_t, pair.c);
  }
  return pieces;
}

// The integral of x dy along the border. It starts at the x of P that is nearest to T's centre, so
// that the area of a small box far from the middle of a large one is not a difference of large
// numbers.
template <typename T>
MMEXT_HOST_DEVICE T overlap_of(const Pair<T>& pair, const Pieces<T>& pieces) {
  const T start = larger(smaller(pair.x, pair.a), -pair.a), x = pair.x - start;
  const auto along_u = [&](const Piece<T>& piece, T V) {  // v = V, whose y grows by the sine
    return piece.length * (x + pair.cosine * piece.middle - pair.sine * V);
  };
  const auto along_v = [&](const Piece<T>& piece, T U) {
    return piece.length * (x + pair.cosine * U - pair.sine * piece.middle);
  };
  const T of_p = (pair.a - start) * pieces.x[1].length + (pair.a + start) * pieces.x[0].length;
  const T of_t =
      pair.cosine * (along_v(pieces.u[1], pair.c) - along_v(pieces.u[0], -pair.c)) +
      pair.sine * (along_u(pieces.v[0], -pair.d) - along_u(pieces.v[1], pair.d));
  return larger(of_p + of_t, T(0));
}

// The areas of a pair and its IoU.
template <typename T>
struct Areas {
  T pred, target, overlap, all;  // `all` is the union

  // Areas of zero have no overlap.
  MMEXT_HOST_DEVICE T divisor() const { return all > T(0) ? all : T(1); }
  MMEXT_HOST_DEVICE T iou() const { return overlap / divisor(); }
};

template <typename T>
MMEXT_HOST_DEVICE Areas<T> make_areas(
    const Box<T>& p, const Box<T>& t, const Pair<T>& pair, const Pieces<T>& pieces) {
  Areas<T> areas;
  areas.pred = larger(p.w, T(0)) * larger(p.h, T(0));
  areas.target = larger(t.w, T(0)) * larger(t.h, T(0));
  const T least = smaller(areas.pred, areas.target), most = larger(areas.pred, areas.target);
  areas.overlap = smaller(overlap_of(pair, pieces), least);
  // In this order equal boxes have a union of exactly their area, also with fused products.
  areas.all = (least - areas.overlap) + most;
  return areas;
}

// 0, or NaN if a box holds something that is not finite.
template <typename T>
MMEXT_HOST_DEVICE T zero_if_finite(const Box<T>& p, const Box<T>& t) {
  return T(0) * p.x + T(0) * p.y + T(0) * p.w + T(0) * p.h + T(0) * p.angle + T(0) * t.x +
      T(0) * t.y + T(0) * t.w + T(0) * t.h + T(0) * t.angle;
}

template <typename T>
MMEXT_HOST_DEVICE T iou(const Box<T>& p, const Box<T>& t) {
  const Pair<T> pair = make_pair_of(p, t);
  const Pieces<T> pieces = make_pieces(pair, T(1));
  return make_areas(p, t, pair, pieces).iou() + zero_if_finite(p, t);
}

// Derivatives of the overlap, or of the IoU, with respect to both boxes.
template <typename T>
struct Gradient {
  Box<T> pred, target;
};

// An edge that moves outwards adds its piece; one that turns about the box's centre adds its
// moment.
template <typename T>
MMEXT_HOST_DEVICE Gradient<T> overlap_gradient(const Pair<T>& pair, const Pieces<T>& pieces) {
  const Piece<T>*x = pieces.x, *y = pieces.y, *u = pieces.u, *v = pieces.v;
  const T px = x[1].length - x[0].length, py = pair.mirror * (y[1].length - y[0].length);
  const T a = T(0.5) * (x[1].length + x[0].length), b = T(0.5) * (y[1].length + y[0].length);
  const T c = T(0.5) * (u[1].length + u[0].length), d = T(0.5) * (v[1].length + v[0].length);
  Gradient<T> gradient;
  gradient.pred.x = pair.p_cosine * px - pair.p_sine * py;
  gradient.pred.y = pair.p_sine * px + pair.p_cosine * py;
  gradient.pred.w = pair.p_swapped ? b : a;
  gradient.pred.h = pair.p_swapped ? a : b;
  gradient.pred.angle =
      pair.mirror * (x[0].moment() - x[1].moment() + y[1].moment() - y[0].moment());
  gradient.target.x = -gradient.pred.x;
  gradient.target.y = -gradient.pred.y;
  gradient.target.w = pair.t_swapped ? d : c;
  gradient.target.h = pair.t_swapped ? c : d;
  gradient.target.angle =
      pair.mirror * (u[0].moment() - u[1].moment() + v[1].moment() - v[0].moment());
  return gradient;
}

template <typename T>
MMEXT_HOST_DEVICE Box<T> mean(const Box<T>& one, const Box<T>& other) {
  return {
      T(0.5) * (one.x + other.x), T(0.5) * (one.y + other.y), T(0.5) * (one.w + other.w),
      T(0.5) * (one.h + other.h), T(0.5) * (one.angle + other.angle)};
}

// factor times the derivative of the IoU, where factor contains the inverse of the union.
template <typename T>
MMEXT_HOST_DEVICE Box<T> iou_gradient_of(
    const Box<T>& overlap, const Box<T>& box, T iou, T factor, T nan) {
  const T more = T(1) + iou;
  return {
      factor * (more * overlap.x) + nan, factor * (more * overlap.y) + nan,
      factor * (more * overlap.w - iou * larger(box.h, T(0))) + nan,
      factor * (more * overlap.h - iou * larger(box.w, T(0))) + nan,
      factor * (more * overlap.angle) + nan};
}

// grad times the derivative of the IoU. Rows that are not tied give the same with and without
// `kTies`.
template <bool kTies, typename T>
MMEXT_HOST_DEVICE Gradient<T> iou_gradient(
    const Pair<T>& pair, const Box<T>& p, const Box<T>& t, T grad) {
  const Pieces<T> pieces = make_pieces(pair, T(1));
  Gradient<T> overlap = overlap_gradient(pair, pieces);
  if constexpr (kTies) {
    const Gradient<T> other = overlap_gradient(pair, make_pieces(pair, T(-1)));
    overlap = {mean(overlap.pred, other.pred), mean(overlap.target, other.target)};
  }
  const Areas<T> areas = make_areas(p, t, pair, pieces);
  const T factor = (areas.all > T(0) ? grad : T(0)) / areas.divisor();
  const T iou = areas.iou(), nan = zero_if_finite(p, t);
  return {
      iou_gradient_of(overlap.pred, p, iou, factor, nan),
      iou_gradient_of(overlap.target, t, iou, factor, nan)};
}

}  // namespace mmext::rotated_iou
