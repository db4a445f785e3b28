// SPDX-License-Identifier: MIT
// A kind of transition that does not say what it is made of is read token by token; gradients of
// spans need its steps.
#include <array>

#include "loglinear/loglinear.hpp"

struct Half {
  using Scalar = double;
  Half(Eigen::Index, Eigen::Index) {}
  bool fits(Eigen::Index, Eigen::Index) const { return true; }
  void left(auto&& m) const { m *= 0.5; }
  void left_transposed(auto&& q) const { q *= 0.5; }
  void right(auto&&) const {}
  void pullback(const auto&, const auto&, const auto&, const auto&, Half&) const {}
#ifndef BROKEN
  void visit_steps(auto& steps) const {
    steps.decay(0.5);
  }
  void visit_steps(auto& steps, Half&) const {
    double unused;
    steps.decay(0.5, unused);
  }
#endif
  double norm_bound() const {
    return 1;
  }
  bool all_finite() const {
    return true;
  }
};

struct Forget {
  template <class>
  using Transition = Half;
  std::array<loglinear::Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }
  void prepare(const auto& in, auto& token) const {
    token.keys.col(0) = in.k;
    token.values.col(0) = in.v;
  }
  void pullback(const auto&, const auto&, const auto& d_token, auto& d_in) const {
    d_in.k = d_token.keys.col(0);
    d_in.v = d_token.values.col(0);
  }
};

Eigen::MatrixXd gradient(loglinear::LogLinearAttention<Forget>& layer, const Eigen::MatrixXd& x) {
  return layer.span_gradient(x, layer.forward_span(x)).x;
}
