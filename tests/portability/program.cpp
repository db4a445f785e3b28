// SPDX-License-Identifier: MIT
// A little of everything, for the compilers and flags of tests/matrix: exits with 0 if the numbers
// are right and bad input is refused. With an argument it does one thing that must be refused.
#include <bit>
#include <cstdint>
#include <cstdio>
#include <loglinear/loglinear.hpp>
#ifdef WITH_CONFIG
#  include <loglinear/mode/attention.hpp>
#  include <loglinear/mode/mode_text.hpp>
#endif

namespace {

int failures = 0;

void check(const char* what, bool holds) {
  if (holds) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

template <class Action>
void check_refused([[maybe_unused]] const char* what, [[maybe_unused]] Action action) {
#ifdef __cpp_exceptions
  try {
    action();
  } catch (const std::invalid_argument&) {
    return;
  }
  check(what, false);
#endif
}

// By their bits, at run time, so that no flag can fold them away.
volatile std::uint64_t nan_bits = 0x7FF8000000000000u, infinity_bits = 0x7FF0000000000000u;
double nan() {
  return std::bit_cast<double>(std::uint64_t{nan_bits});
}
double infinity() {
  return std::bit_cast<double>(std::uint64_t{infinity_bits});
}

using Vector = Eigen::VectorXd;
using Matrix = Eigen::MatrixXd;

Vector input(int t) {
  return Vector::LinSpaced(6, 0.3 * t, 0.3 * t + 2).array().sin();
}

// With equal weights the hierarchy reads what one state reads.
void check_layer() {
  using Rule = loglinear::GLA;
  loglinear::LogLinearAttention<Rule, double, loglinear::UnitWeights> layer(
      {.inner = {.gate_bias = 4}, .d_model = 6, .d_k = 5, .d_v = 3, .max_levels = 4});
  loglinear::LinearAttention<Rule> one_state(
      {.inner = {.gate_bias = 4}, .d_model = 6, .d_k = 5, .d_v = 3});
  double difference = 0, largest = 0;
  for (int t = 0; t < 40; ++t) {
    const Vector x = input(t);
    layer.forward(x);
    one_state.forward(x);
    difference = std::max(difference, (layer.raw_read() - one_state.raw_read()).norm());
    largest = std::max(largest, layer.raw_read().norm());
  }
  check("a layer", largest > 0 && difference < 1e-12 * largest);

  const Vector x = input(40), y = Vector::Constant(3, 0.5);
  const Vector before = layer.state();
  for (const double bad : {nan(), infinity(), -infinity()}) {
    Vector wrong = x;
    wrong[2] = bad;
    check_refused("input that is not finite", [&] { layer.forward(wrong); });
    check_refused("a target that is not finite",
                  [&] { layer.train_one(x, Vector::Constant(3, bad)); });
    check_refused("a learning rate that is not finite", [&] { layer.set_learning_rate(bad); });
    check_refused("a hyperparameter that is not finite", [&] {
      loglinear::LinearAttention<loglinear::RetNet>(
          {.inner = {.gamma = bad}, .d_model = 2, .d_k = 2, .d_v = 2});
    });
  }
  check_refused("input that overflows", [&] { layer.forward(Vector::Constant(6, 1e300)); });
  check("a refusal changes nothing", layer.state() == before);
  const double error = (layer.train_one(x, y) - y).norm();
  check("training", error > 0 && error < 1);
}

void check_state() {
  loglinear::LogLinearState<float, 2, 2, 4> state;
  for (int t = 0; t < 9; ++t) state.push_leaf(Eigen::Vector2f(1, 2), Eigen::Vector2f(3, 4));
  Eigen::Vector2f out = Eigen::Vector2f::Zero();
  state.query_mixed(Eigen::Vector2f(1, 1), Eigen::Vector4f::Ones(), out);
  check("a state", out == Eigen::Vector2f(81, 108));
  Eigen::Vector2f bad(1, static_cast<float>(nan()));
  check_refused("a leaf that is not finite", [&] { state.push_leaf(bad, bad); });
  check_refused("a leaf that is too large",
                [&] { state.push_leaf(Eigen::Vector2f(1e30f, 1), Eigen::Vector2f(1e30f, 1)); });
}

void check_sequence() {
  std::srand(1);
  const int length = 21;
  const Matrix q = Matrix::Random(length, 4), k = Matrix::Random(length, 4) / 2,
               v = Matrix::Random(length, 3), lambda = Matrix::Random(length, 6);
  Matrix g = Matrix::Constant(length, 1, -0.1);
  const Matrix beta = Matrix::Constant(length, 1, 0.5);
  const auto agree = [&] {
    const loglinear::SequenceInputs<double> in{
        .q = q, .k = k, .v = v, .lambda = lambda, .g = g, .beta = beta};
    return Matrix(chunkwise(in)).isApprox(Matrix(dense(in)), 1e-12);
  };
  check("a sequence", agree());
  g(7, 0) = -infinity();
  check("a log decay of -infinity", agree());
  g(7, 0) = nan();
  check_refused("a log decay that is NaN", [&] { (void)agree(); });
}

#ifdef WITH_CONFIG
void check_text() {
  const auto mode = loglinear::parse_mode("log_linear(gla(gate_bias=6), max_levels=20)");
  check("a mode", loglinear::to_text(mode) == "log_linear(gla(gate_bias=6), max_levels=20)");
  check_refused("a mode that is none", [] { (void)loglinear::parse_mode("gla(gate_bias=-1e)"); });
  check_refused("a mode out of range", [] { (void)loglinear::parse_mode("retnet(gamma=2)"); });
}
#endif

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {
    loglinear::LogLinearState<double> state(4, 2, 2);
    state.push_leaf(Eigen::Vector2d(1, nan()), Eigen::Vector2d(1, 2));
    return 0;  // not refused
  }
  check_layer();
  check_state();
  check_sequence();
#ifdef WITH_CONFIG
  check_text();
#endif
  return failures == 0 ? 0 : 1;
}
