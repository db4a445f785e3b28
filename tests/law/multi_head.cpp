// SPDX-License-Identifier: MIT
// Several heads: the same as single layers and one matrix, the gradient through W_out, any number
// of threads, all heads or none.

#include <limits>
#include <stdexcept>
#include <utility>

#include "catch.hpp"
#include "oracles/differences.hpp"
#include "rules.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

template <class Layer>
typename MultiHeadAttention<Layer>::Options small(OutputBound bound, int threads = 1) {
  return {.d_model = 5,
          .d_k = 4,
          .d_v = 3,
          .n_heads = 3,
          .learning_rate = 0.05,
          .bias = true,
          .bound = bound,
          .threads = threads};
}

/// A product of length n_heads * d_v = 9, whose rounding is eps times the sum of absolute terms.
constexpr double tolerance = 9 * std::numeric_limits<double>::epsilon();

}  // namespace

TEMPLATE_TEST_CASE("a multi-head layer is its heads and one matrix", "[law]",
                   LogLinearAttention<GatedDeltaNet>, LogLinearAttention<Hawk>,
                   LinearAttention<GLA>) {
  for (const OutputBound bound : {OutputBound::none, OutputBound::forward, OutputBound::always}) {
    Normal normal(31);
    MultiHeadAttention<TestType> layer(small<TestType>(bound));
    set_order_one_weights(layer, normal);
    std::vector<TestType> heads;
    for (int h = 0; h < 3; ++h) heads.push_back(layer.head(h));
    const detail::Matrix<double> w_out = layer.weight("w_out");
    double scale = 1;
    const auto expected = [&](bool bounded) {
      detail::Vector<double> reads(9);
      for (int h = 0; h < 3; ++h)
        reads.segment(3 * h, 3) = heads[static_cast<std::size_t>(h)].raw_read();
      scale = 1 + (w_out.cwiseAbs() * reads.cwiseAbs()).maxCoeff();
      detail::Vector<double> o = w_out * reads;
      return bounded ? detail::Vector<double>(o.array().tanh()) : o;
    };
    for (int t = 0; t < 9; ++t) {
      const auto x = normal.vector<double>(5, 1);
      for (auto& head : heads) head.query_readonly(x);
      const detail::Vector<double> answer = layer.query_readonly(x);
      const auto answer_wanted = expected(bound == OutputBound::always);
      CHECK(detail::max_abs(answer - answer_wanted) <= tolerance * scale);
      for (auto& head : heads) head.forward(x);
      const detail::Vector<double> output = layer.forward(x);
      const auto output_wanted = expected(bound != OutputBound::none);
      CHECK(detail::max_abs(output - output_wanted) <= tolerance * scale);
    }
    detail::Vector<double> states(layer.state().size());
    states << heads[0].state(), heads[1].state(), heads[2].state();
    CHECK(layer.state() == states);
    layer.reset();
    CHECK(layer.state().isZero(0));
  }
}

TEMPLATE_TEST_CASE("training goes through W_out into every head", "[grad]",
                   LogLinearAttention<GatedDeltaNet>, LogLinearAttention<RWKV7>,
                   LinearAttention<MLSTM>) {
  for (const OutputBound bound : {OutputBound::none, OutputBound::always}) {
    Normal normal(37);
    MultiHeadAttention<TestType> layer(small<TestType>(bound));
    set_order_one_weights(layer, normal);
    for (int t = 0; t < 5; ++t) layer.forward(normal.vector<double>(5, 0.7));
    const auto x = normal.vector<double>(5, 0.7), y = normal.vector<double>(5, 0.5);
    auto stepped = layer;
    stepped.set_learning_rate(1);
    stepped.train_one(x, y);
    for (const std::string& name : layer.weight_names()) {
      INFO(name);
      const detail::Matrix<double> weight = layer.weight(name);
      const detail::Matrix<double> gradient = weight - stepped.weight(name);
      detail::Matrix<double> difference = gradient;
      const double step = 1e-5;
      for (Eigen::Index i = 0; i < weight.size(); ++i) {
        const auto loss = [&](double by) {
          auto moved = layer;
          moved.set_learning_rate(0);
          detail::Matrix<double> w = weight;
          w(i) += by;
          moved.set_weight(name, w);
          return 0.5 * (moved.train_one(x, y) - y).squaredNorm();
        };
        difference(i) = (loss(step) - loss(-step)) / (2 * step);
      }
      // 1e-10: rounding of the loss over the step
      CHECK(detail::max_abs(gradient - difference) <= 1e-6 * detail::max_abs(difference) + 1e-10);
    }
  }
}

TEST_CASE("the number of threads does not change a bit", "[law]") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  set_thread_count(4);
  Normal normal(41);
  MultiHeadAttention<Layer> one(small<Layer>(OutputBound::always, 1));
  MultiHeadAttention<Layer> four(small<Layer>(OutputBound::always, 4));
  set_order_one_weights(one, normal);
  copy_weights(one, four);
  for (int t = 0; t < 20; ++t) {
    const auto x = normal.vector<double>(5, 1), y = normal.vector<double>(5, 0.5);
    CHECK(one.forward(x) == four.forward(x));
    CHECK(one.train_one(x, y) == four.train_one(x, y));
  }
  CHECK(one.state() == four.state());
  for (const std::string& name : one.weight_names()) CHECK(one.weight(name) == four.weight(name));
}

TEMPLATE_TEST_CASE("nor in long streams, spans and streams restored elsewhere", "[law]",
                   (LogLinearAttention<GatedDeltaNet, float>),
                   (LogLinearAttention<GLAVector, float>), (LogLinearAttention<GLA, float>)) {
  using Heads = MultiHeadAttention<TestType>;
  using Span = detail::RowMajorMatrix<float>;
  // Levels of several tiers, leaves that stand apart, more heads than threads and fewer.
  typename Heads::Options options{.d_model = 6, .d_k = 20, .d_v = 24, .n_heads = 5};
  options.threads = 1;
  Heads first(options);
  Normal normal(42);
  set_order_one_weights(first, normal);
  const Span x = normal.matrix<float>(600, 6, 1), y = normal.matrix<float>(100, 6, 0.5);
  const auto run = [&](Heads& heads) {
    Span out(600, 6);
    for (Eigen::Index t = 0; t < 300; ++t) out.row(t) = heads.forward(x.row(t)).transpose();
    out.middleRows(300, 200) = heads.forward_span(x.middleRows(300, 200));
    for (Eigen::Index t = 500; t < 600; ++t) {
      out.row(t) = heads.train_one(x.row(t), y.row(t - 500)).transpose();
    }
    return out;
  };
  const auto begin = first;
  const Span expected = run(first);
  set_thread_count(8);
  for (const int threads : {1, 2, 3, 8}) {
    CAPTURE(threads);
    options.threads = threads;
    Heads heads(options);
    copy_weights(begin, heads);
    for (int t = 0; t < 10; ++t) heads.forward(x.row(t));
    heads.restore(begin.snapshot());
    CHECK(run(heads) == expected);
    CHECK(heads.state() == first.state());
    for (const std::string& name : first.weight_names()) {
      CHECK(heads.weight(name) == first.weight(name));
    }
  }
}

TEST_CASE("how many threads there are is no secret", "[law]") {
  using Layer = LogLinearAttention<GLA>;
  for (const int most : {1, 2, 8}) {
    set_thread_count(most);
    for (const int threads : {1, 2, 3, 8}) {
      const MultiHeadAttention<Layer> layer(small<Layer>(OutputBound::none, threads));
      CHECK(layer.threads_used() == std::min({most, threads, 3}));
    }
  }
}

TEMPLATE_TEST_CASE("into the caller's vector, and with the caller's memory", "[law]",
                   LogLinearAttention<GatedDeltaNet>, (LogLinearAttention<GLA, float>),
                   LinearAttention<Hawk>) {
  using Layer = TestType;
  using Scalar = typename Layer::Scalar;
  using Vector = detail::Vector<Scalar>;
  for (const OutputBound bound : {OutputBound::none, OutputBound::forward, OutputBound::always}) {
    MultiHeadAttention<Layer> layer(small<Layer>(bound, 2));
    Normal normal(43);
    set_order_one_weights(layer, normal);
    auto twin = layer;
    const auto& shared = layer;
    auto workspace = shared.make_workspace();
    detail::Matrix<Scalar> out(3, 5);
    for (int t = 0; t < 9; ++t) {
      const Vector x = normal.vector<Scalar>(5, 1), y = normal.vector<Scalar>(5, 0.5);
      layer.forward(x, out.row(0));
      CHECK(Vector(out.row(0)) == twin.forward(x));
      layer.query_readonly(x, out.row(1));
      CHECK(Vector(out.row(1)) == twin.query_readonly(x));
      CHECK(shared.query_readonly(x.transpose(), workspace) == twin.query_readonly(x));
      layer.train_one(x, y, out.row(2));
      CHECK(Vector(out.row(2)) == twin.train_one(x, y));
    }
    CHECK(layer.state() == twin.state());
    Vector small_out(4);
    const Vector x = Vector::Ones(5);
    CHECK_THROWS_AS(layer.forward(x, small_out), std::invalid_argument);
    CHECK_THROWS_AS(layer.query_readonly(x, small_out), std::invalid_argument);
    CHECK_THROWS_AS(layer.train_one(x, x, small_out), std::invalid_argument);
    CHECK_THROWS_AS(shared.query_readonly(Vector(4), workspace), std::invalid_argument);
    auto options = small<Layer>(bound);
    options.n_heads = 2;
    auto fewer = MultiHeadAttention<Layer>(options).make_workspace();
    CHECK_THROWS_AS(shared.query_readonly(x, fewer), std::invalid_argument);
    options = small<Layer>(bound);
    options.d_model = 6;
    auto wider = MultiHeadAttention<Layer>(options).make_workspace();
    CHECK_THROWS_AS(shared.query_readonly(x, wider), std::invalid_argument);
    CHECK(layer.state() == twin.state());
  }
}

TEST_CASE("what fails in one head changes none", "[law]") {
  using Layer = LogLinearAttention<RWKV>;
  set_thread_count(3);
  for (const int threads : {1, 3}) {
    MultiHeadAttention<Layer> layer(small<Layer>(OutputBound::none, threads));
    // Only the last head's key overflows in exp(k).
    layer.set_weight("head2.w_key", detail::Matrix<double>::Constant(4, 5, 400.0));
    const detail::Vector<double> good = detail::Vector<double>::Constant(5, 0.01);
    const detail::Vector<double> bad = detail::Vector<double>::Ones(5);
    layer.forward(good);
    const auto before = layer;
    CHECK_THROWS_AS(layer.forward(bad), std::invalid_argument);
    CHECK_THROWS_AS(layer.train_one(bad, good), std::invalid_argument);
    CHECK_THROWS_AS(layer.train_one(good, detail::Vector<double>::Zero(4)), std::invalid_argument);
    CHECK(layer.state() == before.state());
    for (int h = 0; h < 3; ++h) CHECK(layer.head(h).log_linear_state().size() == 1);
    for (const std::string& name : layer.weight_names()) {
      CHECK(layer.weight(name) == before.weight(name));
    }
  }
}

TEST_CASE("options and names of a multi-head layer are checked", "[law]") {
  using Heads = MultiHeadAttention<LogLinearAttention<GLA>>;
  CHECK_THROWS_AS(Heads({.d_model = 4, .d_k = 2, .d_v = 2, .n_heads = 0}), std::invalid_argument);
  CHECK_THROWS_AS(Heads({.d_model = 4, .d_k = 2, .d_v = 2, .threads = 0}), std::invalid_argument);
  CHECK_THROWS_AS(Heads({.d_model = 0, .d_k = 2, .d_v = 2}), std::invalid_argument);
  CHECK_THROWS_AS(Heads({.d_model = 4, .d_k = 2, .d_v = 0}), std::invalid_argument);
  Heads layer({.d_model = 4, .d_k = 2, .d_v = 2, .n_heads = 2});
  CHECK(layer.weight("head1.w_gate").cols() == 4);
  CHECK(layer.weight("w_out").cols() == 4);
  CHECK_THROWS_AS(layer.weight("head2.w_gate"), std::invalid_argument);
  CHECK_THROWS_AS(layer.head(2), std::invalid_argument);
  CHECK_THROWS_AS(layer.set_learning_rate(-1), std::invalid_argument);
}

TEMPLATE_TEST_CASE("several heads take a span as they take its tokens", "[law]",
                   LogLinearAttention<GatedDeltaNet>, LogLinearAttention<Hawk>,
                   LinearAttention<GLA>) {
  using Span = detail::RowMajorMatrix<double>;
  // Every read order, one of them also without the tanh.
  for (const auto& [bound, order] : {std::pair{OutputBound::none, ReadOrder::after_push},
                                     std::pair{OutputBound::always, ReadOrder::after_push},
                                     std::pair{OutputBound::always, ReadOrder::before_push},
                                     std::pair{OutputBound::always, ReadOrder::current_apart}}) {
    INFO(name_of(order));
    Normal normal(77);
    auto options = small<TestType>(bound);
    options.read_order = order;
    MultiHeadAttention<TestType> layer(options);
    set_order_one_weights(layer, normal);
    for (int t = 0; t < 5; ++t) layer.forward(normal.vector<double>(5, 1));
    const Span x = normal.matrix<double>(70, 5, 1), d_out = normal.matrix<double>(70, 5, 1);
    const auto outputs_of = [](auto heads, const Span& inputs) {
      Span out(inputs.rows(), heads.output_dim());
      for (Eigen::Index t = 0; t < inputs.rows(); ++t) {
        out.row(t) = heads.forward(inputs.row(t)).transpose();
      }
      return out;
    };
    const auto gradient = layer.span_gradient(x, d_out);
    auto span = layer;
    const Span expected = outputs_of(layer, x);
    CHECK(detail::max_abs(span.forward_span(x) - expected) <= 1e-11);
    for (Eigen::Index t = 0; t < 70; ++t) layer.forward(x.row(t));
    CHECK(detail::max_abs(span.state() - layer.state()) <= 1e-11);

    // Backpropagation, at one coefficient of each: inputs, W_out, and an array of the last head.
    const auto difference = [](auto loss) { return derivative(1e-4, loss); };
    MultiHeadAttention<TestType> before(options);
    for (const std::string& name : layer.weight_names())
      before.set_weight(name, layer.weight(name));
    const auto fresh = before.span_gradient(x, d_out);
    const double by_input = difference([&](double h) {
      Span moved = x;
      moved(3, 1) += h;
      return outputs_of(before, moved).cwiseProduct(d_out).sum();
    });
    const auto by_weight = [&](const std::string& name) {
      return difference([&](double h) {
        auto moved = before;
        detail::Matrix<double> w = before.weight(name);
        w(1, 2) += h;
        moved.set_weight(name, w);
        return outputs_of(moved, x).cwiseProduct(d_out).sum();
      });
    };
    CHECK(fresh.x(3, 1) == Approx(by_input).epsilon(1e-6));
    CHECK(fresh.w_out(1, 2) == Approx(by_weight("w_out")).epsilon(1e-6));
    CHECK(fresh.heads[2].weight("w_value")(1, 2) ==
          Approx(by_weight("head2.w_value")).epsilon(1e-6));
    for (const std::string& name : before.weight_names()) {
      INFO(name);
      const detail::Matrix<double> of_name = fresh.weight(name);
      CHECK(of_name.rows() == before.weight(name).rows());
      CHECK(of_name.cols() == before.weight(name).cols());
    }
    CHECK(fresh.weight("w_out") == fresh.w_out);
    CHECK(fresh.weight("head2.w_value") == fresh.heads[2].weight("w_value"));
    for (const char* name : {"w_value", "head3.w_value", "head2.w_valu", "head2", ""}) {
      CHECK_THROWS_AS(fresh.weight(name), std::invalid_argument);
    }
    // One step on a span: every weight goes down its gradient.
    auto trained = before;
    trained.set_learning_rate(0.01);
    const Span y = Span::Zero(70, 5);
    const Span o = trained.train_span(x, y);
    CHECK(detail::max_abs(trained.weight("w_out") - before.weight("w_out")) > 0);
    Span bad = x;
    bad(69, 0) = std::numeric_limits<double>::infinity();
    const auto state = trained.state();
    CHECK_THROWS_AS(trained.train_span(bad, y), std::invalid_argument);
    CHECK_THROWS_AS(trained.forward_span(bad), std::invalid_argument);
    CHECK(trained.state() == state);
  }
}
