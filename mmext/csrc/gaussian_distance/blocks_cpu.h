// Gaussian distances of a block of pairs on a CPU, as vector instructions.
//
// A block holds its rows column by column. Each step is a loop over rows that compilers vectorise.

#pragma once

#include "gaussian_distance/gaussian_distance.h"
#include "gaussian_distance/rows_cpu.h"

namespace mmext::gaussian_distance {

template <typename T>
struct Block {
  int rows;
  Columns<T> p, t;  // of the boxes, later of their gradients
  T weight[kBlock];
  T fault[kBlock];  // NaN where a side is negative or an entry is not finite, else 0

  T dx[kBlock], dy[kBlock], wp[kBlock], hp[kBlock], wt[kBlock], ht[kBlock];
  T turn_sin[kBlock], turn_cos[kBlock], p_sin[kBlock], p_cos[kBlock], t_sin[kBlock], t_cos[kBlock];
  T exchanged[kBlock];  // 1 where align() exchanged the sides of t, else 0

  T value[kBlock], slope[kBlock];
  T x[kBlock], y[kBlock], p_angle[kBlock], t_angle[kBlock];
  T of_wp[kBlock], of_hp[kBlock], of_wt[kBlock], of_ht[kBlock];
};

// Calls visit(row).
template <typename T, typename Visit>
MMEXT_HOST_DEVICE void for_each_row(const Block<T>& block, const Visit& visit) {
  const int rows = block.rows;
#pragma omp simd
  for (int i = 0; i < rows; ++i) visit(i);
}

template <typename T>
MMEXT_HOST_DEVICE Pair<T> pair_of(const Block<T>& b, int i) {
  return {b.dx[i],
          b.dy[i],
          b.wp[i],
          b.hp[i],
          b.wt[i],
          b.ht[i],
          {b.turn_sin[i], b.turn_cos[i]},
          {b.p_sin[i], b.p_cos[i]},
          {b.t_sin[i], b.t_cos[i]}};
}

template <typename T>
MMEXT_HOST_DEVICE Terms<T> terms_of(const Block<T>& b, int i) {
  return {b.value[i],   b.x[i],     b.y[i],     b.p_angle[i], b.t_angle[i],
          b.of_wp[i], b.of_hp[i], b.of_wt[i], b.of_ht[i]};
}

template <bool gradient, typename T>
MMEXT_HOST_DEVICE void store(Block<T>& b, int i, const Terms<T>& terms) {
  b.value[i] = terms.value;
  if constexpr (gradient) {
    b.x[i] = terms.x;
    b.y[i] = terms.y;
    b.p_angle[i] = terms.p_angle;
    b.t_angle[i] = terms.t_angle;
    b.of_wp[i] = terms.wp;
    b.of_hp[i] = terms.hp;
    b.of_wt[i] = terms.wt;
    b.of_ht[i] = terms.ht;
  }
}

template <typename T>
MMEXT_HOST_DEVICE Box<T> box_of(const Columns<T>& columns, int i) {
  return {columns[0][i], columns[1][i], columns[2][i], columns[3][i]};
}

template <bool rotated, typename T>
MMEXT_HOST_DEVICE void measure_sides(Block<T>& b) {
  for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
    const Box<T> p = box_of(b.p, i), t = box_of(b.t, i);
    const T p_angle = rotated ? b.p[4][i] : T(0), t_angle = rotated ? b.t[4][i] : T(0);
    Pair<T> pair = make_pair<rotated>(p, t);
    raise_sides(pair);
    b.fault[i] = fault(pair, p, t, p_angle, t_angle);
    const bool exchanged = rotated && align(pair);
    pair.turn = rotated ? turn_between(p_angle, t_angle, exchanged) : Direction<T>{T(0), T(1)};
    b.dx[i] = pair.dx;
    b.dy[i] = pair.dy;
    b.wp[i] = pair.wp;
    b.hp[i] = pair.hp;
    b.wt[i] = pair.wt;
    b.ht[i] = pair.ht;
    b.turn_sin[i] = pair.turn.sin;
    b.turn_cos[i] = pair.turn.cos;
    b.exchanged[i] = exchanged ? T(1) : T(0);
  });
}

// Frames of p and t.
template <bool rotated, typename T>
MMEXT_HOST_DEVICE void measure_frames(Block<T>& b, Kind kind) {
  if (needs_p_frame(kind)) {
    for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
      const Direction<T> frame =
          rotated ? direction(b.p[4][i], T(0), T(0)) : Direction<T>{T(0), T(1)};
      b.p_sin[i] = frame.sin;
      b.p_cos[i] = frame.cos;
    });
  }
  if (needs_t_frame(kind)) {
    for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
      const Direction<T> frame = rotated ? direction(b.t[4][i], T(0), b.exchanged[i])
                                         : Direction<T>{T(0), T(1)};
      b.t_sin[i] = frame.sin;
      b.t_cos[i] = frame.cos;
    });
  }
}

template <bool gradient, typename T>
MMEXT_HOST_DEVICE void compute_distances(
    Block<T>& b, const Options& options, const Factors<T>& factors) {
  with_kind(options.kind, [&](auto kind) MMEXT_INLINE_LAMBDA {
    for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
      store<gradient>(b, i, distance<decltype(kind)::value>(pair_of(b, i), factors));
    });
  });
  if (options.normalize) {
    for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
      store<gradient>(b, i, normalized(pair_of(b, i), terms_of(b, i)));
    });
  }
}

// Replaces values by losses and sets slopes.
template <typename T>
MMEXT_HOST_DEVICE void compute_losses(
    Block<T>& b, const Options& options, const Factors<T>& factors) {
  const auto change = [&](const auto& step) MMEXT_INLINE_LAMBDA {
    for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
      const Loss<T> loss = step(Loss<T>{b.value[i], b.slope[i]});
      b.value[i] = loss.value;
      b.slope[i] = loss.slope;
    });
  };
  const auto change_by = [&](auto fun) MMEXT_INLINE_LAMBDA {
    change([](Loss<T> loss) MMEXT_INLINE_LAMBDA { return apply<decltype(fun)::value>(loss); });
  };
  for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
    b.value[i] *= factors.scale;
    b.slope[i] = factors.scale;
  });
  if (options.sqrt) change_by(std::integral_constant<Fun, Fun::kSqrt>());
  with_fun(options.fun, change_by);
  if (factors.tau != T(0)) {
    change([&](Loss<T> loss) MMEXT_INLINE_LAMBDA { return saturate(loss, factors.tau); });
  }
}

// Turns the columns of the boxes into those of their gradients; `slope` holds all factors.
template <bool rotated, typename T>
MMEXT_HOST_DEVICE void compute_gradients(Block<T>& b, bool of_pred, bool of_target) {
  const auto put = [](Columns<T>& columns, int i, const BoxGradient<T>& g) MMEXT_INLINE_LAMBDA {
    for (int k = 0; k < 4; ++k) columns[k][i] = g.box.entries[k];
    columns[4][i] = g.angle;
  };
  if (of_pred) {
    for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
      put(b.p, i, gradient_of_pred<rotated>(pair_of(b, i), terms_of(b, i), b.slope[i]));
    });
  }
  if (of_target) {
    for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
      const bool exchanged = b.exchanged[i] != T(0);
      put(b.t, i,
          gradient_of_target<rotated>(pair_of(b, i), terms_of(b, i), b.slope[i], exchanged));
    });
  }
}

template <bool rotated, typename T>
MMEXT_HOST_DEVICE void block_losses(Block<T>& b, const Options& options) {
  const Factors<T> factors(options);
  measure_sides<rotated>(b);
  measure_frames<rotated>(b, options.kind);
  compute_distances<false>(b, options, factors);
  compute_losses(b, options, factors);
  for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA { b.value[i] *= b.weight[i]; });
}

// The losses, and what their gradients are for a gradient of the loss of 1.
template <bool rotated, typename T>
MMEXT_HOST_DEVICE void block_gradients(
    Block<T>& b, const Options& options, bool of_pred, bool of_target) {
  const Factors<T> factors(options);
  measure_sides<rotated>(b);
  measure_frames<rotated>(b, options.kind);
  compute_distances<true>(b, options, factors);
  compute_losses(b, options, factors);
  for_each_row(b, [&](int i) MMEXT_INLINE_LAMBDA {
    b.value[i] *= b.weight[i];
    b.slope[i] *= b.weight[i];
  });
  compute_gradients<rotated>(b, of_pred, of_target);
}

}  // namespace mmext::gaussian_distance
