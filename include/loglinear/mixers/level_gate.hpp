// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_LEVEL_GATE_HPP
#define LOGLINEAR_MIXERS_LEVEL_GATE_HPP

// How a mixer's tokens weigh the levels they read, for all tokens and heads at once, with its
// pullback.

#include <string>
#include <string_view>
#include <utility>

#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/mixers/draw_weights.hpp"
#include "loglinear/mixers/gates.hpp"
#include "loglinear/mixers/linear.hpp"
#include "loglinear/mixers/named_weights.hpp"

namespace loglinear {

/// How a mixer computes its level weights.
enum class MixerLevelWeights {
  softplus,  ///< softplus(L . (W x)), the paper's (arXiv:2506.04761, section 3.4)
  mlp,       ///< softplus(W_2 silu(W_1 x + b_1) + b_2), arXiv:2605.06946
  one_state  ///< all weights are 1, so that one state is kept instead of levels
};

namespace detail {

/// The number of level weights of a head; one state has 2, for the token's own leaf and for itself.
template <class Options>
[[nodiscard]] int levels_of_head(const Options& o) {
  return o.level_weights == MixerLevelWeights::one_state ? 2 : o.num_levels;
}
/// The number of hidden channels of the network for level weights.
template <class Options>
[[nodiscard]] Index level_channels(const Options& o) {
  return o.level_mlp_size == 0 ? o.hidden_size : o.level_mlp_size;
}
/// \throws std::invalid_argument for an option out of its range
template <class Options>
void require_level_options(const Options& o, Index heads) {
  require_between("the number of level_weights", static_cast<int>(o.level_weights),
                  static_cast<int>(MixerLevelWeights::softplus),
                  static_cast<int>(MixerLevelWeights::one_state));
  require_between("level_mlp_size", o.level_mlp_size, Index{0}, largest_dimension);
  require_dimension("the number of heads times num_levels", heads * levels_of_head(o));
}

/// The level weights lambda and what their gradient needs, T x (heads levels).
template <class Scalar>
struct LevelGate {
  using Rows = RowMajorMatrix<Scalar>;
  static constexpr std::string_view hidden_weight = "l_mlp.0.weight", hidden_bias = "l_mlp.0.bias",
                                    level_weight = "l_mlp.2.weight", level_bias = "l_mlp.2.bias";

  Rows dl{};      // W x, with softplus alone
  Rows hidden{};  // W_1 x + b_1, with the network alone
  Rows lambda{};

  /// softplus(L . dl)
  [[nodiscard]] static LevelGate scaled(Rows dl, const Matrix<Scalar>& scale) {
    LevelGate gate;
    gate.lambda = scaled_levels(dl, scale);
    gate.dl = std::move(dl);
    return gate;
  }
  /// softplus(W_2 silu(W_1 x + b_1) + b_2)
  [[nodiscard]] static LevelGate network(const Rows& x, const NamedWeights<Scalar>& w) {
    LevelGate gate;
    gate.hidden = linear(x, w.projection(hidden_weight), w.find(hidden_bias));
    require_finite("coefficient # of the hidden channels of the level weights", gate.hidden);
    const Rows z = linear(silu_of(gate.hidden), w.projection(level_weight), w.find(level_bias));
    require_finite("coefficient # of the level weights", z);
    gate.lambda = softplus_of(z);
    return gate;
  }
  /// 1
  [[nodiscard]] static LevelGate one_state(Index tokens, Index heads) {
    LevelGate gate;
    gate.lambda = Rows::Ones(tokens, 2 * heads);
    return gate;
  }

  /// Appends the network's weights, drawn as projections are.
  static void append_network(NamedWeights<Scalar>& w, Index inputs, Index channels, Index outputs,
                             double deviation, Xorshift64& random) {
    fill_normal(w.append(std::string(hidden_weight), channels, inputs), deviation, random);
    w.append(std::string(hidden_bias), channels, 1);
    fill_normal(w.append(std::string(level_weight), outputs, channels), deviation, random);
    w.append(std::string(level_bias), outputs, 1);
  }

  /// The pullback of `scaled`; adds to the gradient of L. \return the gradient with respect to dl
  [[nodiscard]] Rows scaled_pullback(const Matrix<Scalar>& scale, const Rows& d_lambda,
                                     Matrix<Scalar>& d_scale) const {
    return scaled_levels_pullback(dl, scale, lambda, d_lambda, d_scale);
  }
  /// The pullback of `network`; adds to the gradients of x and of the four weights.
  void network_pullback(const Rows& x, const NamedWeights<Scalar>& w, const Rows& d_lambda,
                        Rows& d_x, NamedWeights<Scalar>& d_w) const {
    const Rows d_z = d_lambda.array() * softplus_slope(lambda.array());
    Rows d_active = Rows::Zero(hidden.rows(), hidden.cols());
    linear_pullback<Scalar>(silu_of(hidden), w[level_weight], d_z, d_active, d_w[level_weight],
                            &d_w[level_bias]);
    const Rows d_hidden = d_active.cwiseProduct(silu_slope(hidden));
    linear_pullback<Scalar>(x, w[hidden_weight], d_hidden, d_x, d_w[hidden_weight],
                            &d_w[hidden_bias]);
  }
};

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LEVEL_GATE_HPP
