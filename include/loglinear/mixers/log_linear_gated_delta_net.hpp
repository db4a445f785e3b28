// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_HPP

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "loglinear/mixers/causal_convolution.hpp"
#include "loglinear/mixers/draw_weights.hpp"
#include "loglinear/mixers/gated_rms_norm.hpp"
#include "loglinear/mixers/gates.hpp"
#include "loglinear/mixers/linear.hpp"
#include "loglinear/mixers/log_linear_gated_delta_net_options.hpp"
#include "loglinear/mixers/token_mixer.hpp"

namespace loglinear {

// clang-format off
/// Log-linear Gated DeltaNet, the paper's second case study as a complete token mixer.
///
///     q, k, v = silu(conv1d(W_q u)), silu(conv1d(W_k u)), silu(conv1d(W_v u))
///     q <- scale q / sqrt(|q|^2 + 1e-6),  k <- k / sqrt(|k|^2 + 1e-6),  head by head
///     beta = sg(W_b u), twice that with allow_neg_eigval
///     g = -exp(A_log) softplus(W_a u + dt_bias),   lambda = softplus(L . W_l u)
///     y = hierarchy(q, k, v, beta, g, lambda),  head by head
///     out = W_o (rms(y) . silu(W_g u)),  the norm over each head's values
///
/// Guo et al., arXiv:2506.04761, section 3.4 and appendix; Yang, Kautz, Hatamizadeh,
/// arXiv:2412.06464. Names, shapes and orders are those of flash-linear-attention's `GatedDeltaNet`
/// and, for `L` and `l_proj`, of `HGatedDeltaNet`, the paper's layer over it. With H = num_heads, V = num_v_heads,
/// n = num_levels, K = conv_size:
///
/// | name                           | shape                             | begins as                               |
/// |--------------------------------|-----------------------------------|-----------------------------------------|
/// | A_log                          | V                                 | log of uniform in 0 ... 16              |
/// | dt_bias                        | V                                 | step sizes log-uniform in 0.001 ... 0.1 |
/// | L                              | V x n                             | 1                                       |
/// | q_proj.weight, k_proj.weight   | H head_dim x hidden_size          | normal, initializer_range               |
/// | v_proj.weight                  | V d_v x hidden_size               | likewise                                |
/// | a_proj.weight, b_proj.weight   | V x hidden_size                   | likewise                                |
/// | q_conv1d.weight, k_conv1d.weight | H head_dim x K (.., 1, K)       | likewise                                |
/// | v_conv1d.weight                | V d_v x K (.., 1, K)              | likewise                                |
/// | *_conv1d.bias                  | its channels, with conv_bias      | 0                                       |
/// | g_proj.weight                  | V d_v x hidden_size, with use_gate | normal, initializer_range              |
/// | o_norm.weight                  | d_v                               | 1                                       |
/// | o_proj.weight                  | hidden_size x V d_v               | uniform within 1 / sqrt(V d_v)          |
/// | l_proj.weight                  | V n x hidden_size                 | normal, initializer_range               |
///
/// Other `level_weights` than softplus have neither L nor l_proj: with `one_state` these are the
/// weights of `GatedDeltaNet`, and `mlp` has a network for lambda, of m = level_mlp_size hidden channels:
///
/// | l_mlp.0.weight, l_mlp.0.bias   | m x hidden_size, m                | normal, initializer_range; 0            |
/// | l_mlp.2.weight, l_mlp.2.bias   | V n x m, V n                      | likewise                                |
///
/// A query-key head serves num_v_heads / num_heads neighbouring value heads. A published model has
/// the weights under `model.layers.N.attn.`; docs/migration.md shows how to load them.
///
/// What differs from those layers:
///
/// * no attention mask and no packed sequences;
/// * streams may outgrow the level weights, whose number is an option: the last level takes the
///   rest;
/// * the paper's layer ignores allow_neg_eigval, this mixer and GatedDeltaNet obey it;
/// * with num_v_heads above num_heads, which the paper's layer does not have, L and l_proj go by
///   value heads;
/// * `scale` is 1: the paper's layer scales queries by 1 / sqrt(head_dim) and level weights by
///   sqrt(head_dim), which cancel; GatedDeltaNet itself has 1 / sqrt(head_dim);
/// * a model of N layers divides o_proj by sqrt(2 N) at the start, this mixer does not;
/// * everything is computed in Scalar.
///
/// Use and errors as `TokenMixer`:
///
///     loglinear::LogLinearGatedDeltaNet<float> mixer(
///         {.hidden_size = 64, .num_heads = 2, .head_dim = 32});
///     auto cache = mixer.make_cache();
///     auto prompt = mixer.forward(x, cache);      // x: T x 64
///     auto next = mixer.step(x_next, cache);      // one token
///     auto d = mixer.gradient(x, d_out);          // d.x, d.weights["A_log"]
///
/// \tparam Scalar_  float or double
// clang-format on
template <class Scalar_>
class LogLinearGatedDeltaNet : public TokenMixer<Scalar_, LogLinearGatedDeltaNet<Scalar_>> {
  using Base = TokenMixer<Scalar_, LogLinearGatedDeltaNet<Scalar_>>;

 public:
  using Scalar = Scalar_;
  using Matrix = typename Base::Matrix;
  using Options = LogLinearGatedDeltaNetOptions;

  /// Allocates and draws all weights, in the table's order. \throws std::invalid_argument for an
  /// option out of its range
  explicit LogLinearGatedDeltaNet(const Options& options)
      : Base(shape_of(detail::checked<Scalar>(options)),
             initial_weights(detail::checked<Scalar>(options))),
        options_(options) {}

  /// What the mixer was built with.
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  friend Base;
  using Index = Eigen::Index;
  /// The projections that a short convolution may follow: the first letters of their weights'
  /// names.
  static constexpr std::array<const char*, 3> paths = {"q", "k", "v"};

  /// Everything of a forward pass that its gradient needs.
  struct Front {
    std::vector<Matrix> convolved{};  // inputs of the convolutions, history first
    std::array<Matrix, 3> mixed{};    // q, k and v before silu
    Matrix output_gate{};
    detail::DecayGate<Scalar> gate{};
    detail::LevelGate<Scalar> levels{};
    detail::HeadInputs<Scalar> heads{};
  };

  /// Columns of q, k and v.
  static std::array<Index, 3> widths(const Options& o) {
    const Index keys = o.num_heads * o.head_dim;
    return {keys, keys, detail::value_heads(o) * detail::value_dim(o)};
  }
  static detail::MixerShape shape_of(const Options& o) {
    const auto columns = widths(o);
    detail::MixerShape shape{.hidden_size = o.hidden_size,
                             .heads = detail::value_heads(o),
                             .d_k = o.head_dim,
                             .d_v = detail::value_dim(o),
                             .num_levels = detail::levels_of_head(o),
                             .conv_kernel = o.conv_size,
                             .chunk_size = o.chunk_size};
    if (o.use_short_conv) shape.conv_channels.assign(columns.begin(), columns.end());
    return shape;
  }

  static NamedWeights<Scalar> initial_weights(const Options& o) {
    const Index heads = detail::value_heads(o), d_v = detail::value_dim(o);
    const auto columns = widths(o);
    Xorshift64 random(o.seed);
    NamedWeights<Scalar> w;
    const auto normal = [&](const std::string& name, Index rows, Index inputs) {
      detail::fill_normal(w.append(name, rows, inputs), o.initializer_range, random);
    };
    detail::fill(w.append("A_log", heads, 1), [&] {
      double rate = 0;
      while (!(rate > 0)) rate = 16 * random.uniform();
      return std::log(rate);
    });
    detail::fill_step_bias(w.append("dt_bias", heads, 1), detail::steps_of(o), random);
    const bool is_scaled = o.level_weights == MixerLevelWeights::softplus;
    if (is_scaled) w.append("L", heads, o.num_levels).setOnes();
    for (std::size_t i = 0; i < paths.size(); ++i) {
      normal(paths[i] + std::string("_proj.weight"), columns[i], o.hidden_size);
    }
    normal("a_proj.weight", heads, o.hidden_size);
    normal("b_proj.weight", heads, o.hidden_size);
    for (std::size_t i = 0; o.use_short_conv && i < paths.size(); ++i) {
      const std::string name = paths[i] + std::string("_conv1d.");
      normal(name + "weight", columns[i], o.conv_size);
      if (o.conv_bias) w.append(name + "bias", columns[i], 1);
    }
    if (o.use_gate) normal("g_proj.weight", heads * d_v, o.hidden_size);
    w.append("o_norm.weight", d_v, 1).setOnes();
    detail::fill_uniform(w.append("o_proj.weight", o.hidden_size, heads * d_v), random);
    if (is_scaled) normal("l_proj.weight", heads * o.num_levels, o.hidden_size);
    if (o.level_weights == MixerLevelWeights::mlp) {
      detail::LevelGate<Scalar>::append_network(w, o.hidden_size, detail::level_channels(o),
                                                heads * o.num_levels, o.initializer_range, random);
    }
    return w;
  }

  [[nodiscard]] Matrix project(const Matrix& u, const char* name) const {
    Matrix y = detail::linear<Scalar>(u, this->weights().projection(name), nullptr);
    detail::require_finite(std::string("coefficient # of the product of x and ") + name, y);
    return y;
  }

  [[nodiscard]] Front front(const Matrix& u, const detail::Histories<Scalar>& streams) const {
    const auto& w = this->weights();
    Front f;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const std::string path = paths[i];
      f.mixed[i] = project(u, (path + "_proj.weight").c_str());
      if (!options_.use_short_conv) continue;
      f.convolved.push_back(detail::after(streams, i, f.mixed[i]));
      f.mixed[i] =
          detail::convolve(f.convolved[i], w[path + "_conv1d.weight"],
                           w.find(path + "_conv1d.bias"), static_cast<Index>(streams.size()));
      detail::require_finite("coefficient # of the convolution of " + path, f.mixed[i]);
    }
    f.levels = level_gate(u);
    if (options_.use_gate) f.output_gate = project(u, "g_proj.weight");
    f.gate = detail::DecayGate<Scalar>(project(u, "a_proj.weight"), w["dt_bias"], w["A_log"]);
    f.heads.groups = options_.num_heads;
    f.heads.heads = detail::value_heads(options_);
    f.heads.q = Scalar(options_.scale) * detail::unit_rows<Scalar>(detail::silu_of(f.mixed[0]),
                                                                   options_.head_dim, "a query");
    f.heads.k = detail::unit_rows<Scalar>(detail::silu_of(f.mixed[1]), options_.head_dim, "a key");
    f.heads.v = detail::silu_of(f.mixed[2]);
    f.heads.beta = strongest() * detail::sigmoid_of(project(u, "b_proj.weight"));
    f.heads.g = f.gate.g;
    f.heads.lambda = f.levels.lambda;
    return f;
  }
  [[nodiscard]] detail::LevelGate<Scalar> level_gate(const Matrix& u) const {
    using Gate = detail::LevelGate<Scalar>;
    if (options_.level_weights == MixerLevelWeights::mlp) return Gate::network(u, this->weights());
    if (options_.level_weights == MixerLevelWeights::one_state) {
      return Gate::one_state(u.rows(), detail::value_heads(options_));
    }
    return Gate::scaled(project(u, "l_proj.weight"), this->weights()["L"]);
  }

  [[nodiscard]] Matrix back(const Front& f, const Matrix& reads) const {
    const Matrix normed = norm()(reads, f.output_gate);
    return detail::linear<Scalar>(normed, this->weights().projection("o_proj.weight"), nullptr);
  }

  [[nodiscard]] detail::ReadsGradient<Scalar> back_gradient(const Front& f, const Matrix& reads,
                                                            const Matrix& d_out,
                                                            NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const Matrix normed = norm()(reads, f.output_gate);
    Matrix d_normed = Matrix::Zero(normed.rows(), normed.cols());
    detail::linear_pullback<Scalar>(normed, w["o_proj.weight"], d_out, d_normed,
                                    d_w["o_proj.weight"], nullptr);
    detail::ReadsGradient<Scalar> d;
    d.reads = norm().pullback(reads, f.output_gate, d_normed, d.gate, d_w["o_norm.weight"]);
    return d;
  }

  void front_gradient(const Front& f, const Matrix& u, const detail::ReadsGradient<Scalar>& d,
                      const detail::HeadInputs<Scalar>& d_heads, Matrix& d_u,
                      NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const auto add_projection = [&](const std::string& name, const Matrix& d_y) {
      detail::linear_pullback<Scalar>(u, w[name], d_y, d_u, d_w[name], nullptr);
    };
    const std::array<Matrix, 3> d_active = {
        detail::unit_rows_pullback<Scalar>(detail::silu_of(f.mixed[0]),
                                           Scalar(options_.scale) * d_heads.q, options_.head_dim),
        detail::unit_rows_pullback<Scalar>(detail::silu_of(f.mixed[1]), d_heads.k,
                                           options_.head_dim),
        d_heads.v};
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const std::string path = paths[i];
      Matrix d_mixed = d_active[i].cwiseProduct(detail::silu_slope(f.mixed[i]));
      if (options_.use_short_conv) {
        const std::string name = path + "_conv1d.weight";
        d_mixed = detail::convolve_pullback(f.convolved[i], w[name], d_mixed, d_w[name],
                                            d_w.find(path + "_conv1d.bias"));
      }
      add_projection(path + "_proj.weight", d_mixed);
    }
    const Matrix no_step = Matrix::Zero(f.gate.step.rows(), f.gate.step.cols());
    add_projection("a_proj.weight",
                   f.gate.pullback(no_step, d_heads.g, w["A_log"], d_w["dt_bias"], d_w["A_log"]));
    const Matrix closed = Scalar(1) - f.heads.beta.array() / strongest();
    add_projection("b_proj.weight", d_heads.beta.cwiseProduct(f.heads.beta).cwiseProduct(closed));
    if (options_.level_weights == MixerLevelWeights::mlp) {
      f.levels.network_pullback(u, w, d_heads.lambda, d_u, d_w);
    } else if (options_.level_weights == MixerLevelWeights::softplus) {
      add_projection("l_proj.weight", f.levels.scaled_pullback(w["L"], d_heads.lambda, d_w["L"]));
    }
    if (options_.use_gate) add_projection("g_proj.weight", d.gate);
  }

  /// Over each head's values.
  [[nodiscard]] detail::GatedRmsNorm<Scalar> norm() const {
    const auto& weight = this->weights()["o_norm.weight"];
    return {detail::GateOrder::norm_first, weight.rows(), options_.norm_eps, weight};
  }
  /// The upper bound of beta.
  [[nodiscard]] Scalar strongest() const { return Scalar(options_.allow_neg_eigval ? 2 : 1); }

  Options options_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_HPP
