// SPDX-License-Identifier: MIT
// What the layer reads, against the oracle that knows no hierarchy and against linear attention:
// every rule, read order, number of levels and level weighting, float and double.

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "leaf_list.hpp"
#include "loglinear/mode/any_level_weights.hpp"

using namespace laws;

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

template <class Scalar>
void compare_with_leaf_list(const AnyLevelWeights& weights) {
  for_each_rule([&]<class Inner>(const Inner& inner, const char* name) {
    for (const Sizes& size : sizes) {
      for (const ReadOrder order : read_orders) {
        for (const int levels : level_counts) {
          INFO(name << " " << name_of(order) << " levels " << levels << " d_k " << size.d_k);
          Normal normal(7);
          LogLinearAttention<Inner, Scalar, AnyLevelWeights> layer({.inner = inner,
                                                                    .d_model = size.d_model,
                                                                    .d_k = size.d_k,
                                                                    .d_v = size.d_v,
                                                                    .max_levels = levels,
                                                                    .level_weights = weights,
                                                                    .read_order = order});
          set_order_one_weights(layer, normal);
          LeafList<Inner, Wider<Scalar>, AnyLevelWeights> oracle(layer);
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
  compare_with_leaf_list<double>({SoftplusWeights{}});
  compare_with_leaf_list<double>({UnitWeights{}});
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
          LogLinearAttention<Inner, TestType, AnyLevelWeights> many(
              {.inner = inner,
               .d_model = size.d_model,
               .d_k = size.d_k,
               .d_v = size.d_v,
               .max_levels = levels,
               .level_weights = {UnitWeights{}},
               .read_order = order});
          LinearAttention<Inner, TestType> one({.inner = inner,
                                                .d_model = size.d_model,
                                                .d_k = size.d_k,
                                                .d_v = size.d_v,
                                                .read_order = order});
          REQUIRE(many.weight("w_key") == one.weight("w_key"));  // the same seed, the same weights
          set_order_one_weights(many, normal);
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
    LogLinearAttention<KeyOnly<GLA>> layer(
        {.d_model = 5, .d_k = 4, .d_v = 3, .max_levels = levels});
    set_order_one_weights(layer, normal);
    LeafList<KeyOnly<GLA>, double, NormalizedMixture> oracle(layer);
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
