// SPDX-License-Identifier: MIT
#include "loglinear/rules.hpp"

#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/linear_attention.hpp"
#include "loglinear/rules/level_weights.hpp"
#include "support.hpp"

// Every rule on two tokens that fit on paper. With d_model = 1 and x = 1 a weight column is its
// projection, so that keys, values and gates can be given.

namespace {

using namespace loglinear;
using Eigen::Matrix2d;
using Eigen::Vector2d;

const double tolerance = test::rounding<double>(16) * 32;  // the numbers below are up to 28

template <class Rule>
class TwoTokens {
 public:
  explicit TwoTokens(const Rule& rule)
      : layer_({.inner = rule, .d_model = 1, .d_k = 2, .d_v = 2, .learning_rate = 0.05}) {}

  void set(const char* name, const Eigen::MatrixXd& value) { layer_.set_weight(name, value); }

  /// The state after one token with key (k0, k1) and value (v0, v1).
  Matrix2d push(double k0, double k1, double v0, double v1) {
    layer_.set_weight("w_key", Vector2d(k0, k1));
    layer_.set_weight("w_value", Vector2d(v0, v1));
    layer_.forward(Eigen::VectorXd::Ones(1));
    return layer_.log_linear_state().level(0);
  }
  /// S^T q
  Vector2d read(double q0, double q1) {
    layer_.set_weight("w_query", Vector2d(q0, q1));
    layer_.query_readonly(Eigen::VectorXd::Ones(1));
    return layer_.raw_read();
  }
  std::vector<std::string> names() const { return layer_.weight_names(); }

 private:
  LinearAttention<Rule> layer_;
};

Matrix2d matrix(double a, double b, double c, double d) {
  Matrix2d m;
  m << a, b, c, d;
  return m;
}
Eigen::MatrixXd number(double value) {
  return Eigen::MatrixXd::Constant(1, 1, value);
}

// A gate whose sigmoid is 3/4, or 1/4, after a bias of 2 is added.
const double bias = 2;
const double three_quarters = std::log(3.0) - bias;
const double one_quarter = -std::log(3.0) - bias;

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("RetNet: S <- gamma S + k v^T") {
  TwoTokens tokens(RetNet{.gamma = 0.5});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query"});
  CHECK(test::difference(tokens.push(1, 2, 1, 2), matrix(1, 2, 2, 4)) <= tolerance);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(15.5, 19, 21, 26)) <= tolerance);
  CHECK(test::difference(tokens.read(1, -1), Vector2d(-5.5, -7)) <= tolerance);
}

TEST_CASE("GLA: S <- a S + k v^T") {
  TwoTokens tokens(GLA{.gate_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_gate"});
  tokens.set("w_gate", number(three_quarters));
  tokens.push(1, 2, 1, 2);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(15.75, 19.5, 21.5, 27)) <= tolerance);
  CHECK(test::difference(tokens.read(1, -1), Vector2d(-5.75, -7.5)) <= tolerance);
}

TEST_CASE("GLAVector: S <- diag(w) S + k v^T") {
  TwoTokens tokens(GLAVector{.gate_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_gate_vec"});
  tokens.set("w_gate_vec", Vector2d(three_quarters, one_quarter));
  tokens.push(1, 2, 1, 2);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(15.75, 19.5, 20.5, 25)) <= tolerance);
  CHECK(test::difference(tokens.read(1, -1), Vector2d(-4.75, -5.5)) <= tolerance);
}

TEST_CASE("DeltaNet: S <- S + k^ (v - S^T k^)^T") {
  TwoTokens tokens(DeltaNet{});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query"});
  CHECK(test::difference(tokens.push(0, 2, 1, 2), matrix(0, 0, 1, 2)) <= tolerance);
  // k^ = (0.6, 0.8) retrieves (0.8, 1.6), the error is (4.2, 4.4)
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(2.52, 2.64, 4.36, 5.52)) <= tolerance);
  CHECK(test::difference(tokens.read(0.6, 0.8), Vector2d(5, 6)) <= tolerance);  // replaced
}

TEST_CASE("GatedDeltaNet with a fixed beta: S <- a S, then S + b k^ (v - S^T k^)^T") {
  TwoTokens tokens(GatedDeltaNet{.beta_scale = 0.5, .gate_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_gate"});
  tokens.set("w_gate", number(three_quarters));
  CHECK(test::difference(tokens.push(0, 2, 1, 2), matrix(0, 0, 0.5, 1)) <= tolerance);
  // a S = [0 0; 0.375 0.75], of which k^ retrieves (0.3, 0.6), the error is (4.7, 5.4)
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(1.41, 1.62, 2.255, 2.91)) <= tolerance);
  CHECK(test::difference(tokens.read(1, -1), Vector2d(-0.845, -1.29)) <= tolerance);
}

TEST_CASE("GatedDeltaNet with a beta per token: b = sg(w_beta_scalar . x + beta_bias)") {
  TwoTokens tokens(GatedDeltaNet{.beta = Beta::per_token, .gate_bias = bias, .beta_bias = 0.75});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_gate", "w_beta_scalar"});
  tokens.set("w_gate", number(three_quarters));
  tokens.set("w_beta_scalar", number(-std::log(3.0) - 0.75));
  CHECK(test::difference(tokens.push(0, 2, 1, 2), matrix(0, 0, 0.25, 0.5)) <= tolerance);
  // a S = [0 0; 0.1875 0.375], of which k^ retrieves (0.15, 0.3), the error is (4.85, 5.7)
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(0.7275, 0.855, 1.1575, 1.515)) <=
        tolerance);
}

TEST_CASE("Hawk: h <- a * h + b * v") {
  LinearAttention<Hawk> layer({.inner = {.gate_bias = bias, .input_bias = bias},
                               .d_model = 1,
                               .d_k = 2,
                               .d_v = 2,
                               .learning_rate = 0.05});
  CHECK(layer.weight_names() == Names{"w_key", "w_value", "w_query", "w_alpha", "w_beta"});
  layer.set_weight("w_alpha", Vector2d(three_quarters, one_quarter));
  layer.set_weight("w_beta", Vector2d(one_quarter, three_quarters));
  const Eigen::VectorXd x = Eigen::VectorXd::Ones(1);
  layer.set_weight("w_value", Vector2d(1, 2));
  layer.forward(x);  // h = (0.25, 1.5)
  layer.set_weight("w_value", Vector2d(5, 6));
  layer.forward(x);
  CHECK(layer.log_linear_state().d_k() == 1);
  CHECK(test::difference(layer.state(), Vector2d(1.4375, 4.875)) <= tolerance);
  layer.query_readonly(x);
  CHECK(layer.raw_read() == layer.state());  // whatever the query
}

TEST_CASE("RGLRU: h <- a * h + sqrt(1 - a^2) * (i * v), a = sg(Lambda)^(8 r)") {
  LinearAttention<RGLRU> layer({.inner = {.gate_bias = bias, .input_bias = bias},
                                .d_model = 1,
                                .d_k = 2,
                                .d_v = 2,
                                .learning_rate = 0.05});
  CHECK(layer.weight_names() ==
        Names{"w_key", "w_value", "w_query", "w_alpha", "w_beta", "Lambda"});
  layer.set_weight("w_alpha", Vector2d(three_quarters, one_quarter));
  layer.set_weight("w_beta", Vector2d(one_quarter, three_quarters));
  layer.set_weight("Lambda", Eigen::RowVector2d(3, -0.5));
  const Eigen::VectorXd x = Eigen::VectorXd::Ones(1);
  Vector2d h(0, 0);
  for (const Vector2d& v : {Vector2d(1, 2), Vector2d(5, -6), Vector2d(-3, 4)}) {
    layer.set_weight("w_value", v);
    layer.forward(x);
    const double slow = std::pow(1 / (1 + std::exp(-3.0)), 8 * 0.75);
    const double fast = std::pow(1 / (1 + std::exp(0.5)), 8 * 0.25);
    h = Vector2d(slow * h[0] + std::sqrt(1 - slow * slow) * 0.25 * v[0],
                 fast * h[1] + std::sqrt(1 - fast * fast) * 0.75 * v[1]);
    CHECK(test::difference(layer.state(), h) <= tolerance);
  }
  CHECK(layer.log_linear_state().d_k() == 1);
  layer.query_readonly(x);
  CHECK(layer.raw_read() == layer.state());  // whatever the query
}

TEST_CASE("RGLRU keeps the size of its input to rounding where it hardly forgets") {
  LinearAttention<RGLRU> layer(
      {.inner = {.initial_lambda = 30}, .d_model = 1, .d_k = 1, .d_v = 1, .learning_rate = 0.05});
  layer.set_weight("w_alpha", number(0));
  layer.set_weight("w_beta", number(0));
  layer.set_weight("w_value", number(2));
  layer.forward(Eigen::VectorXd::Ones(1));
  // log a = -4 exp(-30), and 1 - a^2 = 8 exp(-30), of which 1 - a * a would keep three digits
  CHECK(std::abs(layer.state()(0, 0) / std::sqrt(8 * std::exp(-30.0)) - 1) <= 1e-12);
}

TEST_CASE("RWKV: S <- exp(-(initial_decay + softplus(w_decay . x - gate_bias))) S + exp(k) v^T") {
  TwoTokens tokens(RWKV{.initial_decay = std::log(2.0), .gate_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_decay"});
  tokens.set("w_decay", number(bias));  // softplus(0) = ln 2: a quarter is kept
  const double ln2 = std::log(2.0), ln3 = std::log(3.0);
  CHECK(test::difference(tokens.push(0, ln2, 1, 2), matrix(1, 2, 2, 4)) <= tolerance);
  CHECK(test::difference(tokens.push(ln3, 2 * ln2, 5, 6), matrix(15.25, 18.5, 20.5, 25)) <=
        tolerance);
}

TEST_CASE("MLSTM: S <- f S + i k v^T") {
  TwoTokens tokens(MLSTM{.gate_bias = bias, .input_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_gate", "w_gate2"});
  tokens.set("w_gate", number(three_quarters));
  tokens.set("w_gate2", number(one_quarter));
  CHECK(test::difference(tokens.push(1, 2, 1, 2), matrix(0.25, 0.5, 0.5, 1)) <= tolerance);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(3.9375, 4.875, 5.375, 6.75)) <= tolerance);
}

TEST_CASE("HGRN2: S <- diag(lb + (1 - lb) sg(W x)) S + k v^T") {
  TwoTokens tokens(HGRN2{.lower_bound = 0.5, .gate_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_hgrn2_gate"});
  tokens.set("w_hgrn2_gate", Vector2d(three_quarters, one_quarter));  // w = (0.875, 0.625)
  tokens.push(1, 2, 1, 2);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(15.875, 19.75, 21.25, 26.5)) <= tolerance);
}

TEST_CASE("TiedHGRN2: S <- diag(w) S + (1 - w) v^T, w = lb + (1 - lb) sg(W x)") {
  TwoTokens tokens(TiedHGRN2{.lower_bound = 0.5, .gate_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_hgrn2_gate"});
  tokens.set("w_hgrn2_gate", Vector2d(three_quarters, one_quarter));  // w = (0.875, 0.625)
  CHECK(test::difference(tokens.push(9, 9, 8, 16), matrix(1, 2, 3, 6)) <= tolerance);
  CHECK(test::difference(tokens.push(9, 9, 24, 8), matrix(3.875, 2.75, 10.875, 6.75)) <= tolerance);
}

TEST_CASE("TiedHGRN2 writes what it forgets to rounding where it hardly forgets") {
  TwoTokens tokens(TiedHGRN2{});
  tokens.set("w_hgrn2_gate", Vector2d(40, 60));
  const Matrix2d state = tokens.push(9, 9, 1, 2);
  const double first = 1 / (1 + std::exp(40.0)), second = 1 / (1 + std::exp(60.0));
  CHECK(std::abs(state(0, 1) / (2 * first) - 1) <= tolerance);
  CHECK(std::abs(state(1, 0) / second - 1) <= tolerance);
}

TEST_CASE("Mamba2: S <- exp(-D exp(A_log)) S + D k v^T") {
  TwoTokens tokens(Mamba2{.initial_a_log = std::log(std::log(2.0) / 2), .initial_dt_bias = 0.5});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_dt", "A_log", "dt_bias"});
  tokens.set("w_dt", number(std::log(std::exp(2.0) - 1) - 0.5));  // a step of 2, which halves S
  CHECK(test::difference(tokens.push(1, 2, 1, 2), matrix(2, 4, 4, 8)) <= tolerance);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(31, 38, 42, 52)) <= 2 * tolerance);
}

TEST_CASE("DeltaProduct: forget, then two delta steps a token") {
  TwoTokens tokens(DeltaProduct<2>{.gate_bias = bias, .beta_bias = bias});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_gate", "w_comp_keys",
                                "w_comp_values", "w_comp_betas"});
  tokens.set("w_gate", number(three_quarters));
  tokens.set("w_comp_keys", Eigen::Vector4d(0, 2, 3, 4));
  tokens.set("w_comp_values", Eigen::Vector4d(1, 2, 5, 6));
  tokens.set("w_comp_betas", Vector2d(-bias, -bias));  // strengths of one half
  // [0 0; 0.5 1], of which (0.6, 0.8) retrieves (0.4, 0.8), the error is (4.6, 5.2)
  CHECK(test::difference(tokens.push(9, 9, 9, 9), matrix(1.38, 1.56, 2.34, 3.08)) <= tolerance);
  // Three quarters of that; the errors are (-0.755, -0.31) and (3.277, 3.574).
  CHECK(test::difference(tokens.push(9, 9, 9, 9), matrix(2.0181, 2.2422, 2.6883, 3.5846)) <=
        tolerance);
}

TEST_CASE("DeltaProduct with reflections doubles its strengths") {
  TwoTokens tokens(DeltaProduct<2>{.reflections = true, .beta_bias = bias});
  tokens.set("w_comp_keys", Eigen::Vector4d(0, 2, 3, 4));
  tokens.set("w_comp_values", Eigen::Vector4d(1, 2, 5, 6));
  tokens.set("w_comp_betas", Vector2d(-bias, -bias));
  CHECK(test::difference(tokens.push(9, 9, 9, 9), matrix(2.52, 2.64, 4.36, 5.52)) <= tolerance);
}

TEST_CASE("GatedDeltaProduct: S <- a S, then delta steps S + b k (v - S^T k)^T, read with q^") {
  for (const bool reflections : {false, true}) {
    TwoTokens tokens(GatedDeltaProduct<3>{.reflections = reflections, .beta_bias = bias});
    CHECK(tokens.names() == Names{"w_key", "w_value", "w_query", "w_dt", "w_comp_keys",
                                  "w_comp_values", "w_comp_betas", "A_log", "dt_bias"});
    tokens.set("A_log", number(std::log(2.0)));
    tokens.set("w_dt", number(std::log(2.0) - 0.5));  // a step of log 3, a decay of 1/9
    tokens.set("dt_bias", number(0.5));
    const std::vector<Vector2d> keys = {{0, 2}, {3, 4}, {-5, 1}},
                                values = {{1, 2}, {5, 6}, {-3, 2}};
    Eigen::VectorXd all_keys(6), all_values(6);
    all_keys << keys[0], keys[1], keys[2];
    all_values << values[0], values[1], values[2];
    tokens.set("w_comp_keys", all_keys);
    tokens.set("w_comp_values", all_values);
    tokens.set("w_comp_betas", Eigen::Vector3d(three_quarters, one_quarter, -bias));
    const Eigen::Vector3d strengths = (reflections ? 2 : 1) * Eigen::Vector3d(0.75, 0.25, 0.5);
    Matrix2d s = Matrix2d::Zero();
    for (int t = 0; t < 3; ++t) {
      s = s / 9;
      for (std::size_t j = 0; j < 3; ++j) {
        const Vector2d unit = keys[j] / std::sqrt(keys[j].dot(keys[j]));
        const double strength = strengths[static_cast<Eigen::Index>(j)];
        s = Matrix2d(s + strength * unit * (values[j] - s.transpose() * unit).transpose());
      }
      CHECK(test::difference(tokens.push(9, 9, 9, 9), s) <= tolerance);
    }
    CHECK(test::difference(tokens.read(6, -8), s.transpose() * Vector2d(0.6, -0.8)) <= tolerance);
  }
}

TEST_CASE("RWKV7: S <- (diag(w) - (a * kappa) kappa^T) S + k~ v^T") {
  for (const bool decay_first : {false, true}) {
    TwoTokens tokens(RWKV7{.decay_first = decay_first, .gate_bias = bias, .iclr_bias = bias});
    CHECK(tokens.names() ==
          Names{"w_key", "w_value", "w_query", "w_decay_vec", "w_iclr", "w_xi", "w_alpha_rk"});
    tokens.set("w_decay_vec", Vector2d(bias, bias));              // w = sqrt(0.6)
    tokens.set("w_iclr", Vector2d(three_quarters, one_quarter));  // a = (0.75, 0.25)
    tokens.set("w_xi", Eigen::RowVector2d(1, 1));                 // kappa = k^
    tokens.set("w_alpha_rk", Eigen::RowVector2d(1, 2));           // k~ = (0.75 k_0, -0.5 k_1)
    CHECK(test::difference(tokens.push(0, 2, 1, 2), matrix(0, 0, -1, -2)) <= tolerance);
    // kappa = (0.6, 0.8) retrieves (-0.8, -1.6), decayed or not, and a * kappa = (0.45, 0.2)
    const double s = std::sqrt(0.6);
    const Matrix2d expected =
        decay_first ? matrix(11.25 + 0.36 * s, 13.5 + 0.72 * s, -10 - 0.84 * s, -12 - 1.68 * s)
                    : matrix(11.61, 14.22, -9.84 - s, -11.68 - 2 * s);
    CHECK(test::difference(tokens.push(3, 4, 5, 6), expected) <= tolerance);
  }
}

TEST_CASE("KDA: S <- diag(alpha) S, then S + beta k^ (v - S^T k^)^T, read with q^") {
  TwoTokens tokens(KDA{.beta_bias = bias});
  CHECK(tokens.names() ==
        Names{"w_key", "w_value", "w_query", "w_dt_vec", "w_beta_scalar", "A_log", "dt_bias"});
  tokens.set("w_beta_scalar", number(three_quarters));
  tokens.set("A_log", number(std::log(2.0)));
  // softplus(log(c - 1)) = log c: steps of log 4 and log 2, decays of 4^-2 and 2^-2
  tokens.set("w_dt_vec", Vector2d(std::log(3.0) - 0.5, -0.25));
  tokens.set("dt_bias", Eigen::RowVector2d(0.5, 0.25));
  const Vector2d alpha(1.0 / 16, 1.0 / 4);
  const double beta = 0.75;
  Matrix2d s = Matrix2d::Zero();
  for (const Vector2d& k : {Vector2d(0, 2), Vector2d(3, 4), Vector2d(-5, 1)}) {
    const Vector2d v(1 + k[0], 2 - k[1]), unit = k / std::sqrt(k[0] * k[0] + k[1] * k[1]);
    const Matrix2d decayed = alpha.asDiagonal() * s;
    s = decayed + beta * unit * (v - decayed.transpose() * unit).transpose();
    CHECK(test::difference(tokens.push(k[0], k[1], v[0], v[1]), s) <= tolerance);
  }
  CHECK(test::difference(tokens.read(6, -8), s.transpose() * Vector2d(0.6, -0.8)) <= tolerance);
}

TEST_CASE("KDA starts at the decay that its hyperparameters say") {
  TwoTokens tokens(KDA{.initial_a_log = std::log(3.0), .initial_dt_bias = 0});
  tokens.set("w_dt_vec", Vector2d(0, 0));  // steps of log 2, decays of 2^-3
  tokens.set("w_beta_scalar", number(0));
  tokens.push(1, 0, 2, 4);
  CHECK(test::difference(tokens.push(0, 1, 0, 0), matrix(0.125, 0.25, 0, 0)) <= tolerance);
}

TEST_CASE("KeyOnly of a rule that does not normalise: S <- S + k v^T") {
  TwoTokens tokens(KeyOnly<GLA>{});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query"});
  tokens.push(1, 2, 1, 2);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(16, 20, 22, 28)) <= tolerance);
}

TEST_CASE("KeyOnly of a rule that normalises: S <- S + k^ v^T") {
  TwoTokens tokens(KeyOnly<GatedDeltaNet>{});
  CHECK(tokens.names() == Names{"w_key", "w_value", "w_query"});
  tokens.push(0, 2, 1, 2);
  CHECK(test::difference(tokens.push(3, 4, 5, 6), matrix(3, 3.6, 5, 6.8)) <= tolerance);
}

TEST_CASE("A key below 1e-12 writes nothing where keys are normalised") {
  TwoTokens tokens(DeltaNet{});
  const Matrix2d before = tokens.push(3, 4, 5, 6);
  CHECK(tokens.push(1e-13, 0, 7, 8) == before);
}

TEST_CASE("Rules are equal if all their hyperparameters are") {
  CHECK(RetNet{} == RetNet{.gamma = 0.95});
  CHECK(RetNet{} != RetNet{.gamma = 0.9});
  CHECK(GLA{} != GLA{.gate_bias = 1});
  CHECK(GLAVector{} != GLAVector{.gate_bias = 1});
  CHECK(DeltaNet{} == DeltaNet{});
  CHECK(GatedDeltaNet{} != GatedDeltaNet{.beta_scale = 2});
  CHECK(GatedDeltaNet{} != GatedDeltaNet{.beta = Beta::per_token});
  CHECK(GatedDeltaNet{} != GatedDeltaNet{.gate_bias = 1});
  CHECK(GatedDeltaNet{} != GatedDeltaNet{.beta_bias = 1});
  CHECK(Hawk{} != Hawk{.gate_bias = 1});
  CHECK(Hawk{} != Hawk{.input_bias = 1});
  CHECK(RWKV{} != RWKV{.initial_decay = 1});
  CHECK(RWKV{} != RWKV{.gate_bias = 1});
  CHECK(MLSTM{} != MLSTM{.gate_bias = 1});
  CHECK(MLSTM{} != MLSTM{.input_bias = 1});
  CHECK(HGRN2{} != HGRN2{.lower_bound = 0.5});
  CHECK(HGRN2{} != HGRN2{.gate_bias = 1});
  CHECK(TiedHGRN2{} != TiedHGRN2{.lower_bound = 0.5});
  CHECK(TiedHGRN2{} != TiedHGRN2{.gate_bias = 1});
  CHECK(Mamba2{} != Mamba2{.initial_a_log = 1});
  CHECK(Mamba2{} != Mamba2{.initial_dt_bias = 1});
  CHECK(DeltaProduct<3>{} == DeltaProduct<3>{});
  CHECK(DeltaProduct<3>{} != DeltaProduct<3>{.reflections = true});
  CHECK(DeltaProduct<3>{} != DeltaProduct<3>{.gate_bias = 1});
  CHECK(DeltaProduct<3>{} != DeltaProduct<3>{.beta_bias = 1});
  CHECK(GatedDeltaProduct<3>{} == GatedDeltaProduct<3>{});
  CHECK(GatedDeltaProduct<3>{} != GatedDeltaProduct<3>{.reflections = true});
  CHECK(GatedDeltaProduct<3>{} != GatedDeltaProduct<3>{.initial_a_log = 1});
  CHECK(GatedDeltaProduct<3>{} != GatedDeltaProduct<3>{.initial_dt_bias = 1});
  CHECK(GatedDeltaProduct<3>{} != GatedDeltaProduct<3>{.beta_bias = 1});
  CHECK(RWKV7{} != RWKV7{.decay_first = true});
  CHECK(RWKV7{} != RWKV7{.gate_bias = 1});
  CHECK(RWKV7{} != RWKV7{.iclr_bias = 1});
  CHECK(RGLRU{} != RGLRU{.initial_lambda = 1});
  CHECK(RGLRU{} != RGLRU{.gate_bias = 1});
  CHECK(RGLRU{} != RGLRU{.input_bias = 1});
  CHECK(KDA{} != KDA{.initial_a_log = 1});
  CHECK(KDA{} != KDA{.initial_dt_bias = 1});
  CHECK(KDA{} != KDA{.beta_bias = 1});
  CHECK(KeyOnly<GLA>{} == KeyOnly<GLA>{});

  using Either = std::variant<GLA, GLAVector>;
  CHECK(Either(GLA{.gate_bias = 1}) == Either(GLA{.gate_bias = 1}));
  CHECK(Either(GLA{.gate_bias = 1}) != Either(GLA{.gate_bias = 2}));
  CHECK(Either(GLA{}) != Either(GLAVector{}));
}

namespace {

/// The value of hyperparameter number `wanted`, changed.
template <class Described>
Described changed(Described described, int wanted, auto change) {
  int number = 0;
  Described::hyperparameters(described, [&](const Hyperparameter& parameter, auto& value) {
    if (number++ == wanted) change(parameter, value);
  });
  return described;
}

/// Of all hyperparameters of a rule or a level weighting: another value makes another rule, and
/// what is outside of the range is refused by name.
template <class Described>
void check_hyperparameters() {
  int count = 0;
  const Described defaults;
  Described::hyperparameters(defaults, [&](const Hyperparameter&, const auto&) { ++count; });
  CHECK(defaults == Described{});
  for (int i = 0; i < count; ++i) {
    std::string name(Described::info.name);
    const Described other = changed(defaults, i, [&](const Hyperparameter& parameter, auto& value) {
      using Value = std::remove_reference_t<decltype(value)>;
      name += "::" + std::string(parameter.name);
      if constexpr (std::is_same_v<Value, bool> || std::is_enum_v<Value>) {
        value = static_cast<Value>(1 - static_cast<int>(value));
      } else {
        value = static_cast<Value>(parameter.example);
      }
    });
    CAPTURE(name);
    CHECK(other != defaults);
    CHECK(test::error_of([&] { detail::validate_rule(other); }).empty());
    const auto refuses = [&](double bad) {
      const Described wrong = changed(defaults, i, [&](const Hyperparameter&, auto& value) {
        if constexpr (!std::is_same_v<decltype(value), bool&> &&
                      !std::is_enum_v<std::remove_reference_t<decltype(value)>>) {
          value = static_cast<std::remove_reference_t<decltype(value)>>(bad);
        }
      });
      if (wrong == defaults) return;  // a word
      CHECK(test::mentions(test::error_of([&] { detail::validate_rule(wrong); }), {name}));
    };
    static_cast<void>(changed(defaults, i, [&](const Hyperparameter& parameter, auto& value) {
      const Range& range = parameter.range;
      if constexpr (std::is_same_v<decltype(value), double&> ||
                    std::is_same_v<decltype(value), std::optional<double>&>) {
        const double infinity = std::numeric_limits<double>::infinity();
        for (const double bad : {infinity, -infinity, std::nan("")}) refuses(bad);
        if (range.low > Range{}.low) {
          refuses(std::nextafter(range.low, -infinity));
          if (!range.has_low) refuses(range.low);
        }
        if (range.high < Range{}.high) {
          refuses(std::nextafter(range.high, infinity));
          if (!range.has_high) refuses(range.high);
        }
      } else if constexpr (std::is_same_v<decltype(value), int&>) {
        refuses(range.low - 1);
        refuses(range.high + 1);
      }
    }));
  }
}

}  // namespace

// Here and not under each rule, where every program would wait for it. A layer says the same of the
// one rule that it has.
static_assert([] {
  RuleTypes::for_each([]<class Rule>(std::type_identity<Rule>) {
    static_assert(InnerRule<Rule, double> && InnerRule<Rule, float>);
  });
  LevelWeightings::for_each([]<class Policy>(std::type_identity<Policy>) {
    static_assert(LevelWeights<Policy, double> && LevelWeights<Policy, float>);
  });
  static_assert(LevelWeights<OneLevel, double>);
  return true;
}());

TEST_CASE("Every hyperparameter of the list of rules counts, and is refused by name") {
  const auto check = []<class Described>(std::type_identity<Described>) {
    check_hyperparameters<Described>();
  };
  Rules::for_each(check);
  RuleTypes::for_each(check);
  LevelWeightings::for_each(check);
}

TEST_CASE("Every rule of the list says what it is") {
  std::set<std::string_view> names, texts;
  Rules::for_each([&]<class Rule>(std::type_identity<Rule>) {
    CHECK(names.insert(Rule::info.name).second);
    CHECK(texts.insert(Rule::info.text).second);
    CHECK(Rule::info.paper.size() == 10);  // 1234.56789
    CHECK(Rule::info.equation.find(" <- ") != std::string_view::npos);
  });
  CHECK(slow<GLA>() == GLA{.gate_bias = 9});
  CHECK(slow<DeltaNet>() == DeltaNet{});
}

static_assert(KeyOnly<DeltaNet>::normalizes_key && KeyOnly<GatedDeltaNet>::normalizes_key);
static_assert(!KeyOnly<RetNet>::normalizes_key && !KeyOnly<GLA>::normalizes_key &&
              !KeyOnly<GLAVector>::normalizes_key);
