// SPDX-License-Identifier: MIT
// Snapshots: what follows a restored moment is what followed it the first time, to the bit, in the
// same layer and in a fork, for every rule; and tokens taken back are as if they had never been.

#include "loglinear/stream/snapshot.hpp"

#include <string>
#include <vector>

#include "catch.hpp"
#include "loglinear/stream/rewindable.hpp"
#include "rules.hpp"
#include "support.hpp"

namespace law_snapshot {

using namespace loglinear;
using namespace loglinear::test;

namespace {

using Eigen::Index;

/// Levels of a buffer of 1, of 4 and of 16 leaves, one level, overflow.
constexpr Shape shapes[] = {{{3, 1, 2}, 9}, {{4, 5, 6}, 3}, {{3, 17, 18}, 12}, {{3, 4, 4}, 1}};

template <class Inner, class Scalar, class Stored>
using Layer = LogLinearAttention<Inner, Scalar, NormalizedMixture, Stored>;

/// Calls `check(layer, normal)` with a layer of every rule, order and shape, weights of order 1.
template <class Scalar, class Stored, class Check>
void for_each_layer(Check check) {
  for_each_rule([&]<class Inner>(const Inner& inner, const char* name) {
    for (Shape shape : shapes) {
      for (const ReadOrder order : read_orders) {
        INFO(name << " " << name_of(order) << " levels " << shape.max_levels << " d_k "
                  << shape.sizes.d_k);
        Normal normal(5);
        shape.read_order = order;
        auto layer = make_layer<Layer<Inner, Scalar, Stored>>(shape, inner);
        check(layer, normal);
      }
    }
  });
}

template <class Layer>
bool same_state(const Layer& a, const Layer& b) {
  return a.size() == b.size() && test::same_bits(a.state(), b.state());
}

/// All outputs of a layer that takes the columns of `inputs`.
template <class AnyLayer, class Inputs>
detail::Matrix<typename AnyLayer::Scalar> outputs_of(AnyLayer& layer, const Inputs& inputs) {
  detail::Matrix<typename AnyLayer::Scalar> outputs(layer.output_dim(), inputs.cols());
  for (Index t = 0; t < inputs.cols(); ++t) outputs.col(t) = layer.forward(inputs.col(t));
  return outputs;
}

template <class Scalar, class Stored>
void check_snapshots() {
  for_each_layer<Scalar, Stored>([](auto& layer, Normal& normal) {
    auto fork = layer;
    auto moment = layer.snapshot();  // of an empty stream, then of whatever is next
    CHECK(moment.size() == 0);
    bool exact = true, forks = true;
    for (const Index tokens : {1, 6, 9, 16, 31, 5}) {
      outputs_of(layer, normal.matrix<Scalar>(layer.d_model(), tokens, 1));
      layer.snapshot(moment);
      const auto before = layer;
      const auto draft = normal.matrix<Scalar>(layer.d_model(), 37, 1);
      const auto first = outputs_of(layer, draft);
      const auto after = layer;
      outputs_of(layer, draft.leftCols(3));
      layer.restore(moment);
      exact &= same_state(layer, before) && layer.size() == moment.size();
      exact &= test::same_bits(outputs_of(layer, draft), first) && same_state(layer, after);
      fork.restore(moment);  // whatever it was
      forks &= test::same_bits(outputs_of(fork, draft), first) && same_state(fork, after);
      if (tokens % 2 == 0) layer.restore(moment);
    }
    CHECK(exact);
    CHECK(forks);
  });
}

}  // namespace

TEST_CASE("what follows a restored moment is what followed it", "[law]") {
  check_snapshots<double, double>();
  check_snapshots<float, Eigen::bfloat16>();
}

TEST_CASE("a snapshot copies active levels and newest leaves, no more", "[law]") {
  LogLinearAttention<GLA> layer({.d_model = 2, .d_k = 16, .d_v = 16});  // 16 leaves apart
  LogLinearAttention<GLA>::Snapshot moment;
  const Eigen::Vector2d x(1, -1);
  for (std::uint64_t n = 1; n <= 200; ++n) {
    layer.forward(x);
    layer.snapshot(moment);
    const int levels = active_level_count(n / 16, 28);
    const std::size_t leaves = n % 16;
    CHECK(moment.byte_count() ==
          sizeof(double) * (static_cast<std::size_t>(levels) * 256 + leaves * (16 + 16 + 1)));
  }
}

TEST_CASE("snapshots of another shape are refused by name, and change nothing", "[law]") {
  using Heads = MultiHeadAttention<LogLinearAttention<GLA>>;
  using One = LogLinearAttention<GLA>;
  const One::Options options{.d_model = 3, .d_k = 4, .d_v = 5, .max_levels = 6};
  One layer(options);
  layer.forward(Eigen::Vector3d(1, 2, 3));
  const auto before = layer;
  const auto refusal = [&](const One::Snapshot& moment) {
    const std::string error = test::error_of([&] { layer.restore(moment); });
    CHECK(same_state(layer, before));
    return error;
  };
  One::Options other = options;
  other.max_levels = 7;
  CHECK(test::mentions(refusal(One(other).snapshot()), {"max_levels of the snapshot is 7", "6"}));
  other = options;
  other.d_k = 3;
  CHECK(test::mentions(refusal(One(other).snapshot()), {"d_k of the snapshot is 3", "4"}));
  other = options;
  other.d_v = 1;
  CHECK(test::mentions(refusal(One(other).snapshot()), {"d_v of the snapshot is 1", "5"}));
  CHECK(test::mentions(refusal({}), {"the snapshot is empty", "one that a layer has taken"}));
  One::Snapshot moved_from = layer.snapshot();
  const One::Snapshot moved_to = std::move(moved_from);
  CHECK(test::mentions(refusal(moved_from), {"the snapshot is empty"}));

  Heads heads({.d_model = 3, .d_k = 4, .d_v = 5, .n_heads = 2});
  heads.forward(Eigen::Vector3d(1, 2, 3));
  const auto state = heads.state();
  auto moment = Heads({.d_model = 3, .d_k = 4, .d_v = 5, .n_heads = 3}).snapshot();
  const auto refused = [&] { return test::error_of([&] { heads.restore(moment); }); };
  CHECK(test::mentions(refused(), {"the heads of the snapshot is 3", "2"}));
  moment.clear();
  CHECK(test::mentions(refused(), {"the snapshot is empty"}));
  moment.resize(2);
  CHECK(test::mentions(refused(), {"the snapshot is empty"}));
  moment = heads.snapshot();
  heads.forward(Eigen::Vector3d(1, 2, 3));
  const auto later = heads.state();
  moment[1] = One(other).snapshot();  // only the second head's is wrong
  CHECK(test::mentions(refused(), {"the snapshot is"}));
  CHECK(heads.state() == later);
  CHECK(heads.state() != state);
}

TEST_CASE("a snapshot is of a stream: the hyperparameters and weights of a layer stay", "[law]") {
  using Layer = LogLinearAttention<GLA>;
  const Eigen::Vector3d x(1, 2, 3);
  const auto make = [](double gate_bias, std::uint64_t seed) {
    return Layer({.inner = {.gate_bias = gate_bias},
                  .d_model = 3,
                  .d_k = 4,
                  .d_v = 5,
                  .max_levels = 6,
                  .seed = seed});
  };
  Layer layer = make(0, 1), other = make(5, 2);
  for (int t = 0; t < 11; ++t) layer.forward(x);
  const auto w_key = Eigen::MatrixXd(other.weight("w_key"));
  other.restore(layer.snapshot());
  CHECK(other.state() == layer.state());
  CHECK(other.size() == 11);
  CHECK(other.inner().gate_bias == 5);
  CHECK(other.weight("w_key") == w_key);
  // Another rule with the same kind of transition likewise.
  LogLinearAttention<RetNet> retention({.d_model = 3, .d_k = 4, .d_v = 5, .max_levels = 6});
  retention.restore(layer.snapshot());
  CHECK(retention.state() == layer.state());
}

TEMPLATE_TEST_CASE("several heads come back together", "[law]", LogLinearAttention<GatedDeltaNet>,
                   LogLinearAttention<Hawk>, LinearAttention<GLA>) {
  Normal normal(8);
  auto layer = make_layer<MultiHeadAttention<TestType>>(
      {.sizes = {5, 4, 3}, .max_levels = 32, .tokens = 21, .heads = 3});
  const auto moment = layer.snapshot();
  const auto draft = normal.matrix<double>(5, 30, 1);
  const auto first = outputs_of(layer, draft);
  const auto state = layer.state();
  layer.restore(moment);
  CHECK(test::same_bits(outputs_of(layer, draft), first));
  CHECK(test::same_bits(layer.state(), state));
  CHECK(layer.size() == 51);
  layer.advance_to(1000);
  CHECK(layer.size() == 1000);
  CHECK(layer.head(2).size() == 1000);
  CHECK_THROWS_AS(layer.advance_to(999), std::invalid_argument);
}

TEMPLATE_TEST_CASE("tokens taken back are as if they had never been", "[law]",
                   LogLinearAttention<GatedDeltaNet>, LogLinearAttention<GLAVector>,
                   MultiHeadAttention<LogLinearAttention<RetNet>>) {
  for (const auto& [depth, every] :
       {std::pair<Index, Index>{1, 1}, {7, 1}, {7, 4}, {12, 5}, {3, 16}, {16, 16}}) {
    CAPTURE(depth, every);
    Normal normal(9);
    test::Random random(10);
    const auto layer = make_layer<TestType>({.sizes = {5, 4, 3}, .tokens = 3});
    Rewindable<TestType> stream(layer, {.depth = depth, .snapshot_every = every});
    CHECK(stream.rewindable() == 0);
    std::vector<TestType> history{layer};  // the layer after so many tokens
    Index furthest = 0;
    bool exact = true, counted = true, refused = true;
    for (int step = 0; step < 300; ++step) {
      const auto here = static_cast<Index>(history.size()) - 1;
      furthest = std::max(furthest, here);
      const Index possible = std::min(here, here - (furthest - depth));
      counted &= stream.rewindable() == possible;
      if (random.below(4) == 0) {
        refused &= !test::error_of([&] { stream.rewind(possible + 1); }).empty();
        refused &= !test::error_of([&] { stream.rewind(-1); }).empty();
        const auto back = static_cast<Index>(random.below(static_cast<int>(possible) + 1));
        stream.rewind(back);
        history.resize(history.size() - static_cast<std::size_t>(back), layer);
      } else {
        auto next = history.back();
        const auto x = normal.vector<double>(5, 1);
        exact &= test::same_bits(stream.forward(x), next.forward(x));
        history.push_back(next);
      }
      exact &= test::same_bits(stream.layer().state(), history.back().state());
    }
    CHECK(exact);
    CHECK(counted);
    CHECK(refused);
    stream.reset();
    CHECK(stream.rewindable() == 0);
    CHECK(stream.layer().state().isZero(0));
  }
}

TEST_CASE("a refused token leaves a rewindable stream as it was", "[law]") {
  // States that grow: a refusal settles what is pending, which rounds.
  struct Growing : RetNet {
    void validate() const {}
  };
  using Grow = LogLinearAttention<Growing, float>;
  Normal normal(12);
  Grow layer({.inner = {{.gamma = 1.7}}, .d_model = 4, .d_k = 9, .d_v = 8});
  set_order_one_weights(layer, normal);
  Rewindable<Grow> stream(layer, {.depth = 40, .snapshot_every = 8});
  const detail::Vector<float> huge = detail::Vector<float>::Constant(4, 1e19F);
  int refused = 0;
  bool exact = true;
  for (int t = 0; t < 60; ++t) {
    const auto x = normal.vector<float>(4, 1);
    refused += !test::error_of([&] { stream.forward(huge); }).empty();
    exact &= test::same_bits(stream.forward(x), layer.forward(x));
    if (t % 10 != 9) continue;
    const auto before = stream.layer().state();
    const auto draft = normal.matrix<float>(4, 6, 1);
    for (Index i = 0; i < 6; ++i) stream.forward(draft.col(i));
    stream.rewind(6);
    exact &= test::same_bits(stream.layer().state(), before);
  }
  CHECK(refused == 60);
  CHECK(exact);
  CHECK_THROWS_AS(Rewindable<Grow>(layer, {}), std::invalid_argument);
  CHECK_THROWS_AS(Rewindable<Grow>(layer, {.depth = 1, .snapshot_every = 0}),
                  std::invalid_argument);
}

}  // namespace law_snapshot
