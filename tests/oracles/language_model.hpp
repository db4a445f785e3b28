// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_LANGUAGE_MODEL_HPP
#define LOGLINEAR_TESTS_ORACLES_LANGUAGE_MODEL_HPP

// A language model written down once more from the published equations, number by number in double,
// every pair of tokens by itself: nothing of the library but the names of options.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "loglinear/model/language_model_options.hpp"

namespace loglinear::test {

using Row = std::vector<double>;
using Table = std::vector<Row>;

/// The logits after every token. `weight(name)` is a table of rows, a vector one of rows of one.
class LanguageModelOracle {
 public:
  using WeightOf = std::function<Table(const std::string&)>;

  LanguageModelOracle(const LanguageModelOptions& options, WeightOf weight)
      : options_(options), weight_(std::move(weight)) {}

  [[nodiscard]] Table logits(const std::vector<std::int32_t>& tokens) const {
    const bool is_mamba2 = options_.mixer.index() == 0;
    const std::string prefix = is_mamba2 ? "backbone." : "model.";
    const std::string mixer = is_mamba2 ? "mixer" : "attn";
    const Table embeddings = weight_(prefix + "embeddings.weight");
    Table x;
    for (const std::int32_t token : tokens) x.push_back(embeddings[std::size_t(token)]);
    for (long i = 0; i < options_.num_hidden_layers; ++i) {
      const std::string block = prefix + "layers." + std::to_string(i) + '.';
      const std::string inside = block + mixer + '.';
      const Table normed =
          norm(x, block + (options_.has_mlp ? mixer + "_norm.weight" : "norm.weight"));
      if (const AttentionLayers* attention = attention_of(i)) {
        add(x, softmax_attention(normed, inside, *attention));
      } else if (is_mamba2) {
        add(x, mamba2(normed, inside, std::get<0>(options_.mixer)));
      } else {
        add(x, gated_delta_net(normed, inside, std::get<1>(options_.mixer)));
      }
      if (!options_.has_mlp) continue;
      const Table inputs = norm(x, block + "mlp_norm.weight");
      Table hidden = times(inputs, block + "mlp.gate_proj.weight");
      const Table up = times(inputs, block + "mlp.up_proj.weight");
      for (std::size_t t = 0; t < hidden.size(); ++t) {
        for (std::size_t j = 0; j < hidden[t].size(); ++j) {
          hidden[t][j] = silu(hidden[t][j]) * up[t][j];
        }
      }
      add(x, times(hidden, block + "mlp.down_proj.weight"));
    }
    const Table last = norm(x, prefix + (is_mamba2 ? "norm_f.weight" : "norm.weight"));
    return times(last,
                 options_.tie_word_embeddings ? prefix + "embeddings.weight" : "lm_head.weight");
  }

 private:
  static double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }
  static double silu(double z) { return z * sigmoid(z); }
  static double softplus(double z) { return z > 30 ? z : std::log(1 + std::exp(z)); }
  static void add(Table& x, const Table& y) {
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t j = 0; j < x[t].size(); ++j) x[t][j] += y[t][j];
    }
  }
  static double dot(const double* a, const double* b, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  }

  /// x W^T, and + b where there is a name for it.
  [[nodiscard]] Table times(const Table& x, const std::string& name,
                            const std::string& bias_name = {}) const {
    const Table weight = weight_(name);
    const Table bias = bias_name.empty() ? Table() : weight_(bias_name);
    Table y(x.size(), Row(weight.size()));
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < weight.size(); ++i) {
        y[t][i] = dot(weight[i].data(), x[t].data(), x[t].size()) + (bias.empty() ? 0 : bias[i][0]);
      }
    }
    return y;
  }
  [[nodiscard]] double eps() const {
    return std::visit([](const auto& o) { return o.norm_eps; }, options_.mixer);
  }
  [[nodiscard]] Table norm(Table x, const std::string& name) const {
    const Table weight = weight_(name);
    for (Row& row : x) {
      const double root =
          std::sqrt(dot(row.data(), row.data(), row.size()) / double(row.size()) + eps());
      for (std::size_t j = 0; j < row.size(); ++j) row[j] *= weight[j][0] / root;
    }
    return x;
  }
  [[nodiscard]] const AttentionLayers* attention_of(long layer) const {
    for (const AttentionLayers& one : options_.attn) {
      for (const auto i : one.layers) {
        if (i == layer) return &one;
      }
    }
    return nullptr;
  }

  /// silu of the causal convolution of some columns.
  [[nodiscard]] Table convolved(const Table& x, std::size_t first, const std::string& name,
                                const std::string& bias_name) const {
    const Table weight = weight_(name);
    const Table bias = bias_name.empty() ? Table() : weight_(bias_name);
    const std::size_t taps = weight[0].size();
    Table y(x.size(), Row(weight.size()));
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t c = 0; c < weight.size(); ++c) {
        double sum = bias.empty() ? 0 : bias[c][0];
        for (std::size_t back = 0; back < taps && back <= t; ++back) {
          sum += weight[c][taps - 1 - back] * x[t - back][first + c];
        }
        y[t][c] = silu(sum);
      }
    }
    return y;
  }

  struct Head {
    Table q, k, v, lambda;
    Row g, beta;  // beta empty: no delta rule
  };
  /// sum_s lambda_t[level(t, s)] q_t^T A_t ... A_{s+1} C_s, every pair by itself.
  static Table read(const Head& in) {
    Table out(in.q.size(), Row(in.v[0].size()));
    for (std::size_t t = 0; t < in.q.size(); ++t) {
      Row r = in.q[t];
      for (std::size_t s = t + 1; s-- > 0;) {
        const auto level = std::min(std::size_t(std::bit_width(t ^ s)), in.lambda[t].size() - 1);
        const double beta = in.beta.empty() ? 1 : in.beta[s];
        const double along = dot(r.data(), in.k[s].data(), r.size());
        for (std::size_t j = 0; j < out[t].size(); ++j) {
          out[t][j] += in.lambda[t][level] * beta * along * in.v[s][j];
        }
        for (std::size_t i = 0; i < r.size(); ++i) {
          const double turned = in.beta.empty() ? r[i] : r[i] - beta * along * in.k[s][i];
          r[i] = std::exp(in.g[s]) * turned;
        }
      }
    }
    return out;
  }

  /// `z` is what softplus(L . z) takes, of all heads, or empty.
  template <class Options>
  [[nodiscard]] Table lambdas(const Options& o, const Table& x, const std::string& inside, Table z,
                              std::size_t head) const {
    if (o.level_weights == MixerLevelWeights::one_state) return Table(x.size(), Row(2, 1.0));
    const auto n = std::size_t(o.num_levels);
    Table scale;
    if (o.level_weights == MixerLevelWeights::mlp) {
      Table hidden = times(x, inside + "l_mlp.0.weight", inside + "l_mlp.0.bias");
      for (Row& row : hidden) {
        for (double& one : row) one = silu(one);
      }
      z = times(hidden, inside + "l_mlp.2.weight", inside + "l_mlp.2.bias");
    } else {
      scale = weight_(inside + "L");
    }
    Table lambda(x.size(), Row(n));
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t l = 0; l < n; ++l) {
        lambda[t][l] = softplus((scale.empty() ? 1 : scale[head][l]) * z[t][head * n + l]);
      }
    }
    return lambda;
  }
  static Table columns(const Table& x, std::size_t first, std::size_t count) {
    Table y;
    for (const Row& row : x) {
      y.emplace_back(row.begin() + long(first), row.begin() + long(first + count));
    }
    return y;
  }

  [[nodiscard]] Table mamba2(const Table& x, const std::string& inside,
                             const LogLinearMamba2Options& o) const {
    const auto heads = std::size_t(o.num_heads), d_v = std::size_t(o.head_dim);
    const auto d_k = std::size_t(o.state_size), groups = std::size_t(o.n_groups);
    const std::size_t inner = heads * d_v, keys = groups * d_k, dt = 2 * inner + 2 * keys;
    const Table all =
        times(x, inside + "in_proj.weight", o.use_bias ? inside + "in_proj.bias" : "");
    const Table mixed = convolved(all, inner, inside + "conv1d.weight",
                                  o.use_conv_bias ? inside + "conv1d.bias" : "");
    const Table dt_bias = weight_(inside + "dt_bias"), a_log = weight_(inside + "A_log");
    const Table skip = weight_(inside + "D"), norm_weight = weight_(inside + "norm.weight");
    Table y(x.size(), Row(inner));
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t group = h / (heads / groups);
      Head head{
          .q = columns(mixed, inner + keys + group * d_k, d_k),
          .k = columns(mixed, inner + group * d_k, d_k),
          .v = columns(mixed, h * d_v, d_v),
          .lambda = lambdas(o, x, inside, columns(all, dt + heads, all[0].size() - dt - heads), h),
          .g = {},
          .beta = {}};
      const Table unscaled = head.v;
      for (std::size_t t = 0; t < x.size(); ++t) {
        const double step = softplus(all[t][dt + h] + dt_bias[h][0]);
        head.g.push_back(-std::exp(a_log[h][0]) * step);
        for (double& one : head.v[t]) one *= step;
        for (double& one : head.q[t]) one *= o.scale;
      }
      const Table reads = read(head);
      for (std::size_t t = 0; t < x.size(); ++t) {
        for (std::size_t j = 0; j < d_v; ++j) {
          const double d = skip[o.D_has_hdim ? h * d_v + j : h][0];
          y[t][h * d_v + j] = reads[t][j] + d * unscaled[t][j];
        }
      }
    }
    const std::size_t run = o.norm_per_group ? inner / groups : inner;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const auto pass_gate = [&] {
        for (std::size_t j = 0; j < inner; ++j) y[t][j] *= silu(all[t][j]);
      };
      if (!o.norm_before_gate) pass_gate();
      for (std::size_t first = 0; first < inner; first += run) {
        const double* const from = y[t].data() + first;
        const double root = std::sqrt(dot(from, from, run) / double(run) + o.norm_eps);
        for (std::size_t j = 0; j < run; ++j) y[t][first + j] *= norm_weight[first + j][0] / root;
      }
      if (o.norm_before_gate) pass_gate();
    }
    return times(y, inside + "out_proj.weight", o.use_bias ? inside + "out_proj.bias" : "");
  }

  static Table unit(Table x, double scale) {
    for (Row& row : x) {
      const double length = std::sqrt(dot(row.data(), row.data(), row.size()) + 1e-6);
      for (double& one : row) one *= scale / length;
    }
    return x;
  }
  [[nodiscard]] Table path(const Table& x, const std::string& name, bool has_convolution) const {
    Table y = times(x, name + "_proj.weight");
    if (has_convolution) return convolved(y, 0, name + "_conv1d.weight", "");
    for (Row& row : y) {
      for (double& one : row) one = silu(one);
    }
    return y;
  }
  [[nodiscard]] Table gated_delta_net(const Table& x, const std::string& inside,
                                      const LogLinearGatedDeltaNetOptions& o) const {
    const auto groups = std::size_t(o.num_heads), d_k = std::size_t(o.head_dim);
    const auto heads = o.num_v_heads == 0 ? groups : std::size_t(o.num_v_heads);
    const auto d_v = std::size_t(o.expand_v * double(d_k));
    const Table q = path(x, inside + "q", o.use_short_conv),
                k = path(x, inside + "k", o.use_short_conv);
    const Table v = path(x, inside + "v", o.use_short_conv);
    const Table a = times(x, inside + "a_proj.weight"), b = times(x, inside + "b_proj.weight");
    const Table dt_bias = weight_(inside + "dt_bias"), a_log = weight_(inside + "A_log");
    const Table norm_weight = weight_(inside + "o_norm.weight");
    const bool is_scaled = o.level_weights == MixerLevelWeights::softplus;
    const Table dl = is_scaled ? times(x, inside + "l_proj.weight") : Table();
    const Table gate = o.use_gate ? times(x, inside + "g_proj.weight") : Table();
    Table y(x.size(), Row(heads * d_v));
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t group = h / (heads / groups);
      Head head{.q = unit(columns(q, group * d_k, d_k), o.scale),
                .k = unit(columns(k, group * d_k, d_k), 1),
                .v = columns(v, h * d_v, d_v),
                .lambda = lambdas(o, x, inside, dl, h),
                .g = {},
                .beta = {}};
      for (std::size_t t = 0; t < x.size(); ++t) {
        head.g.push_back(-std::exp(a_log[h][0]) * softplus(a[t][h] + dt_bias[h][0]));
        head.beta.push_back((o.allow_neg_eigval ? 2 : 1) * sigmoid(b[t][h]));
      }
      const Table reads = read(head);
      for (std::size_t t = 0; t < x.size(); ++t) {
        const double root =
            std::sqrt(dot(reads[t].data(), reads[t].data(), d_v) / double(d_v) + o.norm_eps);
        for (std::size_t j = 0; j < d_v; ++j) {
          const double passed = o.use_gate ? silu(gate[t][h * d_v + j]) : 1;
          y[t][h * d_v + j] = reads[t][j] / root * norm_weight[j][0] * passed;
        }
      }
    }
    return times(y, inside + "o_proj.weight");
  }

  /// (a, b) of the two halves as the complex number a + i b, times e^(i angle).
  static void rotate(double* head, std::size_t width, std::size_t position, double theta) {
    for (std::size_t j = 0; j < width / 2; ++j) {
      const double angle = double(position) / std::pow(theta, 2 * double(j) / double(width));
      const double a = head[j], b = head[width / 2 + j];
      head[j] = a * std::cos(angle) - b * std::sin(angle);
      head[width / 2 + j] = a * std::sin(angle) + b * std::cos(angle);
    }
  }
  [[nodiscard]] Table softmax_attention(const Table& x, const std::string& inside,
                                        const AttentionLayers& o) const {
    const auto biased = [&](const char* name) {
      return times(x, inside + name + "_proj.weight",
                   o.qkv_bias ? inside + name + "_proj.bias" : "");
    };
    Table q = biased("q"), k = biased("k");
    const Table v = biased("v");
    const auto heads = std::size_t(o.num_heads), width = x[0].size() / heads;
    const std::size_t shared = heads / (o.num_kv_heads == 0 ? heads : std::size_t(o.num_kv_heads));
    Table y(x.size(), Row(x[0].size()));
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t h = 0; h < heads; ++h) rotate(&q[t][h * width], width, t, o.rope_theta);
      for (std::size_t h = 0; h < heads / shared; ++h) {
        rotate(&k[t][h * width], width, t, o.rope_theta);
      }
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t column = h / shared * width;
        double sum = 0;
        for (std::size_t s = 0; s <= t; ++s) {
          if (o.window_size != 0 && t - s >= std::size_t(o.window_size)) continue;
          const double score =
              std::exp(dot(&q[t][h * width], &k[s][column], width) / std::sqrt(double(width)));
          sum += score;
          for (std::size_t j = 0; j < width; ++j) y[t][h * width + j] += score * v[s][column + j];
        }
        for (std::size_t j = 0; j < width; ++j) y[t][h * width + j] /= sum;
      }
    }
    return times(y, inside + "o_proj.weight");
  }

  LanguageModelOptions options_;
  WeightOf weight_;
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_LANGUAGE_MODEL_HPP
