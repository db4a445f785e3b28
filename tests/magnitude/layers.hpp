// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MAGNITUDE_LAYERS_HPP
#define LOGLINEAR_TESTS_MAGNITUDE_LAYERS_HPP

// Everything that can be done with a layer, on streams of every magnitude.

#include "catch.hpp"
#include "loglinear/stream/stream_part.hpp"
#include "magnitude/denormals.hpp"
#include "rules.hpp"

namespace loglinear::test {

using Eigen::Index;

/// The rules of the laws, and gates of about one half a token, which is what they are by default.
template <class Use>
void for_each_rule_and_gate(Use use) {
  for_each_rule(use);
  const auto gate = [&]<class Rule>(const Rule& rule, const char* name) {
    use(RuntimeRule<Rule>(rule), name);
  };
  gate(RetNet{.gamma = 0.5}, "RetNet(one half)");
  gate(GLA{}, "GLA(one half)");
  gate(GLAVector{}, "GLAVector(one half)");
  gate(GLAVector{.gate_bias = -5}, "GLAVector(-5)");
  gate(GatedDeltaNet{}, "GatedDeltaNet(one half)");
  gate(GatedDeltaNet{.gate_bias = -5}, "GatedDeltaNet(-5)");
  gate(Hawk{}, "Hawk(one half)");
  gate(DeltaProduct<2>{}, "DeltaProduct<2>(one half)");
  gate(RWKV7{}, "RWKV7(one half)");
  gate(Mamba2{.initial_dt_bias = 2}, "Mamba2(fast)");
}

template <class Scalar>
[[nodiscard]] detail::RowMajorMatrix<Scalar> rows_of(const std::vector<test::Vector<Scalar>>& x,
                                                     std::size_t first, std::size_t count) {
  detail::RowMajorMatrix<Scalar> rows(static_cast<Index>(count), x.front().size());
  for (std::size_t t = 0; t < count; ++t) {
    rows.row(static_cast<Index>(t)) = x[first + t].transpose();
  }
  return rows;
}

/// Tokens one by one, in every way.
template <class Layer>
void stream(DenormalWatch& watch, Layer layer,
            const std::vector<test::Vector<typename Layer::Scalar>>& x) {
  using Scalar = typename Layer::Scalar;
  typename Layer::Snapshot moment = layer.snapshot();
  test::Vector<Scalar> out = test::Vector<Scalar>::Zero(layer.output_dim());
  const test::Vector<Scalar> target = test::Vector<Scalar>::Constant(layer.output_dim(), 0.5);
  bool is_normal = true;
  std::size_t t = 0;
  for (const test::Vector<Scalar>& x_t : x) {
    watch("query_readonly", [&] { out = layer.query_readonly(x_t); });
    is_normal = is_normal && test::has_no_denormals(out);
    if (t % 3 == 2) {
      watch("train_one", [&] { out = layer.train_one(x_t, target); });
    } else {
      watch("forward", [&] { layer.forward(x_t, out); });
    }
    is_normal = is_normal && test::has_no_denormals(out);
    if (t % 16 == 9) {
      watch("snapshot", [&] { layer.snapshot(moment); });
      watch("restore", [&] { layer.restore(moment); });
      test::Vector<Scalar> state;
      watch("state", [&] { state = layer.state(); });
      is_normal = is_normal && test::has_no_denormals(state);
    }
    if (t % 200 == 199) watch("advance_to", [&] { layer.advance_to(layer.size() + 21); });
    ++t;
  }
  CHECK(is_normal);
}

/// Spans of tokens, between tokens.
template <class Layer>
void spans(DenormalWatch& watch, Layer layer,
           const std::vector<test::Vector<typename Layer::Scalar>>& x) {
  using Rows = detail::RowMajorMatrix<typename Layer::Scalar>;
  for (std::size_t first = 0; first + 143 <= x.size(); first += 143) {
    const Rows span = rows_of(x, first, 143);
    const Rows like_out = Rows::Constant(143, layer.output_dim(), typename Layer::Scalar(0.1));
    Rows out;
    watch("span_gradient", [&] {
      const auto gradient = layer.span_gradient(span, like_out);
      CHECK(test::has_no_denormals(gradient.x));
    });
    if (first % 2 == 0) {
      watch("forward_span", [&] { out = layer.forward_span(span); });
    } else {
      watch("train_span", [&] { out = layer.train_span(span, like_out); });
    }
    CHECK(test::has_no_denormals(out));
    watch("forward after a span", [&] { layer.forward(x[first]); });
  }
}

/// Parts of a stream that are computed apart.
template <class Layer>
void parts(DenormalWatch& watch, Layer layer,
           const std::vector<test::Vector<typename Layer::Scalar>>& x) {
  constexpr PartProduct product =
      HasOwnProducts<typename Layer::Head::Kind> ? PartProduct::compact : PartProduct::matrix;
  using Part = StreamPart<Layer, product>;
  const std::size_t third = x.size() / 3;
  for (std::size_t t = 0; t < third; ++t) {
    watch("forward", [&] { layer.forward(x[t]); });
  }
  Part middle(layer, layer.size());
  for (std::size_t t = third; t < 2 * third; ++t) {
    watch("StreamPart::write", [&] { middle.write(x[t]); });
  }
  Part last(layer, middle.size());
  for (std::size_t t = 2 * third; t < x.size(); ++t) {
    watch("StreamPart::write", [&] { last.write(x[t]); });
  }
  watch("StreamPart::append", [&] { middle.append(last); });
  watch("StreamPart::append_to", [&] { middle.append_to(layer); });
  CHECK(test::has_no_denormals(layer.state()));
}

/// Whether the first rule of a layer's kind of transition has an even place in the list of rules.
/// Where every kind and every scalar is to be seen, but not every kind with every scalar, the kinds
/// take turns by it.
template <class Layer>
constexpr bool has_even_kind = [] {
  int place = 0, first = -1;
  detail::RuntimeRules::for_each([&]<class Rule>(std::type_identity<Rule>) {
    if (first < 0 && std::is_same_v<RuntimeRule<Rule>, typename Layer::Head::Inner>) first = place;
    ++place;
  });
  return first % 2 == 0;
}();

/// A layer of each rule, with the weights that it starts with and with weights of order 1.
template <class Scalar, class Stored, class Use>
void for_each_layer(Use use) {
  for_each_rule_and_gate([&]<class Inner>(const Inner& inner, const char* name) {
    INFO(name);
    LogLinearAttention<Inner, Scalar, NormalizedMixture, Stored> layer(
        {.inner = inner, .d_model = 5, .d_k = 8, .d_v = 9, .max_levels = 8});
    use(layer);
    Normal normal(5);
    set_order_one_weights(layer, normal);
    use(layer);
  });
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_MAGNITUDE_LAYERS_HPP
