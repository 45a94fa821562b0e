// What the CPU and CUDA implementations share on the torch side: arguments.

#pragma once

#include <ATen/ATen.h>

#include <limits>

namespace mmext::points {

// The Python wrappers explain bad arguments; the checks here keep a direct call of torch.ops.mmext
// from reading outside its tensors.
inline void check_cloud(const char* op, const at::Tensor& points) {
  TORCH_CHECK(
      points.dim() == 3 && points.size(2) == 3 &&
          (points.scalar_type() == at::kFloat || points.scalar_type() == at::kDouble),
      op, ": points must be (B, N, 3) float32 or float64, got ", points.sizes(), " ",
      points.scalar_type());
  TORCH_CHECK(
      points.size(1) <= std::numeric_limits<int32_t>::max(), op, ": ", points.size(1),
      " points are too many");
}

inline void check_sampling(const at::Tensor& points, int64_t num_points, int64_t start) {
  check_cloud("furthest_point_sample", points);
  TORCH_CHECK(
      num_points >= 1 && (points.size(0) == 0 || (start >= 0 && start < points.size(1))),
      "furthest_point_sample: num_points ", num_points, " or start ", start, " does not fit ",
      points.size(1), " points");
}

inline void check_search(
    const char* op, const at::Tensor& queries, const at::Tensor& points, int64_t wanted) {
  check_cloud(op, queries);
  check_cloud(op, points);
  TORCH_CHECK(
      queries.size(0) == points.size(0) && queries.scalar_type() == points.scalar_type() &&
          queries.device() == points.device() && wanted >= 1 &&
          (points.size(1) > 0 || queries.numel() == 0),
      op, ": clouds of ", queries.sizes(), " ", queries.scalar_type(), " and ", points.sizes(), " ",
      points.scalar_type(), " and ", wanted, " neighbours do not fit");
}

// Calls run(zero of the dtype).
template <typename Run>
void visit_dtype(const at::Tensor& tensor, const Run& run) {
  if (tensor.scalar_type() == at::kDouble) {
    run(0.0);
  } else {
    run(0.0f);
  }
}

// Names the first point that is not finite. `points` is contiguous and on the CPU.
template <typename T>
void check_finite_values(const char* op, const char* name, const at::Tensor& points) {
  const T* values = points.const_data_ptr<T>();
  const int64_t size = points.numel();
  T sum = T(0);
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += T(0) * values[i];
  if (sum == T(0)) return;
  int64_t place = 0;
  while (T(0) * values[place] == T(0)) ++place;
  place /= 3;
  const T* point = values + 3 * place;
  TORCH_CHECK_VALUE(
      false, op, ": ", name, "[", place / points.size(1), ", ", place % points.size(1), "] is (",
      point[0], ", ", point[1], ", ", point[2], "); remove points that are not finite before.");
}

inline void check_finite(const char* op, const char* name, const at::Tensor& points) {
  visit_dtype(points, [&](auto zero) {
    check_finite_values<decltype(zero)>(op, name, points);
  });
}

}  // namespace mmext::points
