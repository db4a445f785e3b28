// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_DRAW_WEIGHTS_HPP
#define LOGLINEAR_MIXERS_DRAW_WEIGHTS_HPP

// Initial weights of the mixers in flash-linear-attention's distributions, and the checks of
// options they share. Numbers are drawn in double, row by row, so that float has the rounded
// weights of double.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/random.hpp"

namespace loglinear::detail {

/// The largest size of a dimension: products of three of them stay within Index.
inline constexpr Index largest_dimension = Index{1} << 20;

inline void require_dimension(std::string_view name, Index value) {
  require_between(name, value, Index{1}, largest_dimension);
}
inline void require_positive_number(std::string_view name, double value) {
  if (!(value > 0) || !is_finite(value)) fail(name, value, "finite and positive");
}
/// Whether a number is finite as a Scalar, too.
template <class Scalar>
[[nodiscard]] bool fits(double value) {
  return is_at_most(std::abs(value), static_cast<double>((std::numeric_limits<Scalar>::max)()));
}
/// factor * size, an expanded dimension. \throws std::invalid_argument unless it is whole
inline Index expanded(std::string_view name, double factor, std::string_view size_name,
                      Index size) {
  require_positive_number(name, factor);
  const double product = factor * static_cast<double>(size);
  if (!(product >= 1) || !(product <= static_cast<double>(largest_dimension)) ||
      product > std::floor(product)) {
    fail(name, factor,
         "a number that makes a whole dimension of at least 1 when multiplied by " +
             std::string(size_name) + ", " + std::to_string(size));
  }
  return static_cast<Index>(product);
}

/// Fills an array row by row.
template <class Scalar, class Draw>
void fill(Matrix<Scalar>& array, Draw draw) {
  for (Index i = 0; i < array.rows(); ++i) {
    for (Index j = 0; j < array.cols(); ++j) array(i, j) = static_cast<Scalar>(draw());
  }
}
/// Normal with mean 0. \throws std::invalid_argument for a number too large for Scalar
template <class Scalar>
void fill_normal(Matrix<Scalar>& array, double deviation, Xorshift64& random) {
  fill(array, [&] {
    const double value = deviation * random.normal();
    if (!fits<Scalar>(value)) {
      fail("initializer_range", deviation, "so small that weights are finite in their scalar");
    }
    return value;
  });
}
/// Uniform within 1 / sqrt(inputs) of 0.
template <class Scalar>
void fill_uniform(Matrix<Scalar>& array, Xorshift64& random) {
  const double bound = 1 / std::sqrt(static_cast<double>(array.cols()));
  fill(array, [&] { return bound * (2 * random.uniform() - 1); });
}

/// Where the step sizes of a decay gate begin.
struct StepRange {
  double smallest, largest, floor;

  void validate() const {
    require_positive_number("dt_min", smallest);
    require_positive_number("dt_max", largest);
    require_positive_number("dt_init_floor", floor);
    if (smallest > largest) fail("dt_min", smallest, "at most dt_max");
  }
};
template <class Options>
[[nodiscard]] StepRange steps_of(const Options& o) {
  return {.smallest = o.dt_min, .largest = o.dt_max, .floor = o.dt_init_floor};
}

/// What all mixers have as options.
template <class Scalar, class Options>
void require_common_options(const Options& o) {
  require_between("num_levels", o.num_levels, 2, max_level_limit + 1);
  require_positive("chunk_size", o.chunk_size);
  if (!fits<Scalar>(o.scale)) fail("scale", o.scale, "finite in the mixer's scalar");
  // A denormal number counts as zero.
  if (!fits<Scalar>(o.norm_eps) ||
      !(static_cast<Scalar>(o.norm_eps) >= (std::numeric_limits<Scalar>::min)())) {
    fail("norm_eps", o.norm_eps,
         "a finite and positive number, not denormal, in the mixer's scalar");
  }
  require_positive_number("initializer_range", o.initializer_range);
  steps_of(o).validate();
}

/// dt_bias such that softplus(dt_bias) is log-uniform in [smallest, largest], at least floor.
/// \throws std::invalid_argument for steps too large for Scalar
template <class Scalar>
void fill_step_bias(Matrix<Scalar>& array, const StepRange& range, Xorshift64& random) {
  const double most = (std::max)(range.largest, range.floor);
  if (!fits<Scalar>(most)) fail("dt_max or dt_init_floor", most, "finite in the mixer's scalar");
  fill(array, [&] {
    const double low = std::log(range.smallest), high = std::log(range.largest);
    const double step = (std::max)(std::exp(low + random.uniform() * (high - low)), range.floor);
    return step + std::log(-std::expm1(-step));
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_DRAW_WEIGHTS_HPP
