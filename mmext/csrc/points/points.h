// The maths of furthest point sampling and of neighbours, written once for host and device.

#pragma once

#include <cmath>
#include <cstdint>

#include "portability.h"

namespace mmext::points {

template <typename T>
struct Point {
  T x, y, z;
};

// Each product is rounded before it is added, in this order, so that ties are the same everywhere.
template <typename T>
MMEXT_HOST_DEVICE T squared_length(T x, T y, T z) {
  MMEXT_UNFUSED
  return product(x, x) + product(y, y) + product(z, z);
}

template <typename T>
MMEXT_HOST_DEVICE T squared_distance(const Point<T>& a, const Point<T>& b) {
  return squared_length(a.x - b.x, a.y - b.y, a.z - b.z);
}

template <typename T>
MMEXT_HOST_DEVICE bool is_finite(const Point<T>& p) {
  return T(0) * p.x + T(0) * p.y + T(0) * p.z == T(0);
}

// VoteNet's kernel takes points nearer than 3.2 cm to the origin for padding. Its limit is a double.
template <typename T>
MMEXT_HOST_DEVICE bool is_at_origin(const Point<T>& p) {
  return static_cast<double>(squared_length(p.x, p.y, p.z)) <= 1e-3;
}

// A point that may be the furthest. A distance of -1 marks those that must not be chosen.
template <typename T>
struct Furthest {
  T distance;
  int64_t index;

  // Of equally far points the one with the lowest index.
  MMEXT_HOST_DEVICE bool beats(const Furthest& other) const {
    return distance > other.distance || (distance == other.distance && index < other.index);
  }
};

// The squared radii of a shell; the inner border belongs to it.
template <typename T>
struct Shell {
  T inner, outer;

  MMEXT_HOST_DEVICE static Shell of(double inner, double outer) {
    const T low = static_cast<T>(inner), high = static_cast<T>(outer);
    return {low * low, high * high};
  }
  // Without branches, so that loops become vector code.
  MMEXT_HOST_DEVICE bool holds(T squared) const {
    return (squared == T(0)) | ((squared >= inner) & (squared < outer));
  }
  // Whether it may hold points that are no nearer than this.
  MMEXT_HOST_DEVICE bool reaches(T bound) const { return (bound == T(0)) | (bound < outer); }
};

// The k nearest points so far, nearest first; equally near ones by index. Places left over hold an
// infinite distance and index 0.
template <typename T>
struct Nearest {
  T* distance;  // squared
  int64_t* index;
  int64_t k, count = 0;

  MMEXT_HOST_DEVICE T worst() const { return count < k ? T(INFINITY) : distance[k - 1]; }

  MMEXT_HOST_DEVICE void add(T squared, int64_t candidate) {
    int64_t place = count;
    if (count == k) {
      const T last = distance[k - 1];
      if (squared > last || (squared == last && candidate > index[k - 1])) return;
      --place;
    } else {
      ++count;
    }
    for (; place > 0; --place) {
      const T before = distance[place - 1];
      if (before < squared || (before == squared && index[place - 1] < candidate)) break;
      distance[place] = before;
      index[place] = index[place - 1];
    }
    distance[place] = squared;
    index[place] = candidate;
  }

  // Turns squared distances into distances and fills the places left over.
  MMEXT_HOST_DEVICE void finish() {
    for (int64_t i = 0; i < count; ++i) distance[i] = std::sqrt(distance[i]);
    for (int64_t i = count; i < k; ++i) {
      distance[i] = T(INFINITY);
      index[i] = 0;
    }
  }
};

}  // namespace mmext::points
