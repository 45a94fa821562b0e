// Torch side of the CUDA kernels: layouts and registration.

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <array>
#include <tuple>

#include "points/points_cuda.h"
#include "points/points_torch.h"

namespace mmext::points {
namespace {

void check_launch(const char* op, const char* error) { TORCH_CHECK(!error, op, ": ", error); }

Clouds clouds_of(const at::Tensor& contiguous) {
  return {
      contiguous.const_data_ptr(), contiguous.size(0), contiguous.size(1),
      contiguous.scalar_type() == at::kDouble};
}

at::Tensor furthest_point_sample_cuda(
    const at::Tensor& points, int64_t num_points, int64_t start, bool skip_origin) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_sampling(points, num_points, start);
  const c10::cuda::CUDAGuard device(points.device());
  const at::Tensor clouds = points.contiguous();
  at::Tensor distance = at::empty({points.size(0), points.size(1)}, points.options());
  at::Tensor chosen = at::empty({points.size(0), num_points}, points.options().dtype(at::kLong));
  check_launch(
      "furthest_point_sample",
      launch_sampling(
          clouds_of(clouds), num_points, start, skip_origin, distance.mutable_data_ptr(),
          chosen.mutable_data_ptr<int64_t>(), c10::cuda::getCurrentCUDAStream()));
  return chosen;
}

at::Tensor ball_query_cuda(
    double min_radius, double max_radius, int64_t sample_num, const at::Tensor& xyz,
    const at::Tensor& center_xyz) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  check_search("ball_query", center_xyz, xyz, sample_num);
  const c10::cuda::CUDAGuard device(xyz.device());
  const at::Tensor points = xyz.contiguous(), centres = center_xyz.contiguous();
  at::Tensor index = at::empty(
      {centres.size(0), centres.size(1), sample_num}, xyz.options().dtype(at::kLong));
  check_launch(
      "ball_query",
      launch_ball_query(
          {clouds_of(centres), clouds_of(points)}, min_radius, max_radius, sample_num,
          index.mutable_data_ptr<int64_t>(), c10::cuda::getCurrentCUDAStream()));
  return index;
}

// Distances and indices of the k nearest points, (B, M, k).
std::tuple<at::Tensor, at::Tensor> nearest_points(
    const char* op, const at::Tensor& any_queries, const at::Tensor& any_points, int64_t k) {
  check_search(op, any_queries, any_points, k);
  const c10::cuda::CUDAGuard device(any_points.device());
  const at::Tensor queries = any_queries.contiguous(), points = any_points.contiguous();
  const std::array<int64_t, 3> shape{queries.size(0), queries.size(1), k};
  at::Tensor distance = at::empty(shape, queries.options());
  at::Tensor index = at::empty(shape, queries.options().dtype(at::kLong));
  check_launch(
      op, launch_nearest(
              {clouds_of(queries), clouds_of(points)}, k, distance.mutable_data_ptr(),
              index.mutable_data_ptr<int64_t>(), c10::cuda::getCurrentCUDAStream()));
  return {distance, index};
}

std::tuple<at::Tensor, at::Tensor> three_nn_cuda(
    const at::Tensor& target, const at::Tensor& source) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  return nearest_points("three_nn", target, source, 3);
}

at::Tensor knn_cuda(int64_t k, const at::Tensor& xyz, const at::Tensor& center_xyz) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  return std::get<1>(nearest_points("knn", center_xyz, xyz, k)).transpose(1, 2).contiguous();
}

TORCH_LIBRARY_IMPL(mmext, CUDA, m) {
  m.impl("furthest_point_sample", &furthest_point_sample_cuda);
  m.impl("ball_query", &ball_query_cuda);
  m.impl("three_nn", &three_nn_cuda);
  m.impl("knn", &knn_cuda);
}

}  // namespace
}  // namespace mmext::points
