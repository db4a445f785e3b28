// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_HPP

#include <cmath>
#include <utility>
#include <vector>

#include "loglinear/mixers/causal_convolution.hpp"
#include "loglinear/mixers/draw_weights.hpp"
#include "loglinear/mixers/gated_rms_norm.hpp"
#include "loglinear/mixers/gates.hpp"
#include "loglinear/mixers/linear.hpp"
#include "loglinear/mixers/log_linear_mamba2_options.hpp"
#include "loglinear/mixers/token_mixer.hpp"

namespace loglinear {

// clang-format off
/// Log-linear Mamba-2, the paper's first case study as a complete token mixer.
///
///     [z | x | B | C | dt | dl] = W_in u + b_in
///     [x | B | C] <- silu(conv1d([x | B | C]))
///     Delta = softplus(dt + dt_bias),   g = -exp(A_log) Delta,   lambda = softplus(L . dl)
///     y = hierarchy(q = scale C, k = B, v = Delta x, g, lambda) + D x,  head by head
///     out = W_out rms(y . silu(z)) + b_out,  with norm_before_gate W_out (rms(y) . silu(z)) + b_out
///
/// Guo et al., arXiv:2506.04761, section 3.4 and appendix; Dao and Gu, arXiv:2405.21060. Names,
/// shapes and orders are those of flash-linear-attention's `LogLinearMamba2`, where a state_dict
/// holds, with I = num_heads * head_dim, H = num_heads, n = num_levels, K = conv_kernel and
/// channels = I + 2 n_groups state_size:
///
/// | name            | shape                          | begins as                              |
/// |-----------------|--------------------------------|----------------------------------------|
/// | dt_bias         | H                              | step sizes log-uniform in 0.001 ... 0.1 |
/// | A_log           | H                              | log(1), ..., log(H)                    |
/// | L               | H x n, with level_weights softplus | 1                                  |
/// | D               | H, with D_has_hdim I           | 1                                      |
/// | conv1d.weight   | channels x K (channels, 1, K)  | normal, initializer_range              |
/// | conv1d.bias     | channels, with use_conv_bias   | 0                                      |
/// | in_proj.weight  | (I + channels + H + H n) x hidden_size | normal, initializer_range      |
/// | in_proj.bias    | likewise, with use_bias        | 0                                      |
/// | norm.weight     | I                              | 1                                      |
/// | out_proj.weight | hidden_size x I                | uniform within 1 / sqrt(I)             |
/// | out_proj.bias   | hidden_size, with use_bias     | 0                                      |
///
/// Rows of in_proj are z (I), x (I), B and C (n_groups * state_size each), dt (H), dl (H n). Other
/// `level_weights` than softplus have neither L nor the rows dl: with `one_state` these are the
/// weights of Mamba-2, and `mlp` has a network for lambda, of m = level_mlp_size hidden channels:
///
/// | l_mlp.0.weight, l_mlp.0.bias | m x hidden_size, m | normal, initializer_range; 0 |
/// | l_mlp.2.weight, l_mlp.2.bias | H n x m, H n       | likewise                     |
///
/// A published model has them under `backbone.layers.N.mixer.`; docs/migration.md shows how to load
/// them. The paper's own `HAttentionMixer` is this mixer with norm_per_group = false.
///
/// What differs from that layer:
///
/// * no attention mask, no packed sequences, no cap on step sizes (`dt_limit`, which it refuses
///   too);
/// * silu and the gated norm are not optional (`hidden_act`, `rmsnorm`);
/// * streams may outgrow the level weights, whose number is an option: the last level takes the
///   rest;
/// * a model of N layers divides out_proj by sqrt(2 N) at the start, this mixer does not;
/// * everything is computed in Scalar.
///
/// Use and errors as `TokenMixer`:
///
///     loglinear::LogLinearMamba2<float> mixer(
///         {.hidden_size = 64, .num_heads = 4, .head_dim = 32});
///     auto cache = mixer.make_cache();
///     auto prompt = mixer.forward(x, cache);      // x: T x 64
///     auto next = mixer.step(x_next, cache);      // one token
///     auto d = mixer.gradient(x, d_out);          // d.x, d.weights["A_log"]
///
/// \tparam Scalar_  float or double
// clang-format on
template <class Scalar_>
class LogLinearMamba2 : public TokenMixer<Scalar_, LogLinearMamba2<Scalar_>> {
  using Base = TokenMixer<Scalar_, LogLinearMamba2<Scalar_>>;

 public:
  using Scalar = Scalar_;
  using Matrix = typename Base::Matrix;
  using Options = LogLinearMamba2Options;

  /// Allocates and draws all weights, in the table's order. \throws std::invalid_argument for an
  /// option out of its range
  explicit LogLinearMamba2(const Options& options)
      : Base(shape_of(detail::checked<Scalar>(options)),
             initial_weights(detail::checked<Scalar>(options))),
        options_(options) {}

  /// What the mixer was built with.
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  friend Base;
  using Index = Eigen::Index;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

  /// Everything of a forward pass that its gradient needs.
  struct Front {
    Matrix projected{};               // in_proj's output
    std::vector<Matrix> convolved{};  // inputs of the convolution, history first
    Matrix mixed{};                   // its output before silu
    Matrix x{};                       // T x inner
    detail::DecayGate<Scalar> gate{};
    detail::LevelGate<Scalar> levels{};
    detail::HeadInputs<Scalar> heads{};
  };

  /// Where the parts of in_proj's rows begin.
  struct Columns {
    Index inner, keys, conv, heads, levels;
    explicit Columns(const Options& o)
        : inner(o.num_heads * o.head_dim),
          keys(o.n_groups * o.state_size),
          conv(inner + 2 * keys),
          heads(o.num_heads),
          levels(is_scaled(o) ? o.num_heads * o.num_levels : 0) {}
    [[nodiscard]] Index dt() const { return inner + conv; }
    [[nodiscard]] Index dl() const { return dt() + heads; }
    [[nodiscard]] Index total() const { return dl() + levels; }
  };

  /// Whether level weights come from rows of in_proj.
  static bool is_scaled(const Options& o) { return o.level_weights == MixerLevelWeights::softplus; }
  static detail::MixerShape shape_of(const Options& o) {
    return {.hidden_size = o.hidden_size,
            .heads = o.num_heads,
            .d_k = o.state_size,
            .d_v = o.head_dim,
            .num_levels = detail::levels_of_head(o),
            .conv_kernel = o.conv_kernel,
            .conv_channels = {Columns(o).conv},
            .chunk_size = o.chunk_size};
  }
  static NamedWeights<Scalar> initial_weights(const Options& o) {
    const Columns columns(o);
    Xorshift64 random(o.seed);
    NamedWeights<Scalar> w;
    detail::fill_step_bias(w.append("dt_bias", o.num_heads, 1), detail::steps_of(o), random);
    double rate = 0;
    detail::fill(w.append("A_log", o.num_heads, 1), [&] { return std::log(++rate); });
    if (is_scaled(o)) w.append("L", o.num_heads, o.num_levels).setOnes();
    w.append("D", o.D_has_hdim ? columns.inner : columns.heads, 1).setOnes();
    detail::fill_normal(w.append("conv1d.weight", columns.conv, o.conv_kernel), o.initializer_range,
                        random);
    if (o.use_conv_bias) w.append("conv1d.bias", columns.conv, 1);
    detail::fill_normal(w.append("in_proj.weight", columns.total(), o.hidden_size),
                        o.initializer_range, random);
    if (o.use_bias) w.append("in_proj.bias", columns.total(), 1);
    w.append("norm.weight", columns.inner, 1).setOnes();
    detail::fill_uniform(w.append("out_proj.weight", o.hidden_size, columns.inner), random);
    if (o.use_bias) w.append("out_proj.bias", o.hidden_size, 1);
    if (o.level_weights == MixerLevelWeights::mlp) {
      detail::LevelGate<Scalar>::append_network(w, o.hidden_size, detail::level_channels(o),
                                                o.num_heads * o.num_levels, o.initializer_range,
                                                random);
    }
    return w;
  }

  [[nodiscard]] Front front(const Matrix& u, const detail::Histories<Scalar>& streams) const {
    const auto& w = this->weights();
    const Columns columns(options_);
    Front f;
    f.projected = detail::linear(u, w.projection("in_proj.weight"), w.find("in_proj.bias"));
    detail::require_finite("coefficient # of the projection of x", f.projected);
    f.convolved.push_back(
        detail::after(streams, 0, f.projected.middleCols(columns.inner, columns.conv)));
    f.mixed = detail::convolve(f.convolved[0], w["conv1d.weight"], w.find("conv1d.bias"),
                               static_cast<Index>(streams.size()));
    detail::require_finite("coefficient # of the convolution of x", f.mixed);
    const Matrix mixed = detail::silu_of(f.mixed);
    f.x = mixed.leftCols(columns.inner);
    f.gate = detail::DecayGate<Scalar>(f.projected.middleCols(columns.dt(), columns.heads),
                                       w["dt_bias"], w["A_log"]);
    f.heads.groups = options_.n_groups;
    f.heads.heads = options_.num_heads;
    f.heads.k = mixed.middleCols(columns.inner, columns.keys);
    f.heads.q = Scalar(options_.scale) * mixed.rightCols(columns.keys);
    f.heads.v = f.x;
    scale_heads(f.heads.v, f.gate.step);
    f.heads.g = f.gate.g;
    f.levels = level_gate(u, f.projected);
    f.heads.lambda = f.levels.lambda;
    return f;
  }
  [[nodiscard]] detail::LevelGate<Scalar> level_gate(const Matrix& u,
                                                     const Matrix& projected) const {
    using Gate = detail::LevelGate<Scalar>;
    const auto& w = this->weights();
    if (options_.level_weights == MixerLevelWeights::mlp) return Gate::network(u, w);
    if (!is_scaled(options_)) return Gate::one_state(u.rows(), options_.num_heads);
    return Gate::scaled(projected.rightCols(Columns(options_).levels), w["L"]);
  }

  [[nodiscard]] Matrix back(const Front& f, const Matrix& reads) const {
    const auto& w = this->weights();
    const Matrix normed = norm()(with_skip(f, reads), output_gate(f));
    return detail::linear(normed, w.projection("out_proj.weight"), w.find("out_proj.bias"));
  }

  [[nodiscard]] detail::ReadsGradient<Scalar> back_gradient(const Front& f, const Matrix& reads,
                                                            const Matrix& d_out,
                                                            NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const Matrix y = with_skip(f, reads), z = output_gate(f);
    const Matrix normed = norm()(y, z);
    Matrix d_normed = Matrix::Zero(normed.rows(), normed.cols());
    detail::linear_pullback(normed, w["out_proj.weight"], d_out, d_normed, d_w["out_proj.weight"],
                            d_w.find("out_proj.bias"));
    detail::ReadsGradient<Scalar> d;
    d.reads = norm().pullback(y, z, d_normed, d.gate, d_w["norm.weight"]);
    d.direct = d.reads.array().rowwise() * skips().array();
    const Row d_skips = d.reads.cwiseProduct(f.x).colwise().sum();
    d_w["D"] += summed_for_skips(d_skips);
    return d;
  }

  void front_gradient(const Front& f, const Matrix& u, const detail::ReadsGradient<Scalar>& d,
                      const detail::HeadInputs<Scalar>& d_heads, Matrix& d_u,
                      NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const Columns columns(options_);
    const Index width = options_.head_dim;
    Matrix d_step(f.gate.step.rows(), columns.heads), d_mixed(f.mixed.rows(), columns.conv);
    for (Index h = 0; h < columns.heads; ++h) {
      const auto d_v = d_heads.v.middleCols(h * width, width);
      d_step.col(h) = d_v.cwiseProduct(f.x.middleCols(h * width, width)).rowwise().sum();
    }
    Matrix d_x = d_heads.v;
    scale_heads(d_x, f.gate.step);
    d_mixed.leftCols(columns.inner) = d_x + d.direct;
    d_mixed.middleCols(columns.inner, columns.keys) = d_heads.k;
    d_mixed.rightCols(columns.keys) = Scalar(options_.scale) * d_heads.q;
    d_mixed = d_mixed.cwiseProduct(detail::silu_slope(f.mixed)).eval();

    Matrix d_projected(f.projected.rows(), columns.total());
    d_projected.leftCols(columns.inner) = d.gate;
    d_projected.middleCols(columns.inner, columns.conv) = detail::convolve_pullback(
        f.convolved[0], w["conv1d.weight"], d_mixed, d_w["conv1d.weight"], d_w.find("conv1d.bias"));
    d_projected.middleCols(columns.dt(), columns.heads) =
        f.gate.pullback(d_step, d_heads.g, w["A_log"], d_w["dt_bias"], d_w["A_log"]);
    if (is_scaled(options_)) {
      d_projected.rightCols(columns.levels) =
          f.levels.scaled_pullback(w["L"], d_heads.lambda, d_w["L"]);
    } else if (options_.level_weights == MixerLevelWeights::mlp) {
      f.levels.network_pullback(u, w, d_heads.lambda, d_u, d_w);
    }
    detail::linear_pullback(u, w["in_proj.weight"], d_projected, d_u, d_w["in_proj.weight"],
                            d_w.find("in_proj.bias"));
  }

  /// Multiplies each head's columns by that head's column of `factors`.
  void scale_heads(Matrix& values, const Matrix& factors) const {
    const Index width = options_.head_dim;
    for (Index h = 0; h < factors.cols(); ++h) {
      values.middleCols(h * width, width).array().colwise() *= factors.col(h).array();
    }
  }
  /// D as one number for each column of x.
  [[nodiscard]] Row skips() const {
    const auto& skip = this->weights()["D"];
    return skip.transpose().replicate(columns_of_a_skip(), 1).reshaped(1, Columns(options_).inner);
  }
  /// The pullback of `skips`.
  [[nodiscard]] detail::Matrix<Scalar> summed_for_skips(const Row& d) const {
    return d.reshaped(columns_of_a_skip(), d.size() / columns_of_a_skip())
        .colwise()
        .sum()
        .transpose();
  }
  [[nodiscard]] Index columns_of_a_skip() const {
    return options_.D_has_hdim ? 1 : options_.head_dim;
  }
  /// reads + D x
  [[nodiscard]] Matrix with_skip(const Front& f, const Matrix& reads) const {
    return reads.array() + f.x.array().rowwise() * skips().array();
  }
  [[nodiscard]] detail::GatedRmsNorm<Scalar> norm() const {
    const auto order =
        options_.norm_before_gate ? detail::GateOrder::norm_first : detail::GateOrder::gate_first;
    const auto& weight = this->weights()["norm.weight"];
    const Index runs = options_.norm_per_group ? options_.n_groups : 1;
    return {order, weight.rows() / runs, options_.norm_eps, weight};
  }
  [[nodiscard]] Matrix output_gate(const Front& f) const {
    return f.projected.leftCols(Columns(options_).inner);
  }

  Options options_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_HPP
