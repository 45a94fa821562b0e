// GELU and its derivative. Those of float are written out so that loops which call them become
// vector instructions.

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

// What GELU takes of the normal distribution.
template <typename T>
struct Normal {
  T size;     // |x|; for float 4.5 at most, from where on size times tail hardly depends on it
  T density;  // at x
  T tail;     // the probability of more than |x|
};

MMEXT_HOST_DEVICE Normal<double> normal(double x) {
  const double size = std::abs(x);
  return {
      size, 0.39894228040143267794 * std::exp(-0.5 * x * x),
      0.5 * std::erfc(size * 0.70710678118654752440)};
}

// 2^k times a minimax polynomial of 2^f / sqrt(2 pi), where -x^2 / 2 is ln 2 times k + f with a
// whole k and |f| <= 1/2; 0 for |x| > 12.9.
MMEXT_HOST_DEVICE float density(float x) {
  constexpr float coefficients[] = {0.000529654557f, 0.00385998283f, 0.0221441425f,
                                    0.0958343893f,   0.276525646f,   0.398942322f};
  const float exponent = x * x * -0.72134752044448170368f;
  const bool vanishes = exponent < -120.0f;
  const float bounded = vanishes ? -120.0f : exponent;
  constexpr float shift = 12582912.0f;  // 3 * 2^22 moves the point out
  const float moved = bounded + shift;
  const float value = polynomial(coefficients, bounded - (moved - shift));
  uint32_t bits, whole;
  std::memcpy(&bits, &value, sizeof(bits));
  std::memcpy(&whole, &moved, sizeof(whole));
  bits += whole << 23;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return vanishes ? 0.0f : result;
}

// The tail is the density times a minimax polynomial of Mills' ratio. Near 0, where it is large,
// GELU multiplies it by little; so GELU has an error below 1e-7 besides its own rounding.
MMEXT_HOST_DEVICE Normal<float> normal(float x) {
  constexpr float end = 4.5f;
  constexpr float coefficients[] = {
      0.00224757334f, -0.00045795698f, -0.000779621128f, -0.00638834573f, 0.0104369977f,
      -0.0153757837f, 0.0304990597f,   -0.0543161407f,   0.09035144f,     -0.143622234f,
      0.215062648f,   -0.30018729f,    0.385148257f};
  const float size = std::abs(x) > end ? end : std::abs(x);
  const float height = density(x);
  return {size, height, height * polynomial(coefficients, size * (2 / end) - 1)};
}

template <typename T>
struct ValueAndSlope {
  T value, slope;
};

// gelu and its derivative.
template <typename T>
MMEXT_HOST_DEVICE ValueAndSlope<T> gelu_and_slope(T x) {
  const Normal<T> at = normal(x);
  const T distribution = x < T(0) ? at.tail : T(1) - at.tail;
  return {(x > T(0) ? x : T(0)) - at.size * at.tail, distribution + x * at.density};
}

template <typename T>
MMEXT_HOST_DEVICE T gelu(T x) {
  return gelu_and_slope(x).value;
}

}  // namespace mmext::gelu_dwconv_gelu
