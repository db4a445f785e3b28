// SPDX-License-Identifier: MIT
// Numbers at the ends of their range, and no numbers at all: an operation either refuses them, and
// nothing has changed, or everything that comes of it is finite.

#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"
#include "config/modes.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/mode/attention.hpp"
#include "loglinear/mode/mode_text.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/sequence.hpp"
#include "mixers_cases.hpp"

namespace edges_numbers {

namespace {

using namespace loglinear;
using Eigen::Index;

/// Zeros, the smallest numbers, those near the roots of the largest, the largest, and none at all.
template <class Scalar>
std::vector<Scalar> edges() {
  using Limits = std::numeric_limits<Scalar>;
  const double far = std::is_same_v<Scalar, float> ? 1e38 : 1e300;
  std::vector<Scalar> all;
  for (const double value :
       {0.0, 1 / far, 1e-30, 1e15, 1e19, std::sqrt(far), far, far / 1e3, 1 / std::sqrt(far)}) {
    all.push_back(static_cast<Scalar>(value));
    all.push_back(static_cast<Scalar>(-value));
  }
  for (const Scalar value : {Limits::denorm_min(), 7 * Limits::denorm_min(), Limits::min(),
                             Limits::min() / 2, Limits::max(), Limits::infinity()}) {
    all.push_back(value);
    all.push_back(-value);
  }
  all.push_back(Limits::quiet_NaN());
  return all;
}

/// One of them everywhere, at one place among ordinary numbers, or each of some at random.
template <class Scalar>
test::Vector<Scalar> edge_vector(test::Random& random, Index size) {
  static const std::vector<Scalar> values = edges<Scalar>();
  const auto any = [&] {
    return values[static_cast<std::size_t>(random.below(static_cast<int>(values.size())))];
  };
  test::Vector<Scalar> x = random.vector<Scalar>(size);
  switch (random.below(4)) {
    case 0:
      x.setConstant(any());
      break;
    case 1:
      x[random.below(static_cast<int>(size))] = any();
      break;
    case 2:
      for (Scalar& coefficient : x) coefficient = any();
      break;
    default:
      break;  // ordinary numbers
  }
  return x;
}

template <class Scalar>
std::vector<test::Matrix<Scalar>> all_of(const Attention<Scalar>& layer) {
  std::vector<test::Matrix<Scalar>> all{layer.state()};
  for (const std::string& name : layer.weight_names()) all.emplace_back(layer.weight(name));
  return all;
}
template <class Scalar>
bool same(const std::vector<test::Matrix<Scalar>>& a, const std::vector<test::Matrix<Scalar>>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!test::same_bits(a[i], b[i])) return false;
  }
  return a.size() == b.size();
}

}  // namespace

TEMPLATE_TEST_CASE("Layers of every mode take numbers at the ends of their range or refuse them",
                   "", float, double) {
  using Scalar = TestType;
  constexpr Index size = 5;
  test::Random random(91);
  int refused = 0, taken = 0;
  for (int trial = 0; trial < 150; ++trial) {
    AttentionConfig config{
        .d_model = size, .n_heads = 1 + trial % 2, .mode = test::random_mode(random)};
    config.bound = OutputBound::always;
    INFO(to_text(config.mode));
    std::unique_ptr<Attention<Scalar>> layer;
    const std::string unmade = test::error_of([&] { layer = make_attention<Scalar>(config); });
    if (!unmade.empty()) continue;  // a hyperparameter that this scalar cannot hold
    bool unchanged = true, finite = true;
    for (int step = 0; step < 40; ++step) {
      const auto before = all_of(*layer);
      const test::Vector<Scalar> x = edge_vector<Scalar>(random, size),
                                 y = edge_vector<Scalar>(random, size);
      const int what = random.below(4);
      const std::string names = layer->weight_names().back();
      const std::string error = test::error_of([&] {
        if (what == 0) finite = finite && layer->forward(x).allFinite();
        if (what == 1) finite = finite && layer->train_one(x, y).allFinite();
        if (what == 2) finite = finite && layer->query_readonly(x).allFinite();
        if (what == 3) {
          const auto old = layer->weight(names);
          test::Matrix<Scalar> weight = old;
          weight.col(random.below(static_cast<int>(weight.cols())))
              .setConstant(edge_vector<Scalar>(random, 1)[0]);
          layer->set_weight(names, weight);
        }
      });
      const auto after = all_of(*layer);
      (error.empty() ? taken : refused) += 1;
      if (!error.empty() || what == 2) unchanged = unchanged && same(before, after);
      for (const auto& array : after) finite = finite && array.allFinite();
    }
    CHECK(unchanged);
    CHECK(finite);
  }
  CHECK(refused > 500);
  CHECK(taken > 500);
}

TEMPLATE_TEST_CASE("States take numbers at the ends of their range or refuse them", "", float,
                   double, Eigen::half, Eigen::bfloat16) {
  using State = LogLinearState<TestType>;
  using Scalar = typename State::Accumulator;
  test::Random random(92);
  for (int trial = 0; trial < 60; ++trial) {
    State state(4, 3, 5);
    for (int step = 0; step < 60; ++step) {
      const State before = state;
      const int what = random.below(5);
      const test::Vector<Scalar> k = edge_vector<Scalar>(random, 3),
                                 v = edge_vector<Scalar>(random, 5);
      RankOneUpdate<KeyDecay<Scalar>> update(3, 5);
      update.diagonal.decay = edge_vector<Scalar>(random, 3);
      update.u = k;
      update.p = edge_vector<Scalar>(random, 3);
      ValueDecay<Scalar> decay(3, 5);
      decay.decay = v;
      const std::string error = test::error_of([&] {
        if (what == 0) state.undergo(update);
        if (what == 1) state.undergo(decay);
        if (what == 2) state.add(State(before));
        if (what > 2) state.push_leaf(k, v);
      });
      const bool unchanged = error.empty() || state == before;
      const bool finite = state.flat_state().template cast<Scalar>().allFinite();
      if (!unchanged || !finite) {
        CAPTURE(what, error);
        CHECK(unchanged);
        CHECK(finite);
      }
    }
  }
}

TEMPLATE_TEST_CASE("Readouts take numbers at the ends of their range or refuse them", "", float,
                   double) {
  using Scalar = TestType;
  test::Random random(93);
  for (int trial = 0; trial < 60; ++trial) {
    RecursiveLeastSquares<Scalar> readout(
        {.features = 4, .outputs = 2, .forgetting = random.below(2) == 0 ? 1 : 0.9});
    for (int step = 0; step < 60; ++step) {
      const std::string before = test::saved(readout);
      const std::string error = test::error_of(
          [&] { readout.update(edge_vector<Scalar>(random, 4), edge_vector<Scalar>(random, 2)); });
      const bool unchanged = error.empty() || test::saved(readout) == before;
      const bool finite = readout.weights().allFinite() && readout.smallest_pivot() > 0;
      if (!unchanged || !finite) {
        CAPTURE(error);
        CHECK(unchanged);
        CHECK(finite);
      }
    }
  }
}

TEMPLATE_TEST_CASE("Sequences and mixers of the paper likewise", "", float, double) {
  using Scalar = TestType;
  using Rows = detail::RowMajorMatrix<Scalar>;
  test::Random random(94);
  const LogLinearGatedDeltaNet<Scalar> mixer(
      {.hidden_size = 6, .expand_v = 1, .num_heads = 2, .head_dim = 3, .num_levels = 6});
  for (int trial = 0; trial < 200; ++trial) {
    const auto edge_rows = [&](Index rows, Index columns) {
      Rows all(rows, columns);
      for (Index i = 0; i < rows; ++i)
        all.row(i) = edge_vector<Scalar>(random, columns).transpose();
      return all;
    };
    LogLinearState<Scalar> state(5, 3, 4);
    state.push_leaf(random.vector<Scalar>(3), random.vector<Scalar>(4));
    const LogLinearState<Scalar> before = state;
    const Index length = 1 + random.below(12);
    const Rows q = edge_rows(length, 3), k = edge_rows(length, 3), v = edge_rows(length, 4),
               lambda = edge_rows(length, 6), g = edge_rows(length, random.below(2) == 0 ? 1 : 3),
               beta = edge_rows(length, 1);
    SequenceInputs<Scalar> in{q, k, v, lambda};
    if (random.below(2) == 0) in = {q, k, v, lambda, g};
    if (random.below(2) == 0) in = {q, k, v, lambda, g, Rows(), beta};
    const std::string error = test::error_of([&] { chunkwise(in, state, {.chunk_size = 4}); });
    CHECK((error.empty() || state == before));
    CHECK(state.flat_state().allFinite());

    auto cache = mixer.make_cache();
    static_cast<void>(mixer.step(random.vector<Scalar>(6), cache));
    const auto cache_before = cache;
    const Rows x = edge_rows(1 + random.below(5), 6);
    Rows out = Rows::Zero(1, 1);
    const std::string mixer_error = test::error_of([&] { out = mixer.forward(x, cache); });
    CHECK(out.allFinite());
    CHECK((mixer_error.empty() || cache == cache_before));
    CHECK(cache.state(0).flat_state().allFinite());
  }
}

TEST_CASE("Nothing at all: vectors and spans without coefficients") {
  using Vector = Eigen::VectorXd;
  const Vector none(0);
  const Eigen::MatrixXd no_rows(0, 5);
  using Layer = LogLinearAttention<GatedDeltaNet>;
  using Heads = MultiHeadAttention<Layer>;
  const auto check = [&](auto layer) {
    layer.forward(Vector::Ones(5));
    const std::string before = test::saved(layer);
    CHECK(test::mentions(test::error_of([&] { layer.forward(none); }), {"size of x is 0", "5"}));
    CHECK(test::mentions(test::error_of([&] { layer.query_readonly(none); }),
                         {"size of x is 0", "5"}));
    CHECK(test::mentions(test::error_of([&] { layer.train_one(Vector::Ones(5), none); }),
                         {"size of y is 0"}));
    CHECK(layer.forward_span(no_rows).rows() == 0);
    CHECK(layer.train_span(no_rows, Eigen::MatrixXd(0, layer.output_dim())).rows() == 0);
    CHECK(layer.span_gradient(no_rows, Eigen::MatrixXd(0, layer.output_dim())).x.rows() == 0);
    layer.reset();
    CHECK(layer.size() == 0);
    layer.restore(layer.snapshot());
    CHECK(layer.size() == 0);
    CHECK(layer.state().isZero(0));
    CHECK((before != test::saved(layer)));
  };
  check(Layer({.d_model = 5, .d_k = 4, .d_v = 3}));
  check(Heads({.d_model = 5, .d_k = 4, .d_v = 3}));

  LogLinearState<double> state(3, 4, 2);
  CHECK(test::mentions(test::error_of([&] { state.push_leaf(none, none); }), {"size of k", "4"}));
  Vector out = Vector::Ones(2);
  CHECK(test::mentions(test::error_of([&] { state.query_mixed(none, Vector::Ones(3), out); }),
                       {"size of q"}));
  state.query_mixed(Vector::Ones(4), Vector::Ones(3), out);
  CHECK(out.isZero(0));
  CHECK(state.active_level_count() == 0);

  RecursiveLeastSquares<double> readout({.features = 2});
  CHECK(test::mentions(test::error_of([&] { readout.predict(none); }), {"size of phi", "2"}));
  CHECK(readout.predict(Vector::Ones(2)).isZero(0));

  const Eigen::MatrixXd empty(0, 4), values(0, 2);
  CHECK(chunkwise(SequenceInputs<double>{empty, empty, values, empty}, state).rows() == 0);
  CHECK(state.size() == 0);

  const auto layer = make_attention<double>({.d_model = 5});
  CHECK(test::mentions(test::error_of([&] { layer->forward(none); }), {"size of x"}));
  Rewindable<Layer> stream(Layer({.d_model = 5, .d_k = 4, .d_v = 3}), {.depth = 3});
  CHECK(test::mentions(test::error_of([&] { stream.forward(none); }), {"size of x"}));
  stream.rewind(0);
  CHECK(stream.rewindable() == 0);
}

}  // namespace edges_numbers
