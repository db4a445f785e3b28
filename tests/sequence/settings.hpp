// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_SEQUENCE_SETTINGS_HPP
#define LOGLINEAR_TESTS_SEQUENCE_SETTINGS_HPP

// What the laws of the sequence form share: its settings, and how far rounding may take it.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <ostream>

#include "loglinear/fenwick.hpp"
#include "sequence/tokens.hpp"

namespace loglinear::test {

using Eigen::Index;

/// 100 is rounded down to 64.
inline constexpr std::array<Index, 4> chunk_sizes = {1, 16, 64, 100};

/// A sequence of `length` tokens of a stream that `start` tokens precede.
struct Setting {
  Kind kind;
  Index length = 0, d_k = 4, d_v = 3;
  std::uint64_t start = 0;
  int max_levels = 1;

  /// Level weights that its tokens read.
  [[nodiscard]] int weights() const {
    return SequenceInputs<double>::levels_read(start, length, max_levels);
  }
};

inline std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << name_of(s.kind) << "; T " << s.length << ", d_k " << s.d_k << ", d_v " << s.d_v
             << ", from token " << s.start << " on, max_levels " << s.max_levels;
}

/// The largest product |q| |k| |v| |lambda| of numbers that are summed up to a read. Where a read
/// is smaller than that, terms have cancelled and their roundings have not.
template <class Scalar>
double largest_term(const Tokens<Scalar>& tokens, const LogLinearState<Scalar>& initial) {
  const auto longest = [](const auto& rows) {
    return rows.rows() == 0 ? 0.0 : static_cast<double>(rows.rowwise().norm().maxCoeff());
  };
  const double read = longest(tokens.q) * detail::max_abs(tokens.lambda);
  double term = longest(tokens.k) * longest(tokens.v);
  for (int l : initial.active_levels()) {
    term = std::max(term, static_cast<double>(initial.level(l).norm()));
  }
  return read * term;
}

/// How far two forms may differ by rounding, relative to the largest number at hand: each of T
/// tokens adds a rounding at the end of sums of d terms to the states, and transitions that do not
/// grow a state keep them as they are. Errors are independent: sqrt(T d) eps, times a few for the
/// products that a chunk is made of.
template <class Scalar>
double sequence_rounding(Index length, Index d) {
  return test::rounding<double>(8, length * d) / std::numeric_limits<double>::epsilon() *
         static_cast<double>(std::numeric_limits<Scalar>::epsilon());
}

/// max |a - b| / scale; infinite where a is not finite.
template <class A, class B>
double relative_error(const Eigen::MatrixBase<A>& a, const Eigen::MatrixBase<B>& b, double scale) {
  if (a.size() == 0 && b.size() == 0) return 0;
  const double error = static_cast<double>(
      test::difference(a.template cast<double>().eval(), b.template cast<double>().eval()));
  return error == 0 ? 0 : error / scale;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_SEQUENCE_SETTINGS_HPP
