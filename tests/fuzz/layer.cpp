// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "operations.hpp"
#include "oracles/leaf_list.hpp"
#include "read_orders.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using Numbers = std::vector<double>;

/// What a token does, in plain numbers: the leaf k v^T, the query, and S <- L S.
struct PlainToken {
  Numbers k, v, q;
  Numbers l;  // d_k x d_k, row-major
};

double plain_sigmoid(double z) {
  return 1 / (1 + std::exp(-z));
}

double norm(const Numbers& numbers) {
  double squares = 0;
  for (const double number : numbers) squares += number * number;
  return std::sqrt(squares);
}
Numbers unit(const Numbers& raw) {
  const double length = norm(raw);
  Numbers out = raw;
  for (double& number : out) number = length < 1e-12 ? 0 : number / length;
  return out;
}

void set_diagonal(PlainToken& token, const Numbers& w) {
  const std::size_t n = token.k.size();
  token.l.assign(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) token.l[i * n + i] = w[i];
}
void set_delta(PlainToken& token, double a, double b) {
  const std::size_t n = token.k.size();
  token.k = unit(token.k);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      token.l[i * n + j] = a * ((i == j ? 1 : 0) - b * token.k[i] * token.k[j]);
    }
  }
  for (double& number : token.k) number *= b;
}

/// The rules once more, from their equations. `own` names a projection of the token's input.
void describe(const RetNet& rule, const auto&, PlainToken& token) {
  set_diagonal(token, Numbers(token.k.size(), rule.gamma));
}
void describe(const GLA& rule, const auto& own, PlainToken& token) {
  set_diagonal(token, Numbers(token.k.size(), plain_sigmoid(own("w_gate")[0] + rule.gate_bias)));
}
void describe(const GLAVector& rule, const auto& own, PlainToken& token) {
  Numbers w = own("w_gate_vec");
  for (double& gate : w) gate = plain_sigmoid(gate + rule.gate_bias);
  set_diagonal(token, w);
}
void describe(const DeltaNet&, const auto&, PlainToken& token) {
  set_delta(token, 1, 1);
}
void describe(const GatedDeltaNet& rule, const auto& own, PlainToken& token) {
  const double b = rule.beta == Beta::fixed
                       ? rule.beta_scale
                       : plain_sigmoid(own("w_beta_scalar")[0] + rule.beta_bias);
  set_delta(token, plain_sigmoid(own("w_gate")[0] + rule.gate_bias), b);
}
template <class Rule>
void describe(const KeyOnly<Rule>&, const auto&, PlainToken& token) {
  if (KeyOnly<Rule>::normalizes_key) token.k = unit(token.k);
}

double plain_softplus(double z) {
  return z > 20 ? z : std::log1p(std::exp(z));
}

Numbers plain_weights(const NormalizedMixture& policy, const auto& own, std::size_t) {
  Numbers lambda = own("w_lambda");
  double sum = 0;
  for (double& weight : lambda) {
    weight = plain_softplus((weight + *policy.lambda_init) / policy.tau);
    sum += weight;
  }
  for (double& weight : lambda) weight /= sum;
  return lambda;
}
Numbers plain_weights(const SoftplusWeights&, const auto& own, std::size_t) {
  Numbers lambda = own("w_lambda");
  const Numbers scale = own("level_scale");
  for (std::size_t i = 0; i < lambda.size(); ++i) lambda[i] = plain_softplus(scale[i] * lambda[i]);
  return lambda;
}
Numbers plain_weights(const UnitWeights&, const auto&, std::size_t count) {
  return Numbers(count, 1.0);
}

/// One layer and what it should say, from a list of leaves. All weights and inputs are kept
/// multiples of 1/16, so that projections are exact and the two start from the same numbers.
template <class Layer>
class Pair {
 public:
  using Scalar = typename Layer::Scalar;
  using Vec = test::Vector<Scalar>;

  Pair(test::Random& random, const typename Layer::Options& options)
      : random_(random),
        layer_(options),
        leaves_(layer_.log_linear_state().max_levels(), static_cast<int>(options.d_k),
                static_cast<int>(options.d_v)) {
    for (const std::string& name : layer_.weight_names()) {
      const auto shape = layer_.weight(name);
      layer_.set_weight(
          name, test::Matrix<Scalar>(on_grid(random_.matrix<Scalar>(shape.rows(), shape.cols()))));
    }
  }

  const char* step(std::size_t longest) {
    const int choice = random_.below(100);
    if (leaves_.size() >= longest || choice < 1) {
      layer_.reset();
      leaves_.clear();
      return "reset";
    }
    if (choice < 45) return forward();
    if (choice < 72) return train();
    if (choice < 86) return query();
    if (choice < 92) return copy_and_move();
    if (choice < 95) return convert();
    return be_refused();
  }

  std::uint64_t tokens() const { return tokens_; }

  bool agree() const {
    const Numbers expected = leaves_.levels();
    const auto state = layer_.state();
    bool same = agreed_ && layer_.log_linear_state().size() == leaves_.size() &&
                state.size() == static_cast<Index>(expected.size());
    for (std::size_t i = 0; same && i < expected.size(); ++i) {
      same = std::abs(static_cast<double>(state[static_cast<Index>(i)]) - expected[i]) <=
             leaves_.tolerance(epsilon, roundings);
    }
    return same && layer_.train_step_count() == steps_;
  }

 private:
  static constexpr double epsilon = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  // A token's gate, unit vector, transition, leaf and merges, one after the other.
  static constexpr double roundings = 32;

  static test::Matrix<Scalar> on_grid(const test::Matrix<Scalar>& m) {
    return m.unaryExpr([](Scalar value) {
      return std::clamp(std::round(value * Scalar(16)) / Scalar(16), Scalar(-2), Scalar(2));
    });
  }
  Vec input() { return on_grid(random_.vector<Scalar>(layer_.d_model())); }

  auto projected(const Vec& x) const {
    return [this, &x](const char* name) {
      const auto weight = layer_.weight(name);
      if (std::string_view(name) == "level_scale") {
        Numbers free;
        for (Index j = 0; j < weight.cols(); ++j) free.push_back(double(weight(0, j)));
        return free;
      }
      Numbers out(static_cast<std::size_t>(weight.rows()), 0.0);
      for (Index i = 0; i < weight.rows(); ++i) {
        for (Index j = 0; j < weight.cols(); ++j) {
          out[static_cast<std::size_t>(i)] += double(weight(i, j)) * double(x[j]);
        }
      }
      return out;
    };
  }

  PlainToken token(const Vec& x) const {
    const auto own = projected(x);
    PlainToken token{own("w_key"), own("w_value"), own("w_query"), {}};
    set_diagonal(token, Numbers(token.k.size(), 1.0));
    describe(layer_.inner(), own, token);
    return token;
  }
  Numbers lambda(const Vec& x) const {
    return plain_weights(layer_.level_weights(), projected(x),
                         static_cast<std::size_t>(level_weight_count(
                             layer_.read_order(), layer_.log_linear_state().max_levels())));
  }

  static Numbers leaf(const PlainToken& token) {
    Numbers out;
    for (const double key : token.k) {
      for (const double value : token.v) out.push_back(key * value);
    }
    return out;
  }

  void write(const PlainToken& token) {
    leaves_.undergo(token.l, Numbers(token.v.size(), 1.0));
    leaves_.push(leaf(token), norm(token.k) * norm(token.v));
    ++tokens_;
  }

  /// Checks an output against sum_l weight(l) S_l^T q over the levels of `leaves`, plus
  /// `own_weight` times the token's leaf.
  void check_read(const Vec& output, const test::LeafList& leaves, const PlainToken& token,
                  const Numbers& weights, std::size_t first_weight, double own_weight) {
    const Numbers levels = leaves.levels(), own = leaf(token);
    const std::size_t d_k = token.q.size(), d_v = token.v.size();
    const std::size_t level_count = levels.size() / (d_k * d_v);
    double query_size = 0, weight_size = std::abs(own_weight), own_size = 0;
    for (const double number : token.q) query_size += std::abs(number);
    for (const double number : weights) weight_size = std::max(weight_size, std::abs(number));
    for (const double number : own) own_size += std::abs(number);
    const double tolerance =
        query_size * weight_size *
        (static_cast<double>(level_count) * leaves.tolerance(epsilon, roundings) +
         roundings * epsilon * (own_size + leaves.total_norm()));
    for (std::size_t j = 0; j < d_v; ++j) {
      double read = 0;
      for (std::size_t i = 0; i < d_k; ++i) {
        for (std::size_t l = 0; l < level_count; ++l) {
          read += weights[first_weight + l] * token.q[i] * levels[(l * d_k + i) * d_v + j];
        }
        read += own_weight * token.q[i] * own[i * d_v + j];
      }
      const double actual = static_cast<double>(output[static_cast<Index>(j)]);
      agreed_ &= std::abs(actual - std::tanh(read)) <= tolerance + 4 * epsilon;
    }
  }

  void check_own_order(const Vec& output, const PlainToken& token, const Numbers& weights,
                       ReadOrder order) {
    if (order == ReadOrder::before_push) {
      check_read(output, leaves_, token, weights, 0, 0);
    } else if (order == ReadOrder::after_push) {
      test::LeafList after = leaves_;
      after.undergo(token.l, Numbers(token.v.size(), 1.0));
      after.push(leaf(token), norm(token.k) * norm(token.v));
      check_read(output, after, token, weights, 0, 0);
    } else {
      test::LeafList undergone = leaves_;
      undergone.undergo(token.l, Numbers(token.v.size(), 1.0));
      check_read(output, undergone, token, weights, 1, weights[0]);
    }
  }

  const char* forward() {
    const Vec x = input();
    const PlainToken plain = token(x);
    Vec out(layer_.output_dim());
    if (random_.below(2) == 0) {
      out = layer_.forward(x);
    } else {
      layer_.forward(x.transpose(), out);
    }
    check_own_order(out, plain, lambda(x), layer_.read_order());
    write(plain);
    return "forward";
  }

  const char* query() {
    const Vec x = input();
    const Vec out = layer_.query_readonly(x);
    auto workspace = layer_.make_workspace();
    agreed_ &= test::same_bits(out, std::as_const(layer_).query_readonly(x, workspace));
    const bool apart = layer_.read_order() == ReadOrder::current_apart;
    check_read(out, leaves_, token(x), lambda(x), apart ? 1 : 0, 0);
    return "query";
  }

  const char* train() {
    const Vec x = input(), y = random_.vector<Scalar>(layer_.output_dim());
    const PlainToken plain = token(x);
    const Numbers weights = lambda(x);
    const Vec out = layer_.train_one(x, y);
    const bool apart = layer_.read_order() == ReadOrder::current_apart;
    check_own_order(out, plain, weights, apart ? ReadOrder::current_apart : ReadOrder::after_push);
    write(plain);
    ++steps_;
    for (const std::string& name : layer_.weight_names()) {  // back to the grid
      const test::Matrix<Scalar> stepped = layer_.weight(name);
      agreed_ &= stepped.allFinite();
      layer_.set_weight(name, on_grid(stepped));
    }
    return "train";
  }

  const char* copy_and_move() {
    Layer copy = layer_;
    const Vec x = input(), y = random_.vector<Scalar>(layer_.output_dim());
    copy.train_one(x, y);  // a copy is its own
    Layer fresh = layer_;
    layer_ = std::move(copy);
    layer_ = fresh;
    return "copy and move";
  }

  const char* convert() {
    using Wider = std::conditional_t<std::is_same_v<Scalar, float>, double, long double>;
    layer_ = layer_.template cast<Wider>().template cast<Scalar>();
    return "cast";
  }

  const char* be_refused() {
    Vec x = input(), y = random_.vector<Scalar>(layer_.output_dim());
    const int position = random_.below(static_cast<int>(layer_.d_model()));
    std::string error;
    switch (random_.below(4)) {
      case 0:
        x[position] = std::numeric_limits<Scalar>::quiet_NaN();
        error = test::error_of([&] { layer_.forward(x); });
        break;
      case 1:
        x[position] = -std::numeric_limits<Scalar>::infinity();
        error = test::error_of([&] { layer_.train_one(x, y); });
        break;
      case 2:
        y[0] = std::numeric_limits<Scalar>::infinity();
        error = test::error_of([&] { layer_.train_one(x, y); });
        break;
      default:
        error = test::error_of([&] { layer_.query_readonly(Vec::Ones(17)); });
    }
    agreed_ &= !error.empty();
    return "refusal";
  }

  test::Random& random_;
  Layer layer_;
  test::LeafList leaves_;
  std::uint64_t steps_ = 0, tokens_ = 0;
  bool agreed_ = true;
};

template <class Layer>
void fuzz_layers(std::uint64_t seed, const typename Layer::Head::Inner& rule,
                 bool one_state = false) {
  constexpr int all_max_levels[] = {1, 2, 3, 10};
  constexpr auto orders = test::read_orders;
  test::Random random(seed);
  std::uint64_t tokens = 0;
  for (int done = 0; done < test::layer_operations;) {
    typename Layer::Options options{.inner = rule, .learning_rate = 0.05};  // plain steps
    const bool is_wide = random.below(50) == 0;  // wider than any block of columns
    options.d_model = 1 + random.below(is_wide ? 16 : 3);
    options.d_k = 1 + random.below(is_wide ? 12 : 3);
    options.d_v = 1 + random.below(is_wide ? 90 : 3);
    options.max_levels = one_state ? 1 : all_max_levels[random.below(4)];
    options.read_order =
        orders[static_cast<std::size_t>(random.below(static_cast<int>(orders.size())))];
    Pair<Layer> pair(random, options);
    const int length = std::min(test::layer_operations - done, 300);
    for (int i = 0; i < length; ++i, ++done) {
      const char* operation = pair.step(is_wide ? 8 : 40);
      if (pair.agree()) continue;
      CAPTURE(seed, done, operation, options.max_levels, options.d_model, options.d_k, options.d_v,
              static_cast<int>(options.read_order));
      FAIL("the layer is not what its leaves say");
    }
    tokens += pair.tokens();
  }
  CHECK(tokens > test::layer_operations * 6 / 10);  // it did what it says
}

}  // namespace

TEST_CASE("Random operations on a layer with RetNet") {
  fuzz_layers<LogLinearAttention<RetNet>>(201, RetNet{.gamma = 0.9});
}
TEST_CASE("Random operations on a layer with GLA and the paper's weights, in float") {
  fuzz_layers<LogLinearAttention<GLA, float, SoftplusWeights>>(202, GLA{.gate_bias = 1});
}
TEST_CASE("Random operations on a layer with GLAVector") {
  fuzz_layers<LogLinearAttention<GLAVector>>(203, GLAVector{.gate_bias = 1});
}
TEST_CASE("Random operations on a layer with DeltaNet, in float") {
  fuzz_layers<LogLinearAttention<DeltaNet, float>>(204, DeltaNet{});
}
TEST_CASE("Random operations on a layer with GatedDeltaNet") {
  fuzz_layers<LogLinearAttention<GatedDeltaNet>>(205,
                                                 GatedDeltaNet{.beta_scale = 1.5, .gate_bias = 2});
}
TEST_CASE("Random operations on a layer with GatedDeltaNet, beta per token and unit weights") {
  fuzz_layers<LogLinearAttention<GatedDeltaNet, double, UnitWeights>>(
      206, GatedDeltaNet{.beta = Beta::per_token, .gate_bias = 2, .beta_bias = 0.5});
}
TEST_CASE("Random operations on a layer with KeyOnly") {
  fuzz_layers<LogLinearAttention<KeyOnly<GatedDeltaNet>>>(207, {});
}
TEST_CASE("Random operations on one-state linear attention") {
  fuzz_layers<LinearAttention<GLA>>(208, GLA{.gate_bias = 1}, true);
}
