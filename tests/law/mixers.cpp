// SPDX-License-Identifier: MIT
// The mixers of the paper against an independent reference, in pieces, and their gradients.

#include <cmath>
#include <limits>
#include <string>

#include "catch.hpp"
#include "mixers_cases.hpp"
#include "oracles/differences.hpp"
#include "oracles/mixers.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using Eigen::Index;
using test::Array;
using test::error_of;
using test::mentions;
using test::Random;

/// Sums of some hundred products of order 1, several of them one after the other.
constexpr double rounding = 1e-11;
/// What fourth-order central differences over 2e-4 may be off by, relative to the largest entry.
constexpr double difference_error = 1e-6, apart = 1e-4;

template <class A, class B>
double relative_error(const A& a, const B& b) {
  return b.size() == 0 ? 0
                       : (a - b).cwiseAbs().maxCoeff() / std::max(1e-300, b.cwiseAbs().maxCoeff());
}

template <class Mixer>
void check_against_reference(const typename Mixer::Options& options) {
  Random random(1);
  Mixer mixer(options);
  test::randomise(mixer, random);
  for (const Index tokens : {0, 1, 5, 70, 130}) {
    const Array x = random.matrix<double>(tokens, options.hidden_size);
    CAPTURE(tokens);
    const Array y = mixer.forward(x), expected = test::reference(mixer, x);
    REQUIRE(y.rows() == tokens);
    REQUIRE(y.cols() == options.hidden_size);
    CHECK(relative_error(y, expected) <= rounding);
  }
}

template <class Mixer>
void check_pieces(const typename Mixer::Options& options) {
  Random random(2);
  Mixer mixer(options);
  test::randomise(mixer, random);
  const Array x = random.matrix<double>(73, options.hidden_size), once = mixer.forward(x);
  auto pieces = mixer.make_cache(), steps = mixer.make_cache();
  Array in_pieces(73, options.hidden_size), in_steps(73, options.hidden_size);
  Index begin = 0;
  for (const Index length : {0, 1, 2, 37, 1, 3, 29}) {
    in_pieces.middleRows(begin, length) = mixer.forward(x.middleRows(begin, length), pieces);
    begin += length;
    CHECK(pieces.size() == static_cast<std::uint64_t>(begin));
  }
  REQUIRE(begin == 73);
  for (Index t = 0; t < 73; ++t) in_steps.row(t) = mixer.step(x.row(t), steps).transpose();
  CHECK(relative_error(in_pieces, once) <= rounding);
  CHECK(relative_error(in_steps, once) <= rounding);
  CHECK(steps.size() == 73);
  for (Index h = 0; h < steps.num_heads(); ++h) {
    CHECK(relative_error(pieces.state(h).flat_state(), steps.state(h).flat_state()) <= rounding);
  }
  // A copy branches the stream, and a reset one begins it anew.
  auto branch = steps;
  static_cast<void>(mixer.step(x.row(0), branch));
  CHECK_FALSE(branch == steps);
  branch.reset();
  CHECK(branch == mixer.make_cache());
  CHECK(relative_error(mixer.forward(x, branch), once) <= rounding);
}

/// From the beginning of a stream, or after `earlier` tokens that are held constant.
template <class Mixer>
void check_gradients(const typename Mixer::Options& options, Index earlier) {
  Random random(3);
  Mixer mixer(options);
  test::randomise(mixer, random);
  auto cache = mixer.make_cache();
  static_cast<void>(mixer.forward(random.matrix<double>(earlier, options.hidden_size), cache));
  for (const Index tokens : {1, 2, 11}) {
    CAPTURE(earlier, tokens);
    Array x = random.matrix<double>(tokens, options.hidden_size);
    const Array d_out = random.matrix<double>(tokens, options.hidden_size);
    const auto gradient = earlier == 0 ? mixer.gradient(x, d_out) : mixer.gradient(x, d_out, cache);
    const auto loss = [&] {
      auto copy = cache;
      return mixer.forward(x, copy).cwiseProduct(d_out).sum();
    };
    Array d_x(x.rows(), x.cols());
    for (Index i = 0; i < x.size(); ++i) d_x.data()[i] = test::derivative(apart, x.data()[i], loss);
    CHECK(relative_error(gradient.x, d_x) <= difference_error);
    REQUIRE(gradient.weights.names() == mixer.weight_names());
    for (const std::string& name : mixer.weight_names()) {
      CAPTURE(name);
      Eigen::MatrixXd weight = mixer.weight(name);
      const Eigen::MatrixXd old = weight;
      Eigen::MatrixXd d_weight(weight.rows(), weight.cols());
      const auto loss_of_weight = [&] {
        mixer.set_weight(name, weight);
        return loss();
      };
      for (Index i = 0; i < weight.size(); ++i) {
        d_weight.data()[i] = test::derivative(apart, weight.data()[i], loss_of_weight);
      }
      mixer.set_weight(name, old);
      CHECK(relative_error(gradient.weights[name], d_weight) <= difference_error);
    }
  }
  const auto nothing = mixer.gradient(Array(0, options.hidden_size), Array(0, options.hidden_size));
  CHECK(nothing.x.size() == 0);
  CHECK(nothing.weights[mixer.weight_names().front()].isZero(0));
}

/// What a cache is refused for leaves it as it was.
template <class Mixer>
void check_bad_sequences(const typename Mixer::Options& options, const char* projection,
                         const char* output) {
  Random random(4);
  Mixer mixer(options);
  test::randomise(mixer, random);
  mixer.set_weight(projection, Eigen::MatrixXd(1000 * mixer.weight(projection)));
  const Index width = options.hidden_size;
  auto cache = mixer.make_cache();
  static_cast<void>(mixer.forward(random.matrix<double>(5, width), cache));
  const auto before = cache;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Index tokens : {1, 3}) {
    CAPTURE(tokens);
    Array x = random.matrix<double>(tokens, width);
    const Array fine = x, wide = random.matrix<double>(tokens, width + 1);
    x(tokens - 1, 1) = nan;
    CHECK(mentions(error_of([&] { (void)mixer.forward(x, cache); }), {"x[", "nan", "finite"}));
    CHECK(mentions(error_of([&] { (void)mixer.forward(wide, cache); }),
                   {"x (columns)", std::to_string(width)}));
    CHECK(mentions(error_of([&] { (void)mixer.gradient(x, fine); }), {"x[", "nan", "finite"}));
    CHECK(mentions(error_of([&] { (void)mixer.gradient(fine, x); }), {"d_out[", "nan", "finite"}));
    CHECK(mentions(error_of([&] { (void)mixer.gradient(fine, wide); }), {"d_out (columns)"}));
    x(tokens - 1, 1) = 1e308;  // finite, but not on the way
    CHECK(mentions(error_of([&] { (void)mixer.forward(x, cache); }), {"finite"}));
    CHECK(cache == before);
  }
  Mixer loud(options);  // its outputs overflow, its states do not
  test::randomise(loud, random);
  for (const std::string& name : loud.weight_names()) {
    if (name.find("norm") != std::string::npos) {
      loud.set_weight(name, Eigen::MatrixXd(1e10 * loud.weight(name)));
    }
  }
  loud.set_weight(output, Eigen::MatrixXd::Constant(width, loud.weight(output).cols(), 1e308));
  for (const Index tokens : {1, 3}) {
    const Array x = random.matrix<double>(tokens, width);
    CHECK(mentions(error_of([&] { (void)loud.forward(x, cache); }), {"output", "finite"}));
    CHECK(cache == before);
  }
  CHECK(mentions(error_of([&] { (void)mixer.step(Eigen::VectorXd::Ones(width + 1), cache); }),
                 {"x (columns)"}));
  auto other_options = options;
  ++other_options.num_levels;
  if (options.level_weights == loglinear::MixerLevelWeights::one_state) {
    other_options.level_weights = loglinear::MixerLevelWeights::softplus;
  }
  auto other = Mixer(other_options).make_cache();
  const Array one = random.matrix<double>(1, width);
  CHECK(mentions(error_of([&] { (void)mixer.forward(one, other); }), {"cache", "make_cache"}));
  CHECK(
      mentions(error_of([&] { (void)mixer.gradient(one, one, other); }), {"cache", "make_cache"}));
}

template <class Mixer>
void check_bad_weights(const typename Mixer::Options& options) {
  Mixer mixer(options);
  CHECK(mentions(error_of([&] { (void)mixer.weight("in_proj"); }),
                 {"weight name", "in_proj", "one of", "A_log", "dt_bias", "L"}));
  for (const std::string& name : mixer.weight_names()) {
    CAPTURE(name);
    const Eigen::MatrixXd old = mixer.weight(name);
    Eigen::MatrixXd bad = old;
    bad(0, 0) = std::numeric_limits<double>::infinity();
    CHECK(mentions(error_of([&] { mixer.set_weight(name, bad); }), {name, "inf", "finite"}));
    bad.setZero(old.rows() + 1, old.cols());
    CHECK(mentions(error_of([&] { mixer.set_weight(name, bad); }),
                   {name, "rows", std::to_string(old.rows())}));
    CHECK(mixer.weight(name) == old);
    if (old.cols() == 1) mixer.set_weight(name, old.transpose());
    CHECK(mixer.weight(name) == old);
  }
  CHECK_FALSE(error_of([&] { mixer.set_weight("A_logs", Eigen::VectorXd::Ones(1)); }).empty());
}

/// The message for options of which one has been changed.
template <class Mixer, class Change>
std::string refused(Change change) {
  typename Mixer::Options options = {};
  options.hidden_size = 8;
  options.num_heads = 2;
  options.head_dim = 8;
  change(options);
  return error_of([&] { Mixer mixer(options); });
}

using Mamba2 = loglinear::LogLinearMamba2<double>;
using GatedDeltaNet = loglinear::LogLinearGatedDeltaNet<double>;

}  // namespace

TEST_CASE("Projections are products across tiles of every size") {
  Random random(7);
  for (const Index tokens : {1, 2, 100, 300}) {
    for (const Index inputs : {1, 97, 300}) {
      for (const Index outputs : {1, 64, 200}) {
        CAPTURE(tokens, inputs, outputs);
        const Array x = random.matrix<double>(tokens, inputs);
        const Array d_y = random.matrix<double>(tokens, outputs);
        const Eigen::MatrixXd weight = random.matrix<double>(outputs, inputs);
        const Eigen::MatrixXd bias = random.matrix<double>(outputs, 1);
        Array y = x * weight.transpose();
        y.rowwise() += bias.col(0).transpose();
        CHECK(relative_error(loglinear::detail::linear(x, weight, &bias), y) <= rounding);
        Array d_x = Array::Zero(tokens, inputs);
        Eigen::MatrixXd d_weight = Eigen::MatrixXd::Zero(outputs, inputs);
        Eigen::MatrixXd d_bias = Eigen::MatrixXd::Zero(outputs, 1);
        loglinear::detail::linear_pullback(x, weight, d_y, d_x, d_weight, &d_bias);
        CHECK(relative_error(d_x, Array(d_y * weight)) <= rounding);
        CHECK(relative_error(d_weight, Eigen::MatrixXd(d_y.transpose() * x)) <= rounding);
        CHECK(relative_error(d_bias, Eigen::MatrixXd(d_y.colwise().sum().transpose())) <= rounding);
      }
    }
  }
}

TEST_CASE("LogLinearMamba2 is its equations") {
  for (const auto& options : test::mamba2_cases()) check_against_reference<Mamba2>(options);
}

TEST_CASE("LogLinearMamba2 in pieces and steps is LogLinearMamba2 in one pass") {
  for (const auto& options : test::mamba2_cases()) check_pieces<Mamba2>(options);
}

TEST_CASE("LogLinearMamba2's gradients are central differences") {
  for (const auto& options : test::mamba2_cases()) {
    for (const Index earlier : {0, 7}) check_gradients<Mamba2>(options, earlier);
  }
}

TEST_CASE("LogLinearMamba2 refuses bad input") {
  for (const auto& options : test::mamba2_cases())
    check_bad_sequences<Mamba2>(options, "in_proj.weight", "out_proj.weight");
  check_bad_weights<Mamba2>(test::mamba2_cases()[1]);
  const auto error = [](auto change) { return refused<Mamba2>(change); };
  CHECK(error([](auto&) {}).empty());
  CHECK(mentions(error([](auto& o) { o.hidden_size = 0; }), {"hidden_size", "0", "between 1"}));
  CHECK(mentions(error([](auto& o) { o.num_heads = 3; }), {"num_heads * head_dim", "24", "16"}));
  CHECK(mentions(error([](auto& o) { o.head_dim = -1; }), {"head_dim", "-1"}));
  CHECK(mentions(error([](auto& o) { o.state_size = 0; }), {"state_size"}));
  CHECK(mentions(error([](auto& o) { o.expand = 1.3; }), {"expand", "1.3", "hidden_size, 8"}));
  CHECK(mentions(error([](auto& o) { o.n_groups = 3; }), {"n_groups", "between 1 and 2"}));
  CHECK(mentions(error([](auto& o) { o.n_groups = 0; }), {"n_groups"}));
  CHECK(mentions(error([](auto& o) { o.conv_kernel = 0; }), {"conv_kernel"}));
  CHECK(mentions(error([](auto& o) { o.num_levels = 1; }), {"num_levels", "between 2 and 65"}));
  CHECK(mentions(error([](auto& o) { o.num_levels = 66; }), {"num_levels"}));
  CHECK(mentions(error([](auto& o) { o.chunk_size = 0; }), {"chunk_size"}));
  CHECK(mentions(error([](auto& o) { o.norm_eps = 0; }), {"norm_eps", "positive"}));
  CHECK(mentions(error([](auto& o) { o.scale = NAN; }), {"scale", "finite"}));
  CHECK(mentions(error([](auto& o) { o.initializer_range = -1; }), {"initializer_range"}));
  CHECK(mentions(
      error([](auto& o) { o.level_weights = static_cast<loglinear::MixerLevelWeights>(3); }),
      {"the number of level_weights", "3", "0", "2"}));
  CHECK(mentions(error([](auto& o) { o.dt_min = 1; }), {"dt_min", "dt_max"}));
  CHECK(mentions(error([](auto& o) { o.dt_init_floor = 0; }), {"dt_init_floor"}));
  CHECK(mentions(error([](auto& o) { o.seed = 0; }), {"seed"}));
}

TEST_CASE("A head that would overflow keeps all heads from going on") {
  Mamba2 mixer({.hidden_size = 2,
                .expand = 2,
                .num_heads = 2,
                .head_dim = 2,
                .state_size = 2,
                .n_groups = 2,
                .conv_kernel = 1,
                .num_levels = 4});
  Random random(5);
  test::randomise(mixer, random);
  mixer.set_weight("conv1d.weight", Eigen::VectorXd::Ones(12));
  Eigen::MatrixXd in = mixer.weight("in_proj.weight");
  in.row(7).setConstant(1e160);   // a value of the second head
  in.row(10).setConstant(1e160);  // a key of the second head
  mixer.set_weight("in_proj.weight", in);
  auto cache = mixer.make_cache();
  static_cast<void>(mixer.forward(Array::Constant(3, 2, 1e-200), cache));
  const auto before = cache;
  CHECK(mentions(error_of([&] { (void)mixer.forward(Array::Ones(1, 2), cache); }), {"magnitude"}));
  CHECK_FALSE(error_of([&] { (void)mixer.forward(Array::Ones(2, 2), cache); }).empty());
  CHECK(cache == before);
}

TEST_CASE("LogLinearMamba2's weights begin as flash-linear-attention's") {
  const loglinear::LogLinearMamba2Options options{
      .hidden_size = 40, .num_heads = 8, .head_dim = 10, .state_size = 16};
  const Mamba2 mixer(options), same(options);
  CHECK(mixer.weight_names() ==
        std::vector<std::string>{"dt_bias", "A_log", "L", "D", "conv1d.weight", "conv1d.bias",
                                 "in_proj.weight", "norm.weight", "out_proj.weight"});
  for (const std::string& name : mixer.weight_names()) {
    CHECK(mixer.weight(name) == same.weight(name));
  }
  CHECK(mixer.weight("in_proj.weight").rows() == 80 + (80 + 32) + 8 + 8 * 15);
  CHECK(mixer.weight("L").rows() == 8);
  CHECK(mixer.weight("L").cols() == 15);
  CHECK(mixer.weight("L").isOnes(0));
  CHECK(mixer.weight("D").isOnes(0));
  CHECK(mixer.weight("norm.weight").isOnes(0));
  CHECK(mixer.weight("conv1d.bias").isZero(0));
  for (Index h = 0; h < 8; ++h) {
    CHECK(mixer.weight("A_log")(h, 0) == std::log(static_cast<double>(h + 1)));
    const double step = test::softplus(mixer.weight("dt_bias")(h, 0));
    CHECK(step >= 0.001 * (1 - 1e-9));
    CHECK(step <= 0.1 * (1 + 1e-9));
  }
  const auto& in = mixer.weight("in_proj.weight");
  CHECK(std::abs(in.norm() / std::sqrt(static_cast<double>(in.size())) - 0.02) < 0.001);
  CHECK(mixer.weight("out_proj.weight").cwiseAbs().maxCoeff() <= 1 / std::sqrt(80.0));
  CHECK(mixer.weight("out_proj.weight").cwiseAbs().maxCoeff() >= 0.95 / std::sqrt(80.0));
}

TEST_CASE("LogLinearGatedDeltaNet is its equations") {
  for (const auto& o : test::gated_delta_net_cases()) check_against_reference<GatedDeltaNet>(o);
}

TEST_CASE("LogLinearGatedDeltaNet in pieces and steps is LogLinearGatedDeltaNet in one pass") {
  for (const auto& options : test::gated_delta_net_cases()) check_pieces<GatedDeltaNet>(options);
}

TEST_CASE("LogLinearGatedDeltaNet's gradients are central differences") {
  for (const auto& options : test::gated_delta_net_cases()) {
    for (const Index earlier : {0, 7}) check_gradients<GatedDeltaNet>(options, earlier);
  }
}

TEST_CASE("LogLinearGatedDeltaNet refuses bad input") {
  for (const auto& options : test::gated_delta_net_cases()) {
    const bool is_scaled = options.level_weights == loglinear::MixerLevelWeights::softplus;
    check_bad_sequences<GatedDeltaNet>(options, is_scaled ? "l_proj.weight" : "v_proj.weight",
                                       "o_proj.weight");
  }
  check_bad_weights<GatedDeltaNet>(test::gated_delta_net_cases()[1]);
  const auto error = [](auto change) { return refused<GatedDeltaNet>(change); };
  CHECK(error([](auto&) {}).empty());
  CHECK(error([](auto& o) { o.num_v_heads = 6; }).empty());
  CHECK(mentions(error([](auto& o) { o.hidden_size = 0; }), {"hidden_size", "0", "between 1"}));
  CHECK(mentions(error([](auto& o) { o.num_heads = 0; }), {"num_heads", "0"}));
  CHECK(mentions(error([](auto& o) { o.num_v_heads = 3; }), {"num_v_heads", "3", "multiple"}));
  CHECK(mentions(error([](auto& o) { o.num_v_heads = -2; }), {"num_v_heads", "-2"}));
  CHECK(mentions(error([](auto& o) { o.head_dim = -1; }), {"head_dim", "-1"}));
  CHECK(mentions(error([](auto& o) { o.expand_v = 1.3; }), {"expand_v", "1.3", "head_dim, 8"}));
  CHECK(mentions(error([](auto& o) { o.conv_size = 0; }), {"conv_size"}));
  CHECK(mentions(error([](auto& o) { o.num_levels = 1; }), {"num_levels", "between 2 and 65"}));
  CHECK(mentions(error([](auto& o) { o.norm_eps = -1; }), {"norm_eps", "positive"}));
  CHECK(mentions(error([](auto& o) { o.dt_max = 0; }), {"dt_max"}));
  CHECK(mentions(error([](auto& o) { o.seed = 0; }), {"seed"}));
}

TEST_CASE("LogLinearGatedDeltaNet's weights begin as flash-linear-attention's") {
  const GatedDeltaNet mixer({.hidden_size = 40, .num_heads = 4, .head_dim = 10});
  CHECK(mixer.weight_names() ==
        std::vector<std::string>{
            "A_log", "dt_bias", "L", "q_proj.weight", "k_proj.weight", "v_proj.weight",
            "a_proj.weight", "b_proj.weight", "q_conv1d.weight", "k_conv1d.weight",
            "v_conv1d.weight", "g_proj.weight", "o_norm.weight", "o_proj.weight", "l_proj.weight"});
  const auto has_shape = [&](const char* name, Index rows, Index columns) {
    return mixer.weight(name).rows() == rows && mixer.weight(name).cols() == columns;
  };
  CHECK(has_shape("q_proj.weight", 40, 40));
  CHECK(has_shape("v_proj.weight", 80, 40));
  CHECK(has_shape("b_proj.weight", 4, 40));
  CHECK(has_shape("l_proj.weight", 4 * 15, 40));
  CHECK(has_shape("v_conv1d.weight", 80, 4));
  CHECK(has_shape("o_norm.weight", 20, 1));
  CHECK(has_shape("o_proj.weight", 40, 80));
  CHECK(mixer.weight("L").isOnes(0));
  CHECK(mixer.weight("o_norm.weight").isOnes(0));
  for (Index h = 0; h < 4; ++h) {
    CHECK(std::exp(mixer.weight("A_log")(h, 0)) <= 16);
    const double step = test::softplus(mixer.weight("dt_bias")(h, 0));
    CHECK(step >= 0.001 * (1 - 1e-9));
    CHECK(step <= 0.1 * (1 + 1e-9));
  }
  const auto& values = mixer.weight("v_proj.weight");
  CHECK(std::abs(values.norm() / std::sqrt(static_cast<double>(values.size())) - 0.02) < 0.001);
  CHECK(mixer.weight("o_proj.weight").cwiseAbs().maxCoeff() <= 1 / std::sqrt(80.0));
}
