// CUDA walk of the ops on points: a block of threads samples a cloud, one thread answers a query.

#include <cuda_runtime.h>

#include "points/points.h"
#include "points/points_cuda.h"

namespace mmext::points {
namespace {

constexpr int kSamplers = 1024;  // threads that sample a cloud together; a power of two
constexpr int kThreads = 128;    // queries of a block

template <typename T>
__device__ Point<T> read(const T* points, int64_t i) {
  return {points[3 * i], points[3 * i + 1], points[3 * i + 2]};
}

template <typename T>
__global__ void sampling_kernel(
    const Clouds clouds, int64_t wanted, int64_t start, bool skip_origin, T* distances,
    int64_t* chosen) {
  __shared__ T shared_distance[kSamplers];
  __shared__ int64_t shared_index[kSamplers];
  const int64_t count = clouds.count;
  const T* points = static_cast<const T*>(clouds.points) + 3 * count * blockIdx.x;
  T* distance = distances + count * blockIdx.x;
  int64_t* out = chosen + wanted * blockIdx.x;
  const int thread = threadIdx.x;
  for (int64_t i = thread; i < count; i += kSamplers) {
    const Point<T> point = read(points, i);
    const bool allowed = is_finite(point) && !(skip_origin && is_at_origin(point));
    distance[i] = allowed ? static_cast<T>(INFINITY) : T(-1);
  }
  int64_t last = start;
  if (thread == 0) out[0] = start;
  for (int64_t number = 1; number < wanted; ++number) {
    const Point<T> sample = read(points, last);
    // Index 0 is what is left where no point may be chosen.
    Furthest<T> best{T(-1), 0};
    for (int64_t i = thread; i < count; i += kSamplers) {
      T least = distance[i];
      if (least < T(0)) continue;
      const T squared = squared_distance(read(points, i), sample);
      if (squared < least) distance[i] = least = squared;
      const Furthest<T> candidate{least, i};
      if (candidate.beats(best)) best = candidate;
    }
    shared_distance[thread] = best.distance;
    shared_index[thread] = best.index;
    __syncthreads();
    for (int half = kSamplers / 2; half > 0; half /= 2) {
      if (thread < half) {
        const Furthest<T> other{shared_distance[thread + half], shared_index[thread + half]};
        if (other.beats({shared_distance[thread], shared_index[thread]})) {
          shared_distance[thread] = other.distance;
          shared_index[thread] = other.index;
        }
      }
      __syncthreads();
    }
    last = shared_index[0];
    if (thread == 0) out[number] = last;
    __syncthreads();  // the next round writes what was read here
  }
}

__device__ int64_t row_of_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <typename T>
__global__ void ball_kernel(
    const Search search, const Shell<T> shell, int64_t wanted, int64_t* index) {
  const int64_t row = row_of_thread(), count = search.points.count;
  if (row >= search.queries.batch * search.queries.count) return;
  const Point<T> centre = read(static_cast<const T*>(search.queries.points), row);
  const T* points =
      static_cast<const T*>(search.points.points) + 3 * count * (row / search.queries.count);
  int64_t* out = index + row * wanted;
  int64_t found = 0;
  for (int64_t i = 0; i < count && found < wanted; ++i) {
    if (shell.holds(squared_distance(read(points, i), centre))) out[found++] = i;
  }
  const int64_t filler = found > 0 ? out[0] : 0;
  for (; found < wanted; ++found) out[found] = filler;
}

template <typename T>
__global__ void nearest_kernel(const Search search, int64_t k, T* distance, int64_t* index) {
  const int64_t row = row_of_thread(), count = search.points.count;
  if (row >= search.queries.batch * search.queries.count) return;
  const Point<T> from = read(static_cast<const T*>(search.queries.points), row);
  const T* points =
      static_cast<const T*>(search.points.points) + 3 * count * (row / search.queries.count);
  Nearest<T> nearest{distance + row * k, index + row * k, k};
  for (int64_t i = 0; i < count; ++i) {
    const T squared = squared_distance(read(points, i), from);
    if (squared <= nearest.worst()) nearest.add(squared, i);  // not if it is NaN
  }
  nearest.finish();
}

// Calls launch(zero of the dtype) and reports what CUDA says.
template <typename Launch>
const char* dispatch(bool is_double, const Launch& launch) {
  if (is_double) {
    launch(0.0);
  } else {
    launch(0.0f);
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

unsigned blocks_for(const Search& search) {
  const int64_t rows = search.queries.batch * search.queries.count;
  return static_cast<unsigned>((rows + kThreads - 1) / kThreads);
}

}  // namespace

const char* launch_sampling(
    const Clouds& clouds, int64_t wanted, int64_t start, bool skip_origin, void* distance,
    int64_t* chosen, CUstream_st* stream) {
  if (clouds.batch == 0) return nullptr;
  return dispatch(clouds.is_double, [&](auto zero) {
    using T = decltype(zero);
    sampling_kernel<T><<<static_cast<unsigned>(clouds.batch), kSamplers, 0, stream>>>(
        clouds, wanted, start, skip_origin, static_cast<T*>(distance), chosen);
  });
}

const char* launch_ball_query(
    const Search& search, double min_radius, double max_radius, int64_t wanted, int64_t* index,
    CUstream_st* stream) {
  if (blocks_for(search) == 0) return nullptr;
  return dispatch(search.points.is_double, [&](auto zero) {
    using T = decltype(zero);
    ball_kernel<T><<<blocks_for(search), kThreads, 0, stream>>>(
        search, Shell<T>::of(min_radius, max_radius), wanted, index);
  });
}

const char* launch_nearest(
    const Search& search, int64_t k, void* distance, int64_t* index, CUstream_st* stream) {
  if (blocks_for(search) == 0) return nullptr;
  return dispatch(search.points.is_double, [&](auto zero) {
    using T = decltype(zero);
    nearest_kernel<T>
        <<<blocks_for(search), kThreads, 0, stream>>>(search, k, static_cast<T*>(distance), index);
  });
}

}  // namespace mmext::points
