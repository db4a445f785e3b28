// SPDX-License-Identifier: MIT
// Weights out of checkpoints that `save` or `Checkpoint` wrote: what is no weight of the mixer is
// refused there, too, unless it belongs to another object.
#include <string>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "mixers_cases.hpp"

namespace {

using namespace loglinear;

/// Whether a mixer's weights are those of another, all of them.
template <class Mixer>
bool same(const Mixer& a, const Mixer& b) {
  bool same = a.weight_names() == b.weight_names();
  for (const std::string& name : a.weight_names()) same = same && a.weight(name) == b.weight(name);
  return same;
}

/// What `load_weights` says against a file.
template <class Mixer>
std::string refusal(const std::filesystem::path& path, Mixer& mixer, const WeightNames& names,
                    const std::string& prefix) {
  return test::error_of([&] { load_weights(path, mixer, names, {.prefix = prefix}); });
}

/// A checkpoint of a mixer with an option, read by one without it.
template <class Mixer>
void check(const typename Mixer::Options& on, const typename Mixer::Options& off,
           const std::vector<std::string>& surplus) {
  test::Random random(3);
  Mixer saved(on), plain(off);
  test::randomise(saved, random);
  test::randomise(plain, random);
  const test::Folder folder;
  save(folder / "alone", saved);
  Checkpoint several;
  several.put("", plain);
  several.put("cache", plain.make_cache());
  several.put("mixer", saved);
  several.put("mixer.cache", saved.make_cache());
  several.put("mixers", saved);
  write_safetensors(folder / "several", several.tensors());
  const std::pair<const char*, const char*> places[] = {{"alone", ""}, {"several", "mixer."}};
  for (const auto& [file, prefix] : places) {
    CAPTURE(file);
    Mixer without(off);
    const Mixer before = without;
    const std::string error = refusal(folder / file, without, {}, prefix);
    CHECK(test::mentions(error, {"no weights of the layer"}));
    for (const std::string& name : surplus) CHECK(test::mentions(error, {name}));
    CHECK(!test::mentions(error, {"cache"}));
    CHECK(same(without, before));
    CHECK(!refusal(folder / file, without, {{"A_log", "A_log"}}, prefix).empty());
    CHECK(same(without, before));

    Mixer with(on);
    load_weights(folder / file, with, {}, {.prefix = prefix});
    CHECK(same(with, saved));
    load_weights(folder / file, without, {}, {.prefix = prefix, .allow_surplus = true});
    CHECK(without.weight("A_log") == saved.weight("A_log"));
  }
  // Other objects beside the mixer are none of its weights.
  Mixer loaded(off);
  load_weights(folder / "several", loaded);
  CHECK(same(loaded, plain));
}

}  // namespace

TEMPLATE_TEST_CASE("A checkpoint of a mixer whose option is off here is refused by name", "", float,
                   double) {
  const LogLinearMamba2Options mamba{.hidden_size = 4,
                                     .num_heads = 2,
                                     .head_dim = 4,
                                     .state_size = 2,
                                     .use_bias = true,
                                     .num_levels = 3};
  auto off = mamba;
  off.use_conv_bias = false;
  check<LogLinearMamba2<TestType>>(mamba, off, {"conv1d.bias"});
  off = mamba;
  off.use_bias = false;
  check<LogLinearMamba2<TestType>>(mamba, off, {"in_proj.bias", "out_proj.bias"});

  const LogLinearGatedDeltaNetOptions delta{
      .hidden_size = 4, .num_heads = 2, .head_dim = 2, .conv_bias = true, .num_levels = 3};
  auto without = delta;
  without.use_gate = false;
  check<LogLinearGatedDeltaNet<TestType>>(delta, without, {"g_proj.weight"});
  without = delta;
  without.conv_bias = false;
  check<LogLinearGatedDeltaNet<TestType>>(delta, without, {"q_conv1d.bias"});
  without = delta;
  without.use_short_conv = false;
  check<LogLinearGatedDeltaNet<TestType>>(delta, without, {"v_conv1d.weight"});
}
