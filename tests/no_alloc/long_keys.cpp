// SPDX-License-Identifier: MIT
// Keys so long that a dense product of transitions cannot copy a column of a level to the stack:
// the memory for it must have been there before.

#include <Eigen/Core>

#include "allocation_counter.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;

/// The delta rule, levels of weight one: together they are the state of one delta rule.
template <class Scalar, class Stored>
void check_long_keys(double tolerance) {
  using Layer = LogLinearAttention<DeltaNet, Scalar, UnitWeights, Stored>;
  constexpr Eigen::Index d_k = 32 * 1024 / sizeof(Scalar) + 1, d_v = 2;
  constexpr int tokens = 9;
  Layer layer(  // which reads before it writes
      {.d_model = 3, .d_k = d_k, .d_v = d_v, .max_levels = 3, .bias = false});
  test::Random random(52);
  const auto xs = random.matrix<Scalar>(3, tokens);
  test::Matrix<Scalar> reads(d_v, tokens);
  const int allocations = test::allocations_in([&] {
    for (int t = 0; t < tokens; ++t) {
      layer.forward(xs.col(t));
      reads.col(t) = layer.raw_read();
    }
  });
  CHECK(allocations == 0);

  const Eigen::MatrixXd w_query = layer.weight("w_query").template cast<double>(),
                        w_key = layer.weight("w_key").template cast<double>(),
                        w_value = layer.weight("w_value").template cast<double>();
  Eigen::MatrixXd state = Eigen::MatrixXd::Zero(d_k, d_v);
  double worst = 0, largest = 0;
  for (int t = 0; t < tokens; ++t) {
    const Eigen::VectorXd x = xs.col(t).template cast<double>(), key = (w_key * x).normalized();
    const Eigen::VectorXd read = state.transpose() * (w_query * x);
    worst = std::max(worst, (reads.col(t).template cast<double>() - read).cwiseAbs().maxCoeff());
    largest = std::max(largest, read.cwiseAbs().maxCoeff());
    state += key * (w_value * x - state.transpose() * key).transpose();
  }
  CAPTURE(worst, largest);
  CHECK(worst <= tolerance * largest);
}

}  // namespace

TEST_CASE("Levels with very long keys undergo their transitions without allocating") {
  check_long_keys<double, double>(test::rounding<double>(100, 9));
}

TEST_CASE("So do levels in half precision") {
  check_long_keys<float, Eigen::half>(0.01);
}
