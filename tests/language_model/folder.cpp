// SPDX-License-Identifier: MIT
// What the trainer writes is the model that it trained: the library reads the folder, and its
// logits in double are those of the trained tensors.

#include <torch/torch.h>

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <loglinear/checkpoint/language_model.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "hierarchy.hpp"
#include "model_folder.hpp"

namespace {

using Model = loglinear::LanguageModel<double>;
using learning::ModelShape;
using loglinear::DType;

constexpr std::int64_t length = 37, vocabulary = 29;

std::vector<std::int32_t> tokens() {
  std::vector<std::int32_t> all;
  for (std::int32_t t = 0; t < length; ++t) all.push_back((7 * t + t * t) % vocabulary);
  return all;
}

/// A model whose weights are all drawn, so that none hides by being 0 or 1.
learning::Model drawn(const ModelShape& shape) {
  torch::manual_seed(5);
  learning::Model model(shape);
  const torch::NoGradGuard writing;
  for (torch::Tensor& weight : model->parameters()) weight.add_(0.1 * torch::randn_like(weight));
  return model;
}

ModelShape shape_of(const std::string& mixer, const std::string& weighting) {
  const bool is_attention = mixer == "rotary";
  return {.vocabulary = vocabulary,
          .blocks = 2,
          .mlp_width = 24,
          .mixer = mixer,
          .weighting = weighting,
          // Fewer levels than the sequence has: the last takes the rest.
          .sizes = {.d_model = 12, .heads = 2, .d_k = is_attention ? 6 : 8, .d_v = 6, .levels = 4}};
}

Model::Matrix trained_logits(learning::Model model) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor logits =
      model(torch::tensor(tokens(), torch::kLong).view({1, -1}), torch::arange(length))
          .to(torch::kDouble)
          .contiguous();
  return Eigen::Map<const Model::Matrix>(logits.data_ptr<double>(), length, vocabulary);
}

Model::Matrix written_logits(const learning::Model& model, const ModelShape& shape,
                             DType matrices) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / "loglinear_trained_model";
  std::filesystem::remove_all(folder);
  language_model::write_model(folder, model, shape, matrices);
  const Model read = loglinear::load_language_model<double>(folder);
  std::filesystem::remove_all(folder);
  return read.logits(tokens());
}

/// Sums of some ten products of numbers of order 1 in float, through two blocks.
constexpr double rounding = 1e-5;

}  // namespace

TEST_CASE("a written model gives the trained model's logits") {
  struct Kind {
    const char* mixer;
    const char* weighting;
    bool tied;
  };
  for (const Kind kind : std::vector<Kind>{{"mamba2", "softplus", false},
                                           {"mamba2", "softplus", true},
                                           {"mamba2", "mlp", false},
                                           {"mamba2", "one_state", false},
                                           {"gated_delta_net", "softplus", false},
                                           {"gated_delta_net", "mlp", true},
                                           {"gated_delta_net", "one_state", false},
                                           {"rotary", "one_state", false}}) {
    CAPTURE(kind.mixer, kind.weighting, kind.tied);
    ModelShape shape = shape_of(kind.mixer, kind.weighting);
    shape.tied = kind.tied;
    const learning::Model model = drawn(shape);
    const Model::Matrix trained = trained_logits(model);
    REQUIRE(trained.cwiseAbs().maxCoeff() > 0.1);
    CHECK((trained - written_logits(model, shape, DType::f32)).cwiseAbs().maxCoeff() < rounding);
  }
}

TEST_CASE("rounded weights are those of a narrow file") {
  const ModelShape shape = shape_of("mamba2", "softplus");
  const learning::Model model = drawn(shape);
  const Model::Matrix exact = trained_logits(model);
  language_model::round_weights(model, DType::bf16);
  const Model::Matrix rounded = trained_logits(model);
  CHECK((rounded - exact).cwiseAbs().maxCoeff() > 1e-4);
  CHECK((rounded - written_logits(model, shape, DType::bf16)).cwiseAbs().maxCoeff() < rounding);
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
  in.lambda = torch::Tensor();
  CHECK(torch::equal(learning::read_hierarchy(in, count), learning::read_hierarchy(in, 0)));
}

TEST_CASE("models that the layout has no place for are refused") {
  const auto is_refused = [](const ModelShape& shape) {
    CHECK_THROWS_AS(language_model::configuration_of(shape), std::invalid_argument);
    CHECK_THROWS_AS(language_model::tensors_of(learning::Model(shape), shape, DType::f32),
                    std::invalid_argument);
  };
  is_refused(shape_of("softmax", "one_state"));
  is_refused(shape_of("mamba2", "mixture"));
  ModelShape wide = shape_of("rotary", "one_state");
  wide.sizes.d_k = 8;  // two heads of 8 keys, d_model 12
  is_refused(wide);
}
