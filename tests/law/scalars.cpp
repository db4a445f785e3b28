// SPDX-License-Identifier: MIT
// Dual numbers through the forward pass: the derivative of the loss that they carry is the gradient
// that `train_one` steps along, for every rule and every weight.

#include "catch.hpp"
#include "rules.hpp"

// After Eigen/Core, which it does not include itself.
#include <unsupported/Eigen/AutoDiff>

using namespace loglinear;
using namespace loglinear::test;

namespace {

using Dual = Eigen::AutoDiffScalar<Eigen::Matrix<double, 1, 1>>;

constexpr double relative_tolerance = 1e-11;  // two exact derivatives, each rounded some 100 times

template <class Inner>
void check_rule(const Inner& inner, const char* name) {
  INFO(name);
  Normal normal(43);
  const auto layer = make_layer<LogLinearAttention<Inner>>(
      {.sizes = {3, 2, 2}, .max_levels = 3, .tokens = 5}, inner);
  const auto x = normal.vector<double>(3, 0.7), y = normal.vector<double>(2, 0.5);
  auto stepped = layer;
  stepped.set_learning_rate(1);
  stepped.train_one(x, y);

  for (const std::string& weight : layer.weight_names()) {
    INFO(weight);
    const detail::Matrix<double> gradient = layer.weight(weight) - stepped.weight(weight);
    const detail::Matrix<double> values = layer.weight(weight);
    for (Eigen::Index i = 0; i < values.size(); ++i) {
      auto dual = layer.template cast<Dual>();
      detail::Matrix<Dual> seeded = values.template cast<Dual>();
      seeded(i).derivatives()[0] = 1;
      dual.set_weight(weight, seeded);
      const auto& read = dual.as_head().stage(x.template cast<Dual>(), ReadOrder::after_push);
      double derivative = 0;
      for (Eigen::Index j = 0; j < 2; ++j) {
        const double o = std::tanh(read[j].value());
        derivative += (o - y[j]) * (1 - o * o) * read[j].derivatives()[0];
      }
      CHECK(std::abs(derivative - gradient(i)) <=
            relative_tolerance * (detail::max_abs(gradient) + 1e-3));
    }
  }
}

}  // namespace

TEST_CASE("forward-mode derivatives agree with the gradient of train_one", "[grad]") {
  for_each_rule([](const auto& inner, const char* name) { check_rule(inner, name); });
}
