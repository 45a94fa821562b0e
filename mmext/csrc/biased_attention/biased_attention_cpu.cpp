// CPU walk: windows and heads for threads, and the torch side.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <limits>

#include "biased_attention/window_cpu.h"

namespace mmext::biased_attention {

#define MMEXT_DEFINE_ENTRIES(T)                                                                 \
  MMEXT_MULTIVERSION void run_forward(                                                          \
      const Tokens<const T>& q, const Tokens<const T>& k, const Tokens<const T>& v,             \
      const T* bias, Workspace<T>& work, const Tokens<T>& out) {                                \
    forward_window(q, k, v, bias, work, out);                                                   \
  }                                                                                             \
  MMEXT_MULTIVERSION void run_backward(                                                         \
      const Tokens<const T>& grad, const Tokens<const T>& q, const Tokens<const T>& k,          \
      const Tokens<const T>& v, const T* bias, Workspace<T>& work, const Gradients<T>& to,      \
      T* bias_grad) {                                                                           \
    backward_window(grad, q, k, v, bias, work, to, bias_grad);                                  \
  }
MMEXT_DEFINE_ENTRIES(float)
MMEXT_DEFINE_ENTRIES(double)
#undef MMEXT_DEFINE_ENTRIES

namespace {

// Windows whose gradients of the bias are summed one after the other, whatever the threads.
constexpr int64_t kChunk = 32;
constexpr int64_t kGrain = 1 << 16;  // products of a query and a key per thread at least

// Tokens of all windows and heads.
template <typename T>
struct Batch {
  T* data;
  int64_t window, row, depth;

  Tokens<T> at(int64_t number, int64_t head) const {
    return {data + number * window + head * depth, row};
  }
};

template <typename T>
Batch<const T> read(const at::Tensor& tokens, int64_t depth) {
  return {tokens.const_data_ptr<T>(), tokens.stride(0), tokens.stride(1), depth};
}

template <typename T>
Batch<T> write(const at::Tensor& tokens, int64_t depth) {
  return {tokens.mutable_data_ptr<T>(), tokens.stride(0), tokens.stride(1), depth};
}

// Tokens in the working dtype whose channels are side by side; views of a wider map stay views.
template <typename T>
at::Tensor operand(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(c10::CppTypeToScalarType<T>::value);
  return values.stride(-1) == 1 ? values : values.contiguous();
}

// (heads, queries, keys filled up with -inf)
template <typename T>
at::Tensor fill_up(const at::Tensor& bias) {
  const int64_t keys = bias.size(2);
  const int64_t more = round_up(keys, kColumns<T>) - keys;
  return at::constant_pad_nd(
             bias.to(c10::CppTypeToScalarType<T>::value), {0, more},
             -std::numeric_limits<double>::infinity())
      .contiguous();
}

// Calls run(zero of the working dtype).
template <typename Run>
auto with_dtype_of(const at::Tensor& x, const Run& run) {
  return x.scalar_type() == at::kDouble ? run(0.0) : run(0.0f);
}

// The Python wrapper explains bad arguments; the checks here keep a direct call of the op from doing
// something undefined.
Size check(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias,
    int64_t heads) {
  TORCH_CHECK(q.dim() == 3, "biased_attention: q must be (n, N, C)");
  const int64_t channels = q.size(2);
  TORCH_CHECK(
      heads > 0 && channels % heads == 0 && channels > 0,
      "biased_attention: num_heads must divide C");
  TORCH_CHECK(
      k.dim() == 3 && k.size(0) == q.size(0) && k.size(1) > 0 && k.size(2) == channels,
      "biased_attention: k must be (n, M, C)");
  TORCH_CHECK(v.sizes() == k.sizes(), "biased_attention: v must be (n, M, C)");
  TORCH_CHECK(
      bias.sizes() == at::IntArrayRef({heads, q.size(1), k.size(1)}),
      "biased_attention: bias must be (heads, N, M)");
  for (const at::Tensor& tensor : {k, v, bias}) {
    TORCH_CHECK(tensor.device() == q.device(), "biased_attention: tensors on several devices");
  }
  return {q.size(1), k.size(1), channels / heads};
}

at::Tensor biased_attention_cpu(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias,
    int64_t heads) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the result must not count as a view
  const Size size = check(q, k, v, bias, heads);
  return with_dtype_of(q, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor queries = operand<T>(q), keys = operand<T>(k), values = operand<T>(v);
    const at::Tensor biases = fill_up<T>(bias), out = at::empty(q.sizes(), queries.options());
    const auto from_q = read<T>(queries, size.depth), from_k = read<T>(keys, size.depth);
    const auto from_v = read<T>(values, size.depth);
    const auto to = write<T>(out, size.depth);
    const T* of_bias = biases.const_data_ptr<T>();
    const int64_t count = q.size(0), per_head = biases.stride(0);
    const int64_t grain = kGrain / std::max<int64_t>(size.queries * size.keys, 1) + 1;
    at::parallel_for(0, heads * count, grain, [&](int64_t begin, int64_t end) {
      Workspace<T> work(size, false);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t head = i / count, number = i % count;
        run_forward(
            from_q.at(number, head), from_k.at(number, head), from_v.at(number, head),
            of_bias + head * per_head, work, to.at(number, head));
      }
    });
    return out.to(q.scalar_type());
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> biased_attention_backward_cpu(
    const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& bias, int64_t heads) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;  // the results must not count as views
  const Size size = check(q, k, v, bias, heads);
  TORCH_CHECK(
      grad.sizes() == q.sizes() && grad.device() == q.device(),
      "biased_attention: grad has shape ", grad.sizes(), " on ", grad.device(), ", expected ",
      q.sizes(), " on ", q.device());
  return with_dtype_of(q, [&](auto zero) {
    using T = decltype(zero);
    const at::Tensor queries = operand<T>(q), keys = operand<T>(k), values = operand<T>(v);
    const at::Tensor grads = operand<T>(grad), biases = fill_up<T>(bias);
    const auto options = queries.options();
    const at::Tensor q_grad = at::empty(q.sizes(), options), k_grad = at::empty(k.sizes(), options);
    const at::Tensor v_grad = at::empty(v.sizes(), options);
    const int64_t count = q.size(0), chunks = (count + kChunk - 1) / kChunk;
    const at::Tensor sums =
        at::zeros({heads, chunks, biases.size(1), biases.size(2)}, options);
    const auto from_q = read<T>(queries, size.depth), from_k = read<T>(keys, size.depth);
    const auto from_v = read<T>(values, size.depth), from_grad = read<T>(grads, size.depth);
    const auto to_q = write<T>(q_grad, size.depth), to_k = write<T>(k_grad, size.depth);
    const auto to_v = write<T>(v_grad, size.depth);
    const T* of_bias = biases.const_data_ptr<T>();
    T* of_sums = sums.mutable_data_ptr<T>();
    at::parallel_for(0, heads * chunks, 1, [&](int64_t begin, int64_t end) {
      Workspace<T> work(size, true);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t head = i / chunks, first = i % chunks * kChunk;
        for (int64_t number = first; number < std::min(first + kChunk, count); ++number) {
          run_backward(
              from_grad.at(number, head), from_q.at(number, head), from_k.at(number, head),
              from_v.at(number, head), of_bias + head * biases.stride(0), work,
              {to_q.at(number, head), to_k.at(number, head), to_v.at(number, head)},
              of_sums + i * sums.stride(1));
        }
      }
    });
    const at::Tensor bias_grad = sums.sum(1).slice(2, 0, size.keys);
    return std::make_tuple(
        q_grad.to(q.scalar_type()), k_grad.to(k.scalar_type()), v_grad.to(v.scalar_type()),
        bias_grad.to(bias.scalar_type()).contiguous());
  });
}

TORCH_LIBRARY_IMPL(mmext, CPU, m) {
  m.impl("biased_attention", &biased_attention_cpu);
  m.impl("_biased_attention_backward", &biased_attention_backward_cpu);
}

}  // namespace
}  // namespace mmext::biased_attention
