// SPDX-License-Identifier: MIT
// What the layer reads, against the oracle that knows no hierarchy and against linear attention:
// every rule, read order, number of levels and level weighting, float and double.

#include <cmath>
#include <iterator>
#include <limits>

#include "catch.hpp"
#include "loglinear/mode/any_level_weights.hpp"
#include "oracles/layer_leaves.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr int tokens = 40;  // three carries past level 3, so that 1, 2 and 3 levels overflow
// Small states, and one large enough for a buffer of four leaves.
constexpr Sizes sizes[] = {{5, 4, 3}, {3, 2, 7}, {4, 9, 11}};

/// c T sqrt(d) eps relative to the largest read: each of T tokens adds a rounding of the states,
/// and a product of length d one more; no rule in use here amplifies them.
template <class Scalar>
double tolerance(const Sizes& size) {
  return 8.0 * tokens * std::sqrt(static_cast<double>(size.d_k + size.d_model)) *
         static_cast<double>(std::numeric_limits<Scalar>::epsilon());
}

/// The next wider scalar, in which the oracle computes.
template <class Scalar>
using Wider = std::conditional_t<std::is_same_v<Scalar, float>, double, long double>;

/// With each size, or one size for each read order and number of levels, in turns: how levels are
/// weighted says nothing about the size of a state.
enum class Take { each_size, sizes_in_turns };

template <class Scalar>
void compare_with_leaf_list(const AnyLevelWeights& weights, Take take = Take::each_size) {
  for_each_rule([&]<class Inner>(const Inner& inner, const char* name) {
    std::size_t turn = 0;
    for (const Sizes& size : sizes) {
      ++turn;  // each size begins elsewhere
      for (const ReadOrder order : read_orders) {
        for (const int levels : level_counts) {
          if (take == Take::sizes_in_turns && turn++ % std::size(sizes) != 0) continue;
          INFO(name << " " << name_of(order) << " levels " << levels << " d_k " << size.d_k);
          Normal normal(7);
          auto layer = make_layer<LogLinearAttention<Inner, Scalar, AnyLevelWeights>>(
              {.sizes = size, .max_levels = levels, .read_order = order, .bias = levels == 3},
              inner, weights);
          LayerLeaves<Inner, Wider<Scalar>, AnyLevelWeights> oracle(layer);
          double worst = 0, largest = 0;
          for (int t = 0; t < tokens; ++t) {
            const auto x = normal.vector<Scalar>(size.d_model, 1);
            const detail::Vector<Wider<Scalar>> wide = x.template cast<Wider<Scalar>>();
            const ReadOrder query_order =
                order == ReadOrder::current_apart ? order : ReadOrder::before_push;
            if (order != ReadOrder::current_apart) {
              layer.query_readonly(x);
              const auto expected = oracle.step(wide, query_order, false);
              worst = std::max(
                  worst,
                  detail::max_abs(layer.raw_read().template cast<Wider<Scalar>>() - expected));
            }
            layer.forward(x);
            const auto expected = oracle.step(wide, order);
            worst = std::max(
                worst, detail::max_abs(layer.raw_read().template cast<Wider<Scalar>>() - expected));
            largest = std::max(largest, detail::max_abs(expected));
          }
          CHECK(worst <= tolerance<Scalar>(size) * largest);
        }
      }
    }
  });
}

}  // namespace

TEST_CASE("reads equal the sum over all leaves, double", "[law]") {
  compare_with_leaf_list<double>({NormalizedMixture{}});
  compare_with_leaf_list<double>({SoftplusWeights{}}, Take::sizes_in_turns);
  compare_with_leaf_list<double>({MlpWeights{.channels = 3}}, Take::sizes_in_turns);
  compare_with_leaf_list<double>({UnitWeights{}}, Take::sizes_in_turns);
}

TEST_CASE("reads equal the sum over all leaves, float", "[law]") {
  compare_with_leaf_list<float>({NormalizedMixture{}});
}

TEMPLATE_TEST_CASE("with unit weights a hierarchy reads what one state reads", "[law]", float,
                   double) {
  for_each_rule([]<class Inner>(const Inner& inner, const char* name) {
    for (const Sizes& size : sizes) {
      for (const ReadOrder order : read_orders) {
        for (const int levels : level_counts) {
          INFO(name << " " << name_of(order) << " levels " << levels << " d_k " << size.d_k);
          Normal normal(11);
          const Shape shape{.sizes = size, .max_levels = levels, .read_order = order};
          auto many = make_layer<LogLinearAttention<Inner, TestType, AnyLevelWeights>>(
              shape, inner, {UnitWeights{}});
          auto one = make_layer<LinearAttention<Inner, TestType>>(shape, inner);
          copy_weights(many, one);
          double worst = 0, largest = 0;
          for (int t = 0; t < tokens; ++t) {
            const auto x = normal.vector<TestType>(size.d_model, 1);
            many.forward(x);
            one.forward(x);
            worst = std::max(worst, detail::max_abs(many.raw_read() - one.raw_read()));
            largest = std::max(largest, detail::max_abs(one.raw_read()));
          }
          CHECK(worst <= tolerance<TestType>(size) * largest);
        }
      }
    }
  });
}

TEST_CASE("without a transition overflow keeps every leaf", "[law]") {
  for (const int levels : level_counts) {
    Normal normal(5);
    auto layer =
        make_layer<LogLinearAttention<KeyOnly<GLA>>>({.sizes = {5, 4, 3}, .max_levels = levels});
    LayerLeaves<KeyOnly<GLA>, double, NormalizedMixture> oracle(layer);
    for (int t = 0; t < tokens; ++t) {
      const auto x = normal.vector<double>(5, 1);
      layer.forward(x);
      oracle.step(x, ReadOrder::before_push);
      detail::Matrix<double> sum = detail::Matrix<double>::Zero(4, 3);
      for (int l = 0; l < levels; ++l) sum += layer.log_linear_state().level(l);
      CHECK(detail::max_abs(sum - oracle.sum()) <=
            tolerance<double>(sizes[0]) * detail::max_abs(oracle.sum()));
    }
  }
}
