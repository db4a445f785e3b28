// SPDX-License-Identifier: MIT
// The steps of training against their equations in plain loops over the gradient, which comes from
// a twin that steps by plain gradient descent at rate 1.

#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <string>

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "rules.hpp"
#include "support.hpp"

using namespace loglinear;
using loglinear::test::for_each_rule;
using loglinear::test::Normal;
using loglinear::test::set_order_one_weights;

namespace {

using Matrix = test::Matrix<double>;
using Vector = test::Vector<double>;
using Layer = LogLinearAttention<GatedDeltaNet>;

/// The weights of a layer, by their names.
using Weights = std::map<std::string, Matrix>;
template <class Any>
Weights weights_of(const Any& layer) {
  Weights weights;
  for (const std::string& name : layer.weight_names()) weights[name] = layer.weight(name);
  return weights;
}
template <class Any>
void set(Any& layer, const Weights& weights) {
  for (const auto& [name, weight] : weights) layer.set_weight(name, weight);
}
template <class A, class B>
double distance(const A& a, const B& b) {
  double worst = 0;
  for (const auto& [name, weight] : a)
    worst = std::max(worst, test::difference(weight, b.at(name)));
  return worst;
}

bool is_projection(const std::string& name) {
  return name.find(".bias") == std::string::npos;
}

/// The equations of the rules, number by number.
struct Equations {
  Step step;
  double rate;
  Weights mean{}, square{};
  int t = 0;

  /// weights <- their step against the gradient; the scale of input j is s_j.
  void take(Weights& weights, const Weights& gradient, const Vector& s) {
    ++t;
    const bool normalized = step.rule == StepRule::normalized;
    const auto scale = [&](const std::string& name, Eigen::Index j) {
      return normalized && is_projection(name) ? s[j] : 1;
    };
    double norm = 0;
    for (const auto& [name, g] : gradient) {
      for (Eigen::Index j = 0; j < g.cols(); ++j) {
        norm = std::hypot(norm, g.col(j).norm() / scale(name, j));
      }
    }
    const double shortened = step.clip > 0 && norm > step.clip ? step.clip / norm : 1;
    const double falling = normalized ? std::max(0.1, 300.0 / (299 + t)) : 1;
    for (auto& [name, weight] : weights) {
      Matrix& m = mean.try_emplace(name, Matrix::Zero(weight.rows(), weight.cols())).first->second;
      Matrix& v =
          square.try_emplace(name, Matrix::Zero(weight.rows(), weight.cols())).first->second;
      for (Eigen::Index i = 0; i < weight.rows(); ++i) {
        for (Eigen::Index j = 0; j < weight.cols(); ++j) {
          const double g = shortened * gradient.at(name)(i, j) / scale(name, j);
          if (step.rule == StepRule::sgd) {
            weight(i, j) -= rate * g;
            continue;
          }
          const double beta1 = normalized ? 0 : step.beta1;
          m(i, j) = beta1 * m(i, j) + (1 - beta1) * g;
          v(i, j) = step.beta2 * v(i, j) + (1 - step.beta2) * g * g;
          const double mean_now = m(i, j) / (1 - std::pow(beta1, t));
          const double root = std::sqrt(v(i, j) / (1 - std::pow(step.beta2, t)));
          if (root > 1e-140) {  // else nothing has been seen
            weight(i, j) -= rate * falling / scale(name, j) * mean_now /
                            (root + (normalized ? 0 : step.epsilon));
          }
        }
      }
    }
  }
};

/// The root mean square of each input where it is not 0.
struct Scales {
  Vector sum = Vector::Zero(4), count = Vector::Zero(4);
  void see(const Vector& x) {
    sum += x.cwiseAbs2();
    count += x.cwiseAbs().cwiseSign();
  }
  Vector now() const { return (sum.array() / count.array().max(1)).sqrt(); }
};

constexpr Step all_steps[] = {
    {.rule = StepRule::sgd, .clip = 0.02},
    {.rule = StepRule::adam},
    {.rule = StepRule::adam, .beta1 = 0, .beta2 = 0.9, .epsilon = 1e-3, .clip = 0.02},
    {.rule = StepRule::normalized},
    {.rule = StepRule::normalized, .beta2 = 0.95, .clip = 0.01}};

Layer made(const Step& step, double rate, bool bias = true, std::uint64_t seed = 42) {
  return Layer({.d_model = 4,
                .d_k = 5,
                .d_v = 2,
                .max_levels = 6,
                .learning_rate = rate,
                .step = step,
                .bias = bias,
                .seed = seed});
}

}  // namespace

TEST_CASE("steps obey their equations, with weights that follow the inputs and without", "[law]") {
  for (const Step& step : all_steps) {
    for (const bool follows : {true, false}) {
      CAPTURE(name_of(step.rule), step.clip, follows);
      Normal normal(101);
      Layer layer = made(step, 0.02);
      if (!follows) set_order_one_weights(layer, normal);
      const Eigen::Vector4d sizes(1, follows ? 300 : 2, follows ? 0.01 : 0.5, 1);
      Equations equations{step, 0.02};
      Scales scales;
      double worst = 0;
      for (int t = 0; t < 60; ++t) {
        Vector x = normal.vector<double>(4, 0.5).cwiseProduct(sizes);
        if (t % 3 == 0) x[3] = 0;
        if (t < 5) x[0] = 0;  // the first value comes late
        const Vector y = normal.vector<double>(2, 0.5);
        Weights expected = weights_of(layer);
        const Vector before = scales.count.cwiseMin(1).asDiagonal() * scales.now() +
                              (1 - scales.count.array().min(1)).matrix();
        const Vector count = scales.count;
        scales.see(x);
        const Vector now = scales.now();
        for (auto& [name, weight] : expected) {
          for (Eigen::Index j = 0; is_projection(name) && follows && j < 4; ++j) {
            if (step.rule != StepRule::normalized || x[j] == 0 || count[j] >= 32) continue;
            weight.col(j) *= before[j] / now[j];
          }
        }
        Layer twin = made({.rule = StepRule::sgd}, 1);
        set(twin, expected);
        twin.restore(layer.snapshot());
        const Vector output = twin.train_one(x, y);
        Weights gradient = expected;
        for (auto& [name, g] : gradient) g -= weights_of(twin).at(name);
        equations.take(expected, gradient, now.cwiseMax(1e-300));
        worst = std::max(worst, test::difference(layer.train_one(x, y), output));
        double relative = 0;
        for (const auto& [name, weight] : weights_of(layer)) {
          for (Eigen::Index j = 0; j < weight.cols(); ++j) {
            relative =
                std::max(relative, test::difference(weight.col(j), expected.at(name).col(j)) /
                                       (1e-3 + expected.at(name).col(j).norm()));
          }
        }
        worst = std::max(worst, relative);
      }
      CHECK(worst <= 1e-7);  // the gradient is a difference of weights
      CHECK(layer.train_step_count() == 60);
    }
  }
}

TEST_CASE("the normalized step does not see the scale of the inputs", "[law]") {
  for_each_rule([]<class Inner>(const Inner& inner, const char* name) {
    for (const double factor : {0x1p-10, 0x1p10}) {
      CAPTURE(name, factor);
      Normal normal(103);
      LogLinearAttention<Inner> layer({.inner = inner, .d_model = 4, .d_k = 4, .d_v = 2});
      auto scaled = layer;
      bool same = true;
      for (int t = 0; t < 50; ++t) {
        const Vector x = normal.vector<double>(4, 1), y = normal.vector<double>(2, 0.4);
        const Vector o = layer.train_one(x, y);
        same = same && test::same_bits(scaled.train_one(factor * x, y), o);
      }
      CHECK(same);  // a power of two rounds nothing
      CHECK(test::same_bits((scaled.weight("w_value") * factor).eval(), layer.weight("w_value")));
    }
  });
}

TEST_CASE("the normalized step survives a first input that is a rounding residue", "[law]") {
  SECTION("alone") {
    for (const double first : {1e-150, 1e-160, 1e-17, 1e-3}) {
      LogLinearAttention<GLA> layer({.d_model = 1, .d_k = 1, .d_v = 1});
      const Vector x = Vector::Ones(1), y = Vector::Constant(1, 0.5);
      layer.train_one(first * x, y);
      double error = 1;
      for (int t = 0; t < 1000; ++t) error = std::abs(layer.train_one(x, y)[0] - 0.5);
      CAPTURE(first);
      CHECK(error <= 0.01);
      CHECK(layer.raw_read().allFinite());
    }
  }
  SECTION("beside other inputs, once and for longer than weights follow, at any scale of all") {
    for (const int count : {1, 100}) {
      double error_with_zeros = 0;
      for (const double residue : {0.0, 6e-17, 6e-8}) {
        LogLinearAttention<KeyOnly<RetNet>> layer({.d_model = 2, .d_k = 8, .d_v = 1});
        auto scaled = layer;
        Normal normal(131);
        double sum = 0, largest = 0;
        bool same = true;
        for (int t = 0; t < 4000; ++t) {
          Vector x = normal.vector<double>(2, 1);
          const Vector y = Vector::Constant(1, 0.5 * std::tanh(x[0]));
          if (t < count) x[0] = residue;
          const Vector o = layer.train_one(x, y);
          sum += (o - y).squaredNorm();
          largest = std::max(largest, std::abs(layer.raw_read()[0]));
          same = same && test::same_bits(scaled.train_one(0x1p30 * x, y), o);
        }
        CAPTURE(residue, count, sum / 4000, largest);
        if (residue > 0) {
          CHECK(sum <= 2 * error_with_zeros);
          CHECK(largest <= 1000);
        } else {
          error_with_zeros = sum;
        }
        CHECK(same);  // a residue of 0 has no scale
      }
    }
  }
}

TEST_CASE("a span of one token takes the step of train_one, a new layer's first ones too",
          "[law]") {
  for (const Step& step : all_steps) {
    CAPTURE(name_of(step.rule), step.clip);
    Layer streaming = made(step, 0.02), span = streaming;
    Normal normal(107);
    double worst = 0;
    for (int t = 0; t < 40; ++t) {
      const Matrix x = normal.matrix<double>(1, 4, 3), y = normal.matrix<double>(1, 2, 0.4);
      const Matrix o = streaming.train_one(x.row(0), y.row(0)).transpose();
      worst = std::max(worst, test::difference(span.train_span(x, y), o));
    }
    CHECK(worst <= 1e-6);
    CHECK(distance(weights_of(span), weights_of(streaming)) <= 1e-6);
  }
}

TEST_CASE("several heads step by the same rule, W_out too", "[law]") {
  Normal normal(109);
  MultiHeadAttention<Layer> one_head({.d_model = 4, .d_k = 4, .d_v = 3, .n_heads = 2});
  CHECK(one_head.learning_rate() == info_of(StepRule::normalized).rate);
  auto spans = one_head;
  for (int t = 0; t < 30; ++t) {
    const Matrix x = normal.matrix<double>(1, 4, 50), y = normal.matrix<double>(1, 4, 0.4);
    const Matrix o = one_head.train_one(x.row(0), y.row(0)).transpose();
    CHECK(test::difference(spans.train_span(x, y), o) <= 1e-6);
  }
  CHECK(distance(weights_of(spans), weights_of(one_head)) <= 1e-6);
  const auto before = weights_of(one_head);
  one_head.set_learning_rate(0);
  one_head.train_one(Vector::Ones(4), Vector::Zero(4));
  CHECK(test::same_bits(one_head.weight("w_out"), before.at("w_out")));
}

TEST_CASE("what a step remembers is no part of a snapshot, and is cast with the layer", "[law]") {
  Normal normal(113);
  Layer layer({.d_model = 4, .d_k = 4, .d_v = 2});
  const auto token = [&](auto& to) {
    return Vector(to.train_one(normal.vector<double>(4, 1), normal.vector<double>(2, 0.4)));
  };
  for (int t = 0; t < 40; ++t) token(layer);
  Layer undisturbed(layer);
  const auto moment = layer.snapshot();
  const auto weights = weights_of(layer);
  for (int t = 0; t < 3; ++t) layer.forward(normal.vector<double>(4, 1));
  layer.restore(moment);
  CHECK(distance(weights, weights_of(layer)) == 0);
  auto wide = layer.cast<long double>();
  CHECK(wide.step() == layer.step());
  CHECK(wide.has_bias());
  for (int t = 0; t < 20; ++t) {
    const Vector x = normal.vector<double>(4, 1), y = normal.vector<double>(2, 0.4);
    const Vector o = layer.train_one(x, y);
    CHECK(test::same_bits(undisturbed.train_one(x, y), o));
    CHECK(test::difference(
              Vector(wide.train_one(x.cast<long double>(), y.cast<long double>()).cast<double>()),
              o) <= 1e-9);
  }
}

TEMPLATE_TEST_CASE("no step makes a weight that is not finite", "[bad_input]", float, double) {
  using Scalar = TestType;
  constexpr int most = std::is_same_v<Scalar, float> ? 37 : 307;
  for (const Step& step : all_steps) {
    for (const double rate : {0.01, 1e3, std::pow(10.0, most)}) {
      test::Random random(7);
      LogLinearAttention<GatedDeltaNet, Scalar> layer(
          {.d_model = 3, .d_k = 4, .d_v = 2, .learning_rate = rate, .step = step, .bias = true});
      int refused = 0;
      bool finite = true, unchanged = true;
      for (int t = 0; t < 300; ++t) {
        test::Vector<Scalar> x = random.vector<Scalar>(3);
        for (Scalar& value : x) {
          value *= static_cast<Scalar>(
              std::pow(10.0, random.below(3) == 0 ? random.number(-most, most) : 0));
        }
        const auto before = layer.state();
        const test::Matrix<Scalar> weight = layer.weight("w_key");
        try {
          layer.train_one(x, random.vector<Scalar>(2));
        } catch (const std::invalid_argument&) {
          ++refused;
          unchanged = unchanged && test::same_bits(before, layer.state()) &&
                      test::same_bits(weight, layer.weight("w_key"));
        }
        for (const std::string& name : layer.weight_names()) {
          finite = finite && layer.weight(name).allFinite();
        }
      }
      CAPTURE(name_of(step.rule), rate, refused);
      CHECK(finite);
      CHECK(unchanged);
    }
  }
}

TEST_CASE("a step as large as the scalar leaves weights finite", "[bad_input]") {
  for (const StepRule rule : {StepRule::adam, StepRule::normalized}) {
    for (const double rate : {1e30, 1e34, 1e37}) {
      LogLinearAttention<GLA, float> layer({.d_model = 1,
                                            .d_k = 1,
                                            .d_v = 1,
                                            .learning_rate = rate,
                                            .step = Step{.rule = rule},
                                            .weight_scale = 1});
      const test::Vector<float> x = test::Vector<float>::Ones(1);
      bool finite = true;
      for (int t = 0; t < 20; ++t) {
        static_cast<void>(test::error_of([&] { layer.train_one(x, 1e10f * x); }));
        for (const std::string& name : layer.weight_names()) {
          finite = finite && layer.weight(name).allFinite();
        }
      }
      CAPTURE(name_of(rule), rate);
      CHECK(finite);
    }
  }
}

TEST_CASE("squares of gradients that a narrower scalar cannot hold are not cast", "[bad_input]") {
  for (const double target : {1e25, 0.5}) {
    LogLinearAttention<GLA> layer({.d_model = 1, .d_k = 1, .d_v = 1});
    layer.train_one(Vector::Ones(1), Vector::Constant(1, target));
    const std::string error = test::error_of([&] { (void)layer.cast<float>(); });
    if (target > 1) {
      CHECK(test::mentions(error, {"a mean square of gradients is", "between 0 and"}));
    } else {
      CHECK(error.empty());
    }
  }
}

TEST_CASE("at rate 0 nothing of the weights changes, nor of what steps remember", "[law]") {
  for (const Step& step : all_steps) {
    CAPTURE(name_of(step.rule), step.clip);
    Normal normal(127);
    Layer layer = made(step, 0), untouched = layer;
    MultiHeadAttention<Layer> heads(
        {.d_model = 4, .d_k = 4, .d_v = 3, .n_heads = 2, .learning_rate = 0, .step = step});
    const auto before = weights_of(layer), heads_before = weights_of(heads);
    for (int t = 0; t < 5; ++t) {
      layer.train_one(normal.vector<double>(4, 3), normal.vector<double>(2, 0.5));
      layer.train_span(normal.matrix<double>(3, 4, 3), normal.matrix<double>(3, 2, 0.5));
      heads.train_one(normal.vector<double>(4, 3), normal.vector<double>(4, 0.5));
      heads.train_span(normal.matrix<double>(3, 4, 3), normal.matrix<double>(3, 4, 0.5));
    }
    CHECK(distance(before, weights_of(layer)) == 0);
    CHECK(distance(heads_before, weights_of(heads)) == 0);
    for (Layer* each : {&layer, &untouched}) {
      each->reset();
      each->set_learning_rate(0.02);
      each->train_one(Vector::Constant(4, 7), Vector::Constant(2, 0.5));
    }
    CHECK(distance(weights_of(untouched), weights_of(layer)) == 0);
  }
}

TEST_CASE("options of a step out of their range are refused", "[bad_input]") {
  const auto error = [](const Step& step) { return test::error_of([&] { made(step, 0.1); }); };
  CHECK(test::mentions(error({.beta1 = 1}), {"beta1 is 1", "[0, 1)"}));
  CHECK(test::mentions(error({.beta2 = -0.1}), {"beta2 is -0.1", "[0, 1)"}));
  CHECK(test::mentions(error({.beta1 = 0.9, .beta2 = 0.8}), {"beta2 is 0.8", "above beta1^2"}));
  CHECK(test::mentions(error({.epsilon = -1}), {"epsilon is -1"}));
  CHECK(test::mentions(error({.clip = std::numeric_limits<double>::infinity()}), {"clip is inf"}));
  CHECK(test::mentions(error({.rule = static_cast<StepRule>(7)}),
                       {"the step rule is 7", "one of StepRule"}));
  CHECK(test::mentions(
      test::error_of([] {
        const Layer layer(
            {.d_model = 4, .d_k = 4, .d_v = 2, .step = Step{.rule = static_cast<StepRule>(-1)}});
      }),
      {"the step rule is -1", "one of StepRule"}));
  CHECK(error({}).empty());
}

TEST_CASE("what options leave open: the adaptive step with biases, or the plain one of a rate",
          "[law]") {
  const Layer by_default({.d_model = 4, .d_k = 4, .d_v = 2});
  CHECK(by_default.step() == Step{});
  CHECK(by_default.learning_rate() == info_of(StepRule::normalized).rate);
  CHECK(by_default.weight("w_lambda.bias").isZero(0));
  const Layer plain({.d_model = 4, .d_k = 4, .d_v = 2, .learning_rate = 0.3});
  CHECK(plain.step() == Step{.rule = StepRule::sgd});
  CHECK(plain.learning_rate() == 0.3);
  CHECK_FALSE(plain.has_bias());
  const Layer seeds({.d_model = 4, .d_k = 4, .d_v = 2, .step = Step{.rule = StepRule::sgd}});
  CHECK(seeds.learning_rate() == 0.05);
  CHECK(test::same_bits(seeds.weight("w_query"), by_default.weight("w_query")));
}

namespace {

/// What the first token reads of a value of 1 in its own leaf, at an input of 0.
template <class Inner>
double own_read(Eigen::Index d_k) {
  LogLinearAttention<Inner, double, UnitWeights> layer(
      {.d_model = 4, .d_k = d_k, .d_v = 2, .read_order = ReadOrder::after_push});
  layer.set_weight("w_value.bias", Matrix::Ones(1, 2));
  layer.forward(Vector::Zero(4));
  return layer.raw_read()[1];
}

}  // namespace

TEST_CASE("biases begin so that a token reads its own leaf, whatever the rule makes of keys",
          "[law]") {
  for (const Eigen::Index d_k : {1, 8, 64}) {
    CAPTURE(d_k);
    CHECK(own_read<GLA>(d_k) == Approx(2.25));
    CHECK(own_read<RWKV>(d_k) == Approx(2.25));    // its keys are exp(k)
    CHECK(own_read<Mamba2>(d_k) == Approx(2.25));  // its leaf is 0.018 times as large
    CHECK(own_read<MLSTM>(d_k) == Approx(2.25));
    CHECK(own_read<DeltaNet>(d_k) == Approx(2.25));  // its keys have length 1
  }
  // A leaf that nearly vanishes does not ask for biases without bound.
  const LogLinearAttention<Mamba2> layer(
      {.inner = {.initial_dt_bias = -60}, .d_model = 4, .d_k = 4, .d_v = 2});
  CHECK(layer.weight("w_query.bias")(0, 0) == Approx(16 * 1.5 / 2));
}

TEST_CASE("biases that stand where they began go with the weights that were drawn", "[law]") {
  Layer layer({.d_model = 4, .d_k = 4, .d_v = 2});
  const Matrix drawn = layer.weight("w_value");
  layer.set_weight("w_value.bias", Matrix::Ones(1, 2));
  layer.set_weight("w_lambda", Matrix(layer.weight("w_lambda")));
  CHECK_FALSE(layer.weight("w_key.bias").isZero(0));
  layer.set_weight("w_value", drawn);  // the weights of another layer, say, one after the other
  CHECK(layer.weight("w_key.bias").isZero(0));
  CHECK(layer.weight("w_query.bias").isZero(0));
  CHECK(layer.weight("w_value.bias").isOnes(0));
  // Biases that are given stay, also where they are those of the beginning, in any order.
  Layer given({.d_model = 4, .d_k = 4, .d_v = 2});
  const Matrix key = given.weight("w_key.bias"), query = given.weight("w_query.bias");
  given.set_weight("w_query.bias", query);
  given.set_weight("w_key.bias", key);
  given.set_weight("w_value", drawn);
  CHECK(test::same_bits(given.weight("w_key.bias"), key));
  CHECK(test::same_bits(given.weight("w_query.bias"), query));
  Layer learnt({.d_model = 4, .d_k = 4, .d_v = 2});
  learnt.train_one(Vector::Ones(4), Vector::Ones(2));
  const Matrix bias = learnt.weight("w_query.bias");
  learnt.set_weight("w_value", drawn);
  CHECK(test::same_bits(learnt.weight("w_query.bias"), bias));
}
