// SPDX-License-Identifier: MIT
// Whole language models against an independent reference: in one pass, in pieces, token by token,
// many streams at once.

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "catch.hpp"
#include "model/cases.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using Eigen::Index;
using loglinear::LanguageModel;
using test::error_against;
using test::error_of;
using test::mentions;
using test::Random;
using Matrix = loglinear::detail::RowMajorMatrix<double>;

/// What some hundred roundings in a row may make of numbers of order 1.
constexpr double exact = 1e-10, rounded = 1e-5;

using Tokens = std::span<const std::int32_t>;

}  // namespace

TEMPLATE_TEST_CASE("A model's logits are those of the published equations", "", float, double) {
  const double limit = std::is_same_v<TestType, float> ? rounded : exact;
  for (const auto& [name, options] : test::model_cases()) {
    CAPTURE(name);
    Random random(1);
    LanguageModel<TestType> model(options);
    test::randomise(model, random);
    for (const std::size_t count : {1u, 2u, 75u}) {
      CAPTURE(count);
      const auto tokens = test::random_tokens(count, 11, random);
      const Matrix expected = test::expected_logits(model, tokens);
      CHECK(error_against(model.logits(tokens), expected) <= limit);

      // Any split, and the last logits alone.
      auto pieces = model.make_cache(), steps = model.make_cache();
      Index begin = 0;
      for (const std::size_t length : {0u, 1u, 3u, 30u, 1u, 17u, 23u}) {
        if (count < 75) break;
        const Tokens piece = Tokens(tokens).subspan(std::size_t(begin), length);
        const auto logits = model.logits(piece, pieces);
        begin += Index(length);
        CHECK(pieces.size() == std::uint64_t(begin));
        if (length == 0) continue;
        CHECK(error_against(logits, expected.middleRows(begin - Index(length), Index(length)),
                            expected) <= limit);
      }
      for (std::size_t t = 0; t < count; ++t) {
        const auto logits = model.step(tokens[t], steps);
        CHECK(error_against(logits.transpose(), expected.row(Index(t)), expected) <= limit);
      }
      CHECK(steps.size() == count);
      auto prompt = model.make_cache();
      CHECK(error_against(model.prefill(tokens, prompt).transpose(), expected.bottomRows(1)) <=
            limit);
      CHECK(prompt.size() == count);
    }
  }
}

TEST_CASE("Many streams at once are single streams") {
  for (const auto& [name, options] : test::model_cases()) {
    CAPTURE(name);
    Random random(2);
    LanguageModel<double> model(options);
    test::randomise(model, random);
    // Streams that stand at different places.
    std::vector<loglinear::LanguageModelCache<double>> batch, single;
    for (std::size_t s = 0; s < 5; ++s) {
      batch.push_back(model.make_cache());
      if (s > 0) model.prefill(test::random_tokens(7 * s, 11, random), batch.back());
    }
    single = batch;
    std::vector<loglinear::LanguageModelCache<double>*> caches;
    for (auto& cache : batch) caches.push_back(&cache);
    for (int t = 0; t < 12; ++t) {
      const auto tokens = test::random_tokens(5, 11, random);
      const auto logits = model.step(tokens, caches);
      REQUIRE(logits.rows() == 5);
      for (std::size_t s = 0; s < 5; ++s) {
        const auto alone = model.step(tokens[s], single[s]);
        CHECK(error_against(logits.row(Index(s)), alone.transpose()) <= exact);
        CHECK(batch[s].size() == single[s].size());
      }
    }
    CHECK(model.step(Tokens(), {}).rows() == 0);
  }
}

TEST_CASE("A snapshot takes tokens back to the bit, and memory is constant") {
  for (const auto& [name, options] : test::model_cases()) {
    CAPTURE(name);
    Random random(3);
    LanguageModel<float> model(options);
    test::randomise(model, random);
    auto cache = model.make_cache();
    const bool is_constant = options.attn.empty() || options.attn.back().window_size != 0;
    const std::size_t memory = cache.memory_bytes();
    CHECK(memory > 0);
    model.prefill(test::random_tokens(21, 11, random), cache);
    const auto snapshot = cache;
    const auto tokens = test::random_tokens(9, 11, random);
    const auto draft = model.logits(Tokens(tokens).first(4), cache);
    const auto first = model.step(tokens[5], cache);
    CHECK_FALSE(cache == snapshot);
    cache = snapshot;
    CHECK(cache == snapshot);
    CHECK(test::same_bits(draft, model.logits(Tokens(tokens).first(4), cache)));
    CHECK(test::same_bits(first, model.step(tokens[5], cache)));
    CHECK((cache.memory_bytes() == memory) == is_constant);
    cache.reset();
    CHECK(cache.size() == 0);
    CHECK(error_against(model.logits(tokens, cache), model.logits(tokens)) <= 0);
  }
}

TEST_CASE("Weights kept in bfloat16 compute with the numbers that they are") {
  for (const auto& [name, options] : test::model_cases()) {
    CAPTURE(name);
    Random random(4);
    LanguageModel<float> narrow(options, true), wide(options);
    test::randomise(narrow, random);
    for (const std::string& weight : wide.weight_names()) {
      wide.set_weight(weight, narrow.weight(weight));
    }
    CHECK(narrow.weight_bytes() < wide.weight_bytes() * 3 / 4);
    const auto tokens = test::random_tokens(40, 11, random);
    const Matrix expected = test::expected_logits(wide, tokens);
    CHECK(error_against(narrow.logits(tokens), expected) <= rounded);
    auto cache = narrow.make_cache();
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      CHECK(error_against(narrow.step(tokens[t], cache).transpose(), expected.row(Index(t)),
                          expected) <= rounded);
    }
  }
}

TEST_CASE("Results have the same bits on any number of threads") {
  auto options = test::small_model(loglinear::LogLinearMamba2Options{
      .hidden_size = 128, .num_heads = 8, .head_dim = 32, .state_size = 16, .num_levels = 9});
  options.intermediate_size = 512;
  options.vocab_size = 300;
  Random random(5);
  const LanguageModel<float> model(options);
  const auto tokens = test::random_tokens(300, 300, random);
  const int before = loglinear::thread_count();
  loglinear::set_thread_count(1);
  const auto one = model.logits(tokens);
  loglinear::set_thread_count(3);
  CHECK(test::same_bits(one, model.logits(tokens)));
  loglinear::set_thread_count(before);
}

TEST_CASE("Bad tokens and caches are refused before anything changes") {
  for (const auto& [name, options] : test::model_cases()) {
    CAPTURE(name);
    Random random(6);
    LanguageModel<double> model(options);
    test::randomise(model, random);
    auto cache = model.make_cache();
    model.prefill(test::random_tokens(5, 11, random), cache);
    const auto before = cache;
    auto* const twice = &cache;
    const std::vector<std::int32_t> bad{3, 11}, fine{3, 4};
    const std::vector<loglinear::LanguageModelCache<double>*> same{twice, twice};
    CHECK(mentions(error_of([&] { (void)model.logits(bad, cache); }),
                   {"tokens[1]", "11", "between 0 and 10"}));
    CHECK(mentions(error_of([&] { (void)model.step(-1, cache); }), {"tokens[0]", "-1"}));
    CHECK(mentions(error_of([&] { (void)model.prefill({}, cache); }), {"number of tokens", "0"}));
    CHECK(mentions(error_of([&] { (void)model.step(fine, same); }), {"caches", "twice"}));
    const std::vector<loglinear::LanguageModelCache<double>*> none{twice, nullptr};
    CHECK(mentions(error_of([&] { (void)model.step(fine, none); }), {"caches[1]", "null"}));
    auto fewer = options;
    fewer.attn.clear();
    fewer.num_hidden_layers = 1;
    auto other = LanguageModel<double>(fewer).make_cache();
    CHECK(mentions(error_of([&] { (void)model.step(1, other); }), {"cache", "make_cache"}));
    CHECK(mentions(error_of([&] { (void)model.logits(fine, other); }), {"cache", "make_cache"}));

    // The head overflows, when all blocks have read.
    const auto names = model.weight_names();
    const std::string head = options.tie_word_embeddings ? names.front() : names.back();
    const std::string norm = names[names.size() - (options.tie_word_embeddings ? 1 : 2)];
    model.set_weight(norm, Eigen::VectorXd::Constant(8, 1e20));
    model.set_weight(head, 1e300 * Eigen::MatrixXd::Identity(11, 8));
    CHECK(mentions(error_of([&] { (void)model.step(1, cache); }), {"finite"}));
    CHECK(mentions(error_of([&] { (void)model.logits(fine, cache); }), {"finite"}));
    CHECK(cache == before);
    CHECK(mentions(error_of([&] { (void)model.weight("lm_heads.weight"); }),
                   {"weight name", "lm_heads.weight"}));
    CHECK(mentions(error_of([&] { model.set_weight(head, Eigen::MatrixXd::Ones(11, 2)); }),
                   {"columns", head}));
  }
}

TEST_CASE("A bad token is named by its place in the whole sequence") {
  const LanguageModel<float> model(test::small_model(test::small_mamba2()));
  std::vector<std::int32_t> tokens(5000, 1);
  tokens[4500] = 11;
  CHECK(mentions(error_of([&] { (void)model.logits(tokens); }), {"tokens[4500]", "11"}));
}

TEST_CASE("Options of a model out of their range are refused by name") {
  const auto error = [](auto change) {
    auto options = test::small_model(test::small_mamba2());
    options.attn = {{.layers = {1}, .num_heads = 2}};
    change(options);
    return error_of([&] { LanguageModel<float> model(options); });
  };
  CHECK(error([](auto&) {}).empty());
  CHECK(mentions(error([](auto& o) { o.vocab_size = 0; }), {"vocab_size", "0"}));
  CHECK(mentions(error([](auto& o) { o.num_hidden_layers = 0; }), {"num_hidden_layers", "0"}));
  CHECK(mentions(error([](auto& o) { o.intermediate_size = -1; }), {"intermediate_size", "-1"}));
  CHECK(mentions(error([](auto& o) { o.attn[0].num_heads = 3; }), {"num_heads of attn", "3"}));
  CHECK(mentions(error([](auto& o) { o.attn[0].num_kv_heads = 3; }), {"num_kv_heads", "3"}));
  CHECK(mentions(error([](auto& o) { o.attn[0].window_size = -1; }), {"window_size", "-1"}));
  CHECK(mentions(error([](auto& o) { o.attn[0].rope_theta = 0; }), {"rope_theta", "0"}));
  CHECK(mentions(error([](auto& o) { o.attn[0].layers = {2}; }), {"layer of attn", "2"}));
  CHECK(mentions(error([](auto& o) { o.attn.push_back(o.attn[0]); }), {"layer of attn", "once"}));
  CHECK(mentions(error([](auto& o) { std::get<0>(o.mixer).num_heads = 3; }), {"num_heads"}));
  CHECK(mentions(error([](auto& o) { std::get<0>(o.mixer).seed = 0; }), {"seed"}));
  // Nobody else looks at it where attention is everywhere.
  for (const double eps : {-1.0, 0.0, 1e-40, std::numeric_limits<double>::infinity()}) {
    CHECK(mentions(error([&](auto& o) {
                     o.attn[0].layers = {0, 1};
                     std::get<0>(o.mixer).norm_eps = eps;
                   }),
                   {"norm_eps"}));
  }
}
