// SPDX-License-Identifier: MIT
// The D of a rank-one update says what its coefficients are.
#include "loglinear/transitions/transition.hpp"

struct Half {
  using Scalar = double;
  Half(Eigen::Index, Eigen::Index) {}
  bool fits(Eigen::Index, Eigen::Index) const { return true; }
  void left(auto&& m) const { m *= 0.5; }
  void left_transposed(auto&& q) const { q *= 0.5; }
  void right(auto&&) const {}
  void pullback(const auto&, const auto&, const auto&, const auto&, Half&) const {}
#ifndef BROKEN
  double row_factor(Eigen::Index) const {
    return 0.5;
  }
  const double* row_factors() const {
    return nullptr;
  }
#endif
  double norm_bound() const {
    return 0.5;
  }
  bool all_finite() const {
    return true;
  }
};

static_assert(loglinear::Transition<loglinear::RankOneUpdate<Half>, double>);
