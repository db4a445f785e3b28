// SPDX-License-Identifier: MIT
// What the trainer writes is the model that it trained: its logits beside those of the library's
// mixers with the written weights, in double.

#include <torch/torch.h>

#include <Eigen/Core>
#include <cstdint>
#include <loglinear/checkpoint.hpp>
#include <loglinear/mixers.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "hierarchy.hpp"
#include "model_folder.hpp"

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using learning::ModelShape;
using loglinear::DType;
using loglinear::Tensors;

constexpr std::int64_t length = 37;

/// A model whose weights are all drawn, so that none hides by being 0 or 1.
learning::Model drawn(const ModelShape& shape) {
  torch::manual_seed(5);
  learning::Model model(shape);
  const torch::NoGradGuard writing;
  for (torch::Tensor& weight : model->parameters()) weight.add_(0.1 * torch::randn_like(weight));
  return model;
}

ModelShape shape_of(const std::string& mixer, const std::string& weighting) {
  return {.vocabulary = 29,
          .blocks = 2,
          .mlp_width = 24,
          .mixer = mixer,
          .weighting = weighting,
          // Fewer levels than the sequence has: the last takes the rest.
          .sizes = {.d_model = 12, .heads = 2, .d_k = 8, .d_v = 6, .levels = 4}};
}

std::vector<std::int64_t> tokens() {
  std::vector<std::int64_t> all;
  for (std::int64_t t = 0; t < length; ++t) all.push_back((7 * t + t * t) % 29);
  return all;
}

Matrix logits_of(const learning::Model& model) {
  const torch::NoGradGuard no_gradients;
  learning::Model shared = model;
  const torch::Tensor logits =
      shared(torch::tensor(tokens()).view({1, -1}), torch::arange(length)).to(torch::kDouble);
  return Eigen::Map<const Matrix>(logits.contiguous().data_ptr<double>(), length, 29);
}

Matrix rms(const Matrix& x, const Matrix& weight) {
  const Eigen::ArrayXd scale = (x.array().square().rowwise().mean() + 1e-5).rsqrt();
  return (x.array().colwise() * scale).rowwise() * weight.col(0).transpose().array();
}

Matrix silu(const Matrix& x) {
  return x.array() / (1 + (-x.array()).exp());
}

/// The model that the published layout says these tensors are, with the library's mixers.
template <class Mixer>
Matrix logits_of(const Tensors& tensors, const typename Mixer::Options& options,
                 const std::string& prefix, const std::string& part, bool is_tied) {
  const auto weight = [&](const std::string& name) { return tensors.matrix<double>(name); };
  const std::string norm = part == "mixer" ? "norm_f" : "norm";
  const Matrix embedding = weight(prefix + "embeddings.weight");
  Matrix x(length, embedding.cols());
  for (std::int64_t t = 0; t < length; ++t) {
    x.row(t) = embedding.row(tokens()[static_cast<std::size_t>(t)]);
  }
  for (const std::string block : {"0", "1"}) {
    const std::string name = prefix + "layers." + block + '.';
    Mixer mixer(options);
    set_weights(mixer, tensors, {}, {.prefix = name + part + '.'});
    x += mixer.forward(rms(x, weight(name + part + "_norm.weight")));
    const Matrix u = rms(x, weight(name + "mlp_norm.weight"));
    const Matrix hidden = silu(u * weight(name + "mlp.gate_proj.weight").transpose())
                              .cwiseProduct(u * weight(name + "mlp.up_proj.weight").transpose());
    x += hidden * weight(name + "mlp.down_proj.weight").transpose();
  }
  const Matrix head = is_tied ? embedding : Matrix(weight("lm_head.weight"));
  return rms(x, weight(prefix + norm + ".weight")) * head.transpose();
}

Matrix logits_of(const Tensors& tensors, const ModelShape& shape) {
  const auto config = nlohmann::json::parse(language_model::configuration_of(shape));
  const auto number = [&](const char* key) { return config.at(key).get<std::int64_t>(); };
  CHECK(number("vocab_size") == 29);
  CHECK(number("num_hidden_layers") == 2);
  CHECK(number("intermediate_size") == 24);
  CHECK(config.at("tie_word_embeddings").get<bool>() == shape.tied);
  if (shape.mixer == "mamba2") {
    CHECK(config.at("model_type") == "log_linear_mamba2");
    return logits_of<loglinear::LogLinearMamba2<double>>(
        tensors,
        {.hidden_size = number("hidden_size"),
         .expand = config.at("expand").get<double>(),
         .num_heads = number("num_heads"),
         .head_dim = number("head_dim"),
         .state_size = number("state_size"),
         .n_groups = number("n_groups"),
         .conv_kernel = number("conv_kernel"),
         .use_conv_bias = config.at("use_conv_bias").get<bool>(),
         .norm_eps = config.at("norm_eps").get<double>(),
         .num_levels = config.at("num_levels").get<int>()},
        "backbone.", "mixer", shape.tied);
  }
  CHECK(config.at("model_type") == "h_gated_deltanet");
  return logits_of<loglinear::LogLinearGatedDeltaNet<double>>(
      tensors,
      {.hidden_size = number("hidden_size"),
       .expand_v = config.at("expand_v").get<double>(),
       .num_heads = number("num_heads"),
       .head_dim = number("head_dim"),
       .conv_size = number("conv_size"),
       .norm_eps = config.at("norm_eps").get<double>(),
       .num_levels = config.at("num_levels").get<int>()},
      "model.", "attn", shape.tied);
}

}  // namespace

TEST_CASE("a written model gives the trained model's logits") {
  for (const char* const mixer : {"mamba2", "gated_delta_net"}) {
    for (const bool is_tied : {false, true}) {
      CAPTURE(mixer, is_tied);
      ModelShape shape = shape_of(mixer, "softplus");
      shape.tied = is_tied;
      const learning::Model model = drawn(shape);
      const Matrix trained = logits_of(model);
      const Matrix written = logits_of(tensors_of(model, shape, DType::f32), shape);
      REQUIRE(trained.cwiseAbs().maxCoeff() > 0.1);
      CHECK((trained - written).cwiseAbs().maxCoeff() < 1e-5);
    }
  }
}

TEST_CASE("rounded weights are those of a narrow file") {
  const ModelShape shape = shape_of("mamba2", "softplus");
  const learning::Model model = drawn(shape);
  const Matrix exact = logits_of(model);
  language_model::round_weights(model, DType::bf16);
  const Matrix rounded = logits_of(model);
  CHECK((rounded - exact).cwiseAbs().maxCoeff() > 1e-4);
  const Matrix written = logits_of(tensors_of(model, shape, DType::bf16), shape);
  CHECK((rounded - written).cwiseAbs().maxCoeff() < 1e-5);
}

TEST_CASE("a random count moves the levels and nothing else") {
  const torch::NoGradGuard no_gradients;
  torch::manual_seed(6);
  const std::int64_t count = 5;
  loglinear::TensorInputs in{.q = torch::randn({1, length, 1, 4}),
                             .k = torch::randn({1, length, 1, 4}),
                             .v = torch::randn({1, length, 1, 3}),
                             .lambda = torch::rand({1, length, 1, 4}),
                             .g = -torch::rand({1, length, 1})};
  const torch::Tensor reads = learning::read_hierarchy(in, count);
  // The equation: level bit_width(t ^ s) of counts, the last weight for all levels from it on.
  for (std::int64_t t = 0; t < length; ++t) {
    torch::Tensor read = torch::zeros({3});
    for (std::int64_t s = 0; s <= t; ++s) {
      const auto level = static_cast<std::int64_t>(
          std::bit_width(static_cast<std::uint64_t>((t + count) ^ (s + count))));
      const torch::Tensor weight = in.lambda[0][t][0][std::min<std::int64_t>(level, 3)];
      const torch::Tensor decay = in.g[0].slice(0, s + 1, t + 1).sum().exp();
      read = read + weight * decay * in.q[0][t][0].dot(in.k[0][s][0]) * in.v[0][s][0];
    }
    CHECK((read - reads[0][t][0]).abs().max().item<double>() < 1e-4);
  }
  // One state has no levels to move.
  in.lambda = {};
  CHECK(torch::equal(learning::read_hierarchy(in, count), learning::read_hierarchy(in, 0)));
}

TEST_CASE("models that the layout has no place for are refused") {
  const auto is_refused = [](const ModelShape& shape) {
    CHECK_THROWS_AS(language_model::configuration_of(shape), std::invalid_argument);
    CHECK_THROWS_AS(tensors_of(learning::Model(shape), shape, DType::f32), std::invalid_argument);
  };
  is_refused(shape_of("softmax", "one_state"));
  is_refused(shape_of("mamba2", "mixture"));
  is_refused(shape_of("rotary", "one_state"));  // its keys are 16, d_model 12
}
