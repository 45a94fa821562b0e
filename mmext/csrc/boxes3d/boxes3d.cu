// CUDA walk of the ops on 3-D boxes: one thread for each pair, for each gradient, for each point.

#include <cuda_runtime.h>

#include <type_traits>

#include "boxes3d/boxes3d.h"
#include "boxes3d/boxes3d_cuda.h"

namespace mmext::boxes3d {
namespace {

constexpr int kThreads = 128;
constexpr int kWord = 64;        // boxes of a word of flags
constexpr int kKeepers = 1024;   // threads that decide together what to keep

__device__ int64_t item_of_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <typename T>
__device__ Box3D<T> read(const void* boxes, int64_t row) {
  return Box3D<T>::read(static_cast<const T*>(boxes) + row * kFields);
}

template <typename T>
__device__ T iou_unless_apart(const Box3D<T>& a, const Box3D<T>& b) {
  return apart(a, reach(a), b, reach(b)) ? T(0) : iou(a, b);
}

template <typename T>
__global__ void iou_kernel(const Sets sets, T* out) {
  const int64_t pair = item_of_thread();
  if (pair >= sets.count_a * sets.count_b) return;
  out[pair] =
      iou_unless_apart(read<T>(sets.a, pair / sets.count_b), read<T>(sets.b, pair % sets.count_b));
}

// The gradient of one box is summed in the order of the other set, so that it is the same each time.
template <typename T, bool kOfB>
__global__ void backward_kernel(const Sets sets, const T* grad, T* out) {
  const int64_t row = item_of_thread(), others = kOfB ? sets.count_a : sets.count_b;
  if (row >= (kOfB ? sets.count_b : sets.count_a)) return;
  const Box3D<T> box = read<T>(kOfB ? sets.b : sets.a, row);
  const T box_reach = reach(box);
  T sum[kFields] = {};
  for (int64_t i = 0; i < others; ++i) {
    const T upstream = kOfB ? grad[i * sets.count_b + row] : grad[row * sets.count_b + i];
    const Box3D<T> other = read<T>(kOfB ? sets.a : sets.b, i);
    if (upstream == T(0) || apart(box, box_reach, other, reach(other))) continue;
    if constexpr (kOfB) {
      iou_gradient(other, box, upstream).b.add_to(sum);
    } else {
      iou_gradient(box, other, upstream).a.add_to(sum);
    }
  }
  for (int field = 0; field < kFields; ++field) out[row * kFields + field] = sum[field];
}

// Sets the bits of the worse boxes which a box would suppress.
template <typename T>
__global__ void overlap_kernel(const Candidates candidates, T threshold, uint64_t* overlaps) {
  const int64_t item = item_of_thread();
  if (item >= candidates.count * candidates.words) return;
  const int64_t row = item / candidates.words, first = item % candidates.words * kWord;
  uint64_t bits = 0;
  if (first + kWord > row + 1) {
    const Box3D<T> box = read<T>(candidates.boxes, row);
    const int64_t* labels = candidates.labels;
    for (int64_t i = 0; i < kWord && first + i < candidates.count; ++i) {
      const int64_t other = first + i;
      if (other <= row || (labels && labels[row] != labels[other])) continue;
      if (iou_unless_apart(box, read<T>(candidates.boxes, other)) > threshold) {
        bits |= uint64_t(1) << i;
      }
    }
  }
  overlaps[item] = bits;
}

// One block goes through the boxes; each thread has some of the words of boxes that are dropped.
__global__ void keep_kernel(const Candidates candidates, uint64_t* overlaps, bool* kept) {
  __shared__ bool keeps;
  for (int64_t row = 0; row < candidates.count; ++row) {
    uint64_t* of_row = overlaps + row * candidates.words;
    if (threadIdx.x == 0) keeps = kept[row];
    __syncthreads();
    if (keeps) {
      for (int64_t word = row / kWord + threadIdx.x; word < candidates.words; word += kKeepers) {
        for (uint64_t bits = of_row[word]; bits != 0; bits &= bits - 1) {
          kept[word * kWord + __ffsll(static_cast<long long>(bits)) - 1] = false;
        }
      }
    }
    __syncthreads();
  }
}

__global__ void fill_kernel(bool* flags, int64_t count) {
  const int64_t item = item_of_thread();
  if (item < count) flags[item] = true;
}

template <typename T>
__global__ void inside_kernel(const PointsAndBoxes input, bool* inside) {
  const int64_t item = item_of_thread();
  if (item >= input.count * input.containers_count) return;
  const T* point =
      static_cast<const T*>(input.points) + 3 * (item / input.containers_count);
  const T* row = static_cast<const T*>(input.containers) + 8 * (item % input.containers_count);
  const Container<T> box{row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]};
  inside[item] = box.holds(point[0], point[1], point[2]);
}

unsigned blocks_for(int64_t items) {
  return static_cast<unsigned>((items + kThreads - 1) / kThreads);
}

// Calls launch(zero of the dtype), unless there is nothing to do, and reports what CUDA says.
template <typename Launch>
const char* dispatch(bool is_double, int64_t items, const Launch& launch) {
  if (items == 0) return nullptr;
  if (is_double) {
    launch(0.0);
  } else {
    launch(0.0f);
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* launch_iou(const Sets& sets, void* iou, CUstream_st* stream) {
  const int64_t pairs = sets.count_a * sets.count_b;
  return dispatch(sets.is_double, pairs, [&](auto zero) {
    using T = decltype(zero);
    iou_kernel<T><<<blocks_for(pairs), kThreads, 0, stream>>>(sets, static_cast<T*>(iou));
  });
}

const char* launch_iou_backward(
    const Sets& sets, const void* grad, void* grad_a, void* grad_b, CUstream_st* stream) {
  const auto run = [&](auto of_b, int64_t count, void* out) {
    return dispatch(sets.is_double, out ? count : 0, [&](auto zero) {
      using T = decltype(zero);
      backward_kernel<T, decltype(of_b)::value><<<blocks_for(count), kThreads, 0, stream>>>(
          sets, static_cast<const T*>(grad), static_cast<T*>(out));
    });
  };
  const char* error = run(std::false_type(), sets.count_a, grad_a);
  return error ? error : run(std::true_type(), sets.count_b, grad_b);
}

const char* launch_nms(
    const Candidates& candidates, double iou_threshold, uint64_t* overlaps, bool* kept,
    CUstream_st* stream) {
  const int64_t items = candidates.count * candidates.words;
  return dispatch(candidates.is_double, items, [&](auto zero) {
    using T = decltype(zero);
    fill_kernel<<<blocks_for(candidates.count), kThreads, 0, stream>>>(kept, candidates.count);
    overlap_kernel<T><<<blocks_for(items), kThreads, 0, stream>>>(
        candidates, static_cast<T>(iou_threshold), overlaps);
    keep_kernel<<<1, kKeepers, 0, stream>>>(candidates, overlaps, kept);
  });
}

const char* launch_points_in_boxes(const PointsAndBoxes& input, bool* inside, CUstream_st* stream) {
  const int64_t items = input.count * input.containers_count;
  return dispatch(input.is_double, items, [&](auto zero) {
    using T = decltype(zero);
    inside_kernel<T><<<blocks_for(items), kThreads, 0, stream>>>(input, inside);
  });
}

}  // namespace mmext::boxes3d
