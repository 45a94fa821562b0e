// The gradient of gaussian_distance. (A formula in Python costs more than ten thousand rows do.)

#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

namespace mmext::gaussian_distance {
namespace {

using Weight = std::optional<at::Tensor>;
using Forward = at::Tensor(
    const at::Tensor& pred, const at::Tensor& target, const Weight& weight, std::string_view kind,
    double alpha, bool normalize, double scale, bool sqrt, std::string_view fun, double tau);
using WithGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>(
    const at::Tensor& pred, const at::Tensor& target, const Weight& weight, std::string_view kind,
    double alpha, bool normalize, double scale, bool sqrt, std::string_view fun, double tau,
    std::array<bool, 2> output_mask);
using Scale = at::Tensor(const at::Tensor& grad, const at::Tensor& rows, const Weight& weight);
using Backward = std::tuple<at::Tensor, at::Tensor>(
    const at::Tensor& grad, const at::Tensor& pred, const at::Tensor& target, const Weight& weight,
    std::string_view kind, double alpha, bool normalize, double scale, bool sqrt,
    std::string_view fun, double tau, std::array<bool, 2> output_mask);

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// On a CPU the gradient is computed with the loss and kept, for the sake of what both have in common.
// A GPU waits for memory alone, of which that takes as much as computing again does.
bool keeps_gradients(const at::Tensor& pred) { return pred.is_cpu(); }

struct Differentiable : torch::autograd::Function<Differentiable> {
  static at::Tensor forward(
      torch::autograd::AutogradContext* context, const at::Tensor& pred, const at::Tensor& target,
      const Weight& weight, std::string_view kind, double alpha, bool normalize, double scale,
      bool sqrt, std::string_view fun, double tau, std::array<bool, 2> asked) {
    static const auto plain = find_op<Forward>("mmext::gaussian_distance");
    static const auto full = find_op<WithGradients>("mmext::_gaussian_distance_with_gradients");
    context->saved_data["kind"] = std::string(kind);
    context->saved_data["alpha"] = alpha;
    context->saved_data["normalize"] = normalize;
    context->saved_data["scale"] = scale;
    context->saved_data["sqrt"] = sqrt;
    context->saved_data["fun"] = std::string(fun);
    context->saved_data["tau"] = tau;
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    at::Tensor loss, of_pred, of_target;
    if (keeps_gradients(pred)) {
      std::tie(loss, of_pred, of_target) = full.call(
          pred, target, weight, kind, alpha, normalize, scale, sqrt, fun, tau, asked);
    } else {
      loss = plain.call(pred, target, weight, kind, alpha, normalize, scale, sqrt, fun, tau);
    }
    if (!asked[0]) of_pred = at::Tensor();
    if (!asked[1]) of_target = at::Tensor();
    context->save_for_backward(
        {pred, target, weight.value_or(at::Tensor()), of_pred, of_target});
    return loss;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context, const torch::autograd::variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const Weight weight = saved[2].defined() ? Weight(saved[2]) : Weight();
    const std::array<bool, 2> asked{context->needs_input_grad(0), context->needs_input_grad(1)};
    torch::autograd::variable_list results(11);  // one for each argument
    if (keeps_gradients(saved[0]) && !at::GradMode::is_enabled()) {
      static const auto op = find_op<Scale>("mmext::_scale_gradient");
      const at::AutoDispatchBelowADInplaceOrView no_autograd;
      for (int i = 0; i < 2; ++i) {
        if (asked[i]) results[i] = op.call(grads[0], saved[3 + i], weight);
      }
      return results;
    }
    // This one has a derivative of its own.
    static const auto op = find_op<Backward>("mmext::_gaussian_distance_backward");
    const auto& options = context->saved_data;
    const auto [of_pred, of_target] = op.call(
        grads[0], saved[0], saved[1], weight, options.at("kind").toStringView(),
        options.at("alpha").toDouble(), options.at("normalize").toBool(),
        options.at("scale").toDouble(), options.at("sqrt").toBool(),
        options.at("fun").toStringView(), options.at("tau").toDouble(), asked);
    if (asked[0]) results[0] = of_pred;
    if (asked[1]) results[1] = of_target;
    return results;
  }
};

at::Tensor gaussian_distance_autograd(
    const at::Tensor& pred, const at::Tensor& target, const Weight& weight, std::string_view kind,
    double alpha, bool normalize, double scale, bool sqrt, std::string_view fun, double tau) {
  const bool enabled = at::GradMode::is_enabled();
  const std::array<bool, 2> asked{
      enabled && pred.requires_grad(), enabled && target.requires_grad()};
  if (asked[0] || asked[1]) {
    return Differentiable::apply(
        pred, target, weight, kind, alpha, normalize, scale, sqrt, fun, tau, asked);
  }
  static const auto op = find_op<Forward>("mmext::gaussian_distance");
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  return op.call(pred, target, weight, kind, alpha, normalize, scale, sqrt, fun, tau);
}

TORCH_LIBRARY_IMPL(mmext, Autograd, m) {
  m.impl("gaussian_distance", &gaussian_distance_autograd);
}

}  // namespace
}  // namespace mmext::gaussian_distance
