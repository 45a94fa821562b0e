// The maths of gaussian_distance, written once for host and device: from two boxes, (x, y, w, h,
// angle) or (x1, y1, x2, y2), by way of their distance, to a loss and its gradient.

#pragma once

#include <type_traits>

#include "gaussian_distance/distances.h"

namespace mmext::gaussian_distance {

enum class Kind { kGwd, kKld, kKldPt, kKldMin, kKldMax, kJeffreys, kJs, kBcd, kProbIoU, kKfIoU };
enum class Fun { kNone, kLog1p, kSqrt, kHellinger, kOneMinus, kNegLog, kExpm1 };

struct Options {
  Kind kind;
  Fun fun;
  bool normalize, sqrt;
  double alpha, scale, tau;
};

// A loss and its derivative with respect to the distance.
template <typename T>
struct Loss {
  T value, slope;
};

// Options as numbers of the working type, made once per call.
template <typename T>
struct Factors {
  T centre, shape;  // 1 / alpha^2 and alpha^2
  T scale, tau;

  MMEXT_HOST_DEVICE explicit Factors(const Options& options)
      : centre(T(1 / (options.alpha * options.alpha))),
        shape(T(options.alpha * options.alpha)),
        scale(T(options.scale)),
        tau(T(options.tau)) {}
};

template <Kind kind, typename T>
MMEXT_HOST_DEVICE Terms<T> distance(const Pair<T>& pair, const Factors<T>& factors) {
  if constexpr (kind == Kind::kGwd) {
    return gwd(pair, factors.shape);
  } else if constexpr (kind == Kind::kKld) {
    return kld<false>(pair, factors.centre);
  } else if constexpr (kind == Kind::kKldPt) {
    return kld<true>(pair, factors.centre);
  } else if constexpr (kind == Kind::kJs) {
    return bhattacharyya(pair, T(1), T(2));
  } else if constexpr (kind == Kind::kBcd) {
    return bhattacharyya(pair, T(1), T(1));
  } else if constexpr (kind == Kind::kProbIoU) {
    return bhattacharyya(pair, T(3), T(1));
  } else if constexpr (kind == Kind::kKfIoU) {
    return kfiou(pair);
  } else {
    const Terms<T> forward = kld<false>(pair, factors.centre);
    const Terms<T> reverse = kld<true>(pair, factors.centre);
    if constexpr (kind == Kind::kJeffreys) return sum(forward, reverse);
    const bool larger = forward.value > reverse.value;  // equal: reverse is the maximum
    return choose(larger == (kind == Kind::kKldMax), forward, reverse);
  }
}

// Calls run(constant) with the kind, or the function, as a constant.
template <typename Run>
MMEXT_HOST_DEVICE void with_kind(Kind kind, const Run& run) {
  switch (kind) {
    case Kind::kGwd: run(std::integral_constant<Kind, Kind::kGwd>()); break;
    case Kind::kKld: run(std::integral_constant<Kind, Kind::kKld>()); break;
    case Kind::kKldPt: run(std::integral_constant<Kind, Kind::kKldPt>()); break;
    case Kind::kKldMin: run(std::integral_constant<Kind, Kind::kKldMin>()); break;
    case Kind::kKldMax: run(std::integral_constant<Kind, Kind::kKldMax>()); break;
    case Kind::kJeffreys: run(std::integral_constant<Kind, Kind::kJeffreys>()); break;
    case Kind::kJs: run(std::integral_constant<Kind, Kind::kJs>()); break;
    case Kind::kBcd: run(std::integral_constant<Kind, Kind::kBcd>()); break;
    case Kind::kProbIoU: run(std::integral_constant<Kind, Kind::kProbIoU>()); break;
    case Kind::kKfIoU: run(std::integral_constant<Kind, Kind::kKfIoU>()); break;
  }
}

template <typename Run>
MMEXT_HOST_DEVICE void with_fun(Fun fun, const Run& run) {
  switch (fun) {
    case Fun::kNone: break;
    case Fun::kLog1p: run(std::integral_constant<Fun, Fun::kLog1p>()); break;
    case Fun::kSqrt: run(std::integral_constant<Fun, Fun::kSqrt>()); break;
    case Fun::kHellinger: run(std::integral_constant<Fun, Fun::kHellinger>()); break;
    case Fun::kOneMinus: run(std::integral_constant<Fun, Fun::kOneMinus>()); break;
    case Fun::kNegLog: run(std::integral_constant<Fun, Fun::kNegLog>()); break;
    case Fun::kExpm1: run(std::integral_constant<Fun, Fun::kExpm1>()); break;
  }
}

// Which frames a distance looks at.
MMEXT_HOST_DEVICE bool needs_p_frame(Kind kind) {
  return kind != Kind::kGwd && kind != Kind::kKfIoU && kind != Kind::kKldPt;
}

MMEXT_HOST_DEVICE bool needs_t_frame(Kind kind) {
  return kind != Kind::kGwd && kind != Kind::kKfIoU && kind != Kind::kKld;
}

// Applies a function to a loss. A root has slope 0 at 0.
template <Fun fun, typename T>
MMEXT_HOST_DEVICE Loss<T> apply(Loss<T> loss) {
  const T d = loss.value;
  if constexpr (fun == Fun::kLog1p) {
    return {log_of_one_plus(d), loss.slope / (T(1) + d)};
  } else if constexpr (fun == Fun::kSqrt) {
    const T value = std::sqrt(d);
    return {value, d > T(0) ? loss.slope * T(0.5) / value : T(0)};
  } else if constexpr (fun == Fun::kHellinger) {
    const Exponential<T> e = exponential(-d);
    const T value = std::sqrt(-e.less_one);
    return {value, d > T(0) ? loss.slope * e.value * T(0.5) / value : T(0)};
  } else if constexpr (fun == Fun::kOneMinus) {
    return {T(1) - d, -loss.slope};
  } else if constexpr (fun == Fun::kNegLog) {
    return {-logarithm(d), -loss.slope / d};
  } else if constexpr (fun == Fun::kExpm1) {
    const Exponential<T> e = exponential(T(1) - d);
    return {e.less_one, -loss.slope * e.value};
  } else {
    return loss;
  }
}

// 1 - 1 / (tau + f).
template <typename T>
MMEXT_HOST_DEVICE Loss<T> saturate(Loss<T> loss, T tau) {
  const T per = T(1) / (tau + loss.value);
  return {(tau - T(1) + loss.value) * per, loss.slope * per * per};
}

// The derivatives by a box: those by its entries, and by its angle.
template <typename T>
struct BoxGradient {
  Box<T> box;
  T angle;
};

template <bool rotated, typename T>
MMEXT_HOST_DEVICE BoxGradient<T> make_gradient(T x, T y, T w, T h, T angle) {
  if constexpr (rotated) return {{x, y, w, h}, angle};
  return {{T(0.5) * x - w, T(0.5) * y - h, T(0.5) * x + w, T(0.5) * y + h}, T(0)};
}

// `slope` times the gradient of a distance.
template <bool rotated, typename T>
MMEXT_HOST_DEVICE BoxGradient<T> gradient_of_pred(
    const Pair<T>& pair, const Terms<T>& terms, T slope) {
  return make_gradient<rotated>(
      -slope * terms.x, -slope * terms.y, slope * terms.wp / pair.wp, slope * terms.hp / pair.hp,
      slope * terms.p_angle);
}

template <bool rotated, typename T>
MMEXT_HOST_DEVICE BoxGradient<T> gradient_of_target(
    const Pair<T>& pair, const Terms<T>& terms, T slope, bool exchanged) {
  const T w = slope * terms.wt / pair.wt, h = slope * terms.ht / pair.ht;
  return make_gradient<rotated>(
      slope * terms.x, slope * terms.y, exchanged ? h : w, exchanged ? w : h,
      slope * terms.t_angle);
}

}  // namespace mmext::gaussian_distance
