// SPDX-License-Identifier: MIT
// At run time rules whose transitions are of one kind share a layer, and DeltaNet shares that of
// the delta rules with a decay. The layer of the rule's own type says the same to the bit.

#include <array>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "catch.hpp"
#include "loglinear/layer/linear_attention.hpp"
#include "loglinear/mode/any_rule.hpp"
#include "loglinear/stream/stream_part.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;

constexpr Eigen::Index d_model = 5, d_k = 9, d_v = 8, tokens = 150;

template <template <class> class LayerOf, class Rule>
void compare(const Rule& rule, ReadOrder order) {
  using Own = LayerOf<Rule>;
  using Shared = LayerOf<RuntimeRule<Rule>>;
  static_assert(!std::is_same_v<Rule, RuntimeRule<Rule>>);
  Own own({.inner = rule, .d_model = d_model, .d_k = d_k, .d_v = d_v, .read_order = order});
  Shared shared({.inner = rule, .d_model = d_model, .d_k = d_k, .d_v = d_v, .read_order = order});
  test::Random random(5);
  const auto x = random.matrix<double>(tokens, d_model), y = random.matrix<double>(tokens, d_v);
  const test::Matrix<double> targets = 0.8 * y;
  bool same = true;
  for (Eigen::Index t = 0; t < 70; ++t) {
    const test::Vector<double> token = x.row(t).transpose(), target = targets.row(t).transpose();
    same &= test::same_bits(own.query_readonly(token), shared.query_readonly(token));
    same &= t % 3 == 0
                ? test::same_bits(own.train_one(token, target), shared.train_one(token, target))
                : test::same_bits(own.forward(token), shared.forward(token));
  }
  CHECK(same);
  CHECK(test::same_bits(own.forward_span(x), shared.forward_span(x)));
  const auto gradient = own.span_gradient(x, y), other = shared.span_gradient(x, y);
  CHECK(test::same_bits(gradient.x, other.x));
  CHECK(test::same_bits(own.train_span(x, targets), shared.train_span(x, targets)));
  CHECK(test::same_bits(own.state(), shared.state()));
  for (const auto& name : own.weight_names()) {
    CHECK(test::same_bits(own.weight(name), shared.weight(name)));
  }
}

/// Writes as many equal leaves as it is told, without weights of its own.
struct LeavesOfOwn {
  int count = 1;

  template <class Scalar>
  using Transition = Identity<Scalar>;

  [[nodiscard]] int leaves() const { return count; }
  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }
  void prepare(const auto& in, auto& token) const {
    token.keys.colwise() = in.k;
    token.values.colwise() = in.v;
  }
  void pullback(const auto&, const auto&, const auto&, auto&) const {}  // nothing is learnt here
};

template <class Rule>
using Hierarchy = LogLinearAttention<Rule>;
template <class Rule>
using OneState = LinearAttention<Rule>;

template <class Rule>
void check(const Rule& rule) {
  for (const ReadOrderInfo& row : read_order_table) {
    CAPTURE(row.name);
    compare<Hierarchy>(rule, row.order);
    compare<OneState>(rule, row.order);
  }
}

}  // namespace

TEST_CASE("the layer that rules share has the bits of the layer of each", "[law]") {
  check(DeltaNet{});
  check(KeyOnly<RetNet>{});
  check(KeyOnly<DeltaNet>{});
}

TEST_CASE("rules with different numbers of leaves share a layer", "[law]") {
  check(DeltaProduct<1>{.gate_bias = 2});
  check(GatedDeltaProduct<3>{.reflections = true});
}

TEST_CASE("layers whose tokens have different numbers of leaves exchange no streams", "[law]") {
  using Layer = LogLinearAttention<RuntimeRule<DeltaProduct<2>>>;
  using Part = StreamPart<Layer, PartProduct::matrix>;
  const auto make = [](const auto& rule) {
    return Layer({.inner = rule, .d_model = d_model, .d_k = d_k, .d_v = d_v});
  };
  Layer two = make(DeltaProduct<2>{}), three = make(DeltaProduct<3>{});
  test::Random random(6);
  for (int t = 0; t < 5; ++t) {
    const auto x = random.vector<double>(d_model);
    two.forward(x);
    three.forward(x);
  }
  const test::Vector<double> before = two.state();
  const auto moment = three.snapshot();
  CHECK(test::mentions(test::error_of([&] { two.restore(moment); }),
                       {"the leaves of a token of the snapshot is 3", "it must be 2"}));
  Part part(three, 5);
  part.write(random.vector<double>(d_model));
  CHECK(test::mentions(test::error_of([&] { part.append_to(two); }),
                       {"the leaves of a token of the later part is 3", "it must be 2"}));
  CHECK(test::same_bits(two.state(), before));
}

TEST_CASE("a workspace for tokens of other leaves is refused", "[law]") {
  using Layer = LogLinearAttention<LeavesOfOwn>;
  const auto make = [](int leaves) {
    return Layer({.inner = {leaves}, .d_model = d_model, .d_k = d_k, .d_v = d_v});
  };
  Layer one = make(1), two = make(2);
  const auto x = test::Random(7).vector<double>(d_model);
  for (int t = 0; t < 5; ++t) two.forward(x);
  auto own = two.make_workspace(), other = one.make_workspace();
  CHECK(two.query_readonly(x, own).allFinite());
  CHECK(test::mentions(test::error_of([&] { two.query_readonly(x, other); }),
                       {"the leaves of the workspace's token is 1", "it must be 2"}));
}

TEST_CASE("a product of transitions passes the number of leaves on", "[law]") {
  using Product = TransitionProduct<KeyDecay<double>, UpdatePerLeaf<double>>;
  const Token<Product> token(d_k, d_v, 3);
  CHECK(std::get<1>(token.transition.factors).updates.size() == 3);
  CHECK(step_counts<Product>(d_k, d_v, 3).updates == 3);
  CHECK(step_counts<Product>(d_k, d_v).updates == 1);
}

TEST_CASE("an update for each leaf has at least one, and none once it is moved from", "[law]") {
  using Kind = UpdatePerLeaf<double>;
  for (const Eigen::Index leaves : {Eigen::Index{0}, Eigen::Index{-1}}) {
    CHECK(test::mentions(test::error_of([&] { Kind(d_k, d_v, leaves); }),
                         {"leaves is " + std::to_string(leaves)}));
  }
  Kind kind(d_k, d_v, 2);
  CHECK(kind.fits(d_k, d_v));
  CHECK_FALSE(kind.fits(d_k + 1, d_v));
  const Kind moved = std::move(kind);
  CHECK(moved.fits(d_k, d_v));
  CHECK_FALSE(kind.fits(d_k, d_v));  // NOLINT: what is left of it
  Kind resized(d_k, d_v, 2);
  resized.updates.pop_back();
  CHECK_FALSE(resized.fits(d_k, d_v));
}
