// SPDX-License-Identifier: MIT
#include "loglinear/mode/mode_text.hpp"

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "catch.hpp"
#include "modes.hpp"

namespace {

using namespace loglinear;

/// What parse_mode throws for a text; nothing where it accepts it.
std::optional<ModeSyntaxError> error_in(std::string_view text) {
  try {
    (void)parse_mode(text);
  } catch (const ModeSyntaxError& error) {
    return error;
  }
  return {};
}

/// The text with random space wherever space is allowed.
std::string spread(const std::string& text, test::Random& random) {
  std::string out;
  const auto space = [&] {
    for (int i = random.below(3); i > 0; --i) out += " \t\n\r\v\f"[random.below(6)];
  };
  space();
  for (const char c : text) {
    const bool is_mark = std::string_view("(),=").find(c) != std::string_view::npos;
    if (c == ' ') continue;  // to_text puts it after commas
    if (is_mark) space();
    out += c;
    if (is_mark) space();
  }
  space();
  return out;
}

}  // namespace

TEST_CASE("A mode is written with the arguments that differ from their defaults") {
  CHECK(to_text(RetNet{}) == "retnet");
  CHECK(to_text(RetNet{.gamma = 0.999}) == "retnet(gamma=0.999)");
  CHECK(to_text(GatedDeltaNet{.beta = Beta::per_token}) == "gated_delta_net(beta=per_token)");
  CHECK(to_text(RWKV7{.decay_first = true, .iclr_bias = -1.5}) ==
        "rwkv7(decay_first=true, iclr_bias=-1.5)");
  CHECK(to_text(DeltaProductMode{.n_compositions = 3}) == "delta_product(n_compositions=3)");
  CHECK(to_text(LogLinear{}) == "log_linear(retnet)");
  CHECK(to_text(LogLinear{.inner = GLA{.gate_bias = 6}, .max_levels = 20, .key_only = true}) ==
        "log_linear(gla(gate_bias=6), max_levels=20, key_only=true)");
  CHECK(to_text(LogLinear{.level_weights = NormalizedMixture{.lambda_init = 1e-300}}) ==
        "log_linear(retnet, level_weights=normalized_mixture(lambda_init=1e-300))");
  CHECK(to_text(LogLinear{.level_weights = MeanMixture{.mixture = {.tau = 0.5}}}) ==
        "log_linear(retnet, level_weights=mean_mixture(tau=0.5))");
  CHECK(to_text(LogLinear{.level_weights = UnitWeights{}}) ==
        "log_linear(retnet, level_weights=unit_weights)");
  CHECK(to_text(LogLinear{.level_weights = MlpWeights{.channels = 7}}) ==
        "log_linear(retnet, level_weights=mlp_weights(channels=7))");
  CHECK(to_text(InnerMode(HGRN2{.lower_bound = 0})) == "hgrn2(lower_bound=0)");
  CHECK(to_text(GLA{.gate_bias = -0.0}) == "gla(gate_bias=-0)");
}

TEST_CASE("A text is read with space anywhere and defaults for what it leaves out") {
  const AttentionMode mode = parse_mode(
      "  log_linear ( gated_delta_net(beta_scale = .5,beta=per_token),\n max_levels=20 ) ");
  const auto& log_linear = std::get<LogLinear>(mode);
  const auto& inner = std::get<GatedDeltaNet>(log_linear.inner);
  CHECK(inner.beta_scale == 0.5);
  CHECK(inner.beta == Beta::per_token);
  CHECK(inner.gate_bias == 0);
  CHECK(log_linear.max_levels == 20);
  CHECK(log_linear.level_weights == LevelWeighting(NormalizedMixture{}));
  CHECK_FALSE(log_linear.key_only);

  CHECK(parse_mode("retnet()") == AttentionMode(RetNet{}));
  CHECK(parse_mode("rwkv7(iclr_bias=2, decay_first=true)") ==
        AttentionMode(RWKV7{.decay_first = true, .iclr_bias = 2}));
  CHECK(parse_inner_mode("mamba2(initial_dt_bias=1E2)") ==
        InnerMode(Mamba2{.initial_dt_bias = 100}));
  const auto weighted = [](const LevelWeighting& weights) {
    return AttentionMode(LogLinear{.inner = Hawk{}, .max_levels = 4, .level_weights = weights});
  };
  CHECK(parse_mode("log_linear(hawk,max_levels=4,level_weights=softplus_weights)") ==
        weighted(SoftplusWeights{}));
  CHECK(parse_mode("log_linear(hawk, level_weights = mean_mixture ( tau = 2 ), max_levels=4)") ==
        weighted(MeanMixture{.mixture = {.tau = 2}}));
  CHECK(parse_mode("log_linear(hawk, level_weights=normalized_mixture(lambda_init=0.25, tau=3),"
                   "max_levels=4)") == weighted(NormalizedMixture{.lambda_init = 0.25, .tau = 3}));
  CHECK(parse_mode("log_linear(hawk, level_weights=normalized_mixture(lambda_init=1/max_levels), "
                   "max_levels=4)") == weighted(NormalizedMixture{}));
  CHECK(parse_mode("log_linear(hawk, max_levels=4, level_weights=mlp_weights(channels=3))") ==
        weighted(MlpWeights{.channels = 3}));
  CHECK(parse_level_weights(" unit_weights() ") == LevelWeighting(UnitWeights{}));
}

TEST_CASE("Every mode with every value survives the way to text and back, bit for bit") {
  test::Random random(11);
  std::set<std::string> names;
  for (int i = 0; i < 20'000; ++i) {
    const AttentionMode mode = test::random_mode(random);
    const std::string text = to_text(mode);
    CAPTURE(text);
    validate(mode);
    const AttentionMode back = parse_mode(text);
    if (back != mode) FAIL("another mode came back");
    if (to_text(back) != text) FAIL("a zero lost its sign");  // equal finite numbers differ so only
    if (parse_mode(spread(text, random)) != mode) FAIL("space changed the mode");
    names.insert(std::string(mode_name(mode)));
    if (const auto* log_linear = std::get_if<LogLinear>(&mode)) {
      if (parse_inner_mode(to_text(log_linear->inner)) != log_linear->inner) {
        FAIL("another inner mode came back");
      }
    } else if (text.substr(0, text.find('(')) != mode_name(mode)) {
      FAIL("the text does not begin with the name");
    }
  }
  CHECK(names.size() == std::variant_size_v<AttentionMode>);
}

TEST_CASE("What is wrong in a text is named with its column and what would be legal") {
  struct Wrong {
    std::string_view text;
    std::size_t column;
    std::vector<std::string_view> parts;
  };
  const std::vector<Wrong> table = {
      // Modes.
      {"", 1, {"the end", "one of retnet, hawk", ", mamba2", ", log_linear"}},
      {" \n", 3, {"the end", "a mode"}},
      {"GLA", 1, {"\"GLA\"", "one of retnet"}},
      {"gla_", 1, {"\"gla_\"", "a mode"}},
      {"(gla)", 1, {"\"(\"", "a mode"}},
      {"3", 1, {"\"3\"", "a mode"}},
      {"gla gla", 5, {"\"gla\"", "the end"}},
      {"gla()x", 6, {"\"x\"", "the end"}},
      {"gla(gate_bias=1))", 17, {"\")\"", "the end"}},
      // Arguments.
      {"gla(", 5, {"the end", "an argument: gate_bias"}},
      {"gla(gate=1)", 5, {"\"gate\"", "an argument: gate_bias"}},
      {"gla(6)", 5, {"\"6\"", "gate_bias"}},
      {"gla(gla(gla(", 5, {"\"gla\"", "gate_bias"}},
      {"hawk(gate_bias=1,)", 18, {"\")\"", "an argument: input_bias"}},
      {"hawk(,gate_bias=1)", 6, {"\",\"", "one of gate_bias, input_bias"}},
      {"hawk(gate_bias=1,,input_bias=1)", 18, {"\",\"", "input_bias"}},
      {"hawk(gate_bias=1 input_bias=2)", 18, {"\"input_bias\"", "\",\" or \")\""}},
      {"hawk(gate_bias=1, gate_bias=1)", 19, {"\"gate_bias\"", "once", "input_bias"}},
      {"gla(gate_bias=1, gate_bias=2)", 18, {"\"gate_bias\"", "once", "\")\""}},
      {"delta_net(gate_bias=1)", 11, {"\"gate_bias\"", "expected \")\""}},
      {"gla(gate_bias)", 14, {"\")\"", "\"=\" and a value"}},
      {"gla(gate_bias 1)", 15, {"\"1\"", "\"=\""}},
      {"gla(gate_bias==1)", 15, {"\"=\"", "a number"}},
      {"gla(gate_bias=1", 16, {"the end", "\",\" or \")\""}},
      // Values.
      {"gla(gate_bias=)", 15, {"\")\"", "a number"}},
      {"gla(gate_bias=", 15, {"the end", "a number"}},
      {"gla(gate_bias=true)", 15, {"\"true\"", "a number"}},
      {"gla(gate_bias=1.2.3)", 15, {"\"1.2.3\"", "a number"}},
      {"gla(gate_bias=+1)", 15, {"\"+1\"", "a number"}},
      {"gla(gate_bias=1e999)", 15, {"\"1e999\"", "within its range"}},
      {"gla(gate_bias=nan)", 15, {"GLA::gate_bias", "nan", "finite"}},
      {"gla(gate_bias=-inf)", 15, {"GLA::gate_bias", "-inf", "finite"}},
      {"retnet(gamma=2)", 14, {"RetNet::gamma is 2", "(0, 1]"}},
      {"retnet(gamma=0)", 14, {"RetNet::gamma is 0", "(0, 1]"}},
      {"hgrn2(gate_bias=1,lower_bound=1)", 31, {"HGRN2::lower_bound is 1", "[0, 1)"}},
      {"gated_delta_net(beta_scale=2.5)", 28, {"beta_scale is 2.5", "between 0 and 2"}},
      {"gated_delta_net(beta=maybe)", 22, {"\"maybe\"", "one of fixed, per_token"}},
      {"rwkv7(decay_first=1)", 19, {"\"1\"", "one of false, true"}},
      {"rwkv7(decay_first=True)", 19, {"\"True\"", "one of false, true"}},
      {"delta_product(n_compositions=5)", 30, {"n_compositions is 5", "between 1 and 4"}},
      {"delta_product(n_compositions=0)", 30, {"n_compositions is 0", "between 1 and 4"}},
      {"delta_product(n_compositions=2.0)", 30, {"\"2.0\"", "a whole number"}},
      {"delta_product(n_compositions=99999999999)", 30, {"a whole number within its range"}},
      // Log-linear attention.
      {"log_linear", 11, {"the end", "\"(\" and an inner mode"}},
      {"log_linear()", 12, {"\")\"", "one of retnet", "rwkv7, hgrn2, mamba2"}},
      {"log_linear(max_levels=3)", 12, {"\"max_levels\"", "a mode", "one of retnet"}},
      {"log_linear(log_linear(gla))", 12, {"log_linear cannot be inside log_linear", "retnet"}},
      {"log_linear(gla, log_linear=3)", 17, {"one of max_levels, level_weights, key_only"}},
      {"log_linear(gla max_levels=3)", 16, {"\"max_levels\"", "\",\" or \")\""}},
      {"log_linear(gla, max_levels=65)", 28, {"max_levels is 65", "between 1 and 64"}},
      {"log_linear(gla, lambda_init=0.25)", 17, {"one of max_levels, level_weights, key_only"}},
      // Level weights.
      {"log_linear(gla, level_weights=)",
       31,
       {"\")\"", "level weights: one of normalized_mixture"}},
      {"log_linear(gla, level_weights=gla)", 31, {"\"gla\"", "softplus_weights, ", "unit_weights"}},
      {"log_linear(gla, level_weights=log_linear(gla))", 31, {"\"log_linear\"", "level weights"}},
      {"log_linear(gla, level_weights=unit_weights, level_weights=unit_weights)", 45, {"once"}},
      {"log_linear(gla, level_weights=unit_weights(tau=1))", 44, {"\"tau\"", "expected \")\""}},
      {"log_linear(gla, level_weights=mean_mixture(tau=0))",
       48,
       {"MeanMixture::tau is 0", "above 0"}},
      {"log_linear(gla, level_weights=mean_mixture(tau=-1))", 48, {"MeanMixture::tau is -1"}},
      {"log_linear(gla, level_weights=mean_mixture(t=1))", 44, {"one of lambda_init, tau"}},
      {"log_linear(gla, level_weights=normalized_mixture(lambda_init=inf))",
       62,
       {"lambda_init is inf", "finite"}},
      {"log_linear(gla, level_weights=normalized_mixture(lambda_init=1/20))",
       62,
       {"\"1/20\"", "a number or 1/max_levels"}},
      {"log_linear(gla, level_weights=normalized_mixture(lambda_init=1 / max_levels))",
       64,
       {"\"/\"", "\",\" or \")\""}},
      {"log_linear(gla, level_weights=normalized_mixture(tau=2)",
       56,
       {"the end", "\",\" or \")\""}},
      {"unit_weights", 1, {"\"unit_weights\"", "a mode"}},
      {"log_linear(gla, max_levels=1/max_levels)", 28, {"\"1/max_levels\"", "a whole number"}},
      {"log_linear(retnet(gamma=-1), max_levels=2)", 25, {"RetNet::gamma is -1"}},
      // Bytes that are not text.
      {std::string_view("gla\0", 4), 4, {"\"\\x00\"", "the end"}},
      {"gla\xC3\xA4", 4, {"\"\\xC3\"", "the end"}},
      {"wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww", 1, {"\"wwwwwwwwww", "w...\""}},
  };
  for (const Wrong& wrong : table) {
    CAPTURE(wrong.text, wrong.column);
    const auto error = error_in(wrong.text);
    REQUIRE(error);
    const std::string message = error->what();
    CAPTURE(message);
    CHECK(error->column() == wrong.column);
    CHECK(test::mentions(message, wrong.parts));
    CHECK(message.starts_with("loglinear: mode, column " + std::to_string(wrong.column) + ": "));
    CHECK(message.size() < 300);
  }
}

TEST_CASE("An inner mode cannot be log-linear") {
  const std::string message = test::error_of([] { (void)parse_inner_mode("log_linear(gla)"); });
  CHECK(test::mentions(message, {"column 1", "log_linear cannot be inside log_linear"}));
}

TEST_CASE("Signatures name every mode with all its arguments, and read back as the default") {
  const std::vector<std::string> signatures = mode_signatures();
  const auto defaults = []<class... Modes>(std::type_identity<std::variant<Modes...>>) {
    return std::vector<AttentionMode>{Modes{}...};
  }(std::type_identity<AttentionMode>{});
  REQUIRE(signatures.size() == defaults.size());
  CHECK(signatures.front() == "retnet(gamma=0.95)");
  CHECK(signatures.back() ==
        "log_linear(retnet, max_levels=32, level_weights=normalized_mixture, key_only=false)");
  for (std::size_t i = 0; i < defaults.size(); ++i) {
    CAPTURE(signatures[i]);
    CHECK(parse_mode(signatures[i]) == defaults[i]);
  }
}

TEST_CASE("Signatures name all level weights with all their arguments") {
  const std::vector<std::string> signatures = level_weights_signatures();
  CHECK(signatures.size() == std::variant_size_v<LevelWeighting>);
  CHECK(signatures.front() == "normalized_mixture(lambda_init=1/max_levels, tau=1)");
  for (const std::string& signature : signatures) {
    CAPTURE(signature);
    const LevelWeighting weights = parse_level_weights(signature);
    CHECK(signature.starts_with(to_text(weights)));
    CHECK(parse_mode("log_linear(gla, level_weights=" + signature + ")") ==
          AttentionMode(LogLinear{.inner = GLA{}, .level_weights = weights}));
  }
}

TEST_CASE("Whatever the bytes, a text is read or refused at one of its columns") {
  test::Random random(12);
  const std::string_view alphabet("()=,, .-+_e0159glabetrusfx/\t\n\0\xFF", 31);
  const auto byte = [&] { return alphabet[static_cast<std::size_t>(random.below(31))]; };
  const auto place = [&](const std::string& text) {
    return static_cast<std::size_t>(random.below(static_cast<int>(text.size()) + 1));
  };
  int accepted = 0, refused = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text = random.below(8) == 0 ? "" : to_text(test::random_mode(random));
    for (int edits = random.below(4) + (text.empty() ? 8 : 0); edits > 0; --edits) {
      const std::size_t at = place(text);
      const int kind = random.below(4);
      if (kind == 0) text.insert(at, 1, byte());
      if (kind == 1) text.erase(at, 1);
      if (kind == 2 && at < text.size()) text[at] = byte();
      if (kind == 3) text.insert(at, text.substr(place(text), 12));
    }
    // A copy of exactly its size, so that a sanitizer sees a read past the end.
    const std::vector<char> exact(text.begin(), text.end());
    try {
      const AttentionMode mode = parse_mode({exact.data(), exact.size()});
      validate(mode);
      if (parse_mode(to_text(mode)) != mode) FAIL("does not survive: " + text);
      ++accepted;
    } catch (const ModeSyntaxError& error) {
      if (error.column() < 1 || error.column() > text.size() + 1) FAIL("no such column: " + text);
      ++refused;
    }
  }
  CHECK(accepted > 20'000);
  CHECK(refused > 20'000);
}
