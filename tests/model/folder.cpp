// SPDX-License-Identifier: MIT
// Models from folders in the published layout, which these tests write themselves.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/checkpoint/language_model.hpp"
#include "model/cases.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using loglinear::DType;
using loglinear::LanguageModel;
using loglinear::Tensors;
using test::error_against;
using test::error_of;
using test::mentions;
using test::Random;

constexpr double exact = 1e-10, rounded = 1e-5;

/// A folder that goes away with the test.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("loglinear_model_test")) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

using Shapes = std::vector<std::pair<std::string, std::vector<std::uint64_t>>>;

/// Small random tensors of given names and shapes.
Tensors random_tensors(const Shapes& shapes, DType dtype) {
  Random random(1);
  Tensors tensors;
  for (const auto& [name, shape] : shapes) {
    std::uint64_t size = 1;
    for (const std::uint64_t length : shape) size *= length;
    Tensors one;
    const bool is_matrix = shape.size() > 1;
    one.add(name, Eigen::VectorXf(0.3f * random.vector<float>(Eigen::Index(size))),
            is_matrix ? dtype : DType::f32);
    loglinear::Tensor tensor = one[name];
    tensor.shape = shape;
    tensors.add(name, std::move(tensor));
  }
  return tensors;
}

// A Mamba-2 of one block: d = 8, two heads of 8 values and 4 keys, 256 hidden channels.
const char* const mamba2_json = R"({
  "architectures": ["LogLinearMamba2ForCausalLM"], "model_type": "log_linear_mamba2",
  "hidden_size": 8, "expand": 2, "num_heads": 2, "head_dim": 8, "state_size": 4, "n_groups": 1,
  "conv_kernel": 4, "use_bias": false, "use_conv_bias": true, "norm_eps": 1e-05,
  "num_hidden_layers": 1, "vocab_size": 13, "norm_before_gate": false, "rmsnorm": true,
  "D_has_hdim": false, "hidden_act": "silu", "dt_limit": [0.0, Infinity],
  "attnres_block_size": null, "tie_word_embeddings": false, "torch_dtype": "float32"
})";
Shapes mamba2_shapes() {
  return {{"backbone.embeddings.weight", {13, 8}},
          {"backbone.layers.0.mixer_norm.weight", {8}},
          {"backbone.layers.0.mixer.dt_bias", {2}},
          {"backbone.layers.0.mixer.A_log", {2}},
          {"backbone.layers.0.mixer.L", {2, 15}},
          {"backbone.layers.0.mixer.D", {2}},
          {"backbone.layers.0.mixer.conv1d.weight", {24, 1, 4}},
          {"backbone.layers.0.mixer.conv1d.bias", {24}},
          {"backbone.layers.0.mixer.in_proj.weight", {72, 8}},
          {"backbone.layers.0.mixer.norm.weight", {16}},
          {"backbone.layers.0.mixer.out_proj.weight", {8, 16}},
          {"backbone.layers.0.mlp_norm.weight", {8}},
          {"backbone.layers.0.mlp.gate_proj.weight", {256, 8}},
          {"backbone.layers.0.mlp.up_proj.weight", {256, 8}},
          {"backbone.layers.0.mlp.down_proj.weight", {8, 256}},
          {"backbone.norm_f.weight", {8}},
          {"lm_head.weight", {13, 8}}};
}

// A Gated DeltaNet with a layer of attention: the paper's family, with a network of level weights.
const char* const hybrid_json = R"({
  "model_type": "h_gated_deltanet", "hidden_size": 8, "num_heads": 1, "head_dim": 4, "expand_v": 1,
  "num_hidden_layers": 2, "vocab_size": 13, "hidden_ratio": 2, "level_weights": "mlp",
  "level_mlp_size": 5, "num_levels": 6, "tie_word_embeddings": true,
  "attn": {"layers": [1], "num_heads": 2, "num_kv_heads": 1, "qkv_bias": false,
           "window_size": 7, "rope_theta": 10000.0}
})";
Shapes hybrid_shapes() {
  const std::string first = "model.layers.0.", second = "model.layers.1.";
  Shapes shapes = {{"model.embeddings.weight", {13, 8}},
                   {"model.norm.weight", {8}},
                   {first + "attn.A_log", {1}},
                   {first + "attn.dt_bias", {1}},
                   {first + "attn.q_proj.weight", {4, 8}},
                   {first + "attn.k_proj.weight", {4, 8}},
                   {first + "attn.v_proj.weight", {4, 8}},
                   {first + "attn.a_proj.weight", {1, 8}},
                   {first + "attn.b_proj.weight", {1, 8}},
                   {first + "attn.q_conv1d.weight", {4, 1, 4}},
                   {first + "attn.k_conv1d.weight", {4, 1, 4}},
                   {first + "attn.v_conv1d.weight", {4, 1, 4}},
                   {first + "attn.g_proj.weight", {4, 8}},
                   {first + "attn.o_norm.weight", {4}},
                   {first + "attn.o_proj.weight", {8, 4}},
                   {first + "attn.l_mlp.0.weight", {5, 8}},
                   {first + "attn.l_mlp.0.bias", {5}},
                   {first + "attn.l_mlp.2.weight", {6, 5}},
                   {first + "attn.l_mlp.2.bias", {6}},
                   {second + "attn.q_proj.weight", {8, 8}},
                   {second + "attn.k_proj.weight", {4, 8}},
                   {second + "attn.v_proj.weight", {4, 8}},
                   {second + "attn.o_proj.weight", {8, 8}}};
  for (const std::string& block : {first, second}) {
    shapes.push_back({block + "attn_norm.weight", {8}});
    shapes.push_back({block + "mlp_norm.weight", {8}});
    shapes.push_back({block + "mlp.gate_proj.weight", {256, 8}});
    shapes.push_back({block + "mlp.up_proj.weight", {256, 8}});
    shapes.push_back({block + "mlp.down_proj.weight", {8, 256}});
  }
  return shapes;
}

/// What the oracle says of the tensors themselves, read as float and no other way.
loglinear::detail::RowMajorMatrix<double> expected_logits(
    const Tensors& tensors, const loglinear::LanguageModelOptions& options,
    const std::vector<std::int32_t>& tokens) {
  const test::LanguageModelOracle oracle(options, [&](const std::string& name) {
    const auto values = tensors.matrix<double>(name);
    test::Table table;
    for (Eigen::Index i = 0; i < values.rows(); ++i) {
      auto& row = table.emplace_back();
      for (Eigen::Index j = 0; j < values.cols(); ++j) row.push_back(values(i, j));
    }
    return table;
  });
  const test::Table table = oracle.logits(tokens);
  loglinear::detail::RowMajorMatrix<double> all(Eigen::Index(tokens.size()), options.vocab_size);
  for (Eigen::Index t = 0; t < all.rows(); ++t) {
    for (Eigen::Index j = 0; j < all.cols(); ++j) all(t, j) = table[std::size_t(t)][std::size_t(j)];
  }
  return all;
}

/// The options that the two configurations above mean, by hand.
loglinear::LanguageModelOptions mamba2_options() {
  return {.vocab_size = 13,
          .num_hidden_layers = 1,
          .mixer = loglinear::LogLinearMamba2Options{
              .hidden_size = 8, .num_heads = 2, .head_dim = 8, .state_size = 4}};
}
loglinear::LanguageModelOptions hybrid_options() {
  return {.vocab_size = 13,
          .num_hidden_layers = 2,
          .mixer = loglinear::LogLinearGatedDeltaNetOptions{.hidden_size = 8,
                                                            .expand_v = 1,
                                                            .num_heads = 1,
                                                            .head_dim = 4,
                                                            .num_levels = 6,
                                                            .level_weights =
                                                                loglinear::MixerLevelWeights::mlp,
                                                            .level_mlp_size = 5},
          .attn = {{.layers = {1}, .num_heads = 2, .num_kv_heads = 1, .window_size = 7}},
          .tie_word_embeddings = true};
}

std::string error_of_loading(const Folder& folder, const loglinear::LanguageModelFolder& how = {}) {
  return error_of([&] { (void)loglinear::load_language_model<float>(folder.path(), how); });
}

}  // namespace

TEST_CASE("A folder in the published layout gives the reference's logits") {
  const std::vector<std::int32_t> tokens{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8};
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const bool is_mamba2 : {true, false}) {
      CAPTURE(loglinear::name_of(dtype), is_mamba2);
      Folder folder;
      folder.write("config.json", is_mamba2 ? mamba2_json : hybrid_json);
      const Tensors tensors = random_tensors(is_mamba2 ? mamba2_shapes() : hybrid_shapes(), dtype);
      write_safetensors(folder.path() / "model.safetensors", tensors);
      const auto expected =
          expected_logits(tensors, is_mamba2 ? mamba2_options() : hybrid_options(), tokens);
      const auto model = loglinear::load_language_model<float>(folder.path());
      const auto wide =
          loglinear::load_language_model<double>(folder.path(), {.keep_narrow = false});
      CHECK(error_against(model.logits(tokens), expected) <= rounded);
      CHECK(error_against(wide.logits(tokens), expected) <= exact);
      auto cache = model.make_cache();
      for (std::size_t t = 0; t < tokens.size(); ++t) {
        const auto logits = model.step(tokens[t], cache);
        CHECK(error_against(logits.transpose(), expected.row(Eigen::Index(t)), expected) <=
              rounded);
      }
      // BF16 is kept as such.
      const auto in_float =
          loglinear::load_language_model<float>(folder.path(), {.keep_narrow = false});
      const bool is_kept = model.weight_bytes() * 3 < in_float.weight_bytes() * 2;
      CHECK(is_kept == (dtype == DType::bf16));
      CHECK(2 * in_float.weight_bytes() == wide.weight_bytes());
    }
  }
}

TEST_CASE("Shards are one model") {
  Folder folder;
  folder.write("config.json", mamba2_json);
  const Tensors tensors = random_tensors(mamba2_shapes(), DType::f32);
  write_safetensors(folder.path() / "model.safetensors", tensors);
  const std::vector<std::int32_t> tokens{1, 2, 3, 4, 5, 6, 7};
  const auto whole = loglinear::load_language_model<float>(folder.path()).logits(tokens);
  std::filesystem::remove(folder.path() / "model.safetensors");

  std::map<std::string, Tensors> shards;
  std::string index;
  for (const std::string& name : tensors.names()) {
    const std::string shard =
        "model-0000" + std::to_string(1 + name.size() % 3) + "-of-00003.safetensors";
    shards[shard].add(name, tensors[name]);
    index += (index.empty() ? "\"" : ", \"") + name + "\": \"" + shard + '"';
  }
  REQUIRE(shards.size() == 3);
  for (const auto& [name, shard] : shards) write_safetensors(folder.path() / name, shard);
  folder.write("model.safetensors.index.json",
               "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {" + index + "}}");
  CHECK(
      test::same_bits(loglinear::load_language_model<float>(folder.path()).logits(tokens), whole));

  std::filesystem::remove(folder.path() / shards.begin()->first);
  CHECK_THROWS_AS(loglinear::load_language_model<float>(folder.path()), std::system_error);
  folder.write("model.safetensors.index.json", R"({"weight_map": {"a": "../elsewhere"}})");
  CHECK(mentions(error_of_loading(folder), {"weight_map", "no name of a file"}));
  folder.write("model.safetensors.index.json", "{}");
  CHECK(mentions(error_of_loading(folder), {"index.json", "weight_map"}));
  std::filesystem::remove(folder.path() / "model.safetensors.index.json");
  CHECK(mentions(error_of_loading(folder), {"neither", "model.safetensors"}));
}

TEST_CASE("Tensors that are missing, unknown or of another shape are named") {
  Folder folder;
  folder.write("config.json", mamba2_json);
  const auto with = [&](auto change) {
    Shapes shapes = mamba2_shapes();
    change(shapes);
    write_safetensors(folder.path() / "model.safetensors", random_tensors(shapes, DType::f32));
    return error_of_loading(folder);
  };
  CHECK(with([](Shapes&) {}).empty());
  CHECK(mentions(with([](Shapes& s) { s.pop_back(); }), {"missing", "lm_head.weight"}));
  CHECK(mentions(with([](Shapes& s) {
                   s.push_back({"backbone.layers.0.mixer.in_proj.bias", {72}});
                 }),
                 {"none of the model's", "backbone.layers.0.mixer.in_proj.bias", "config.json"}));
  CHECK(mentions(with([](Shapes& s) {
                   s.back().second = {13, 9};
                 }),
                 {"lm_head.weight", "F32[13, 9]", "[13, 8]"}));
  folder.write("config.json", hybrid_json);
  Shapes tied = hybrid_shapes();
  tied.push_back({"lm_head.weight", {13, 8}});
  Tensors tensors = random_tensors(tied, DType::f32);
  write_safetensors(folder.path() / "model.safetensors", tensors);
  CHECK(mentions(error_of_loading(folder), {"lm_head.weight", "tie_word_embeddings"}));
  Tensors same = random_tensors(hybrid_shapes(), DType::f32);
  same.add("lm_head.weight", loglinear::Tensor(same["model.embeddings.weight"]));
  write_safetensors(folder.path() / "model.safetensors", same);
  CHECK(error_of_loading(folder).empty());
}

TEST_CASE("Matrices of the network of level weights in float are not rounded in silence") {
  for (const std::string network : {"l_mlp.0.weight", "l_mlp.2.weight"}) {
    CAPTURE(network);
    Folder folder;
    folder.write("config.json", hybrid_json);
    const Tensors narrow = random_tensors(hybrid_shapes(), DType::bf16),
                  wide = random_tensors(hybrid_shapes(), DType::f32);
    const std::string name = "model.layers.0.attn." + network;
    Tensors mixed;
    for (const std::string& one : narrow.names()) {
      mixed.add(one, loglinear::Tensor(one == name ? wide[one] : narrow[one]));
    }
    write_safetensors(folder.path() / "model.safetensors", mixed);
    const auto model = loglinear::load_language_model<float>(folder.path());
    CHECK(model.weight(name) == mixed.matrix<float>(name));
  }
}

TEST_CASE("A tied head in float is compared with the embedding of the file") {
  Folder folder;
  folder.write("config.json", hybrid_json);
  Tensors tensors = random_tensors(hybrid_shapes(), DType::f32);
  tensors.add("lm_head.weight", loglinear::Tensor(tensors["model.embeddings.weight"]));
  write_safetensors(folder.path() / "model.safetensors", tensors);
  CHECK(error_of_loading(folder).empty());
  CHECK(error_of_loading(folder, {.keep_narrow = true}).empty());
  Tensors others = random_tensors(hybrid_shapes(), DType::f32);
  others.add("lm_head.weight",
             Eigen::MatrixXf(1.0001f * others.matrix<float>("model.embeddings.weight")));
  write_safetensors(folder.path() / "model.safetensors", others);
  CHECK(mentions(error_of_loading(folder, {.keep_narrow = true}), {"lm_head.weight", "differs"}));
}

TEST_CASE("Integers are no weights") {
  Folder folder;
  folder.write("config.json", mamba2_json);
  for (const DType dtype : {DType::i8, DType::u8, DType::i64, DType::boolean, DType::f8_e4m3}) {
    CAPTURE(loglinear::name_of(dtype));
    Tensors tensors = random_tensors(mamba2_shapes(), DType::f32), quantised;
    const std::string name = "backbone.layers.0.mixer.out_proj.weight";
    for (const std::string& one : tensors.names()) {
      loglinear::Tensor tensor = tensors[one];
      if (one == name) {
        tensor.dtype = dtype;
        tensor.bytes.assign(8 * 16 * loglinear::size_of(dtype), std::byte{1});
      }
      quantised.add(one, std::move(tensor));
    }
    write_safetensors(folder.path() / "model.safetensors", quantised);
    CHECK(mentions(error_of_loading(folder), {name, loglinear::name_of(dtype), "F16 or BF16"}));
  }
}

TEST_CASE("A byte 0 hides nothing") {
  Folder folder;
  const std::string json = mamba2_json;
  folder.write("config.json", json + '\0' + "{}");
  CHECK(mentions(error_of_loading(folder), {"config.json", "byte 0", std::to_string(json.size())}));
  folder.write("config.json", json);
  const std::string index = R"({"weight_map": {"a": "b.safetensors"}})";
  folder.write("model.safetensors.index.json", index + '\0' + "hidden");
  CHECK(mentions(error_of_loading(folder), {"index.json", "byte 0"}));
  folder.write("model.safetensors.index.json",
               R"({"weight_map": {"a": "model.safetensors\u0000.elsewhere"}})");
  CHECK(mentions(error_of_loading(folder), {"weight_map", "no name of a file"}));
}

TEST_CASE("Names and shapes of all weights follow from the options") {
  using Sizes = std::map<std::string, std::pair<Eigen::Index, Eigen::Index>>;
  for (const auto& [name, options] : test::model_cases()) {
    CAPTURE(name);
    const LanguageModel<float> model(options);
    Sizes built, listed;
    for (const std::string& weight : model.weight_names()) {
      const auto value = model.weight(weight);
      built[weight] = {value.rows(), value.cols()};
    }
    loglinear::detail::for_each_weight_shape<float>(
        options, [&](const std::string& weight, Eigen::Index rows, Eigen::Index columns) {
          CHECK(listed.try_emplace(weight, rows, columns).second);
        });
    CHECK(listed == built);
  }
}

TEST_CASE("A small folder takes no memory for the model that it asks for") {
  // Each of them would have more coefficients than an address space has bytes for; what is refused
  // is what the file has, not the memory.
  const auto refused = [](const std::string& key, const std::string& larger) {
    std::string json = mamba2_json;
    const auto at = json.find('"' + key + "\": ");
    REQUIRE(at != std::string::npos);
    json.replace(at, json.find(',', at) - at, '"' + key + "\": " + larger);
    Folder folder;
    folder.write("config.json", json);
    write_safetensors(folder.path() / "model.safetensors",
                      random_tensors(mamba2_shapes(), DType::f32));
    return error_of_loading(folder);
  };
  CHECK(mentions(refused("vocab_size", "1073741824"), {"embeddings.weight", "1073741824, 8"}));
  CHECK(
      mentions(refused("num_hidden_layers", "65536"), {"missing", "layers.1.", "others or more"}));
  CHECK(mentions(refused("state_size", "1048576"), {"conv1d.weight", "2097168, 4"}));
  CHECK(mentions(refused("conv_kernel", "1048576"), {"conv1d.weight", "24, 1048576"}));
  // Nor does a header that claims more than its file has.
  Folder folder;
  folder.write("config.json", mamba2_json);
  const std::string header = R"({"backbone.embeddings.weight":
      {"dtype": "F32", "shape": [1073741824, 8], "data_offsets": [0, 4]}})";
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  folder.write("model.safetensors", file + header + "1234");
  CHECK(mentions(error_of_loading(folder), {"embeddings.weight", "4 bytes", "34359738368"}));
}

TEST_CASE("A model that is written is read again, to the bit") {
  for (auto [name, options] : test::model_cases()) {
    CAPTURE(name);
    if (auto* delta = std::get_if<loglinear::LogLinearGatedDeltaNetOptions>(&options.mixer)) {
      delta->scale = 1;
    }
    Folder folder;
    Random random(7);
    LanguageModel<float> model(options);
    test::randomise(model, random);
    const auto tokens = test::random_tokens(30, 11, random);
    save_language_model(folder.path() / "made", model);
    const auto again = loglinear::load_language_model<float>(folder.path() / "made");
    CHECK(again.weight_names() == model.weight_names());
    CHECK(test::same_bits(again.logits(tokens), model.logits(tokens)));
    save_language_model(folder.path() / "made", model, DType::bf16);
    const auto narrow = loglinear::load_language_model<float>(folder.path() / "made");
    CHECK(narrow.weight_bytes() < model.weight_bytes());
  }
  auto options = test::small_model(test::small_gated_delta_net());
  std::get<1>(options.mixer).conv_bias = true;
  CHECK(mentions(error_of([&] { (void)loglinear::config_json(options); }), {"conv_bias"}));
  std::get<1>(options.mixer) = test::small_gated_delta_net();
  std::get<1>(options.mixer).scale = 0.25;
  CHECK(mentions(error_of([&] { (void)loglinear::config_json(options); }), {"scale", "0.25"}));
}
