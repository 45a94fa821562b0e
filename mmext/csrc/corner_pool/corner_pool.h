// The maths of corner pooling, written once for host and device.
//
// A tensor is seen as (outer, length, inner) and swept along its middle axis: each of its
// outer * inner lines has a running maximum. The backward pass is two sweeps. The first repeats the
// forward one and notes which elements became the maximum when they were met. The second goes the
// other way and sums the gradients of the outputs until it meets the element that they came from.
// So nothing but the input has to be kept between forward and backward pass.

#pragma once

#include <cmath>
#include <cstdint>

#include "portability.h"

namespace mmext::corner_pool {

struct Shape {
  int64_t outer, length, inner;
  bool backwards;  // the forward sweep starts at the last element of a line

  MMEXT_HOST_DEVICE int64_t lines() const { return outer * inner; }
};

// T is a number or, in the functions below, a vector of numbers of several lines.

// Whether an element becomes the maximum of its line. Of equal ones the latest is the maximum, and
// a NaN is one until the next NaN; the first element of a line always is, for `best` starts at
// minus infinity. Bitwise "or": the loops over lines must not branch.
template <typename T>
MMEXT_HOST_DEVICE auto takes_over(T value, T best) {
  return (value >= best) | (value != value);
}

template <typename T>
MMEXT_HOST_DEVICE T maximum(T value, T best) {
  return takes_over(value, best) ? value : best;
}

// The gradient of an element, in the second sweep of the backward pass; `sum` is what later
// outputs of the forward sweep have left for the elements before them.
template <typename Flag, typename T>
MMEXT_HOST_DEVICE T collect(Flag credited, T grad, T& sum) {
  const T total = sum + grad;
  sum = credited ? T{} : total;
  return credited ? total : T{};
}

}  // namespace mmext::corner_pool
