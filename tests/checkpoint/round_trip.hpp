// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_CHECKPOINT_ROUND_TRIP_HPP
#define LOGLINEAR_TESTS_CHECKPOINT_ROUND_TRIP_HPP

// A stream that is stored and goes on elsewhere gives the bits of one that was never interrupted.

#include <string>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"
#include "rules.hpp"

namespace loglinear::test {

/// One token, every third of them learnt from.
template <class Layer>
Vector<typename Layer::Scalar> token(Layer& layer, Random& random, int t) {
  using Scalar = typename Layer::Scalar;
  const auto x = random.vector<Scalar>(layer.d_model());
  if (t % 3 != 2) return layer.forward(x);
  return layer.train_one(x, random.vector<Scalar>(layer.output_dim()));
}

/// Whether a layer brought back from `stored` into `other` goes on as the stored one does.
template <class Layer>
void check_continued(const Layer& stored, Layer other) {
  const std::string bytes = saved(stored);
  load_bytes(bytes, other);
  const bool same_file = saved(other) == bytes;
  CHECK(same_file);
  CHECK(other.train_step_count() == stored.train_step_count());
  const bool same_state = other.log_linear_state() == stored.log_linear_state();
  CHECK(same_state);
  Layer undisturbed(stored);
  Random one(5), same(5);
  bool agree = true;
  for (int t = 0; t < 20; ++t) {
    agree = agree && same_bits(token(undisturbed, one, t), token(other, same, t));
  }
  CHECK(agree);
  const bool same_end = saved(other) == saved(undisturbed);
  CHECK(same_end);
}

/// Levels of 16 x 16 buffer up to eight tokens where the rule allows: stored with an empty buffer,
/// a full one but for one token, and a flushed one; with active levels from none to all.
template <class Rule, class Scalar>
void check_rule(const Rule& rule, const char* name) {
  using Layer = loglinear::LogLinearAttention<Rule, Scalar>;
  for (const loglinear::ReadOrder order : read_orders) {
    typename Layer::Options options{.inner = rule,
                                    .d_model = 5,
                                    .d_k = 16,
                                    .d_v = 16,
                                    .max_levels = 6,
                                    .read_order = order,
                                    .learning_rate = 0.25};
    Layer layer(options);
    Normal normal(17);
    set_order_one_weights(layer, normal);
    options.seed = 43;  // of no importance, and so is the learning rate
    options.learning_rate = 0;
    const Layer fresh(options);
    Layer used(options);  // with other levels active, which must not stay
    Random random(3);
    for (int t = 0; t < 21; ++t) token(used, random, t);
    for (int t = 0; t < 101; ++t) {
      if (t == 0 || t == 1 || t == 7 || t == 8 || t == 9 || t == 64 || t == 100) {
        INFO(name << ", " << name_of(order) << ", after " << t << " tokens");
        check_continued(layer, fresh);
        check_continued(layer, used);
      }
      token(layer, random, t);
      token(used, random, t + 1);
    }
  }
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_CHECKPOINT_ROUND_TRIP_HPP
