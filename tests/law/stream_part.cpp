// SPDX-License-Identifier: MIT
// Parts of a stream, computed apart, make the stream: for every rule, at random splits, parts
// appended in any order, several times over.

#include "loglinear/stream/stream_part.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "rules.hpp"
#include "support.hpp"

namespace law_stream_part {

using namespace loglinear;
using namespace loglinear::test;

namespace {

using Eigen::Index;

template <class Layer>
inline constexpr PartProduct carried_by =
    HasOwnProducts<typename Layer::Head::Kind> ? PartProduct::compact : PartProduct::matrix;
template <class Layer>
using AnyPart = StreamPart<Layer, carried_by<Layer>>;

/// Each rule, in a hierarchy that overflows and in one state.
template <class Check>
void for_each_layer(Check check) {
  for_each_rule([&]<class Inner>(const Inner& inner, const char* name) {
    INFO(name);
    check(make_layer<LogLinearAttention<Inner>>({.sizes = {4, 5, 6}, .max_levels = 5}, inner));
    check(make_layer<LinearAttention<Inner>>({.sizes = {4, 3, 2}}, inner));
  });
}

}  // namespace

TEST_CASE("parts of a stream make the stream, whatever the rule", "[law]") {
  for_each_layer([]<class Layer>(Layer layer) {
    using Part = AnyPart<Layer>;
    Normal normal(61);
    test::Random random(62);
    constexpr int tokens = 70;
    const detail::Matrix<double> x = normal.matrix<double>(4, tokens, 1);
    // By two paths, sums of up to 5 terms rewritten at every token; transitions of DeltaProduct
    // and RWKV7 are several factors.
    const double bound = test::rounding<double>(64 * std::sqrt(tokens), 5);
    for (int round = 0; round < 6; ++round) {
      const int first = random.below(tokens + 1), second = first + random.below(tokens + 1 - first);
      CAPTURE(first, second);
      Layer one = layer, stream = layer;
      for (int t = 0; t < tokens; ++t) one.forward(x.col(t));
      for (int t = 0; t < first; ++t) stream.forward(x.col(t));
      Part middle(stream, static_cast<std::uint64_t>(first)),
          last(layer, static_cast<std::uint64_t>(second));
      for (int t = first; t < second; ++t) middle.write(x.col(t));
      for (int t = second; t < tokens; ++t) last.write(x.col(t));
      CHECK(last.first() == static_cast<std::uint64_t>(second));
      CHECK(last.size() == tokens);
      if (round % 2 == 0) {
        middle.append(last);
        middle.append_to(stream);
      } else {
        middle.append_to(stream);
        last.append_to(stream);
      }
      CHECK(stream.size() == one.size());
      const double scale = 1 + one.state().norm();
      CHECK(test::difference(stream.state(), one.state()) <= bound * scale);
      for (int t = 0; t < 20; ++t) {
        one.forward(x.col(t));
        stream.forward(x.col(t));
        const double size = 1 + one.state().norm() * 16;
        CHECK(test::difference(stream.raw_read(), one.raw_read()) <= bound * size);
      }
    }
  });
}

TEST_CASE("a part is appended where it begins, or not at all", "[law]") {
  using Layer = LogLinearAttention<GLA>;
  const Layer layer({.d_model = 3, .d_k = 4, .d_v = 5, .max_levels = 6});
  const Eigen::Vector3d x(1, 2, 3);
  Layer stream = layer;
  for (int t = 0; t < 10; ++t) stream.forward(x);
  StreamPart<Layer> part(layer, 11), later(layer, 13);
  part.write(x);
  later.write(x);
  const detail::Vector<double> before = stream.state();
  CHECK(test::mentions(test::error_of([&] { part.append_to(stream); }),
                       {"the first token of the part to append is 11", "it must be 10"}));
  CHECK(test::mentions(test::error_of([&] { part.append(later); }), {"is 13", "it must be 12"}));
  CHECK(part.size() == 12);
  Layer other({.d_model = 3, .d_k = 4, .d_v = 5, .max_levels = 7});
  other.advance_to(11);
  CHECK(test::mentions(test::error_of([&] { part.append_to(other); }),
                       {"max_levels of the later part is 6", "7"}));
  CHECK(stream.state() == before);
  CHECK(stream.size() == 10);
  stream.forward(x);
  part.append_to(stream);
  CHECK(stream.size() == 12);
  CHECK(test::mentions(test::error_of([&] { part.append_to(stream); }), {"11", "12"}));
}

TEMPLATE_TEST_CASE("parts of several heads are appended together", "[law]",
                   LogLinearAttention<GLAVector>, LogLinearAttention<GatedDeltaNet>) {
  using Layer = MultiHeadAttention<TestType>;
  using Part = StreamPart<Layer, carried_by<TestType>>;
  Layer stream({.d_model = 4, .d_k = 3, .d_v = 2, .n_heads = 3, .max_levels = 4, .seed = 5});
  const Layer layer = stream;
  Layer one = stream;
  const detail::Matrix<double> x = test::Random(64).matrix<double>(4, 90);
  for (int t = 0; t < 70; ++t) one.forward(x.col(t));
  for (int t = 0; t < 13; ++t) stream.forward(x.col(t));
  Part middle(layer, 13), last(layer, 40), late(layer, 41);
  for (int t = 13; t < 40; ++t) middle.write(x.col(t));
  for (int t = 40; t < 70; ++t) last.write(x.col(t));
  CHECK(middle.first() == 13);
  CHECK(middle.size() == 40);

  // Refused for all heads, or for the last of them alone.
  const detail::Vector<double> before = stream.state();
  CHECK(test::mentions(test::error_of([&] { middle.append(late); }), {"is 41", "it must be 40"}));
  CHECK(
      test::mentions(test::error_of([&] { last.append_to(stream); }), {"is 40", "it must be 13"}));
  Layer fewer({.d_model = 4, .d_k = 3, .d_v = 2, .n_heads = 2, .max_levels = 4});
  fewer.advance_to(13);
  CHECK(test::mentions(test::error_of([&] { middle.append_to(fewer); }),
                       {"the heads of the part to append is 3", "it must be 2"}));
  detail::Vector<double> bad = x.col(0);
  bad[3] = NAN;
  CHECK(test::mentions(test::error_of([&] { middle.write(bad); }), {"x[3] is nan"}));
  CHECK(middle.size() == 40);
  CHECK(stream.state() == before);

  middle.append(last);
  middle.append_to(stream);
  CHECK(stream.size() == 70);
  // Sums of three terms rewritten at every token, by two paths.
  const double bound = test::rounding<double>(64 * std::sqrt(70), 3);
  CHECK(test::difference(stream.state(), one.state()) <= bound * (1 + one.state().norm()));
  for (int t = 70; t < 90; ++t) {
    CHECK(test::difference(stream.forward(x.col(t)), one.forward(x.col(t))) <= 1e-12);
  }
}

TEST_CASE("a head that is refused keeps the others as they were", "[law]") {
  using Layer = MultiHeadAttention<LogLinearAttention<KeyOnly<RetNet>, float>>;
  Layer stream({.d_model = 1, .d_k = 1, .d_v = 1, .n_heads = 2, .max_levels = 3});
  for (const std::string& name : stream.weight_names()) {
    const auto old = stream.weight(name);
    stream.set_weight(name, Eigen::MatrixXf::Zero(old.rows(), old.cols()));
  }
  stream.set_weight("head1.w_key", Eigen::MatrixXf::Ones(1, 1));
  stream.set_weight("head1.w_value", Eigen::MatrixXf::Ones(1, 1));
  const Layer layer = stream;
  const Eigen::VectorXf large =
      Eigen::VectorXf::Constant(1, 7e18F);  // squared, over half the limit
  stream.forward(large);
  StreamPart<Layer> part(layer, 1), other(layer, 2);
  part.write(large);
  other.write(large);
  const auto before = stream.state();
  CHECK(test::mentions(test::error_of([&] { part.append_to(stream); }), {"magnitude"}));
  CHECK(stream.state() == before);
  CHECK(stream.head(0).size() == 1);
  CHECK(test::mentions(test::error_of([&] { part.append(other); }), {"magnitude"}));
  CHECK(part.size() == 2);
}

TEST_CASE("parts that are too large together are refused", "[law]") {
  using Layer = LogLinearAttention<KeyOnly<RetNet>, float>;
  Layer layer({.d_model = 1, .d_k = 1, .d_v = 1, .max_levels = 3});
  layer.set_weight("w_key", Eigen::MatrixXf::Ones(1, 1));
  layer.set_weight("w_value", Eigen::MatrixXf::Ones(1, 1));
  Layer stream = layer;
  const Eigen::VectorXf large =
      Eigen::VectorXf::Constant(1, 7e18F);  // squared, over half the limit
  stream.forward(large);
  StreamPart<Layer> part(layer, 1);
  part.write(large);
  const auto before = stream.state();
  CHECK(test::mentions(test::error_of([&] { part.append_to(stream); }), {"magnitude"}));
  CHECK(stream.state() == before);
  CHECK(stream.size() == 1);
}

TEST_CASE("states of consecutive parts add up", "[law]") {
  using State = LogLinearState<double>;
  test::Random random(63);
  for (const int max_levels : {1, 2, 4, 9}) {
    for (int round = 0; round < 20; ++round) {
      const int first = random.below(60), end = first + random.below(60);
      State one(max_levels, 2, 3), earlier(max_levels, 2, 3), later(max_levels, 2, 3);
      ScalarDecay<double> decay(2, 3), product(2, 3);
      decay.decay = 0.5;  // exact
      later.advance_to(static_cast<std::uint64_t>(first));
      for (int t = 0; t < end; ++t) {
        const Eigen::Vector2d k = (4 * random.vector<double>(2)).array().round();
        const Eigen::Vector3d v = (4 * random.vector<double>(3)).array().round();
        const bool decays = t % 20 == 0;
        for (State* state : {&one, t < first ? &earlier : &later}) {
          if (decays) state->undergo(decay);
          state->push_leaf(k, v);
        }
        if (decays && t >= first) product.follow(decay);
      }
      earlier.undergo(product);
      earlier.advance_to(later.size());
      earlier.add(later);
      CHECK(earlier == one);
    }
  }
  State state(3, 2, 2), other(3, 2, 2);
  other.advance_to(5);
  CHECK(test::mentions(test::error_of([&] { state.add(other); }),
                       {"size() of the state to add is 5", "0"}));
  CHECK(test::mentions(test::error_of([&] { other.advance_to(4); }),
                       {"the count to advance to is 4", "at least size()"}));
  CHECK(test::mentions(test::error_of([&] { state.add(State(4, 2, 2)); }), {"max_levels"}));
  CHECK(test::mentions(test::error_of([&] { state.add(State(3, 1, 2)); }), {"d_k"}));
  CHECK(test::mentions(test::error_of([&] { state.add(State(3, 2, 1)); }), {"d_v"}));
}

}  // namespace law_stream_part
