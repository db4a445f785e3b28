// SPDX-License-Identifier: MIT
// A rule of one's own in some thirty lines: "leaky" linear attention, whose every value column
// forgets at its own learned rate, S <- S diag(w) + k v^T with w = sg(W_leak x + gate_bias). The
// layer applies it in full, reads it in every order and trains all of its weights.
//
// What to look at: the gradient column. It compares the step that `train_one` takes on the rule's
// own weights with central differences of the loss; that both agree is what a rule's `pullback` is
// for.

#include <array>
#include <cstdio>
#include <loglinear/loglinear.hpp>

struct Leaky {
  double gate_bias = 4;

  template <class Scalar>
  using Transition = loglinear::ValueDecay<Scalar>;

  auto parameters(Eigen::Index /*d_k*/, Eigen::Index d_v) const {
    return std::array{loglinear::projection("w_leak", d_v)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    token.keys.col(0) = in.k;
    token.values.col(0) = in.v;
    const Scalar bias(gate_bias);
    token.transition.decay = (Scalar(1) + (-(in.own.array() + bias)).exp()).inverse().matrix();
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    const auto w = token.transition.decay.array();
    d_in.k = d_token.keys.col(0);
    d_in.v = d_token.values.col(0);
    d_in.own = (d_token.transition.decay.array() * w * (1 - w)).matrix();
  }
};
static_assert(loglinear::InnerRule<Leaky, double>);

int main() {
  using Layer = loglinear::LogLinearAttention<Leaky>;
  Layer layer({.d_model = 6, .d_k = 4, .d_v = 3, .learning_rate = 1});
  std::srand(1);
  for (const auto& name : layer.weight_names()) {
    const auto weight = layer.weight(name);
    layer.set_weight(name, 0.5 * Eigen::MatrixXd::Random(weight.rows(), weight.cols()));
  }
  std::printf("tokens   |o - y|^2 / 2   gradient of w_leak, error against differences\n");
  const auto loss_after_shift = [](Layer copy, const auto& x, const auto& y, double shift) {
    Eigen::MatrixXd weight = copy.weight("w_leak");
    weight(0, 0) += shift;
    copy.set_weight("w_leak", weight);
    return (copy.train_one(x, y) - y).squaredNorm() / 2;
  };
  for (int t = 1; t <= 5; ++t) {
    const Eigen::VectorXd x = Eigen::VectorXd::Random(6), y = 0.5 * Eigen::VectorXd::Random(3);
    const double h = 1e-5;
    const double difference =
        (loss_after_shift(layer, x, y, h) - loss_after_shift(layer, x, y, -h)) / (2 * h);
    const double before = layer.weight("w_leak")(0, 0);
    const double loss = (layer.train_one(x, y) - y).squaredNorm() / 2;
    const double gradient = before - layer.weight("w_leak")(0, 0);
    std::printf("%6d   %13.6f   %+.6e   %.0e\n", t, loss, gradient,
                std::abs(gradient - difference));
  }
}
