// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_MLP_WEIGHTS_HPP
#define LOGLINEAR_RULES_MLP_WEIGHTS_HPP

#include <algorithm>
#include <array>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/hyperparameters.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Weights of a small network, `lambda = softplus(W_2 silu(W_1 x + b_1) + b_2)` (Adaptive Memory
/// Decay for Log-Linear Attention, arXiv:2605.06946), so that a level's weight may depend on
/// several features of x together. Weights: `w_lambda_hidden` (W_1, channels x d_model), and as
/// free vectors `lambda_hidden_bias` (b_1), `w_lambda_out` (W_2, n x channels, row by row) and
/// `lambda_bias` (b_2); both biases begin at 0, so that every lambda begins near log 2.
struct MlpWeights {
  int channels = 16;  ///< of the hidden layer, 1 to 256

  static constexpr RuleInfo info{.name = "MlpWeights", .text = "mlp_weights"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "channels", .range = Range::between(1, most_channels), .example = 5},
          self.channels);
  }

  /// \throws std::invalid_argument unless channels is 1 to 256
  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index n) const {
    detail::require_legal(*this);
    return {projection("w_lambda_hidden", channels),
            free_vector("lambda_hidden_bias", channels, 0.0),
            free_vector("w_lambda_out", n * channels), free_vector("lambda_bias", n, 0.0)};
  }

  /// \throws std::invalid_argument unless channels is 1 to 256
  template <class Scalar>
  void resolve(int) {
    detail::require_legal(*this);
  }

  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    using Scalar = typename std::decay_t<decltype(lambda)>::Scalar;
    const Hidden<Scalar> hidden(raw.data(), free.data(), channels);
    logits(hidden, free.data(), lambda.size(), lambda.data());
    detail::softplus(lambda.data(), lambda.size(), lambda.data());
  }

  void pullback(const auto& raw, const auto& free, const auto&, const auto& d_lambda, auto& d_raw,
                auto& d_free) const {
    using Scalar = typename std::decay_t<decltype(d_lambda)>::Scalar;
    const Eigen::Index n = d_lambda.size(), m = channels;
    const Hidden<Scalar> hidden(raw.data(), free.data(), m);
    Scalar* const d_hidden_bias = d_free.data();
    Scalar *const d_out = d_hidden_bias + m, *const d_bias = d_out + n * m;
    logits(hidden, free.data(), n, d_bias);
    detail::sigmoids(d_bias, n, d_bias);  // softplus' = sg
    detail::multiply(d_lambda.data(), d_bias, n, d_bias);
    std::fill_n(d_raw.data(), m, Scalar(0));
    const Scalar* const out = free.data() + m;
    for (Eigen::Index i = 0; i < n; ++i) {
      for (Eigen::Index j = 0; j < m; ++j) {
        d_out[i * m + j] = d_bias[i] * hidden.active[j];
        d_raw.data()[j] += d_bias[i] * out[i * m + j];
      }
    }
    for (Eigen::Index j = 0; j < m; ++j) {  // silu'(z) = sg(z) (1 + z (1 - sg(z)))
      d_raw.data()[j] *= hidden.gate[j] * (Scalar(1) + hidden.z[j] * (Scalar(1) - hidden.gate[j]));
      d_hidden_bias[j] = d_raw.data()[j];
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const MlpWeights&) const = default;

 private:
  static constexpr int most_channels = 256;

  /// The hidden layer, on the stack: z = W_1 x + b_1, sg(z) and silu(z).
  template <class Scalar>
  struct Hidden {
    Eigen::Matrix<Scalar, Eigen::Dynamic, 1, Eigen::ColMajor, most_channels, 1> z, gate, active;
    Hidden(const Scalar* raw, const Scalar* bias, Eigen::Index m) : z(m), gate(m), active(m) {
      for (Eigen::Index j = 0; j < m; ++j) z[j] = raw[j] + bias[j];
      detail::sigmoids(z.data(), m, gate.data());
      detail::multiply(z.data(), gate.data(), m, active.data());
    }
  };
  /// W_2 silu(z) + b_2
  template <class Scalar>
  static void logits(const Hidden<Scalar>& hidden, const Scalar* free, Eigen::Index n, Scalar* to) {
    const Eigen::Index m = hidden.z.size();
    const Scalar *const out = free + m, *const bias = out + n * m;
    for (Eigen::Index i = 0; i < n; ++i) {
      to[i] = detail::dot(out + i * m, hidden.active.data(), m) + bias[i];
    }
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_MLP_WEIGHTS_HPP
