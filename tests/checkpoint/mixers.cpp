// SPDX-License-Identifier: MIT
// Mixers of the paper in checkpoints: weights and every option that changes their numbers.
#include <string>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/sequence.hpp"
#include "mixers_cases.hpp"

namespace {

using namespace loglinear;

template <class Mixer>
bool same_weights(const Mixer& a, const Mixer& b) {
  bool same = true;
  for (const std::string& name : a.weight_names()) {
    same = same && test::same_bits(a.weight(name), b.weight(name));
  }
  return same;
}

/// A file of a mixer is taken by a mixer of the same options alone.
template <class Mixer>
void check_options(const typename Mixer::Options& options,
                   const std::vector<std::pair<const char*, typename Mixer::Options>>& others) {
  test::Random random(3);
  Mixer mixer(options);
  test::randomise(mixer, random);
  const std::string file = test::saved(mixer);

  auto alike = options;
  alike.seed = 7;
  alike.chunk_size = 3;
  alike.initializer_range = 1;
  alike.dt_min = alike.dt_max = alike.dt_init_floor = 1;
  Mixer loaded(alike);
  test::load_bytes(file, loaded);
  CHECK(same_weights(loaded, mixer));
  // A program that knows neither option nor layer reads the weights by their names, too.
  Mixer again(alike);
  set_weights(again, test::parsed(file));
  CHECK(same_weights(again, mixer));

  for (const auto& [name, other] : others) {
    CAPTURE(name);
    Mixer refuses(other);
    const Mixer before(refuses);
    const std::string error = test::error_of([&] { test::load_bytes(file, refuses); });
    CHECK(test::mentions(error, {name, " is ", "it must be \""}));
    CHECK(same_weights(refuses, before));
  }
}

/// Options of which one has been changed.
template <class Options, class Value>
Options with(Options options, Value Options::*member, Value value) {
  options.*member = value;
  return options;
}

}  // namespace

TEMPLATE_TEST_CASE("A file of a Mamba-2 mixer fits its options alone", "", float, double) {
  using O = LogLinearMamba2Options;
  const O options{.hidden_size = 4,
                  .expand = 2,
                  .num_heads = 4,
                  .head_dim = 2,
                  .state_size = 4,
                  .n_groups = 2,
                  .num_levels = 3};
  auto other_groups = with<O, Eigen::Index>(options, &O::n_groups, 4);
  other_groups.state_size = 2;
  check_options<LogLinearMamba2<TestType>>(
      options, {{"norm_eps", with(options, &O::norm_eps, 1e-6)},
                {"norm_per_group", with(options, &O::norm_per_group, false)},
                {"norm_before_gate", with(options, &O::norm_before_gate, true)},
                {"D_has_hdim", with(options, &O::D_has_hdim, true)},
                {"use_bias", with(options, &O::use_bias, true)},
                {"use_conv_bias", with(options, &O::use_conv_bias, false)},
                {"scale", with(options, &O::scale, 0.5)},
                {"num_levels", with(options, &O::num_levels, 4)},
                {"level_weights", with(options, &O::level_weights, MixerLevelWeights::mlp)},
                {"state_size", other_groups}});
}

TEMPLATE_TEST_CASE("A file of a Gated DeltaNet mixer fits its options alone", "", float, double) {
  using O = LogLinearGatedDeltaNetOptions;
  const O options{
      .hidden_size = 4, .num_heads = 2, .num_v_heads = 4, .head_dim = 2, .num_levels = 3};
  auto other_heads = with<O, Eigen::Index>(options, &O::num_heads, 1);
  other_heads.head_dim = 4;
  other_heads.expand_v = 1;
  check_options<LogLinearGatedDeltaNet<TestType>>(
      options, {{"norm_eps", with(options, &O::norm_eps, 1e-5)},
                {"allow_neg_eigval", with(options, &O::allow_neg_eigval, true)},
                {"use_gate", with(options, &O::use_gate, false)},
                {"use_short_conv", with(options, &O::use_short_conv, false)},
                {"conv_bias", with(options, &O::conv_bias, true)},
                {"scale", with(options, &O::scale, 0.5)},
                {"level_weights", with(options, &O::level_weights, MixerLevelWeights::mlp)},
                {"expand_v", other_heads}});
}

TEST_CASE("A mixer and its stream in one file go on bit for bit") {
  const LogLinearMamba2Options options{.hidden_size = 4,
                                       .num_heads = 4,
                                       .head_dim = 2,
                                       .state_size = 2,
                                       .n_groups = 2,
                                       .D_has_hdim = true,
                                       .norm_before_gate = true,
                                       .num_levels = 4};
  test::Random random(5);
  LogLinearMamba2<double> mixer(options), other(options);
  test::randomise(mixer, random);
  auto cache = mixer.make_cache(), resumed = other.make_cache();
  const auto step = [](const auto& of, const Eigen::VectorXd& x, auto& stream) {
    return of.step(x, stream);
  };
  for (int t = 0; t < 9; ++t) (void)step(mixer, random.vector<double>(4), cache);
  Checkpoint out;
  out.put("mixer", mixer);
  out.put("stream", cache);
  Checkpoint in(test::parsed(test::file_of(out.tensors())));
  in.get("mixer", other);
  in.get("stream", resumed);
  in.require_all_read();
  for (int t = 0; t < 9; ++t) {
    const Eigen::VectorXd x = random.vector<double>(4);
    CHECK(test::same_bits(step(mixer, x, cache), step(other, x, resumed)));
  }
}
