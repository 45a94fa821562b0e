// The distances between two boxes as Gaussians, and their gradients.
//
// The formulas are cancellation-free: each is a sum of terms that vanish one by one as the boxes
// come to agree. Products of sides are ordered such that sides from 1e-6 to 1e6 (and zeros, raised
// to the floor) stay within the range of float.

#pragma once

#include "gaussian_distance/geometry.h"

namespace mmext::gaussian_distance {

// A distance and its gradient: with respect to (dx, dy), angles and logarithms of sides. The latter
// are of the size of the distance itself, whatever the sides.
template <typename T>
struct Terms {
  T value, x, y, p_angle, t_angle, wp, hp, wt, ht;
};

// ---- Kullback-Leibler ----

// (r^2 - 1) / 2 - ln r for r = t / p: with z = r - 1 and s = z / (2 + z), ln r = 2 artanh s and
// z - 2 s = z s.
template <typename T>
MMEXT_HOST_DEVICE T log_excess(T t, T p, T ratio, T z) {
  const Split<T> r = split(ratio);
  const T near = p * r.power, s = (t - near) / (t + near);
  const T linear = r.exponent == T(0) ? z * s : z - (times_ln2(r.exponent) + T(2) * s);
  return z * z * T(0.5) + (linear - artanh_tail(s));
}

// KL(b || a) and its gradient. (u, v) is the offset in a's frame; u and v are derivatives with
// respect to it, a_angle that through the offset's frame, turn that through the angle between.
template <typename T>
struct Divergence {
  T value, u, v, a_angle, turn, aw, ah, bw, bh;
};

template <typename T>
MMEXT_HOST_DEVICE Divergence<T> divergence(
    T u, T v, T aw, T ah, T bw, T bh, Direction<T> turn, T centre_factor) {
  const T per_w = T(1) / aw, per_h = T(1) / ah;
  const T in_u = u * per_w, in_v = v * per_h;
  const T centre_u = T(2) * centre_factor * square(in_u);
  const T centre_v = T(2) * centre_factor * square(in_v);
  const T ratio_w = bw * per_w, ratio_h = bh * per_h;
  const T zw = (bw - aw) * per_w, zh = (bh - ah) * per_h;
  const T sides = log_excess(bw, aw, ratio_w, zw) + log_excess(bh, ah, ratio_h, zh);
  const T sin2 = square(turn.sin);
  const T b_part = (bw - bh) * per_h * ((bw + bh) * per_h);
  const T a_part = (aw - ah) * per_w * ((aw + ah) * per_w);
  const T growth_w = zw * (T(2) + zw), growth_h = zh * (T(2) + zh);
  Divergence<T> result;
  result.value = (centre_u + centre_v) + sides + T(0.5) * sin2 * b_part * a_part;
  result.u = T(4) * centre_factor * in_u * per_w;
  result.v = T(4) * centre_factor * in_v * per_h;
  result.a_angle = T(-4) * centre_factor * (u * per_h) * in_v * a_part;
  result.turn = turn.sin * turn.cos * b_part * a_part;
  result.aw = sin2 * ((bw - bh) * per_w * ((bw + bh) * per_w)) - T(2) * centre_u - growth_w;
  result.ah = -sin2 * b_part - T(2) * centre_v - growth_h;
  result.bw = growth_w + sin2 * a_part * square(bw * per_h);
  result.bh = growth_h - sin2 * a_part * square(ratio_h);
  return result;
}

// KL(t || p), or with the roles exchanged KL(p || t).
template <bool exchanged, typename T>
MMEXT_HOST_DEVICE Terms<T> kld(const Pair<T>& pair, T centre_factor) {
  const Direction<T> frame = exchanged ? pair.t_frame : pair.p_frame;
  const T u = pair.dx * frame.cos + pair.dy * frame.sin;
  const T v = pair.dy * frame.cos - pair.dx * frame.sin;
  Terms<T> terms;
  Divergence<T> d;
  if constexpr (exchanged) {
    const Direction<T> turn{-pair.turn.sin, pair.turn.cos};
    d = divergence(u, v, pair.wt, pair.ht, pair.wp, pair.hp, turn, centre_factor);
    terms = {d.value, T(0), T(0), d.turn, d.a_angle - d.turn, d.bw, d.bh, d.aw, d.ah};
  } else {
    d = divergence(u, v, pair.wp, pair.hp, pair.wt, pair.ht, pair.turn, centre_factor);
    terms = {d.value, T(0), T(0), d.a_angle - d.turn, d.turn, d.aw, d.ah, d.bw, d.bh};
  }
  terms.x = d.u * frame.cos - d.v * frame.sin;
  terms.y = d.u * frame.sin + d.v * frame.cos;
  return terms;
}

template <typename T>
MMEXT_HOST_DEVICE Terms<T> sum(const Terms<T>& a, const Terms<T>& b) {
  return {a.value + b.value, a.x + b.x, a.y + b.y, a.p_angle + b.p_angle, a.t_angle + b.t_angle,
          a.wp + b.wp,       a.hp + b.hp, a.wt + b.wt, a.ht + b.ht};
}

template <typename T>
MMEXT_HOST_DEVICE Terms<T> choose(bool first, const Terms<T>& a, const Terms<T>& b) {
  return {first ? a.value : b.value,
          first ? a.x : b.x,
          first ? a.y : b.y,
          first ? a.p_angle : b.p_angle,
          first ? a.t_angle : b.t_angle,
          first ? a.wp : b.wp,
          first ? a.hp : b.hp,
          first ? a.wt : b.wt,
          first ? a.ht : b.ht};
}

// ---- Wasserstein ----

// The coupling term of W2^2 is 2 C k, k^2 = cos^2 + (E / C)^2 sin^2, with C = ap at + bp bt and
// E = ap bt + bp at; a and b are half sides.
template <typename T>
MMEXT_HOST_DEVICE Terms<T> gwd(const Pair<T>& pair, T shape_factor) {
  const T ap = pair.wp / 2, bp = pair.hp / 2, at = pair.wt / 2, bt = pair.ht / 2;
  const T parallel = ap * at + bp * bt, per_parallel = T(1) / parallel;
  const T ratio = (ap * bt + bp * at) * per_parallel;
  const T sin2 = square(pair.turn.sin), cos2 = square(pair.turn.cos);
  const T k = std::sqrt(cos2 + square(ratio) * sin2), per_k = T(1) / k;
  const T stretch = (ap - bp) * (ap + bp) * per_parallel * ((at - bt) * (at + bt) * per_parallel);
  const T tilt = parallel * stretch;  // (C^2 - E^2) / C
  const T shape =
      square(ap - at) + square(bp - bt) + T(2) * sin2 * tilt / (T(1) + k);
  // The derivative of the coupling by ap is (at cos^2 + ratio bt sin^2) / k; at is subtracted from
  // it in closed form, which leaves multiples of sin^2.
  const T main = (cos2 + square(ratio)) / (k + cos2), lean = sin2 * per_k;
  const T factor_w = shape_factor * pair.wp, factor_h = shape_factor * pair.hp;
  const T factor_wt = shape_factor * pair.wt, factor_ht = shape_factor * pair.ht;
  const T turn = shape_factor * T(2) * pair.turn.sin * pair.turn.cos * tilt * per_k;
  return {
      square(pair.dx) + square(pair.dy) + shape_factor * shape,
      T(2) * pair.dx,
      T(2) * pair.dy,
      -turn,
      turn,
      factor_w * ((ap - at) + lean * (at * main - ratio * bt)),
      factor_h * ((bp - bt) + lean * (bt * main - ratio * at)),
      factor_wt * ((at - ap) + lean * (ap * main - ratio * bp)),
      factor_ht * ((bt - bp) + lean * (bp * main - ratio * ap))};
}

// D / sqrt(wp hp wt ht).
template <typename T>
MMEXT_HOST_DEVICE Terms<T> normalized(const Pair<T>& pair, const Terms<T>& d) {
  const T per = T(1) / (std::sqrt(pair.wp * pair.hp) * std::sqrt(pair.wt * pair.ht));
  const T value = d.value * per, half = value / 2;
  return {value,
          d.x * per,
          d.y * per,
          d.p_angle * per,
          d.t_angle * per,
          d.wp * per - half,
          d.hp * per - half,
          d.wt * per - half,
          d.ht * per - half};
}

// ---- Bhattacharyya and KFIoU ----

// X of det(Sp + St) = 4 sqrt(det Sp det St) (1 + X), its derivatives by the angle and by logarithms
// of sides, and parts that others need.
template <typename T>
struct Spread {
  T value, turn, wp, hp, wt, ht;
  T per_w, per_h, per_p, per_t;  // 1 / (wp wt), 1 / (hp ht), 1 / (wp hp), 1 / (wt ht)
  T p_part, t_part;              // w / h - h / w
};

template <typename T>
MMEXT_HOST_DEVICE Spread<T> spread_of(const Pair<T>& pair) {
  const T wp = pair.wp, hp = pair.hp, wt = pair.wt, ht = pair.ht;
  Spread<T> s;
  s.per_w = T(1) / (wp * wt);
  s.per_h = T(1) / (hp * ht);
  s.per_p = T(1) / (wp * hp);
  s.per_t = T(1) / (wt * ht);
  s.p_part = (wp - hp) * (wp + hp) * s.per_p;
  s.t_part = (wt - ht) * (wt + ht) * s.per_t;
  const T in_w = T(0.5) * square(wp - wt) * s.per_w, in_h = T(0.5) * square(hp - ht) * s.per_h;
  const T sin2 = square(pair.turn.sin);
  s.value = in_w + in_h + in_w * in_h + T(0.25) * sin2 * s.p_part * s.t_part;
  s.turn = T(0.5) * pair.turn.sin * pair.turn.cos * s.p_part * s.t_part;
  const T by_w = T(0.5) * (wp - wt) * (wp + wt) * s.per_w * (T(1) + in_h);
  const T by_h = T(0.5) * (hp - ht) * (hp + ht) * s.per_h * (T(1) + in_w);
  const T by_p = T(0.25) * sin2 * (wp * wp + hp * hp) * s.per_p * s.t_part;
  const T by_t = T(0.25) * sin2 * (wt * wt + ht * ht) * s.per_t * s.p_part;
  s.wp = by_p + by_w;
  s.hp = by_h - by_p;
  s.wt = by_t - by_w;
  s.ht = -by_t - by_h;
  return s;
}

// factor * (centre_factor * centre term + log term) of the Bhattacharyya distance.
template <typename T>
MMEXT_HOST_DEVICE Terms<T> bhattacharyya(const Pair<T>& pair, T centre_factor, T factor) {
  const Direction<T> p = pair.p_frame, t = pair.t_frame;
  const T u = pair.dx * p.cos + pair.dy * p.sin, v = pair.dy * p.cos - pair.dx * p.sin;
  const T r = pair.dx * t.cos + pair.dy * t.sin, s = pair.dy * t.cos - pair.dx * t.sin;
  const Spread<T> spread = spread_of(pair);
  const T p_per_t_w = square(pair.wp) * spread.per_w, t_per_p_w = square(pair.wt) * spread.per_w;
  const T p_per_t_h = square(pair.hp) * spread.per_h, t_per_p_h = square(pair.ht) * spread.per_h;
  const T by_u = u * spread.per_w * p_per_t_h, by_v = v * spread.per_h * p_per_t_w;
  const T by_r = r * spread.per_w * t_per_p_h, by_s = s * spread.per_h * t_per_p_w;
  const T per_spread = T(1) / (T(1) + spread.value);
  const T half = T(0.5) * centre_factor * per_spread;
  const T centre = T(0.5) * half * (u * by_u + v * by_v + r * by_r + s * by_s);

  // The derivative of ln det(Sp + St) by the logarithm of a side is what these sum up to.
  const T sin2 = square(pair.turn.sin), cos2 = square(pair.turn.cos), c = centre * per_spread / 2;
  const T both_p = p_per_t_w * p_per_t_h, both_t = t_per_p_w * t_per_p_h;
  const T w_p = cos2 * p_per_t_w * t_per_p_h, w_t = cos2 * t_per_p_w * p_per_t_h;
  const T both_w = sin2 * pair.wp * pair.wt * spread.per_h;
  const T both_h = sin2 * pair.hp * pair.ht * spread.per_w;
  const T log_slope = T(0.5) * per_spread;

  const T turn = (T(0.5) - centre) * per_spread * spread.turn;
  const T gu = half * by_u, gv = half * by_v, gr = half * by_r, gs = half * by_s;
  return {
      factor * (centre + T(0.5) * log_of_one_plus(spread.value)),
      factor * (gu * p.cos - gv * p.sin + (gr * t.cos - gs * t.sin)),
      factor * (gu * p.sin + gv * p.cos + (gr * t.sin + gs * t.cos)),
      factor * (-half * u * v * spread.p_part * spread.per_t - turn),
      factor * (turn - half * r * s * spread.t_part * spread.per_p),
      factor * (v * gv - c * (both_p + w_p + both_w) + log_slope * spread.wp),
      factor * (u * gu - c * (both_p + w_t + both_h) + log_slope * spread.hp),
      factor * (s * gs - c * (both_t + w_t + both_w) + log_slope * spread.wt),
      factor * (r * gr - c * (both_t + w_p + both_h) + log_slope * spread.ht)};
}

template <typename T>
MMEXT_HOST_DEVICE Terms<T> kfiou(const Pair<T>& pair) {
  const Spread<T> spread = spread_of(pair);
  const T area_p = pair.wp * pair.hp, area_t = pair.wt * pair.ht, areas = area_p + area_t;
  const T roots = std::sqrt(area_p) * std::sqrt(area_t);
  const T per_spread = T(1) / (T(1) + spread.value);
  const T value = T(1) / (T(2) * std::sqrt(T(1) + spread.value) * (areas / roots) - T(1));
  const T slope = T(-0.5) * value * (T(1) + value);
  const T excess = (pair.wp - pair.wt) * pair.hp + pair.wt * (pair.hp - pair.ht);
  const T of_area = excess / areas, turn = slope * per_spread * spread.turn;
  return {
      value,
      T(0),
      T(0),
      -turn,
      turn,
      slope * (per_spread * spread.wp + of_area),
      slope * (per_spread * spread.hp + of_area),
      slope * (per_spread * spread.wt - of_area),
      slope * (per_spread * spread.ht - of_area)};
}

}  // namespace mmext::gaussian_distance
