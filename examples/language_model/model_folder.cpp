// SPDX-License-Identifier: MIT
#include "model_folder.hpp"

#include <torch/torch.h>

#include <Eigen/Core>
#include <cstddef>
#include <cstring>
#include <loglinear/checkpoint/detail/files.hpp>
#include <loglinear/checkpoint/safetensors.hpp>
#include <loglinear/detail/base/checks.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace language_model {

namespace {

using learning::MixerShape;
using learning::ModelShape;
using loglinear::DType;
using torch::Tensor;

constexpr double norm_epsilon = 1e-5;  // of learning::RmsNorm

bool is_mamba2(const ModelShape& shape) {
  return shape.mixer == "mamba2";
}
bool is_rotary(const ModelShape& shape) {
  return shape.mixer == "rotary";
}

/// \throws std::invalid_argument for a model that the layout has no place for
void require_exportable(const ModelShape& shape) {
  if (shape.mixer == "softmax") {
    loglinear::detail::fail("mixer", shape.mixer,
                            "mamba2, gated_delta_net or rotary for a model that is written");
  }
  if (shape.weighting == "mixture") {
    loglinear::detail::fail("weighting", shape.weighting,
                            "softplus, mlp or one_state for a model that is written");
  }
  const MixerShape& s = shape.sizes;
  if (is_rotary(shape) && (s.keys() != s.d_model || s.values() != s.d_model)) {
    loglinear::detail::fail("the keys or values of rotary attention",
                            s.keys() == s.d_model ? s.values() : s.keys(),
                            "d_model for a model that is written");
  }
}

/// The weights of a model under its own names, and what goes into the file.
class Export {
 public:
  Export(const learning::Model& model, DType matrices) : matrices_(matrices) {
    for (const auto& item : model->named_parameters()) own_.emplace(item.key(), item.value());
  }

  [[nodiscard]] Tensor own(const std::string& name) const { return own_.at(name).detach(); }
  [[nodiscard]] bool has(const std::string& name) const { return own_.contains(name); }

  void add(const std::string& name, const Tensor& values) {
    add(name, values, values.dim() < 2 ? DType::f32 : matrices_);
  }
  void add(const std::string& name, const Tensor& values, DType dtype) {
    const Tensor x = values.to(torch::kFloat).contiguous();
    loglinear::Tensor tensor;
    tensor.dtype = dtype;
    for (const std::int64_t n : x.sizes()) tensor.shape.push_back(static_cast<std::uint64_t>(n));
    const auto* const first = x.data_ptr<float>();
    const std::span<const float> numbers(first, static_cast<std::size_t>(x.numel()));
    if (tensor.dtype == DType::bf16) {
      std::vector<Eigen::bfloat16> rounded;
      for (const float number : numbers) rounded.emplace_back(number);
      copy(std::as_bytes(std::span(rounded)), tensor);
    } else {
      copy(std::as_bytes(numbers), tensor);
    }
    result.add(name, std::move(tensor));
  }
  /// A filter for each channel: taps x channels here, channels x 1 x taps there.
  void add_filters(const std::string& name, const Tensor& weight) {
    add(name, weight.t().unsqueeze(1));
  }
  /// A matrix under several names, which have so many of its rows each.
  void add_rows(const std::vector<std::pair<std::string, std::int64_t>>& parts,
                const Tensor& matrix) {
    std::int64_t row = 0;
    for (const auto& [name, rows] : parts) {
      add(name, matrix.narrow(0, row, rows));
      row += rows;
    }
  }

  loglinear::Tensors result{};

 private:
  static void copy(std::span<const std::byte> bytes, loglinear::Tensor& tensor) {
    tensor.bytes.assign(bytes.begin(), bytes.end());
  }

  DType matrices_;
  std::map<std::string, Tensor> own_{};
};

/// The tensors of the level weights that are beside the projections of either mixer.
void add_level_weights(Export& e, const std::string& own, const std::string& name,
                       const MixerShape& shape) {
  if (e.has(own + "level_scale")) {
    e.add(name + "L", e.own(own + "level_scale").view({shape.heads, shape.levels}), DType::f32);
  }
  if (e.has(own + "level_bias")) {
    e.add(name + "l_mlp.0.weight", e.own(own + "hidden.weight"));
    e.add(name + "l_mlp.0.bias", e.own(own + "hidden_bias"));
    e.add(name + "l_mlp.2.weight", e.own(own + "levels_of.weight"));
    e.add(name + "l_mlp.2.bias", e.own(own + "level_bias"));
  }
}

void add_mamba2(Export& e, const std::string& own, const std::string& name,
                const ModelShape& shape) {
  e.add(name + "dt_bias", e.own(own + "dt_bias"));
  e.add(name + "A_log", e.own(own + "a_log"));
  e.add(name + "D", e.own(own + "d").flatten());
  e.add_filters(name + "conv1d.weight", e.own(own + "convolution.weight"));
  Tensor rows = e.own(own + "project_in.weight");
  if (shape.weighting == "softplus") {
    rows = torch::cat({rows, e.own(own + "weighting.levels_of.weight")});
  }
  e.add(name + "in_proj.weight", rows);
  e.add(name + "norm.weight", e.own(own + "norm.weight"));
  e.add(name + "out_proj.weight", e.own(own + "project_out.weight"));
  add_level_weights(e, own + "weighting.", name, shape.sizes);
}

void add_gated_delta_net(Export& e, const std::string& own, const std::string& name,
                         const ModelShape& shape) {
  const MixerShape& s = shape.sizes;
  e.add(name + "A_log", e.own(own + "a_log"));
  e.add(name + "dt_bias", e.own(own + "dt_bias"));
  e.add_rows({{name + "q_proj.weight", s.keys()},
              {name + "k_proj.weight", s.keys()},
              {name + "v_proj.weight", s.values()},
              {name + "g_proj.weight", s.values()},
              {name + "a_proj.weight", s.heads},
              {name + "b_proj.weight", s.heads}},
             e.own(own + "project_in.weight"));
  const Tensor filters = e.own(own + "convolution.weight");
  e.add_filters(name + "q_conv1d.weight", filters.narrow(1, 0, s.keys()));
  e.add_filters(name + "k_conv1d.weight", filters.narrow(1, s.keys(), s.keys()));
  e.add_filters(name + "v_conv1d.weight", filters.narrow(1, 2 * s.keys(), s.values()));
  e.add(name + "o_norm.weight", e.own(own + "norm.weight"));
  e.add(name + "o_proj.weight", e.own(own + "project_out.weight"));
  if (shape.weighting == "softplus") {
    e.add(name + "l_proj.weight", e.own(own + "weighting.levels_of.weight"));
  }
  add_level_weights(e, own + "weighting.", name, s);
}

void add_rotary(Export& e, const std::string& own, const std::string& name,
                const ModelShape& shape) {
  const std::int64_t d = shape.sizes.d_model;
  e.add_rows(
      {{name + "q_proj.weight", d}, {name + "k_proj.weight", d}, {name + "v_proj.weight", d}},
      e.own(own + "project_in.weight"));
  e.add(name + "o_proj.weight", e.own(own + "project_out.weight"));
}

}  // namespace

std::string configuration_of(const ModelShape& shape) {
  require_exportable(shape);
  const MixerShape& s = shape.sizes;
  nlohmann::ordered_json c;
  c["model_type"] = is_mamba2(shape) ? "log_linear_mamba2" : "h_gated_deltanet";
  c["vocab_size"] = shape.vocabulary;
  c["hidden_size"] = s.d_model;
  c["num_hidden_layers"] = shape.blocks;
  c["intermediate_size"] = learning::mlp_width_of(shape);
  c["norm_eps"] = norm_epsilon;
  c["tie_word_embeddings"] = shape.tied;
  if (is_rotary(shape)) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(shape.blocks));
    std::iota(all.begin(), all.end(), 0);
    c["attn"] = {{"layers", all}, {"num_heads", s.heads}, {"rope_theta", 10000.0}};
    return c.dump(2) + '\n';
  }
  if (is_mamba2(shape)) {
    c["expand"] = static_cast<double>(s.values()) / static_cast<double>(s.d_model);
    c["num_heads"] = s.heads;
    c["head_dim"] = s.d_v;
    c["state_size"] = s.d_k;
    c["n_groups"] = 1;
    c["conv_kernel"] = learning::ShortConvolutionImpl::taps;
    c["use_bias"] = false;
    c["use_conv_bias"] = false;
  } else {
    c["num_heads"] = s.heads;
    c["head_dim"] = s.d_k;
    c["expand_v"] = static_cast<double>(s.d_v) / static_cast<double>(s.d_k);
    c["conv_size"] = learning::ShortConvolutionImpl::taps;
    c["use_gate"] = true;
    c["use_short_conv"] = true;
  }
  c["level_weights"] = shape.weighting;
  if (shape.weighting != "one_state") c["num_levels"] = s.levels;
  if (shape.weighting == "mlp") c["level_mlp_size"] = s.d_model;
  return c.dump(2) + '\n';
}

loglinear::Tensors tensors_of(const learning::Model& model, const ModelShape& shape,
                              DType matrices) {
  require_exportable(shape);
  Export e(model, matrices);
  const std::string prefix = is_mamba2(shape) ? "backbone." : "model.";
  e.add(prefix + "embeddings.weight", e.own("embedding"));
  for (std::int64_t i = 0; i < shape.blocks; ++i) {
    const std::string own = "blocks." + std::to_string(i) + '.',
                      name = prefix + "layers." + std::to_string(i) + '.';
    e.add(name + (is_mamba2(shape) ? "mixer_norm.weight" : "attn_norm.weight"),
          e.own(own + "mixer_norm.weight"));
    if (is_mamba2(shape)) {
      add_mamba2(e, own + "mixer.", name + "mixer.", shape);
    } else if (is_rotary(shape)) {
      add_rotary(e, own + "mixer.", name + "attn.", shape);
    } else {
      add_gated_delta_net(e, own + "mixer.", name + "attn.", shape);
    }
    e.add(name + "mlp_norm.weight", e.own(own + "mlp_norm.weight"));
    const std::int64_t width = learning::mlp_width_of(shape);
    e.add_rows({{name + "mlp.gate_proj.weight", width}, {name + "mlp.up_proj.weight", width}},
               e.own(own + "mlp.up.weight"));
    e.add(name + "mlp.down_proj.weight", e.own(own + "mlp.down.weight"));
  }
  // Under a tied head the norm takes what logits are multiplied by.
  e.add(prefix + (is_mamba2(shape) ? "norm_f.weight" : "norm.weight"),
        e.own("norm.weight") * model->head_scale());
  if (!shape.tied) e.add("lm_head.weight", e.own("head"));
  e.result.metadata["format"] = "pt";  // as flash-linear-attention's files have it
  return std::move(e.result);
}

void write_model(const std::filesystem::path& folder, const learning::Model& model,
                 const ModelShape& shape, DType matrices) {
  const std::string configuration = configuration_of(shape);
  std::filesystem::create_directories(folder);
  write_safetensors(folder / "model.safetensors", tensors_of(model, shape, matrices));
  loglinear::detail::Replacement((folder / "config.json").string())
      .write({std::as_bytes(std::span(configuration))});
}

void round_weights(const learning::Model& model, DType matrices) {
  if (matrices != DType::bf16) return;
  const torch::NoGradGuard writing;
  for (Tensor& weight : model->parameters()) {
    if (weight.dim() >= 2) weight.copy_(weight.to(torch::kBFloat16));
  }
}

}  // namespace language_model
