// SPDX-License-Identifier: MIT
#include "loglinear/mode/attention.hpp"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/mode/attention.hpp"
#include "modes.hpp"
#include "support.hpp"
#include "variants.hpp"

namespace {

using namespace loglinear;
using Vec = test::Vector<double>;

static_assert(!std::is_copy_constructible_v<Attention<double>>);

/// Every inner mode, in one state and log-linear, in full and key-only; every weighting of levels.
std::vector<AttentionMode> all_modes() {
  std::vector<AttentionMode> modes;
  std::vector<InnerMode> inner;
  Rules::for_each([&]<class Mode>(std::type_identity<Mode>) {
    for (const Mode& one : test::with_all_words(Mode{})) inner.emplace_back(one);
  });
  for (const InnerMode& one : inner) {
    modes.push_back(one_state(one));
    modes.push_back(LogLinear{.inner = one, .max_levels = 3});
    modes.push_back(LogLinear{.inner = one, .max_levels = 3, .key_only = true});
  }
  LevelWeightings::for_each([&]<class Weights>(std::type_identity<Weights>) {
    modes.push_back(LogLinear{.inner = GLA{}, .max_levels = 3, .level_weights = Weights{}});
  });
  return modes;
}

template <class Scalar>
void set_order_one_weights(Attention<Scalar>& layer) {
  test::Random random(22);
  for (const std::string& name : layer.weight_names()) {
    const auto old = layer.weight(name);
    layer.set_weight(name, random.matrix<double>(old.rows(), old.cols()).template cast<Scalar>());
  }
}

}  // namespace

TEST_CASE("The defaults of a config") {
  const AttentionConfig config;
  CHECK(config.d_model == 16);
  CHECK(config.n_heads == 4);
  CHECK(config.d_k == 4);
  CHECK(config.d_v == 4);
  CHECK(config.mode == AttentionMode(RetNet{.gamma = 0.95}));
  CHECK(config.seed == 42);
  const auto layer = make_attention<double>(config);
  CHECK(layer->output_dim() == 16);
  CHECK(layer->state().size() == 4 * 4 * 4);
  CHECK(layer->weight_names().size() == 4 * 2 * 3 + 1);  // with biases
  CHECK(layer->config().d_k == 4);

  const LogLinear log_linear;
  CHECK(log_linear.max_levels == 32);
  CHECK(log_linear.level_weights == LevelWeighting(NormalizedMixture{}));
  CHECK_FALSE(log_linear.key_only);
}

TEST_CASE("A config that is not valid is refused by name") {
  const auto error = [](const AttentionConfig& config) {
    return test::error_of([&] { (void)make_attention<double>(config); });
  };
  CHECK(error({}).empty());
  CHECK(test::mentions(error({.d_model = 0}), {"d_model is 0", "at least 1"}));
  CHECK(test::mentions(error({.n_heads = -1}), {"n_heads is -1", "at least 1"}));
  CHECK(test::mentions(error({.d_k = 0}), {"d_k is 0", "at least 1"}));
  CHECK(test::mentions(error({.d_v = 0}), {"d_v is 0", "at least 1"}));
  CHECK(test::mentions(error({.threads = 0}), {"threads is 0", "at least 1"}));
  for (const Eigen::Index size : {Eigen::Index{1} << 32, Eigen::Index{1} << 62, INT64_MAX}) {
    const std::string value = " is " + std::to_string(size);
    CHECK(test::mentions(error({.d_model = size}), {"d_model" + value, "at most 67108864"}));
    CHECK(test::mentions(error({.d_k = size}), {"d_k" + value, "at most 67108864"}));
    CHECK(test::mentions(error({.d_v = size}), {"d_v" + value, "at most 67108864"}));
  }
  CHECK(test::mentions(error({.n_heads = INT_MAX, .d_v = 1 << 26}),
                       {"n_heads * d_v is 144115188008747008", "at most 67108864"}));
  CHECK(test::mentions(error({.seed = 0}), {"seed", "0"}));
  CHECK(test::mentions(error({.learning_rate = -1}), {"learning_rate is -1", "at least 0"}));
  CHECK(test::mentions(error({.mode = RetNet{.gamma = 1.5}}), {"RetNet::gamma is 1.5", "(0, 1]"}));
  CHECK(test::mentions(error({.mode = DeltaProductMode{.n_compositions = 5}}),
                       {"n_compositions is 5", "between 1 and 4"}));
  CHECK(test::mentions(error({.mode = DeltaProductMode{.beta_bias = NAN}}), {"beta_bias is nan"}));
  CHECK(
      test::mentions(error({.mode = LogLinear{.max_levels = 0}}), {"max_levels is 0", "1 and 64"}));
  CHECK(test::mentions(
      error({.mode = LogLinear{.level_weights = NormalizedMixture{.lambda_init = INFINITY}}}),
      {"NormalizedMixture::lambda_init is inf"}));
  CHECK(test::mentions(
      error({.mode = LogLinear{.level_weights = MeanMixture{.mixture = {.tau = 0}}}}),
      {"MeanMixture::tau is 0", "above 0"}));
  CHECK(test::mentions(error({.mode = LogLinear{.inner = HGRN2{.lower_bound = 1}}}),
                       {"HGRN2::lower_bound is 1"}));
  // Also where the rule is reduced to its key.
  CHECK(test::mentions(error({.mode = LogLinear{.inner = RetNet{.gamma = 0}, .key_only = true}}),
                       {"RetNet::gamma is 0"}));
}

TEST_CASE("Bad arguments are refused and change nothing") {
  const auto layer = make_attention<double>({.mode = LogLinear{.inner = GatedDeltaNet{}}});
  const Vec x = test::Random(23).vector<double>(16);
  layer->forward(x);
  const Vec before = layer->state(), expected = layer->query_readonly(x);
  const Vec wrong_size = Vec::Zero(15);
  Vec not_finite = x;
  not_finite[3] = NAN;
  const auto error = [](auto call) { return test::error_of(call); };
  const auto refuses = [&](const std::string& message, const std::string& name) {
    CHECK(test::mentions(message, {name}));
    CHECK(test::same_bits(layer->state(), before));
    CHECK(test::same_bits(layer->query_readonly(x), expected));
  };
  refuses(error([&] { layer->forward(wrong_size); }), "the size of x is 15; it must be 16");
  refuses(error([&] { layer->forward(wrong_size.head(3)); }), "the size of x is 3; it must be 16");
  refuses(error([&] { layer->query_readonly(not_finite); }), "x[3] is nan");
  refuses(error([&] { layer->train_one(x, wrong_size); }), "the size of y is 15; it must be 16");
  refuses(error([&] { layer->train_one(x, not_finite.transpose()); }), "y[3] is nan");
  refuses(error([&] { (void)layer->weight("w_nothing"); }), "w_nothing");
  refuses(error([&] { layer->set_weight("w_out", test::Matrix<double>::Zero(3, 3)); }), "w_out");
  refuses(error([&] { layer->set_learning_rate(NAN); }), "learning_rate is nan");
  CHECK(layer->learning_rate() == info_of(StepRule::normalized).rate);
}

TEST_CASE("Vectors of any Eigen type give the same bits") {
  const AttentionConfig config{.mode = LogLinear{.inner = GLA{}}};
  const auto layer = make_attention<double>(config), other = make_attention<double>(config);
  const auto rows = test::Random(24).matrix<double>(6, 16);
  for (int t = 0; t < 6; t += 3) {
    const Vec a = rows.row(t), b = rows.row(t + 1), c = rows.row(t + 2);
    const Vec plain = layer->forward(a), asked = layer->query_readonly(b),
              trained = layer->train_one(c, a);
    CHECK(test::same_bits(plain, other->forward(rows.row(t))));
    CHECK(test::same_bits(asked, other->query_readonly(Eigen::Map<const Vec>(b.data(), 16))));
    CHECK(test::same_bits(trained, other->train_one(2 * c - c, rows.row(t))));
  }
  // Its own output is an input like any other.
  const Vec output = layer->forward(rows.row(0));
  other->forward(rows.row(0));
  CHECK(test::same_bits(layer->forward(output),
                        other->forward(other->query_readonly(rows.row(0)) * 0 + output)));
}

TEST_CASE("The state has one length, whatever the number of tokens") {
  const auto layer = make_attention<double>({.mode = LogLinear{.inner = Hawk{}, .max_levels = 5}});
  for (int t = 0; t < 7; ++t) {
    CHECK(layer->state().size() == 4 * 5 * 1 * 4);  // heads, levels, key rows, values
    CHECK(layer->state().isZero(0) == (t == 0));
    layer->forward(Vec::Constant(16, 0.1 * (t + 1)));
  }
}

TEST_CASE("A clone goes its own way from the same place") {
  for (const AttentionMode& mode : all_modes()) {
    const auto layer = make_attention<double>({.mode = mode});
    const Vec x = test::Random(25).vector<double>(16);
    layer->train_one(x, 0.5 * x);
    layer->set_learning_rate(0.3);
    const auto copy = layer->clone();
    CHECK(copy->learning_rate() == 0.3);
    CHECK(test::same_bits(copy->state(), layer->state()));
    CHECK(test::same_bits(copy->train_one(x, x), layer->train_one(x, x)));
    const Vec state = layer->state();
    copy->reset();
    CHECK(copy->state().isZero(0));
    CHECK(test::same_bits(layer->state(), state));
  }
}

TEST_CASE("A layer goes back to a moment of its stream, bit for bit") {
  for (const AttentionMode& mode : all_modes()) {
    const auto layer = make_attention<double>({.mode = mode}), other = layer->clone();
    const auto tokens = test::Random(28).matrix<double>(40, 16);
    for (int t = 0; t < 20; ++t) layer->forward(tokens.row(t));
    AttentionSnapshot moment = layer->snapshot();
    const auto rest = [&](Attention<double>& from) {
      test::Matrix<double> outputs(20, 16);
      for (int t = 0; t < 20; ++t) outputs.row(t) = from.forward(tokens.row(20 + t));
      return outputs;
    };
    const test::Matrix<double> expected = rest(*layer);
    CHECK(layer->size() == 40);
    layer->restore(moment);
    CHECK(layer->size() == 20);
    CHECK(test::same_bits(rest(*layer), expected));
    const AttentionSnapshot copy = moment;
    layer->snapshot(moment);
    other->restore(copy);
    CHECK(test::same_bits(rest(*other), expected));
    other->reset();
    other->restore(moment);
    CHECK(test::same_bits(other->state(), layer->state()));
    other->advance_to(1000);
    CHECK(other->size() == 1000);
  }
}

TEST_CASE("A snapshot of another kind of layer is refused, one of other hyperparameters is not") {
  const auto layer = make_attention<double>({.mode = GLA{}});
  layer->forward(Vec::Ones(16));
  const Vec before = layer->state();
  const auto error = [&](const AttentionSnapshot& moment) {
    const std::string message = test::error_of([&] { layer->restore(moment); });
    CHECK(test::same_bits(layer->state(), before));
    return message;
  };
  CHECK(test::mentions(error({}), {"the snapshot is empty"}));
  const AttentionMode others[] = {LogLinear{.inner = GatedDeltaNet{}, .max_levels = 1},
                                  GatedDeltaNet{}, GLAVector{}, RWKV7{}};
  for (const AttentionMode& other : others) {
    CHECK(test::mentions(
        error(make_attention<double>({.mode = other})->snapshot()),
        {"the snapshot is one of another kind of layer", "the same kind of transition"}));
  }
  CHECK(
      test::mentions(error(make_attention<double>({.mode = LogLinear{.inner = GLA{}}})->snapshot()),
                     {"max_levels of the snapshot"}));
  const AttentionConfig wider{.d_k = 5, .mode = GLA{}}, fewer{.n_heads = 3, .mode = GLA{}};
  CHECK(test::mentions(error(make_attention<double>(wider)->snapshot()), {"d_k of the snapshot"}));
  CHECK(test::mentions(error(make_attention<double>(fewer)->snapshot()),
                       {"the heads of the snapshot"}));
  // As between layers: a snapshot is of a stream, and hyperparameters and weights are not.
  for (const AttentionMode& other : {AttentionMode(GLA{.gate_bias = 1}), AttentionMode(RetNet{})}) {
    const auto accepted = make_attention<double>({.mode = other, .seed = 5});
    const Vec w_out = accepted->weight("w_out").col(0);
    accepted->restore(layer->snapshot());
    CHECK(test::same_bits(accepted->state(), before));
    CHECK(test::same_bits(Vec(accepted->weight("w_out").col(0)), w_out));
    CHECK(accepted->config().mode == other);
  }
}

TEST_CASE("Into the caller's vector, and with the caller's memory") {
  for (const AttentionMode& mode : all_modes()) {
    const auto layer = make_attention<double>({.mode = mode, .seed = 5});
    const auto twin = layer->clone();
    auto workspace = layer->make_workspace();
    test::Random random(31);
    Eigen::MatrixXd out(3, 16);
    for (int t = 0; t < 5; ++t) {
      const Vec x = random.vector<double>(16), y = random.vector<double>(16) / 2;
      layer->forward(x, out.row(0));
      CHECK(test::same_bits(Vec(out.row(0)), twin->forward(x)));
      layer->query_readonly(x, out.row(1));
      CHECK(test::same_bits(Vec(out.row(1)), twin->query_readonly(x)));
      CHECK(test::same_bits(std::as_const(*layer).query_readonly(x.transpose(), workspace),
                            twin->query_readonly(x)));
      layer->train_one(x, y, out.row(2));
      CHECK(test::same_bits(Vec(out.row(2)), twin->train_one(x, y)));
    }
    CHECK(test::same_bits(layer->state(), twin->state()));
    Vec small(15);
    CHECK(test::mentions(test::error_of([&] { layer->forward(Vec::Ones(16), small); }),
                         {"size of out is 15", "16"}));
    CHECK(test::mentions(test::error_of([&] { layer->query_readonly(Vec::Ones(16), small); }),
                         {"size of out is 15"}));
    CHECK(test::mentions(
        test::error_of([&] { layer->train_one(Vec::Ones(16), Vec::Ones(16), small); }),
        {"size of out is 15"}));
    CHECK(layer->size() == twin->size());
    Attention<double>::Workspace empty;
    CHECK(test::error_of([&] { std::as_const(*layer).query_readonly(Vec::Ones(16), empty); }) !=
          "");
  }
  const auto layer = make_attention<double>({.mode = GLA{}});
  auto other = make_attention<double>({.mode = GatedDeltaNet{}})->make_workspace();
  auto wider = make_attention<double>({.d_k = 5, .mode = GLA{}})->make_workspace();
  CHECK(test::mentions(
      test::error_of([&] { std::as_const(*layer).query_readonly(Vec::Ones(16), other); }),
      {"the workspace is one of another kind of layer"}));
  CHECK(test::mentions(
      test::error_of([&] { std::as_const(*layer).query_readonly(Vec::Ones(16), wider); }),
      {"the workspace's"}));
}

TEST_CASE("The layer behind the interface") {
  for (const AttentionMode& mode : all_modes()) {
    const auto layer = make_attention<double>({.mode = mode, .seed = 5});
    const Vec x = test::Random(29).vector<double>(16);
    const Vec expected = layer->clone()->forward(x);
    visit_layer(*layer, [&](auto& behind) {
      CHECK(test::same_bits(behind.forward(x), expected));
      behind.set_learning_rate(0.25);
    });
    CHECK(layer->learning_rate() == 0.25);
    visit_layer(std::as_const(*layer), [&](const auto& behind) { CHECK(behind.size() == 1); });
  }
}

TEST_CASE("Read order, threads and bound reach the layer") {
  const Vec x = test::Random(26).vector<double>(16);
  set_thread_count(3);
  for (const AttentionMode& mode : all_modes()) {
    const auto first_output = [&](const AttentionConfig& config) -> Vec {
      const auto layer = make_attention<double>(config);
      set_order_one_weights(*layer);
      return layer->forward(x);
    };
    const Vec output = first_output({.mode = mode});
    CHECK(output.cwiseAbs().maxCoeff() > 0);
    CHECK(first_output({.mode = mode, .read_order = ReadOrder::before_push}).isZero(0));
    CHECK(test::same_bits(output, first_output({.mode = mode, .threads = 3})));
    CHECK(make_attention<double>({.mode = mode})->threads_used() == 1);
    CHECK(make_attention<double>({.mode = mode, .threads = 3})->threads_used() == 3);
    const Vec raw = first_output({.mode = mode, .bound = OutputBound::none});
    const bool bounded = output_bound_of(mode) != OutputBound::none;
    CHECK(test::same_bits(output, bounded ? Vec(raw.array().tanh()) : raw));
  }
}

TEST_CASE("Layers of float follow those of double") {
  test::Random random(27);
  for (const AttentionMode& mode : all_modes()) {
    CAPTURE(mode.index());
    const AttentionConfig config{.mode = mode, .bound = OutputBound::always};
    const auto in_double = make_attention<double>(config);
    const auto in_float = make_attention<float>(config);
    CHECK(in_float->weight_names() == in_double->weight_names());
    for (const std::string& name : in_double->weight_names()) {
      const test::Matrix<float> weight = in_float->weight(name);
      const test::Matrix<float> expected = in_double->weight(name).cast<float>();
      // Where biases begin depends on what the rule makes of them, which each scalar rounds.
      const bool is_bias = name.ends_with(".bias");
      CHECK((is_bias ? weight.isApprox(expected, 1e-5F) : test::same_bits(weight, expected)));
    }
    set_order_one_weights(*in_double);
    set_order_one_weights(*in_float);
    // Inputs of this size keep every intermediate result of order 1. A token adds some ten
    // roundings to what it reads: sums of up to 16 terms.
    float worst = 0;
    constexpr int tokens = 12;
    for (int t = 0; t < tokens; ++t) {
      const Vec x = 0.25 * random.vector<double>(16);
      const Vec wanted = in_double->forward(x);
      worst = std::max(worst,
                       test::difference(in_float->forward(x.cast<float>()), wanted.cast<float>()));
    }
    CHECK(worst <= test::rounding<float>(10 * tokens, 16));
  }
}
