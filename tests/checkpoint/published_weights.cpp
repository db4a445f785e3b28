// SPDX-License-Identifier: MIT
// Weights of published layers: a file and a mixer whose options do not fit are refused by the name
// of what one of them has alone, and where they fit the numbers are those of the equations.
#include <string>
#include <type_traits>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/sequence.hpp"
#include "mixers_cases.hpp"
#include "oracles/mixers.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

/// Some hundred roundings of the scalar one after the other; the equations are computed in double.
template <class Scalar>
constexpr double rounding = std::is_same_v<Scalar, float> ? 2e-4 : 1e-11;

template <class Mixer>
std::vector<typename NamedWeights<typename Mixer::Scalar>::Matrix> all_weights(const Mixer& mixer) {
  std::vector<typename NamedWeights<typename Mixer::Scalar>::Matrix> all;
  for (const std::string& name : mixer.weight_names()) all.push_back(mixer.weight(name));
  return all;
}

/// The equations with a mixer's weights, in double.
template <template <class> class Mixer, class Scalar>
test::Array expected(const Mixer<Scalar>& mixer, const typename Mixer<Scalar>::Matrix& x) {
  Mixer<double> wide(mixer.options());
  for (const std::string& name : mixer.weight_names()) {
    wide.set_weight(name, mixer.weight(name).template cast<double>());
  }
  return test::reference(wide, x.template cast<double>());
}

/// A mixer of a published model, and one whose option is off and which has no place for `surplus`.
template <template <class> class Mixer, class Scalar>
void check_option(typename Mixer<Scalar>::Options on, typename Mixer<Scalar>::Options off,
                  const std::vector<std::string>& surplus, const std::string& prefix) {
  test::Random random(17);
  Mixer<Scalar> published(on), plain(off);
  test::randomise(published, random);
  test::randomise(plain, random);
  const test::Folder folder;
  const auto write = [&](const char* file, const Mixer<Scalar>& mixer) {
    Tensors tensors = weights_of(mixer, {}, dtype_of<Scalar>(), prefix);
    if (!prefix.empty()) {  // the rest of the model
      tensors.add("model.norm.weight", random.vector<float>(3));
      tensors.add(prefix.substr(0, prefix.size() - 6) + "mlp.bias", random.vector<float>(3));
    }
    write_safetensors(folder / file, tensors);
  };
  write("published", published);
  write("plain", plain);
  on.seed = off.seed = 5;
  const auto x = random.matrix<Scalar>(21, on.hidden_size);

  Mixer<Scalar> without(off);
  const auto before = all_weights(without);
  const std::string too_much =
      test::error_of([&] { load_weights(folder / "published", without, {}, {.prefix = prefix}); });
  for (const std::string& name : surplus) {
    CAPTURE(name);
    CHECK(test::mentions(too_much, {"no weights of the layer", name}));
  }
  CHECK(all_weights(without) == before);

  Mixer<Scalar> with(on);
  const auto before_with = all_weights(with);
  const std::string too_little =
      test::error_of([&] { load_weights(folder / "plain", with, {}, {.prefix = prefix}); });
  CHECK(test::mentions(too_little, {"is missing", surplus.front()}));
  CHECK(all_weights(with) == before_with);

  load_weights(folder / "published", with, {}, {.prefix = prefix});
  load_weights(folder / "plain", without, {}, {.prefix = prefix});
  for (const auto* const mixer : {&with, &without}) {
    const auto right = expected(*mixer, x);
    const auto out = mixer->forward(x).template cast<double>().eval();
    CHECK((out - right).cwiseAbs().maxCoeff() <= rounding<Scalar> * right.cwiseAbs().maxCoeff());
  }
  CHECK(all_weights(with) == all_weights(published));
  CHECK(all_weights(without) == all_weights(plain));
}

template <class Scalar>
void check_mamba2(const std::string& prefix) {
  LogLinearMamba2Options on{.hidden_size = 4,
                            .num_heads = 4,
                            .head_dim = 2,
                            .state_size = 2,
                            .n_groups = 2,
                            .use_bias = true,
                            .num_levels = 4};
  const auto check = [&](auto change, const std::vector<std::string>& surplus) {
    auto off = on;
    change(off);
    check_option<LogLinearMamba2, Scalar>(on, off, surplus, prefix);
  };
  check([](auto& o) { o.use_conv_bias = false; }, {"conv1d.bias"});
  check([](auto& o) { o.use_bias = false; }, {"in_proj.bias", "out_proj.bias"});
}

template <class Scalar>
void check_gated_delta_net(const std::string& prefix) {
  LogLinearGatedDeltaNetOptions on{
      .hidden_size = 4, .num_heads = 2, .head_dim = 2, .conv_bias = true, .num_levels = 4};
  const auto check = [&](auto change, const std::vector<std::string>& surplus) {
    auto off = on;
    change(off);
    check_option<LogLinearGatedDeltaNet, Scalar>(on, off, surplus, prefix);
  };
  check([](auto& o) { o.use_gate = false; }, {"g_proj.weight"});
  check([](auto& o) { o.conv_bias = false; }, {"q_conv1d.bias", "k_conv1d.bias", "v_conv1d.bias"});
  check([](auto& o) { o.use_short_conv = false; },
        {"q_conv1d.weight", "q_conv1d.bias", "v_conv1d.weight"});
}

}  // namespace

TEMPLATE_TEST_CASE("Published Mamba-2 weights fit their options or are refused by name", "", float,
                   double) {
  check_mamba2<TestType>("");
  check_mamba2<TestType>("backbone.layers.3.mixer.");
}

TEMPLATE_TEST_CASE("Published Gated DeltaNet weights fit their options or are refused by name", "",
                   float, double) {
  check_gated_delta_net<TestType>("");
  check_gated_delta_net<TestType>("model.layers.20.attn.");
}

TEST_CASE("D of a number a head is no D of a number a value") {
  const LogLinearMamba2Options options{
      .hidden_size = 4, .num_heads = 4, .head_dim = 2, .state_size = 2, .num_levels = 4};
  auto by_value = options;
  by_value.D_has_hdim = true;
  LogLinearMamba2<double> narrow(options), wide(by_value);
  CHECK(test::mentions(test::error_of([&] { set_weights(narrow, weights_of(wide)); }),
                       {"\"D\"", "F64[8]", "[4, 1]"}));
  CHECK(test::mentions(test::error_of([&] { set_weights(wide, weights_of(narrow)); }),
                       {"\"D\"", "F64[4]", "[8, 1]"}));
}

TEST_CASE("Options begin as those of the published models, of_layer() has those of the layers") {
  const LogLinearMamba2Options mamba2, mamba2_layer = LogLinearMamba2Options::of_layer();
  CHECK(mamba2.use_conv_bias);
  CHECK_FALSE(mamba2.use_bias);
  CHECK(mamba2.norm_per_group);
  CHECK_FALSE(mamba2.norm_before_gate);
  CHECK_FALSE(mamba2.D_has_hdim);
  CHECK(mamba2.norm_eps == 1e-5);
  CHECK_FALSE(mamba2_layer.use_conv_bias);
  CHECK(mamba2_layer.use_bias);
  CHECK(mamba2_layer.norm_eps == 1e-5);

  const LogLinearGatedDeltaNetOptions delta,
      delta_layer = LogLinearGatedDeltaNetOptions::of_layer();
  CHECK(delta.norm_eps == 1e-6);
  CHECK(delta_layer.norm_eps == 1e-5);
  for (const auto& o : {delta, delta_layer}) {
    CHECK(o.use_gate);
    CHECK(o.use_short_conv);
    CHECK_FALSE(o.conv_bias);
    CHECK_FALSE(o.allow_neg_eigval);
  }
}
