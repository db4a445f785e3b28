// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_LAW_RULES_HPP
#define LOGLINEAR_TESTS_LAW_RULES_HPP

// Every rule that the laws and gradient checks run over, in every variant that takes another path:
// those of the list (rules/list.hpp) with every combination of words among their hyperparameters
// and the examples for numbers.

#include <array>
#include <random>
#include <string>
#include <type_traits>

#include "loglinear/loglinear.hpp"
#include "read_orders.hpp"
#include "variants.hpp"

namespace laws {

using namespace loglinear;
using test::read_orders;

/// Calls `use(rule, name)` for every rule. Of DeltaProduct three steps stand for more.
template <class Use>
void for_each_rule(Use use) {
  RuleTypes::for_each([&]<class Rule>(std::type_identity<Rule>) {
    if constexpr (detail::leaves_of<Rule>() <= 3) {
      for (const Rule& rule : test::examples_of<Rule>()) use(rule, test::described(rule).c_str());
    }
  });
  use(KeyOnly<RetNet>{}, "KeyOnly<RetNet>");
  use(KeyOnly<DeltaNet>{}, "KeyOnly<DeltaNet>");
}

inline constexpr std::array<int, 4> level_counts = {1, 2, 3, 10};

struct Sizes {
  Eigen::Index d_model, d_k, d_v;
};

/// Seeded normal numbers in any scalar.
class Normal {
 public:
  explicit Normal(unsigned seed) : engine_(seed) {}
  template <class Scalar>
  [[nodiscard]] detail::Matrix<Scalar> matrix(Eigen::Index rows, Eigen::Index columns,
                                              double scale) {
    return detail::Matrix<Scalar>::NullaryExpr(
        rows, columns, [&] { return static_cast<Scalar>(scale * normal_(engine_)); });
  }
  template <class Scalar>
  [[nodiscard]] detail::Vector<Scalar> vector(Eigen::Index size, double scale) {
    return matrix<Scalar>(size, 1, scale);
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

/// Replaces the seed-size weights by weights of order 1, so that gates, keys and level weights
/// move.
template <class Layer>
void set_order_one_weights(Layer& layer, Normal& normal) {
  for (const std::string& name : layer.weight_names()) {
    const auto old = layer.weight(name);
    layer.set_weight(name, normal.matrix<typename Layer::Scalar>(old.rows(), old.cols(), 0.6));
  }
}

/// Copies every weight of one layer that the other has too.
template <class From, class To>
void copy_weights(const From& from, To& to) {
  for (const std::string& name : to.weight_names()) {
    to.set_weight(name, from.weight(name).template cast<typename To::Scalar>());
  }
}

}  // namespace laws

#endif  // LOGLINEAR_TESTS_LAW_RULES_HPP
