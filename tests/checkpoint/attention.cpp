// SPDX-License-Identifier: MIT
// Layers chosen at run time in checkpoints. Apart from the others: this file compiles the parts of
// every layer.
#include <memory>
#include <string>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"
#include "loglinear/mode/attention.hpp"
#include "loglinear/mode/mode_text.hpp"

using namespace loglinear;

namespace {

using Vec = test::Vector<float>;

/// One token, every third of them learnt from.
Vec token(Attention<float>& layer, test::Random& random, int t) {
  const auto x = random.vector<float>(layer.config().d_model);
  return t % 3 != 2 ? layer.forward(x) : layer.train_one(x, x.reverse());
}

AttentionConfig config_of(const char* mode) {
  return {.d_model = 6, .n_heads = 2, .d_k = 8, .d_v = 3, .mode = parse_mode(mode)};
}

}  // namespace

TEST_CASE("A layer chosen at run time goes on bit for bit") {
  for (const char* mode :
       {"retnet", "gla_vector", "gated_delta_net(beta=per_token)", "log_linear(mamba2)",
        "log_linear(gated_delta_net, max_levels=4)", "log_linear(delta_product(n_compositions=3))",
        "log_linear(rwkv7, key_only=true)", "log_linear(hawk)"}) {
    CAPTURE(mode);
    AttentionConfig config = config_of(mode);
    const auto layer = make_attention<float>(config);
    test::Random random(41);
    for (int t = 0; t < 37; ++t) token(*layer, random, t);
    layer->set_learning_rate(0.125);

    const test::Folder folder;
    const auto path = folder / "layer.safetensors";
    save(path, *layer);
    config.seed = 7;
    const auto loaded = make_attention<float>(config);
    load(path, *loaded);
    CHECK(loaded->learning_rate() == 0.125);
    CHECK(loaded->size() == 37);
    bool same = test::same_bits(loaded->state(), layer->state());
    test::Random one(42), other(42);
    for (int t = 0; t < 30; ++t) {
      same = same && test::same_bits(token(*layer, one, t), token(*loaded, other, t));
    }
    CHECK(same);
  }
}

TEMPLATE_TEST_CASE("The file is that of the layer it stands for", "", GLA, DeltaNet,
                   KeyOnly<RetNet>, DeltaProduct<3>) {
  using Layer = MultiHeadAttention<LogLinearAttention<TestType, float>>;
  const char* const mode = std::is_same_v<TestType, GLA> ? "log_linear(gla, max_levels=9)"
                           : std::is_same_v<TestType, DeltaNet>
                               ? "log_linear(delta_net, max_levels=9)"
                           : std::is_same_v<TestType, DeltaProduct<3>>
                               ? "log_linear(delta_product(n_compositions=3), max_levels=9)"
                               : "log_linear(retnet, max_levels=9, key_only=true)";
  const auto layer = make_attention<float>(config_of(mode));
  Layer direct({.d_model = 6, .d_k = 8, .d_v = 3, .n_heads = 2, .max_levels = 9});
  test::Random one(43), other(43);
  for (int t = 0; t < 12; ++t) {
    token(*layer, one, t);
    const auto x = other.vector<float>(6);
    t % 3 != 2 ? direct.forward(x) : direct.train_one(x, x.reverse());
  }
  CHECK(test::saved(*layer) == test::saved(direct));
}

TEST_CASE("A checkpoint of another mode is refused and changes nothing") {
  const auto layer = make_attention<float>(config_of("gla"));
  layer->forward(Vec::Ones(6));
  const Vec before = layer->state();
  for (const char* mode : {"gated_delta_net", "log_linear(gla)", "gla(gate_bias=2)"}) {
    const std::string bytes = test::saved(*make_attention<float>(config_of(mode)));
    Checkpoint checkpoint(test::parsed(bytes));
    const std::string message = test::error_of([&] { checkpoint.get("", *layer); });
    CHECK(test::mentions(message, {"it must be", "as in the object that loads it"}));
    CHECK(test::same_bits(layer->state(), before));
    CHECK(layer->learning_rate() == info_of(StepRule::normalized).rate);
  }
}
