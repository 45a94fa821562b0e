// What distances between boxes look at: sides, offset of the centres, angles.
//
// The edges of t are named such that p and t have the longer one at the same place, which adds a
// quarter turn to the angle of t: the terms of all distances are then positive.

#pragma once

#include "elementary.h"

namespace mmext::gaussian_distance {

template <typename T>
MMEXT_HOST_DEVICE T square(T x) {
  return x * x;
}

template <typename T>
MMEXT_HOST_DEVICE T larger(T a, T b) {
  return a > b ? a : b;
}

// A box without its angle: x, y, w, h or, of horizontal boxes, x1, y1, x2, y2.
template <typename T>
struct Box {
  T entries[4];
};

// The geometry of two boxes. Frames are directions of their w edges, up to half a turn.
template <typename T>
struct Pair {
  T dx, dy;  // centre of t minus centre of p
  T wp, hp, wt, ht;
  Direction<T> turn;  // from p to t
  Direction<T> p_frame, t_frame;
};

template <bool rotated, typename T>
MMEXT_HOST_DEVICE Pair<T> make_pair(const Box<T>& p, const Box<T>& t) {
  Pair<T> pair;
  if constexpr (rotated) {
    pair.dx = t.entries[0] - p.entries[0];
    pair.dy = t.entries[1] - p.entries[1];
    pair.wp = p.entries[2];
    pair.hp = p.entries[3];
    pair.wt = t.entries[2];
    pair.ht = t.entries[3];
  } else {
    pair.dx = T(0.5) * (t.entries[0] - p.entries[0] + (t.entries[2] - p.entries[2]));
    pair.dy = T(0.5) * (t.entries[1] - p.entries[1] + (t.entries[3] - p.entries[3]));
    pair.wp = p.entries[2] - p.entries[0];
    pair.hp = p.entries[3] - p.entries[1];
    pair.wt = t.entries[2] - t.entries[0];
    pair.ht = t.entries[3] - t.entries[1];
  }
  return pair;
}

template <typename T>
MMEXT_HOST_DEVICE T raised(T side, T floor) {
  const T refusal = side < T(0) ? T(NAN) : T(0);
  return larger(floor, side) + refusal;
}

// Raises the sides of both boxes to 2^-40 of the largest length, and to 2^-40; negative ones become
// NaN.
template <typename T>
MMEXT_HOST_DEVICE void raise_sides(Pair<T>& pair) {
  const T offset = larger(std::abs(pair.dx), std::abs(pair.dy));
  const T sides = larger(larger(pair.wp, pair.hp), larger(pair.wt, pair.ht));
  const T floor = T(9.094947017729282379e-13) * larger(larger(offset, sides), T(1));
  pair.wp = raised(pair.wp, floor);
  pair.hp = raised(pair.hp, floor);
  pair.wt = raised(pair.wt, floor);
  pair.ht = raised(pair.ht, floor);
}

// 0, or NaN if a side is NaN or an entry is not finite.
template <typename T>
MMEXT_HOST_DEVICE T fault(
    const Pair<T>& pair, const Box<T>& p, const Box<T>& t, T p_angle, T t_angle) {
  T sum = T(0) * (pair.wp + pair.hp + pair.wt + pair.ht + p_angle + t_angle);
  for (int i = 0; i < 4; ++i) sum += T(0) * p.entries[i] + T(0) * t.entries[i];
  return sum;
}

// Names the edges of t; returns whether w and h were exchanged.
template <typename T>
MMEXT_HOST_DEVICE bool align(Pair<T>& pair) {
  const bool exchanged = (pair.wp >= pair.hp) != (pair.wt >= pair.ht);
  const T w = pair.wt, h = pair.ht;
  pair.wt = exchanged ? h : w;
  pair.ht = exchanged ? w : h;
  return exchanged;
}

// The rounding error of t - p goes on, so that angles half a turn apart are equal.
template <typename T>
MMEXT_HOST_DEVICE Direction<T> turn_between(T p, T t, bool exchanged) {
  const T difference = t - p, back = difference - t;
  const T error = (t - (difference - back)) - (p + back);
  return direction(difference, error, exchanged ? T(1) : T(0));
}

}  // namespace mmext::gaussian_distance
