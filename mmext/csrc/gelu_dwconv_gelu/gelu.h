// GELU and its derivative, written out in float so that loops which call them become vector
// instructions.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "portability.h"

namespace mmext::gelu_dwconv_gelu {

// coefficients[0] x^(count - 1) + ... + coefficients[count - 1]
template <int count>
MMEXT_HOST_DEVICE float polynomial(const float (&coefficients)[count], float x) {
  float sum = coefficients[0];
  MMEXT_UNROLL
  for (int i = 1; i < count; ++i) sum = sum * x + coefficients[i];
  return sum;
}

// The normal distribution less one half, erf(x / sqrt(2)) / 2.
MMEXT_HOST_DEVICE double half_erf(double x) { return 0.5 * std::erf(x * 0.70710678118654752440); }

// Good to 1e-7: x times a minimax polynomial of x^2 for |x| < 5.5; beyond, the result is 1/2 but
// for 2e-8. The argument of the polynomial runs from -1 to 1, so that no digits cancel.
MMEXT_HOST_DEVICE float half_erf(float x) {
  constexpr float end = 5.5f;
  constexpr float coefficients[] = {
      -0.000236417138f, 0.000631559757f, -0.000529134064f, 0.000720104261f,
      -0.00241864682f,  0.00462178327f,  -0.00681991223f,  0.0102278255f,
      -0.0149990777f,   0.0203645676f,   -0.0260482598f,   0.0320702605f,
      -0.0387927853f,   0.0477376282f,   -0.064172335f,    0.12855193f};
  const float inner = x * polynomial(coefficients, x * x * (2 / (end * end)) - 1);
  const float outer = x < 0 ? -0.5f : 0.5f;
  return x > -end && x < end ? inner : outer;
}

// The density of the normal distribution.
MMEXT_HOST_DEVICE double density(double x) { return 0.39894228040143267794 * std::exp(-0.5 * x * x); }

// 2^k times a minimax polynomial of 2^f / sqrt(2 pi), where -x^2 / 2 is ln 2 times k + f with a
// whole k and |f| <= 1/2; 3e-37 for large x.
MMEXT_HOST_DEVICE float density(float x) {
  constexpr float coefficients[] = {0.000529654557f, 0.00385998283f, 0.0221441425f,
                                    0.0958343893f,   0.276525646f,   0.398942322f};
  const float exponent = x * x * -0.72134752044448170368f;
  const float bounded = exponent < -120.0f ? -120.0f : exponent;
  constexpr float shift = 12582912.0f;  // 3 * 2^22 moves the point out
  const float moved = bounded + shift;
  const float value = polynomial(coefficients, bounded - (moved - shift));
  uint32_t bits, whole;
  std::memcpy(&bits, &value, sizeof(bits));
  std::memcpy(&whole, &moved, sizeof(whole));
  bits += whole << 23;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

template <typename T>
MMEXT_HOST_DEVICE T gelu(T x) {
  return x * (T(0.5) + half_erf(x));
}

template <typename T>
struct ValueAndSlope {
  T value, slope;
};

// gelu and its derivative.
template <typename T>
MMEXT_HOST_DEVICE ValueAndSlope<T> gelu_and_slope(T x) {
  const T distribution = T(0.5) + half_erf(x);
  return {x * distribution, distribution + x * density(x)};
}

}  // namespace mmext::gelu_dwconv_gelu
