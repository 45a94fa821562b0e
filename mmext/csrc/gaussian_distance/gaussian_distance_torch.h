// What the CPU and CUDA implementations share on the torch side: options and checks.

#pragma once

#include <ATen/ATen.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "gaussian_distance/gaussian_distance.h"

namespace mmext::gaussian_distance {

// Where a name stands in a list is its value.
template <typename Enum, size_t count>
Enum parse(
    const char* what, std::string_view name, const std::array<std::string_view, count>& names) {
  for (size_t i = 0; i < count; ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  TORCH_CHECK(false, "gaussian_distance: unknown ", what, " ", std::string(name));
}

inline Options make_options(
    std::string_view kind, double alpha, bool normalize, double scale, bool sqrt,
    std::string_view fun, double tau) {
  static constexpr std::array<std::string_view, 10> kinds{
      "gwd", "kld", "kld_pt", "kld_min", "kld_max", "jeffreys", "js", "bcd", "probiou", "kfiou"};
  static constexpr std::array<std::string_view, 7> funs{
      "none", "log1p", "sqrt", "hellinger", "one_minus", "neg_log", "expm1"};
  return {
      parse<Kind>("kind", kind, kinds), parse<Fun>("fun", fun, funs), normalize, sqrt, alpha, scale,
      tau};
}

// The Python wrapper explains bad arguments; the checks here keep a direct call of
// torch.ops.mmext.gaussian_distance from doing something undefined.
inline void check_boxes(
    const at::Tensor& pred, const at::Tensor& target, const std::optional<at::Tensor>& weight) {
  TORCH_CHECK(
      pred.dim() == 2 && (pred.size(1) == 4 || pred.size(1) == 5),
      "gaussian_distance: pred must be (N, 4) or (N, 5)");
  TORCH_CHECK(
      pred.scalar_type() == at::kFloat || pred.scalar_type() == at::kDouble,
      "gaussian_distance: pred must be float or double, got ", pred.scalar_type());
  const auto fits = [&](const at::Tensor& other) {
    return other.scalar_type() == pred.scalar_type() && other.device() == pred.device();
  };
  TORCH_CHECK(
      target.sizes() == pred.sizes() && fits(target), "gaussian_distance: target must be like pred");
  TORCH_CHECK(
      !weight || (weight->dim() == 1 && weight->size(0) == pred.size(0) && fits(*weight)),
      "gaussian_distance: weight must be (N,), of dtype and device of pred");
}

inline void check_grad(const at::Tensor& grad, const at::Tensor& pred) {
  TORCH_CHECK(
      grad.dim() == 1 && grad.size(0) == pred.size(0) && grad.device() == pred.device(),
      "gaussian_distance: grad has shape ", grad.sizes(), " on ", grad.device(), ", expected [",
      pred.size(0), "] on ", pred.device());
}

// The tensor itself or a copy of it, or an undefined one for none.
inline at::Tensor contiguous(const std::optional<at::Tensor>& tensor) {
  return tensor ? tensor->contiguous() : at::Tensor();
}

// Calls run(zero of the working dtype).
template <typename Run>
auto with_dtype_of(const at::Tensor& boxes, const Run& run) {
  return boxes.scalar_type() == at::kDouble ? run(0.0) : run(0.0f);
}

}  // namespace mmext::gaussian_distance
