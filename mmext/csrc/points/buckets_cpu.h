// A cloud in buckets of points that are near each other, each with the box around it.
//
// The box gives a bound that the distance to none of the points falls below, not even by rounding:
// it is computed like a distance, from differences that are no larger, and rounding keeps order. So
// whole buckets are passed over without changing a result.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "points/points.h"

namespace mmext::points {

// Buckets begin at multiples of this many places; it is a multiple of the elements of a vector.
constexpr int64_t kAlign = 16;

inline int64_t aligned(int64_t count) { return (count + kAlign - 1) / kAlign * kAlign; }

// Points of a bucket, from which on it is not split. With more buckets it takes longer to look
// through their boxes, with larger ones through their points.
inline int64_t bucket_size(int64_t count) {
  const auto root = static_cast<int64_t>(std::sqrt(static_cast<double>(count)));
  return std::clamp<int64_t>(aligned(root / 4), 32, 512);
}

// Three coordinates and the index, which make a vector of four.
template <typename T>
struct Entry {
  T at[3];
  int32_t index;
};

template <typename T>
struct Buckets {
  int64_t count = 0;                // buckets
  std::vector<int64_t> begin, end;  // their places; those up to the next begin hold no point
  std::vector<T> low[3], high[3];   // their boxes, with room for whole vectors
  std::vector<T> x, y, z;           // by place; infinite where there is no point
  std::vector<int32_t> index;       // by place; ascending within a bucket

  Buckets(const T* cloud, int64_t points);

  Point<T> point(int64_t place) const { return {x[place], y[place], z[place]}; }

 private:
  void split(Entry<T>* entries, Entry<T>* spare, int64_t size, int64_t limit);
  void append(const Entry<T>* entries, int64_t size);
};

// The box around points. Four lanes, of which the last is not looked at.
template <typename T>
struct Extent {
  T low[3], high[3];

  static Extent of(const Entry<T>* entries, int64_t size) {
    T low[3], high[3];
    for (int axis = 0; axis < 3; ++axis) low[axis] = high[axis] = entries[0].at[axis];
    for (int64_t i = 1; i < size; ++i) {
      for (int axis = 0; axis < 3; ++axis) {
        const T value = entries[i].at[axis];
        low[axis] = value < low[axis] ? value : low[axis];
        high[axis] = value > high[axis] ? value : high[axis];
      }
    }
    Extent extent;
    std::copy_n(low, 3, extent.low);
    std::copy_n(high, 3, extent.high);
    return extent;
  }

  int longest() const {
    int best = 0;
    for (int axis = 1; axis < 3; ++axis) {
      if (high[axis] - low[axis] > high[best] - low[best]) best = axis;
    }
    return best;
  }
};

// Brings the points below `border` to the front; both parts keep their order.
template <typename T>
int64_t part(Entry<T>* entries, Entry<T>* spare, int64_t size, int axis, T border) {
  int64_t below = 0, above = 0;
  for (int64_t i = 0; i < size; ++i) {  // without branches
    const Entry<T> entry = entries[i];
    const bool is_below = entry.at[axis] < border;
    entries[below] = entry;
    spare[above] = entry;
    below += is_below;
    above += !is_below;
  }
  std::copy_n(spare, above, entries + below);
  return below;
}

// The median of a few points, which lie apart in the order of the cloud.
template <typename T>
T sampled_median(const Entry<T>* entries, int64_t size, int axis) {
  constexpr int64_t kSamples = 31;
  T samples[kSamples];
  for (int64_t i = 0; i < kSamples; ++i) samples[i] = entries[i * size / kSamples].at[axis];
  std::nth_element(samples, samples + kSamples / 2, samples + kSamples);
  return samples[kSamples / 2];
}

template <typename T>
T exact_median(const Entry<T>* entries, int64_t size, int axis, T low) {
  std::vector<T> values(size);
  for (int64_t i = 0; i < size; ++i) values[i] = entries[i].at[axis];
  std::nth_element(values.begin(), values.begin() + size / 2, values.end());
  const T median = values[size / 2];
  if (median > low) return median;
  // More than half of the points have the lowest value; they make a part of their own.
  T next = std::numeric_limits<T>::infinity();
  for (const T value : values) next = value > low && value < next ? value : next;
  return next;
}

template <typename T>
Buckets<T>::Buckets(const T* cloud, int64_t points) {
  const int64_t limit = bucket_size(points), most = 2 * points + kAlign;
  for (auto* places : {&x, &y, &z}) places->reserve(most);
  index.reserve(most);
  std::vector<Entry<T>> entries(points), spare(points);
  for (int64_t i = 0; i < points; ++i) {
    entries[i] = {
        {cloud[3 * i], cloud[3 * i + 1], cloud[3 * i + 2]}, static_cast<int32_t>(i)};
  }
  if (points > 0) split(entries.data(), spare.data(), points, limit);
  count = static_cast<int64_t>(begin.size());
  // Boxes that no bound passes over nor anything is found in.
  for (int axis = 0; axis < 3; ++axis) {
    low[axis].resize(aligned(count), std::numeric_limits<T>::infinity());
    high[axis].resize(aligned(count), std::numeric_limits<T>::infinity());
  }
}

template <typename T>
void Buckets<T>::split(Entry<T>* entries, Entry<T>* spare, int64_t size, int64_t limit) {
  while (true) {
    const Extent<T> extent = Extent<T>::of(entries, size);
    const int axis = extent.longest();
    if (size <= limit || extent.low[axis] == extent.high[axis]) {
      for (int i = 0; i < 3; ++i) {
        low[i].push_back(extent.low[i]);
        high[i].push_back(extent.high[i]);
      }
      append(entries, size);
      return;
    }
    int64_t below = part(entries, spare, size, axis, sampled_median(entries, size, axis));
    if (std::min(below, size - below) < size / 8) {
      // Both parts are in order, so that merging them would restore it; sorting is as good here.
      std::sort(entries, entries + size, [](const Entry<T>& a, const Entry<T>& b) {
        return a.index < b.index;
      });
      const T border = exact_median(entries, size, axis, extent.low[axis]);
      below = part(entries, spare, size, axis, border);
    }
    split(entries, spare, below, limit);
    entries += below;
    size -= below;
  }
}

template <typename T>
void Buckets<T>::append(const Entry<T>* entries, int64_t size) {
  const auto first = static_cast<int64_t>(x.size());
  begin.push_back(first);
  end.push_back(first + size);
  for (auto* places : {&x, &y, &z}) {
    places->resize(first + aligned(size), std::numeric_limits<T>::infinity());
  }
  index.resize(first + aligned(size), std::numeric_limits<int32_t>::max());
  for (int64_t i = 0; i < size; ++i) {
    x[first + i] = entries[i].at[0];
    y[first + i] = entries[i].at[1];
    z[first + i] = entries[i].at[2];
    index[first + i] = entries[i].index;
  }
}

// How far a coordinate is outside of an interval.
template <typename T>
MMEXT_HOST_DEVICE T gap(T low, T high, T at) {
  const T below = low - at, above = at - high;
  const T most = below > above ? below : above;
  return most > T(0) ? most : T(0);
}

// Writes for each bucket what the squared distances to its points do not fall below.
template <typename T>
MMEXT_HOST_DEVICE void bounds(const Buckets<T>& buckets, const Point<T>& from, T* out) {
  const T *low_x = buckets.low[0].data(), *low_y = buckets.low[1].data();
  const T *low_z = buckets.low[2].data(), *high_x = buckets.high[0].data();
  const T *high_y = buckets.high[1].data(), *high_z = buckets.high[2].data();
  const int64_t size = (buckets.count + kAlign - 1) / kAlign * kAlign;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    out[i] = squared_length(
        gap(low_x[i], high_x[i], from.x), gap(low_y[i], high_y[i], from.y),
        gap(low_z[i], high_z[i], from.z));
  }
}

}  // namespace mmext::points
