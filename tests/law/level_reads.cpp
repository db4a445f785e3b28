// SPDX-License-Identifier: MIT
// Levels read apart, against reads of the plain state level by level: every rule, read order and
// number of levels; and the gradient of what is learnt through them, against differences.

#include "catch.hpp"
#include "rules.hpp"
#include "support.hpp"

namespace law_level_reads {

using namespace loglinear;
using namespace loglinear::test;

namespace {

template <class Scalar>
using Rows = detail::RowMajorMatrix<Scalar>;

/// S_l^T q of every level of a plain state, in plain loops.
template <class State, class Scalar>
Rows<Scalar> plain_reads(const State& state, const detail::Vector<Scalar>& q) {
  Rows<Scalar> reads = Rows<Scalar>::Zero(state.max_levels(), state.d_v());
  for (int l = 0; l < state.max_levels(); ++l) {
    for (Eigen::Index i = 0; i < state.d_k(); ++i) {
      for (Eigen::Index j = 0; j < state.d_v(); ++j) {
        reads(l, j) += q[i] * state.level(l)(i, j);
      }
    }
  }
  return reads;
}

/// What the token that the layer is about to take should read of each level.
template <class Layer, class Vector>
auto expected_reads(Layer layer, const Vector& x, ReadOrder order) {
  using Scalar = typename Layer::Scalar;
  auto state = layer.log_linear_state();
  layer.forward(x);
  const auto& token = layer.as_head().workspace().token;
  if (order == ReadOrder::before_push) return plain_reads(state, token.query);
  if (order == ReadOrder::after_push) return plain_reads(layer.log_linear_state(), token.query);
  state.undergo(token.transition);
  Rows<Scalar> reads(state.max_levels() + 1, state.d_v());
  reads << (token.values * (token.keys.transpose() * token.query)).transpose(),
      plain_reads(state, token.query);
  return reads;
}

constexpr Sizes sizes[] = {{4, 3, 2}, {3, 8, 9}};  // no buffer to speak of; one of eight leaves

template <class Scalar, class Check>
void for_each_layer(Check check) {
  for_each_rule([&]<class Inner>(const Inner& inner, const char* name) {
    for (const Sizes& size : sizes) {
      for (const ReadOrder order : read_orders) {
        for (const int levels : level_counts) {
          INFO(name << " " << name_of(order) << " levels " << levels << " d_k " << size.d_k);
          Normal normal(61);
          LogLinearAttention<Inner, Scalar> layer({.inner = inner,
                                                   .d_model = size.d_model,
                                                   .d_k = size.d_k,
                                                   .d_v = size.d_v,
                                                   .max_levels = levels,
                                                   .read_order = order,
                                                   .learning_rate = 1});
          set_order_one_weights(layer, normal);
          check(layer, normal, size);
        }
      }
    }
  });
}

/// sum_wj c_wj reads_wj + 1/2 reads_wj^2, a loss that is curved in every read.
template <class Layer, class Vector, class Scalar>
Scalar loss(Layer layer, const Vector& x, const Rows<Scalar>& c) {
  auto reads = layer.make_level_reads();
  layer.set_learning_rate(0);
  Scalar sum(0);
  layer.train_levels(x, reads, [&](auto& r) {
    sum = (c.array() * r.array() + r.array().square() / 2).sum();
    r += c;
  });
  return sum;
}

}  // namespace

TEMPLATE_TEST_CASE("levels read apart are those of the plain state", "[law]", float, double) {
  using Scalar = TestType;
  for_each_layer<Scalar>([](auto& layer, Normal& normal, const Sizes& size) {
    auto twin = layer;
    auto reads = layer.make_level_reads(), standing = reads;
    auto workspace = layer.make_workspace();
    double worst = 0, worst_sum = 0, largest = 1;
    bool same = true;
    for (int n = 0; n < 37; ++n) {
      const auto x = normal.vector<Scalar>(size.d_model, 1);
      const auto state = layer.log_linear_state();
      const Rows<Scalar> expected = expected_reads(layer, x, layer.read_order());
      std::as_const(layer).level_reads(x, workspace, standing);
      const Rows<Scalar> as_it_stands = plain_reads(state, workspace.token.query);
      layer.level_reads(x, reads);
      same = same && test::same_bits(reads, standing);
      worst =
          std::max(worst, detail::max_abs(standing.bottomRows(state.max_levels()) - as_it_stands));
      same = same && (standing.rows() == state.max_levels() || standing.row(0).isZero(0));
      same = same && layer.log_linear_state() == state;

      layer.forward_levels(x, reads);
      twin.forward(x);
      same = same && test::same_bits(layer.state(), twin.state()) && layer.size() == twin.size();
      worst = std::max(worst, detail::max_abs(reads - expected));
      worst_sum =
          std::max(worst_sum, detail::max_abs(reads.transpose() * twin.lambda() - twin.raw_read()));
      largest = std::max(largest, detail::max_abs(expected));
    }
    CHECK(same);
    const double eps = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
    CHECK(worst <= 64 * eps * largest * static_cast<double>(size.d_k));
    CHECK(worst_sum <= 64 * eps * largest * static_cast<double>(size.d_k));
  });
}

TEST_CASE("train_levels descends the exact gradient of a loss of the reads", "[grad]") {
  using Wide = long double;
  constexpr double step = 1e-4;
  for_each_layer<double>([&](auto& layer, Normal& normal, const Sizes& size) {
    if (layer.read_order() == ReadOrder::before_push || layer.max_levels() == 2) return;
    for (int n = 0; n <= 6; ++n) {
      const auto x = normal.vector<double>(size.d_model, 0.7);
      if (n != 1 && n != 3 && n != 6) {
        layer.forward(x);
        continue;
      }
      auto reads = layer.make_level_reads();
      const Rows<double> c = normal.matrix<double>(reads.rows(), reads.cols(), 0.5);
      auto stepped = layer, untrained = layer;
      stepped.set_learning_rate(1);
      stepped.train_levels(x, reads, [&](auto& r) { r += c; });
      untrained.forward(x);
      CHECK(stepped.log_linear_state() == untrained.log_linear_state());
      CHECK(stepped.train_step_count() == layer.train_step_count() + 1);
      const auto wide = layer.template cast<Wide>();
      const detail::Vector<Wide> wide_x = x.template cast<Wide>();
      const Rows<Wide> wide_c = c.template cast<Wide>();
      for (const std::string& name : layer.weight_names()) {
        const detail::Matrix<Wide> weight = wide.weight(name);
        const detail::Matrix<double> gradient = layer.weight(name) - stepped.weight(name);
        detail::Matrix<double> difference = gradient;
        for (Eigen::Index i = 0; i < weight.size(); ++i) {
          const auto shifted = [&](double by) {
            auto moved = wide;
            detail::Matrix<Wide> w = weight;
            w(i) += static_cast<Wide>(by);
            moved.set_weight(name, w);
            return loss(moved, wide_x, wide_c);
          };
          difference(i) = static_cast<double>(
              (8 * (shifted(step) - shifted(-step)) - (shifted(2 * step) - shifted(-2 * step))) /
              (12 * static_cast<Wide>(step)));
        }
        INFO(name << " after " << n << " tokens");
        const double scale = detail::max_abs(difference);
        if (scale < 1e-13) {
          CHECK(detail::max_abs(gradient) < 1e-13);
        } else {
          CHECK(detail::max_abs(gradient - difference) / scale <= 1e-6);
        }
      }
      layer.forward(x);
    }
  });
}

TEST_CASE("levels of heads are read apart, head by head", "[law]") {
  Normal normal(67);
  MultiHeadAttention<LogLinearAttention<GatedDeltaNet>> layer(
      {.d_model = 6, .d_k = 5, .d_v = 4, .n_heads = 3, .max_levels = 6});
  set_order_one_weights(layer, normal);
  for (int n = 0; n < 45; ++n) layer.forward(normal.vector<double>(6, 1));
  const auto x = normal.vector<double>(6, 1);
  auto workspace = layer.make_workspace();
  for (int h = 0; h < layer.n_heads(); ++h) {
    const auto& head = layer.head(h);
    auto reads = head.make_level_reads();
    head.level_reads(x, workspace.head, reads);
    const auto expected = plain_reads(head.log_linear_state(), workspace.head.token.query);
    CHECK(detail::max_abs(expected) > 1e-3);
    CHECK(detail::max_abs(reads - expected) <= 1e-14);
  }
}

TEST_CASE("reads of another shape, and gradients that are not finite, change nothing", "[law]") {
  Normal normal(71);
  LogLinearAttention<GatedDeltaNet> layer({.d_model = 4, .d_k = 3, .d_v = 2, .max_levels = 5});
  set_order_one_weights(layer, normal);
  for (int n = 0; n < 5; ++n) layer.forward(normal.vector<double>(4, 1));
  const auto x = normal.vector<double>(4, 1);
  const auto before = layer;
  Rows<double> small(4, 2), narrow(5, 1), reads = layer.make_level_reads();
  const auto unchanged = [&] {
    bool same = layer.log_linear_state() == before.log_linear_state() &&
                layer.train_step_count() == before.train_step_count();
    for (const std::string& name : layer.weight_names()) {
      same = same && layer.weight(name) == before.weight(name);
    }
    return same;
  };
  const auto keep = [](auto&) {};
  CHECK(test::mentions(test::error_of([&] { layer.forward_levels(x, small); }),
                       {"the reads (rows, one a level weight) is 4", "be 5"}));
  CHECK(test::mentions(test::error_of([&] { layer.level_reads(x, narrow); }),
                       {"the reads (columns, d_v) is 1", "be 2"}));
  CHECK(test::error_of([&] { layer.train_levels(x, small, keep); }) != "");
  CHECK(test::mentions(test::error_of([&] {
                         layer.train_levels(x, reads, [](auto& r) { r(1, 1) = std::nan(""); });
                       }),
                       {"the gradient of the reads[1, 1] is nan"}));
  CHECK(test::mentions(
      test::error_of([&] { layer.train_levels(x, reads, [](auto& r) { r.resize(1, 1); }); }),
      {"(rows, one a level weight) is 1"}));
  CHECK(unchanged());
  // A token staged one way is not learnt from the other way.
  reads = layer.make_level_reads();
  auto& head = layer.as_head();
  head.stage(x, ReadOrder::after_push);
  CHECK(test::error_of([&] { head.stage_levels_gradient(reads); }) != "");
  head.stage_levels(x, ReadOrder::after_push, reads);
  CHECK(test::error_of([&] { head.stage_gradient(Eigen::Vector2d(1, 1)); }) != "");
  CHECK(unchanged());
  head.commit();
  CHECK(layer.size() == before.size() + 1);
}

TEST_CASE("level_reads of a plain state and their pullback", "[law]") {
  test::Random random(73);
  for (const auto& [d_k, d_v, levels] : {std::array{3, 2, 4}, {40, 300, 7}, {600, 5, 3}}) {
    CAPTURE(d_k, d_v, levels);
    LogLinearState<double> state(levels, d_k, d_v);
    for (int n = 0; n < 13; ++n) {
      state.push_leaf(random.vector<double>(d_k), random.vector<double>(d_v));
      const auto q = random.vector<double>(d_k);
      Rows<double> reads(levels, d_v);
      level_reads(state, q, reads);
      const Rows<double> expected = plain_reads(state, q);
      CHECK(detail::max_abs(reads - expected) <= 1e-13 * d_k);
      test::Matrix<double> by_column(levels, d_v);
      level_reads(state, q.transpose(), by_column);
      CHECK(by_column == reads);
      const Rows<double> d_reads = random.matrix<double>(levels, d_v);
      detail::Vector<double> d_q(d_k), d_expected = detail::Vector<double>::Zero(d_k);
      for (int l = 0; l < levels; ++l) d_expected += state.level(l) * d_reads.row(l).transpose();
      level_reads_pullback(state, d_reads, d_q);
      CHECK(detail::max_abs(d_q - d_expected) <= 1e-13 * d_v);
    }
  }
  LogLinearState<float> state(3, 2, 2);
  const Eigen::Vector2f large(1e18f, 1e18f);
  state.push_leaf(large, large);
  Rows<float> reads = Rows<float>::Ones(3, 2);
  Eigen::Vector2f d_q(7, 7);
  CHECK(test::mentions(test::error_of([&] { level_reads(state, large, reads); }),
                       {"the read of level 0[0] is inf"}));
  CHECK(test::mentions(
      test::error_of([&] { level_reads_pullback(state, (reads * 1e18f).eval(), d_q); }),
      {"d_q[0] is inf"}));
  CHECK(reads == Rows<float>::Ones(3, 2));
  CHECK(d_q == Eigen::Vector2f(7, 7));
  CHECK(test::error_of([&] { level_reads(state, Eigen::Vector3f(1, 1, 1), reads); }) != "");
  CHECK(test::error_of([&] { level_reads_pullback(state, Rows<float>(2, 2), d_q); }) != "");
}

}  // namespace law_level_reads
