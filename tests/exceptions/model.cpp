// SPDX-License-Identifier: MIT
// Language models without memory: streams and models stay what they were, and go on.

#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "exceptions/refusing_allocator.hpp"
#include "model/cases.hpp"

namespace {

using namespace loglinear;
using Model = LanguageModel<double>;
using Cache = Model::Cache;

template <class Values>
void append_bytes(std::string& to, const Values& values) {
  to.append(reinterpret_cast<const char*>(values.data()),
            static_cast<std::size_t>(values.size()) * sizeof(*values.data()));
}

std::string bytes_of(const AttentionCache<double>& cache) {
  std::string bytes = std::to_string(cache.size()) + ' ' + std::to_string(cache.window()) + ' ' +
                      std::to_string(cache.columns()) + ' ';
  append_bytes(bytes, cache.keys_in_order());
  append_bytes(bytes, cache.values_in_order());
  // Both have the same room, or the next token would be written beyond one of them.
  return bytes + (cache.keys().rows() == cache.values().rows() ? " same" : " other");
}
std::string bytes_of(const MixerCache<double>& cache) {
  std::string bytes = std::to_string(cache.size()) + ' ';
  for (const auto& inputs : cache.convolution_inputs()) append_bytes(bytes, inputs);
  for (Eigen::Index h = 0; h < cache.num_heads(); ++h) {
    append_bytes(bytes, Eigen::VectorXd(cache.state(h).flat_state()));
  }
  return bytes;
}
std::string bytes_of(const Cache& cache) {
  std::string bytes;
  for (const auto& layer : cache.layers()) {
    bytes += std::visit([](const auto& one) { return bytes_of(one); }, layer);
  }
  return bytes;
}
std::string bytes_of(const std::pair<Cache, Cache>& both) {
  return bytes_of(both.first) + bytes_of(both.second);
}
std::string bytes_of(const Model& model) {
  std::string bytes;
  for (const std::string& name : model.weight_names()) {
    bytes += name;
    append_bytes(bytes, model.weight(name));
  }
  return bytes;
}

const auto check = [](const char* name, const auto& object, auto operation) {
  using Object = std::decay_t<decltype(object)>;
  test::check_without_memory(
      name, object, [](const Object& any) { return bytes_of(any); }, operation);
};

/// Attention over all tokens, attention over a window, and a mixer.
LanguageModelOptions hybrid() {
  auto options = test::small_model(test::small_mamba2());
  options.num_hidden_layers = 3;
  options.attn = {{.layers = {0}, .num_heads = 2, .num_kv_heads = 1},
                  {.layers = {2}, .num_heads = 2, .window_size = 20}};
  return options;
}
LanguageModelOptions larger() {
  auto options = hybrid();
  std::get<0>(options.mixer).num_heads = 8;
  std::get<0>(options.mixer).expand = 4;
  std::get<0>(options.mixer).conv_kernel = 6;
  options.vocab_size = 17;
  options.intermediate_size = 9;
  return options;
}

}  // namespace

TEST_CASE("Without memory a cache of attention stays as it was") {
  const AttentionCache<double>::Matrix rows = Eigen::MatrixXd::Random(4, 6);
  for (const Eigen::Index window : {0, 9}) {
    AttentionCache<double> cache(window, 6), other(window, 6), wider(window, 7);
    cache.append(rows, 2 * rows);
    for (int i = 0; i < 3; ++i) other.append(3 * rows, rows);
    wider.append(Eigen::MatrixXd::Ones(5, 7), Eigen::MatrixXd::Ones(5, 7));
    check("append", cache, [&](auto& any) { any.append(rows, rows); });
    check("reserve", cache, [&](auto& any) { any.reserve(3); });
    check("assignment", cache, [&](auto& any) { any = other; });
    check("assignment of a wider one", cache, [&](auto& any) { any = wider; });
    check("a copy", cache, [](auto& any) { auto copy = any; });
  }
}

TEST_CASE("Without memory a stream through a model stays as it was") {
  set_thread_count(1);
  test::Random random(1);
  Model model(hybrid()), other(larger());
  test::randomise(model, random);
  const auto tokens = test::random_tokens(9, 11, random);
  Cache cache = model.make_cache(), longer = model.make_cache(), wider = other.make_cache();
  model.prefill(tokens, cache);
  model.prefill(test::random_tokens(30, 11, random), longer);
  other.prefill(tokens, wider);
  check("step", cache, [&](Cache& any) { (void)model.step(3, any); });
  check("prefill", cache, [&](Cache& any) { (void)model.prefill(tokens, any); });
  check("logits", cache, [&](Cache& any) { (void)model.logits(tokens, any); });
  check("a copy", cache, [](Cache& any) { const Cache copy = any; });
  check("assignment", cache, [&](Cache& any) { any = longer; });
  check("assignment of another model's", cache, [&](Cache& any) { any = wider; });
  check("steps of two streams", std::pair(cache, longer), [&](auto& both) {
    const std::vector<Cache*> caches{&both.first, &both.second};
    (void)model.step(std::vector<std::int32_t>{1, 2}, caches);
  });
}

TEST_CASE("Without memory a model stays as it was") {
  test::Random random(2);
  Model model(hybrid());
  test::randomise(model, random);
  const Model other(larger()), narrow(hybrid(), true);
  check("assignment", model, [&](Model& any) { any = other; });
  check("assignment of one in bfloat16", model, [&](Model& any) { any = narrow; });
  check("a weight", model, [](Model& any) {
    any.set_weight("backbone.embeddings.weight", Eigen::MatrixXd::Ones(11, 8));
  });
}

TEST_CASE("Without memory a mixer and its cache stay what they were") {
  test::Random random(3);
  const auto small = std::get<0>(hybrid().mixer), large = std::get<0>(larger().mixer);
  LogLinearMamba2<double> mixer(small), other(large);
  auto cache = mixer.make_cache(), wider = other.make_cache();
  (void)mixer.forward(random.matrix<double>(5, small.hidden_size), cache);
  (void)other.forward(random.matrix<double>(9, large.hidden_size), wider);
  check("assignment of a cache", cache, [&](auto& any) { any = wider; });
  test::check_without_memory(
      "assignment of a mixer", mixer,
      [](const auto& any) {
        std::string bytes;
        for (const std::string& name : any.weight_names()) append_bytes(bytes, any.weight(name));
        return bytes;
      },
      [&](auto& any) { any = other; });
}
