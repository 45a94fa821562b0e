// Furthest point sampling on a CPU.
//
// The cloud lies in buckets, of which each knows its furthest point. A new sample that is farther
// from a bucket's box than that point is from the samples before changes nothing in the bucket. One
// that may change something, but not that point, is kept until something does.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include "points/buckets_cpu.h"
#include "points/points_torch.h"

namespace mmext::points {

constexpr int64_t kWaiting = 8;  // samples that a bucket keeps at most

template <typename T>
struct Sampling {
  const Buckets<T>& buckets;
  std::vector<T> distance;                 // by place, squared
  std::vector<T> furthest;                 // by bucket
  std::vector<int64_t> furthest_at;        // its place
  std::vector<T> bound;                    // by bucket, of the newest sample
  std::vector<Point<T>> waiting;           // kWaiting for each bucket
  std::vector<int64_t> waits;              // how many of them

  Sampling(const Buckets<T>& cloud, bool skip_origin);
};

template <typename T>
Sampling<T>::Sampling(const Buckets<T>& cloud, bool skip_origin)
    : buckets(cloud),
      distance(cloud.x.size(), T(-1)),
      furthest(aligned(cloud.count), T(-1)),
      furthest_at(aligned(cloud.count), 0),
      bound(aligned(cloud.count)),
      waiting(cloud.count * kWaiting),
      waits(cloud.count, 0) {
  for (int64_t bucket = 0; bucket < cloud.count; ++bucket) {
    furthest_at[bucket] = cloud.begin[bucket];
    for (int64_t place = cloud.begin[bucket]; place < cloud.end[bucket]; ++place) {
      if (skip_origin && is_at_origin(cloud.point(place))) continue;
      distance[place] = std::numeric_limits<T>::infinity();
      if (furthest[bucket] < T(0)) furthest_at[bucket] = place;
      furthest[bucket] = distance[place];
    }
  }
}

// Takes what waits for a bucket into account and finds its furthest point.
template <typename T>
MMEXT_HOST_DEVICE void update(Sampling<T>& state, int64_t bucket) {
  const Buckets<T>& buckets = state.buckets;
  const int64_t begin = buckets.begin[bucket], size = aligned(buckets.end[bucket] - begin);
  const T *x = &buckets.x[begin], *y = &buckets.y[begin], *z = &buckets.z[begin];
  T* distance = &state.distance[begin];
  const Point<T>* samples = &state.waiting[bucket * kWaiting];
  for (int64_t number = 0; number < state.waits[bucket]; ++number) {
    const Point<T> sample = samples[number];
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
      const T squared = squared_length(x[i] - sample.x, y[i] - sample.y, z[i] - sample.z);
      distance[i] = squared < distance[i] ? squared : distance[i];
    }
  }
  state.waits[bucket] = 0;
  T furthest = T(-1);
#pragma omp simd reduction(max : furthest)
  for (int64_t i = 0; i < size; ++i) furthest = distance[i] > furthest ? distance[i] : furthest;
  int64_t place = 0;
  while (distance[place] != furthest) ++place;  // the first one has the lowest index
  state.furthest[bucket] = furthest;
  state.furthest_at[bucket] = begin + place;
}

// The place of the point that is furthest from all samples; -1 if none may be chosen.
template <typename T>
MMEXT_HOST_DEVICE int64_t furthest_of_all(const Sampling<T>& state) {
  const int64_t size = aligned(state.buckets.count);
  const T* distance = state.furthest.data();
  T most = T(-1);
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < size; ++i) most = distance[i] > most ? distance[i] : most;
  if (most < T(0)) return -1;
  int64_t best = -1;
  for (int64_t i = 0; i < state.buckets.count; ++i) {
    if (distance[i] != most) continue;
    const int64_t place = state.furthest_at[i];
    if (best < 0 || state.buckets.index[place] < state.buckets.index[best]) best = place;
  }
  return best;
}

template <typename T>
MMEXT_HOST_DEVICE void add_sample(Sampling<T>& state, const Point<T>& sample) {
  const Buckets<T>& buckets = state.buckets;
  bounds(buckets, sample, state.bound.data());
  for (int64_t bucket = 0; bucket < buckets.count; ++bucket) {
    if (state.bound[bucket] >= state.furthest[bucket]) continue;
    int64_t& waits = state.waits[bucket];
    state.waiting[bucket * kWaiting + waits++] = sample;
    const T squared = squared_distance(buckets.point(state.furthest_at[bucket]), sample);
    if (squared < state.furthest[bucket] || waits == kWaiting) update(state, bucket);
  }
}

template <typename T>
MMEXT_HOST_DEVICE void sample_points(
    const Buckets<T>& buckets, const Point<T>& start, bool skip_origin, int64_t wanted,
    int64_t* chosen) {
  Sampling<T> state(buckets, skip_origin);
  add_sample(state, start);
  for (int64_t number = 1; number < wanted; ++number) {
    const int64_t place = furthest_of_all(state);
    if (place < 0) {
      std::fill(chosen + number, chosen + wanted, 0);
      return;
    }
    chosen[number] = buckets.index[place];
    add_sample(state, buckets.point(place));
  }
}

#define MMEXT_DEFINE_ENTRIES(T)                                                             \
  MMEXT_MULTIVERSION_UNFUSED void run_sampling(                                             \
      const Buckets<T>& buckets, const Point<T>& start, bool skip_origin, int64_t wanted,   \
      int64_t* chosen) {                                                                    \
    sample_points(buckets, start, skip_origin, wanted, chosen);                             \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

template <typename T>
void sample_clouds(
    const at::Tensor& points, int64_t wanted, int64_t start, bool skip_origin, int64_t* chosen) {
  const T* clouds = points.const_data_ptr<T>();
  const int64_t count = points.size(1);
  at::parallel_for(0, points.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) {
      const T* cloud = clouds + 3 * sample * count;
      int64_t* out = chosen + sample * wanted;
      out[0] = start;
      const T* first = cloud + 3 * start;
      run_sampling(Buckets<T>(cloud, count), {first[0], first[1], first[2]}, skip_origin, wanted, out);
    }
  });
}

at::Tensor furthest_point_sample_cpu(
    const at::Tensor& points, int64_t num_points, int64_t start, bool skip_origin) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_sampling(points, num_points, start);
  const at::Tensor clouds = points.contiguous();
  check_finite("furthest_point_sample", "points", clouds);
  at::Tensor chosen = at::empty({points.size(0), num_points}, points.options().dtype(at::kLong));
  visit_dtype(points, [&](auto zero) {
    sample_clouds<decltype(zero)>(
        clouds, num_points, start, skip_origin, chosen.mutable_data_ptr<int64_t>());
  });
  return chosen;
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) { m.impl("furthest_point_sample", &furthest_point_sample_cpu); }

}  // namespace
}  // namespace mmext::points
