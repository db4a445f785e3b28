// SPDX-License-Identifier: MIT
// config.json: what its keys mean, and what is refused by name.

#include <cmath>
#include <string>
#include <utility>

#include "catch.hpp"
#include "loglinear/checkpoint/model_configuration.hpp"
#include "support.hpp"

using loglinear::language_model_options;
using loglinear::LogLinearGatedDeltaNetOptions;
using loglinear::LogLinearMamba2Options;
using loglinear::MixerLevelWeights;
using loglinear::test::error_of;
using loglinear::test::mentions;

namespace {

std::string with(const std::string& type, const std::string& more = "") {
  return "{\"model_type\": \"" + type + '"' + (more.empty() ? "" : ", " + more) + '}';
}
std::string error(const std::string& json) {
  return error_of([&] { (void)language_model_options(json, "here.json"); });
}

}  // namespace

TEST_CASE("Keys that are not given have flash-linear-attention's values") {
  const auto mamba2 = language_model_options(with("log_linear_mamba2"));
  const auto& m = std::get<LogLinearMamba2Options>(mamba2.mixer);
  CHECK(mamba2.vocab_size == 32000);
  CHECK(mamba2.num_hidden_layers == 48);
  CHECK(mamba2.intermediate_size == 5632);  // 256 ceil(int(8 2048 / 3) / 256)
  CHECK_FALSE(mamba2.tie_word_embeddings);
  CHECK(m.hidden_size == 2048);
  CHECK(m.num_heads == 64);
  CHECK(m.state_size == 128);
  CHECK(m.norm_eps == 1e-5);
  CHECK(m.num_levels == 15);
  CHECK(m.norm_per_group);
  CHECK(m.use_conv_bias);
  CHECK(m.level_weights == MixerLevelWeights::softplus);

  const auto delta = language_model_options(with("gated_deltanet"));
  const auto& g = std::get<LogLinearGatedDeltaNetOptions>(delta.mixer);
  CHECK(delta.num_hidden_layers == 21);
  CHECK(g.head_dim == 256);
  CHECK(g.norm_eps == 1e-6);
  CHECK(g.level_weights == MixerLevelWeights::one_state);
  CHECK(g.scale == 1 / std::sqrt(256.0));
}

TEST_CASE("A model_type says what the paper's code does otherwise") {
  const auto paper = language_model_options(
      with("hattention",
           "\"num_heads\": 48, \"hidden_size\": 1536, \"layer_norm_epsilon\": 0.5, "
           "\"time_step_limit\": [0.0, Infinity], \"rms_norm\": true"));
  const auto& m = std::get<LogLinearMamba2Options>(paper.mixer);
  CHECK_FALSE(m.norm_per_group);
  CHECK(m.norm_eps == 0.5);
  CHECK(m.num_heads == 48);
  const auto twin = language_model_options(with("mamba2mlp"));
  CHECK(std::get<0>(twin.mixer).level_weights == MixerLevelWeights::one_state);
  const auto bare = language_model_options(with("mamba2", "\"chunk_size\": 256"));
  CHECK_FALSE(bare.has_mlp);
  CHECK(std::get<0>(bare.mixer).norm_per_group);
  CHECK(std::get<0>(bare.mixer).level_weights == MixerLevelWeights::one_state);
  CHECK(mentions(error(with("mamba2", "\"intermediate_size\": 512")), {"intermediate_size"}));
  const std::string negative = "\"allow_neg_eigval\": true";
  const auto h = language_model_options(with("h_gated_deltanet", negative));
  CHECK_FALSE(std::get<1>(h.mixer).allow_neg_eigval);
  CHECK(std::get<1>(h.mixer).scale == 1);
  const auto own = language_model_options(
      with("h_gated_deltanet", negative + ", \"level_weights\": \"mlp\", \"level_mlp_size\": 9"));
  CHECK(std::get<1>(own.mixer).allow_neg_eigval);
  CHECK(std::get<1>(own.mixer).level_mlp_size == 9);
}

TEST_CASE("Layers of attention are an object or a list") {
  const auto options = language_model_options(
      with("gated_deltanet",
           "\"attn\": [{\"layers\": [0, 2], \"num_heads\": 8}, {\"layers\": [1], \"num_heads\": 4, "
           "\"num_kv_heads\": 2, \"qkv_bias\": true, \"window_size\": 64, \"rope_theta\": 5e5}]"));
  REQUIRE(options.attn.size() == 2);
  CHECK(options.attn[0].window_size == 0);
  CHECK(options.attn[0].rope_theta == 10000);
  CHECK(options.attn[1].num_kv_heads == 2);
  CHECK(options.attn[1].qkv_bias);
  CHECK(options.attn[1].window_size == 64);
  const auto attention = [](const std::string& attn) {
    return error(with("gated_deltanet", "\"attn\": " + attn));
  };
  CHECK(attention("null").empty());
  CHECK(mentions(attention("3"), {"attn", "no object"}));
  CHECK(mentions(attention("{\"num_heads\": 8}"), {"attn.layers", "null"}));
  CHECK(mentions(attention("{\"layers\": [0]}"), {"attn.num_heads"}));
  CHECK(mentions(attention("{\"layers\": [-1], \"num_heads\": 8}"), {"attn.layers", "[-1]"}));
  CHECK(mentions(attention("{\"layers\": [99], \"num_heads\": 8}"), {"here.json", "99"}));
  CHECK(mentions(attention("{\"layers\": [0], \"num_heads\": 8, \"window_size\": 0}"),
                 {"attn.window_size", "0"}));
  CHECK(mentions(attention("{\"layers\": [0], \"num_heads\": 8, \"qk_norm\": true}"),
                 {"attn.", "qk_norm"}));
}

TEST_CASE("What is not supported is refused by name") {
  const auto mamba2 = [](const std::string& more) {
    return error(with("log_linear_mamba2", more));
  };
  CHECK(mamba2("").empty());
  CHECK(mentions(error("{}"), {"here.json", "model_type", "null", "log_linear_mamba2"}));
  CHECK(mentions(error(with("mamba")), {"model_type", "mamba", "one of"}));
  CHECK(mentions(error("[1]"), {"no JSON object"}));
  CHECK(mentions(error("{\"model_type\": "), {"here.json", "no JSON"}));
  CHECK(mentions(mamba2("\"rmsnorm\": false"), {"rmsnorm", "false", "true"}));
  CHECK(mentions(mamba2("\"hidden_act\": \"gelu\""), {"hidden_act", "gelu", "silu"}));
  CHECK(mentions(mamba2("\"dt_limit\": [0.0, 1.5]"), {"dt_limit", "1.5", "Infinity"}));
  CHECK(mamba2("\"dt_limit\": [0.0, Infinity]").empty());
  CHECK(mamba2("\"dt_limit\": [0, Infinity], \"conv_init\": null").empty());
  CHECK(mentions(mamba2("\"attnres_block_size\": 4"), {"attnres_block_size", "4", "null"}));
  CHECK(mentions(mamba2("\"level_weights\": \"gauss\""), {"level_weights", "gauss", "mlp"}));
  CHECK(mentions(mamba2("\"shiny_new_option\": 1"), {"not known", "shiny_new_option"}));
  CHECK(mentions(mamba2("\"hidden_size\": 8.5"), {"hidden_size", "8.5", "whole number"}));
  CHECK(mentions(mamba2("\"use_bias\": 1"), {"use_bias", "1", "true or false"}));
  CHECK(mentions(mamba2("\"norm_eps\": \"small\""), {"norm_eps", "small", "a number"}));
  CHECK(mentions(mamba2("\"vocab_size\": 0"), {"vocab_size", "0"}));
  CHECK_NOTHROW(language_model_options(with("gated_deltanet", "\"new_option\": -Infinity"), "x",
                                       {"new_option"}));
  // What would wrap around, or be no number of its type.
  CHECK(mentions(mamba2("\"num_levels\": 4294967300"), {"num_levels", "4294967300", "65"}));
  CHECK(mentions(mamba2("\"num_levels\": 1"), {"num_levels", "1", "between 2"}));
  CHECK(mamba2("\"num_levels\": 65").empty());
  CHECK(mentions(error(with("gated_deltanet",
                            "\"hidden_size\": 9007199254740992, "
                            "\"hidden_ratio\": 1000000")),
                 {"hidden_size", "9007199254740992", "1048576"}));
  CHECK(mentions(mamba2("\"hidden_size\": -9007199254740992"), {"hidden_size", "between 1"}));
  // A byte 0 does not end the text.
  CHECK(mentions(error(with("mamba2") + '\0' + "x"), {"here.json", "byte 0"}));
  // Nobody else looks at it where attention is everywhere.
  for (const std::string eps : {"-1", "0", "NaN", "Infinity"}) {
    CHECK(mentions(error(with("gated_deltanet",
                              "\"num_hidden_layers\": 1, \"attn\": {\"layers\": "
                              "[0], \"num_heads\": 8}, \"norm_eps\": " +
                                  eps)),
                   {"norm_eps", "positive"}));
  }
  // Words inside of texts stay what they are.
  CHECK(mentions(mamba2("\"hidden_act\": \"Infinity \\\" NaN\""), {"hidden_act", "Infinity"}));
}
