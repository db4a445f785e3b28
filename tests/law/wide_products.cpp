// SPDX-License-Identifier: MIT
// More updates of rank one between two flushes than a low-rank product has sums for on the stack:
// the plain form of the state must still be what the layer reads.

#include <algorithm>
#include <array>

#include "catch.hpp"
#include "rules.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;

/// Forgets a little along each of many directions at every token, those of the rotated key.
struct ManyUpdates {
  static constexpr int updates = 66;

  template <class Scalar>
  struct Transition : UpdatePerLeaf<Scalar> {
    Transition(Eigen::Index key_rows, Eigen::Index d_v)
        : UpdatePerLeaf<Scalar>(key_rows, d_v, updates) {}
  };

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }
  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    detail::Vector<Scalar> key = in.k.normalized();
    token.keys.col(0) = key;
    token.values.col(0) = in.v;
    for (auto& update : token.transition.updates) {
      update.p = key;
      update.u = Scalar(0.01) * key;
      std::rotate(key.data(), key.data() + 1, key.data() + key.size());
    }
  }
  void pullback(const auto&, const auto&, const auto&, auto&) const {}  // nothing is learnt here
};

}  // namespace

TEST_CASE("The plain form after thousands of updates in the buffer") {
  constexpr int tokens = 127;  // 64 of them flushed, 63 buffered
  using Layer = LogLinearAttention<ManyUpdates, double, UnitWeights>;
  Layer layer({.d_model = 2, .d_k = 64, .d_v = 64, .max_levels = 9, .bias = false});
  test::Normal normal(19);
  test::set_order_one_weights(layer, normal);
  for (int t = 0; t < tokens; ++t) layer.forward(normal.vector<double>(2, 1.0));

  const Eigen::VectorXd x = normal.vector<double>(2, 1.0), q = layer.weight("w_query") * x;
  layer.query_readonly(x);
  const auto state = layer.log_linear_state();
  Eigen::VectorXd read(64);
  state.query_mixed(q, Eigen::VectorXd::Ones(9), read);
  // A product and a sum for each update, in both of them.
  const double tolerance =
      test::rounding<double>(4 * 63 * ManyUpdates::updates, 64) * read.lpNorm<Eigen::Infinity>();
  CHECK(read.norm() > 0);
  CHECK(test::difference(layer.raw_read(), read) <= tolerance);
}
