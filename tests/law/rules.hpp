// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_LAW_RULES_HPP
#define LOGLINEAR_TESTS_LAW_RULES_HPP

// Every rule that the laws and gradient checks run over, in every variant that takes another path.

#include <array>
#include <random>
#include <string>

#include "loglinear/loglinear.hpp"

namespace laws {

using namespace loglinear;

/// Calls `use(rule, name)` for every rule.
template <class Use>
void for_each_rule(Use use) {
  use(RetNet{.gamma = 0.9}, "RetNet");
  use(GLA{.gate_bias = 1}, "GLA");
  use(GLAVector{.gate_bias = 1}, "GLAVector");
  use(DeltaNet{}, "DeltaNet");
  use(GatedDeltaNet{.beta_scale = 0.8, .gate_bias = 1}, "GatedDeltaNet(fixed)");
  use(GatedDeltaNet{.beta = Beta::per_token, .gate_bias = 1, .beta_bias = -0.5},
      "GatedDeltaNet(per_token)");
  use(Hawk{.gate_bias = 1, .input_bias = 0.5}, "Hawk");
  use(RWKV{.initial_decay = 0.05, .gate_bias = 1}, "RWKV");
  use(MLSTM{.gate_bias = 1, .input_bias = 0.5}, "MLSTM");
  use(DeltaProduct<1>{.gate_bias = 1}, "DeltaProduct<1>");
  use(DeltaProduct<3>{.gate_bias = 1, .beta_bias = 0.2}, "DeltaProduct<3>");
  use(DeltaProduct<2>{.reflections = true, .gate_bias = 1}, "DeltaProduct<2>(reflections)");
  use(RWKV7{.gate_bias = 1}, "RWKV7");
  use(RWKV7{.decay_first = true, .iclr_bias = 0.3}, "RWKV7(decay_first)");
  use(HGRN2{.lower_bound = 0.8}, "HGRN2");
  use(Mamba2{.initial_a_log = -0.5, .initial_dt_bias = -1}, "Mamba2");
  use(KeyOnly<RetNet>{}, "KeyOnly<RetNet>");
  use(KeyOnly<DeltaNet>{}, "KeyOnly<DeltaNet>");
}

inline constexpr std::array<ReadOrder, 3> read_orders = {
    ReadOrder::before_push, ReadOrder::after_push, ReadOrder::current_apart};
inline constexpr std::array<int, 4> level_counts = {1, 2, 3, 10};

[[nodiscard]] inline const char* name_of(ReadOrder order) {
  return order == ReadOrder::before_push  ? "before_push"
         : order == ReadOrder::after_push ? "after_push"
                                          : "current_apart";
}

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
