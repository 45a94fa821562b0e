// Neighbours in point clouds on a CPU: balls, three nearest, k nearest.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <array>
#include <memory>
#include <tuple>

#include "points/buckets_cpu.h"
#include "points/points_torch.h"

namespace mmext::points {

constexpr int64_t kGrain = 64;  // queries per thread at least
constexpr int64_t kPiece = 64;  // points that are looked at together; a multiple of kAlign

// A cloud as it is and in buckets.
template <typename T>
struct Cloud {
  const T* points;
  int64_t count;
  Buckets<T> buckets;

  Cloud(const T* cloud, int64_t size) : points(cloud), count(size), buckets(cloud, size) {}

  Point<T> point(int64_t i) const { return {points[3 * i], points[3 * i + 1], points[3 * i + 2]}; }
};

// What one thread works with.
template <typename T>
struct Scratch {
  std::vector<T> bound, distance;
  std::vector<int32_t> found;
};

template <typename T>
MMEXT_HOST_DEVICE void piece_distances(
    const Buckets<T>& buckets, int64_t place, int64_t size, const Point<T>& from, T* out) {
  const T *x = &buckets.x[place], *y = &buckets.y[place], *z = &buckets.z[place];
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    out[i] = squared_length(x[i] - from.x, y[i] - from.y, z[i] - from.z);
  }
}

// Finds points of the shell in the order of the cloud, until there are enough.
template <typename T>
MMEXT_HOST_DEVICE int64_t search_in_order(
    const Cloud<T>& cloud, const Shell<T>& shell, const Point<T>& centre, int64_t wanted,
    int32_t* found) {
  int64_t count = 0;
  for (int64_t begin = 0; begin < cloud.count && count < wanted; begin += kPiece) {
    const int64_t size = std::min(kPiece, cloud.count - begin);
    bool holds[kPiece];
    for (int64_t i = 0; i < size; ++i) {
      holds[i] = shell.holds(squared_distance(cloud.point(begin + i), centre));
    }
    for (int64_t i = 0; i < size; ++i) {
      found[count] = static_cast<int32_t>(begin + i);
      count += holds[i];
    }
  }
  return std::min(count, wanted);
}

// Finds points of the shell in buckets and leaves those with the lowest indices, in order.
template <typename T>
MMEXT_HOST_DEVICE int64_t search_in_buckets(
    const Buckets<T>& buckets, const T* bound, const Shell<T>& shell, const Point<T>& centre,
    int64_t wanted, std::vector<int32_t>& found) {
  const auto room = static_cast<int64_t>(found.size()) - kPiece;
  int64_t count = 0;
  T squared[kPiece];
  for (int64_t bucket = 0; bucket < buckets.count; ++bucket) {
    if (!shell.reaches(bound[bucket])) continue;
    const int64_t end = aligned(buckets.end[bucket]);
    for (int64_t place = buckets.begin[bucket]; place < end; place += kPiece) {
      const int64_t size = std::min(kPiece, end - place);
      piece_distances(buckets, place, size, centre, squared);
      for (int64_t i = 0; i < size; ++i) {
        found[count] = buckets.index[place + i];
        count += shell.holds(squared[i]);
      }
      if (count > room) {
        std::nth_element(found.begin(), found.begin() + wanted, found.begin() + count);
        count = wanted;
      }
    }
  }
  if (count > wanted) {
    std::nth_element(found.begin(), found.begin() + wanted, found.begin() + count);
    count = wanted;
  }
  std::sort(found.begin(), found.begin() + count);
  return count;
}

template <typename T>
MMEXT_HOST_DEVICE void find_in_ball(
    const Cloud<T>& cloud, const Shell<T>& shell, const Point<T>& centre, int64_t wanted,
    Scratch<T>& scratch, int64_t* out) {
  const Buckets<T>& buckets = cloud.buckets;
  T* bound = scratch.bound.data();
  bounds(buckets, centre, bound);
  int64_t candidates = 0;
  for (int64_t bucket = 0; bucket < buckets.count; ++bucket) {
    candidates += shell.reaches(bound[bucket]) ? buckets.end[bucket] - buckets.begin[bucket] : 0;
  }
  // Where most of the cloud is in the ball, the first points of the cloud are enough.
  const bool many = candidates * candidates > 4 * wanted * cloud.count;
  const int64_t count =
      many ? search_in_order(cloud, shell, centre, wanted, scratch.found.data())
           : search_in_buckets(buckets, bound, shell, centre, wanted, scratch.found);
  std::copy_n(scratch.found.data(), count, out);
  std::fill(out + count, out + wanted, count > 0 ? out[0] : 0);
}

template <typename T>
MMEXT_HOST_DEVICE void find_nearest(
    const Buckets<T>& buckets, const Point<T>& from, Scratch<T>& scratch, Nearest<T> nearest) {
  T* bound = scratch.bound.data();
  bounds(buckets, from, bound);
  const auto look_into = [&](int64_t bucket) MMEXT_INLINE_LAMBDA {
    T squared[kPiece];
    for (int64_t place = buckets.begin[bucket]; place < buckets.end[bucket]; place += kPiece) {
      const int64_t size = std::min(kPiece, buckets.end[bucket] - place);
      piece_distances(buckets, place, aligned(size), from, squared);
      for (int64_t i = 0; i < size; ++i) {
        if (squared[i] <= nearest.worst()) nearest.add(squared[i], buckets.index[place + i]);
      }
    }
  };
  // Where the nearest points probably are, so that the others are passed over.
  T least = std::numeric_limits<T>::infinity();
#pragma omp simd reduction(min : least)
  for (int64_t i = 0; i < buckets.count; ++i) least = bound[i] < least ? bound[i] : least;
  int64_t first = 0;
  while (first + 1 < buckets.count && bound[first] != least) ++first;
  look_into(first);
  for (int64_t bucket = 0; bucket < buckets.count; ++bucket) {
    if (bucket != first && bound[bucket] <= nearest.worst()) look_into(bucket);
  }
  nearest.finish();
}

#define MMEXT_DEFINE_ENTRIES(T)                                                             \
  MMEXT_MULTIVERSION_UNFUSED void run_ball(                                                 \
      const Cloud<T>& cloud, const Shell<T>& shell, const Point<T>& centre, int64_t wanted, \
      Scratch<T>& scratch, int64_t* out) {                                                  \
    find_in_ball(cloud, shell, centre, wanted, scratch, out);                               \
  }                                                                                         \
  MMEXT_MULTIVERSION_UNFUSED void run_nearest(                                              \
      const Buckets<T>& buckets, const Point<T>& from, Scratch<T>& scratch,                 \
      Nearest<T> nearest) {                                                                 \
    find_nearest(buckets, from, scratch, nearest);                                          \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

// Calls visit(row, cloud of its sample, point, scratch) for all queries, from several threads.
template <typename T, typename Visit>
void for_each_query(
    const at::Tensor& queries, const at::Tensor& points, int64_t room, const Visit& visit) {
  const int64_t batch = points.size(0), count = points.size(1), rows = queries.size(1);
  if (batch * rows == 0) return;
  const T *from = queries.const_data_ptr<T>(), *at = points.const_data_ptr<T>();
  std::vector<std::unique_ptr<Cloud<T>>> clouds(batch);
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      clouds[i] = std::make_unique<Cloud<T>>(at + 3 * i * count, count);
    }
  });
  int64_t buckets = 0;
  for (const auto& cloud : clouds) buckets = std::max(buckets, cloud->buckets.count);
  at::parallel_for(0, batch * rows, kGrain, [&](int64_t begin, int64_t end) {
    Scratch<T> scratch;
    scratch.bound.resize(aligned(buckets));
    scratch.found.resize(room);
    for (int64_t row = begin; row < end; ++row) {
      const T* query = from + 3 * row;
      visit(row, *clouds[row / rows], Point<T>{query[0], query[1], query[2]}, scratch);
    }
  });
}

at::Tensor ball_query_cpu(
    double min_radius, double max_radius, int64_t sample_num, const at::Tensor& xyz,
    const at::Tensor& center_xyz) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_search("ball_query", center_xyz, xyz, sample_num);
  const at::Tensor points = xyz.contiguous(), centres = center_xyz.contiguous();
  check_finite("ball_query", "xyz", points);
  check_finite("ball_query", "center_xyz", centres);
  at::Tensor index = at::empty(
      {centres.size(0), centres.size(1), sample_num}, xyz.options().dtype(at::kLong));
  int64_t* out = index.mutable_data_ptr<int64_t>();
  const int64_t room = 4 * sample_num + 16 * kPiece;
  visit_dtype(points, [&](auto zero) {
    using T = decltype(zero);
    const Shell<T> shell = Shell<T>::of(min_radius, max_radius);
    for_each_query<T>(
        centres, points, room,
        [&](int64_t row, const Cloud<T>& cloud, const Point<T>& centre, Scratch<T>& scratch) {
          run_ball(cloud, shell, centre, sample_num, scratch, out + row * sample_num);
        });
  });
  return index;
}

// Distances and indices of the k nearest points, (B, M, k).
std::tuple<at::Tensor, at::Tensor> nearest_points(
    const at::Tensor& queries, const at::Tensor& points, int64_t k) {
  const std::array<int64_t, 3> shape{queries.size(0), queries.size(1), k};
  at::Tensor distance = at::empty(shape, queries.options());
  at::Tensor index = at::empty(shape, queries.options().dtype(at::kLong));
  int64_t* indices = index.mutable_data_ptr<int64_t>();
  visit_dtype(points, [&](auto zero) {
    using T = decltype(zero);
    T* distances = distance.mutable_data_ptr<T>();
    for_each_query<T>(
        queries, points, 0,
        [&](int64_t row, const Cloud<T>& cloud, const Point<T>& from, Scratch<T>& scratch) {
          run_nearest(
              cloud.buckets, from, scratch,
              Nearest<T>{distances + row * k, indices + row * k, k});
        });
  });
  return {distance, index};
}

std::tuple<at::Tensor, at::Tensor> three_nn_cpu(
    const at::Tensor& target, const at::Tensor& source) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_search("three_nn", target, source, 3);
  const at::Tensor queries = target.contiguous(), points = source.contiguous();
  check_finite("three_nn", "target", queries);
  check_finite("three_nn", "source", points);
  return nearest_points(queries, points, 3);
}

at::Tensor knn_cpu(int64_t k, const at::Tensor& xyz, const at::Tensor& center_xyz) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_search("knn", center_xyz, xyz, k);
  const at::Tensor queries = center_xyz.contiguous(), points = xyz.contiguous();
  check_finite("knn", "xyz", points);
  check_finite("knn", "center_xyz", queries);
  return std::get<1>(nearest_points(queries, points, k)).transpose(1, 2).contiguous();
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("ball_query", &ball_query_cpu);
  m.impl("three_nn", &three_nn_cpu);
  m.impl("knn", &knn_cpu);
}

}  // namespace
}  // namespace mmext::points
