// Elementary functions that are written out, so that loops which call them become vector
// instructions: good to an ulp or two, without branches, for the arguments that occur here.

#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "portability.h"

namespace mmext {

// What differs between the two working types. Pi / 2 and ln 2 are sums of parts; the products of all
// parts but the last with a small whole number are exact. kTerms is how long power series are.
template <typename T>
struct Number;

template <>
struct Number<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23, kBias = 127, kTerms = 4;
  static constexpr float kHalfPiHigh = 1.5703125f, kHalfPiMiddle = 4.837512969970703125e-4f,
                         kHalfPiLow = 7.549789948768648e-8f;
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440054690583e-4f;
  static constexpr float kLowestExponent = -87.0f;
};

template <>
struct Number<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023, kTerms = 9;
  static constexpr double kHalfPiHigh = 1.57079632673412561417,
                          kHalfPiMiddle = 6.07710050630396597660e-11,
                          kHalfPiLow = 2.0222662487959506e-21;
  static constexpr double kLn2High = 6.93147180369123816490e-1,
                          kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kLowestExponent = -708.0;
};

template <typename To, typename From>
MMEXT_HOST_DEVICE To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof(To));
  return result;
}

// The nearest whole number, as a number and by its lowest bits; |x| < 2^22 (float).
template <typename T>
struct Rounded {
  T value;
  typename Number<T>::Bits bits;
};

template <typename T>
MMEXT_HOST_DEVICE Rounded<T> round_to_whole(T x) {
  using Bits = typename Number<T>::Bits;
  constexpr T shift = T(3) * T(Bits(1) << (Number<T>::kMantissa - 1));  // moves the point out
  const T moved = x + shift;
  return {moved - shift, bits_as<Bits>(moved)};
}

// y = mantissa * 2^exponent with a mantissa in [sqrt(1/2), sqrt(2)); y is positive and normal.
template <typename T>
struct Split {
  T exponent, power, mantissa;  // power = 2^exponent
};

template <typename T>
MMEXT_HOST_DEVICE Split<T> split(T y) {
  using N = Number<T>;
  using Bits = typename N::Bits;
  const Bits one = Bits(N::kBias) << N::kMantissa;
  const Bits root = bits_as<Bits>(T(0.70710678118654752440));
  const Bits biased = (bits_as<Bits>(y) + (one - root)) >> N::kMantissa;
  // A whole number in the lowest bits of 2^kMantissa is that much more.
  const T offset = bits_as<T>(Bits(N::kBias + N::kMantissa) << N::kMantissa | biased);
  constexpr T base = T(Bits(1) << N::kMantissa) + T(N::kBias);
  const T inverse = bits_as<T>((2 * Bits(N::kBias) - biased) << N::kMantissa);
  return {offset - base, bits_as<T>(biased << N::kMantissa), y * inverse};
}

// 2 artanh(s) - 2 s, |s| <= 3 - sqrt(8).
template <typename T>
MMEXT_HOST_DEVICE T artanh_tail(T s) {
  const T square = s * s;
  T sum = 0;
  for (int k = Number<T>::kTerms; k > 0; --k) sum = sum * square + T(2) / T(2 * k + 1);
  return sum * square * s;
}

template <typename T>
MMEXT_HOST_DEVICE T times_ln2(T x) {
  return x * Number<T>::kLn2High + x * Number<T>::kLn2Low;
}

// ln(1 + x), x >= 0.
template <typename T>
MMEXT_HOST_DEVICE T log_of_one_plus(T x) {
  const Split<T> y = split(T(1) + x);
  const T rest = y.exponent == T(0) ? x : y.mantissa - T(1);
  const T s = rest / (T(2) + rest);
  return times_ln2(y.exponent) + (T(2) * s + artanh_tail(s));
}

// ln(x), x > 0.
template <typename T>
MMEXT_HOST_DEVICE T logarithm(T x) {
  const Split<T> y = split(x);
  const T rest = y.mantissa - T(1), s = rest / (T(2) + rest);
  return times_ln2(y.exponent) + (T(2) * s + artanh_tail(s));
}

// 1 / n! for the terms of the exponential series.
template <typename T>
constexpr std::array<T, Number<T>::kTerms + 5> inverse_factorials() {
  std::array<T, Number<T>::kTerms + 5> values{};
  double factorial = 1;
  for (size_t n = 0; n < values.size(); ++n) {
    factorial *= n == 0 ? 1 : static_cast<double>(n);
    values[n] = static_cast<T>(1 / factorial);
  }
  return values;
}

// exp(x) and exp(x) - 1; exp is 0 below kLowestExponent.
template <typename T>
struct Exponential {
  T value, less_one;
};

template <typename T>
MMEXT_HOST_DEVICE Exponential<T> exponential(T x) {
  using N = Number<T>;
  const bool vanishes = x < N::kLowestExponent;
  x = vanishes ? N::kLowestExponent : x;
  const Rounded<T> k = round_to_whole(x * T(1.4426950408889634074));
  const T rest = (x - k.value * N::kLn2High) - k.value * N::kLn2Low;
  constexpr auto factors = inverse_factorials<T>();
  T series = factors[N::kTerms + 4];
  MMEXT_UNROLL
  for (int n = N::kTerms + 3; n > 0; --n) series = series * rest + factors[n];
  series *= rest;
  const T power = bits_as<T>((k.bits + N::kBias) << N::kMantissa);
  const T grown = power * series;
  return {vanishes ? T(0) : grown + power, grown + (power - T(1))};
}

// Sine and cosine up to a common sign.
template <typename T>
struct Direction {
  T sin, cos;
};

// The angle is `angle + error` and 0 or 1 quarter turns. The sign is free since boxes do not change
// under a half turn.
template <typename T>
MMEXT_HOST_DEVICE Direction<T> direction(T angle, T error, T quarters) {
  using N = Number<T>;
  const Rounded<T> k = round_to_whole(angle * T(0.63661977236758134308));
  T rest = (angle - k.value * N::kHalfPiHigh) - k.value * N::kHalfPiMiddle;
  rest += error - k.value * N::kHalfPiLow;
  constexpr T most = T(0.8);  // a little over pi / 4; more is an angle that has no digits left
  rest = rest < -most ? -most : (rest > most ? most : rest);
  const T square = rest * rest;
  // +-1 / n!, from n = 2 on.
  constexpr T terms[] = {
      T(-1) / 2, T(-1) / 6, T(1) / 24, T(1) / 120, T(-1) / 720, T(-1) / 5040, T(1) / 40320,
      T(1) / 362880, T(-1) / 3628800, T(-1) / 39916800, T(1) / 479001600, T(1) / 6227020800,
      T(-1) / 87178291200, T(-1) / 1307674368000, T(1) / 20922789888000, T(1) / 355687428096000,
      T(-1) / 6402373705728000, T(-1) / 121645100408832000};
  T sin = 0, cos = 0;
  MMEXT_UNROLL
  for (int n = N::kTerms; n > 0; --n) {
    sin = sin * square + terms[2 * n - 1];
    cos = cos * square + terms[2 * n - 2];
  }
  sin = rest + rest * square * sin;
  cos = T(1) + square * cos;
  quarters += k.value;
  const bool odd = quarters != T(2) * round_to_whole(quarters * T(0.5)).value;
  return {odd ? cos : sin, odd ? -sin : cos};
}

}  // namespace mmext
