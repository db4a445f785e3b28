// SPDX-License-Identifier: MIT
#include "loglinear/rules.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "loglinear/linear_attention.hpp"
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
      : layer_({.inner = rule, .d_model = 1, .d_k = 2, .d_v = 2}) {}

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

static_assert(KeyOnly<DeltaNet>::normalizes_key && KeyOnly<GatedDeltaNet>::normalizes_key);
static_assert(!KeyOnly<RetNet>::normalizes_key && !KeyOnly<GLA>::normalizes_key &&
              !KeyOnly<GLAVector>::normalizes_key);
