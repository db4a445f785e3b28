// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_NORMALIZED_MIXTURE_HPP
#define LOGLINEAR_RULES_NORMALIZED_MIXTURE_HPP

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// A mixture: `lambda_l = softplus(r_l / tau) / sum_j softplus(r_j / tau)`,
/// `r = W_lambda x + lambda_init`. Non-negative, sums to 1 over all levels, active or not. Where
/// every r_l / tau is below -20, softplus is exp to rounding; lambda is then computed as a softmax,
/// shifted by the largest logit. Weights: `w_lambda` (n x d_model).
struct NormalizedMixture {
  std::optional<double> lambda_init{};  ///< any finite number; 1 / max_levels unless given
  double tau = 1;                       ///< temperature, finite and > 0

  static constexpr RuleInfo info{.name = "NormalizedMixture", .text = "normalized_mixture"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "lambda_init", .example = 0.4}, self.lambda_init);
    visit({.name = "tau", .range = Range::above(0), .example = 0.7}, self.tau);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index n) const {
    return {projection("w_lambda", n)};
  }

  /// \throws std::invalid_argument unless lambda_init is finite, tau at least the smallest normal
  /// number and tau and 1 / tau finite, as numbers of the layer's scalar
  template <class Scalar>
  void resolve(int max_levels) {
    if (!lambda_init) lambda_init = 1.0 / max_levels;
    if (!detail::is_finite(Scalar(*lambda_init))) {
      detail::fail("lambda_init", *lambda_init, "finite in the layer's scalar");
    }
    const auto temperature = static_cast<Scalar>(tau);
    const Scalar smallest = (std::numeric_limits<Scalar>::min)();  // what is below counts as zero
    if (!(temperature > Scalar(0)) || temperature < smallest || !detail::is_finite(temperature) ||
        !detail::is_finite(Scalar(1) / temperature)) {
      detail::fail(
          "tau", tau,
          "finite and positive, no denormal number in the layer's scalar, and 1 / tau finite");
    }
  }

  void weigh(const auto& raw, const auto&, auto& lambda) const {
    weigh_levels(raw.data(), lambda.size(), lambda.data());
  }

  /// `d_r_j = sg(r_j/tau) / (tau sum softplus) (d_lambda_j - sum_i lambda_i d_lambda_i)`
  void pullback(const auto& raw, const auto&, const auto& lambda, const auto& d_lambda, auto& d_raw,
                auto&) const {
    pull_back_levels(raw.data(), lambda.data(), d_lambda.data(), lambda.size(), d_raw.data());
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const NormalizedMixture&) const = default;

 private:
  template <class Scalar>
  void weigh_levels(const Scalar* raw, Eigen::Index n, Scalar* lambda) const;
  template <class Scalar>
  void pull_back_levels(const Scalar* raw, const Scalar* lambda, const Scalar* d_lambda,
                        Eigen::Index n, Scalar* d_raw) const;
  /// Whether softplus(z) is exp(z) to rounding for every z; all of them may underflow to 0. Most
  /// often the first z decides.
  template <class Scalar>
  [[nodiscard]] static bool all_underflow(const Scalar* z, Eigen::Index n) {
    const Scalar low(-detail::softplus_linear_from);
    return std::all_of(z, z + n, [&](const Scalar& value) { return value < low; });
  }
  template <class Scalar>
  void shifted_logits(const Scalar* raw, Eigen::Index n, Scalar* z) const {
    const Scalar shift = Scalar(*lambda_init), factor = Scalar(1) / Scalar(tau);
    for (Eigen::Index i = 0; i < n; ++i) z[i] = (raw[i] + shift) * factor;
  }
};

template <class Scalar>
void NormalizedMixture::weigh_levels(const Scalar* raw, Eigen::Index n, Scalar* lambda) const {
  shifted_logits(raw, n, lambda);
  if (all_underflow(lambda, n)) {
    const Scalar largest = *std::max_element(lambda, lambda + n);
    for (Eigen::Index i = 0; i < n; ++i) lambda[i] -= largest;
    detail::exp_of(lambda, n, lambda);
  } else {
    detail::softplus(lambda, n, lambda);
  }
  Scalar sum = detail::sum(lambda, n);
  if (!detail::is_finite(sum)) {  // each is finite, their sum is not
    const Scalar largest = *std::max_element(lambda, lambda + n);
    for (Eigen::Index i = 0; i < n; ++i) lambda[i] /= largest;
    sum = detail::sum(lambda, n);
  }
  for (Eigen::Index i = 0; i < n; ++i) lambda[i] /= sum;
}

template <class Scalar>
void NormalizedMixture::pull_back_levels(const Scalar* raw, const Scalar* lambda,
                                         const Scalar* d_lambda, Eigen::Index n,
                                         Scalar* d_raw) const {
  const Scalar mean = detail::dot(lambda, d_lambda, n);
  shifted_logits(raw, n, d_raw);
  if (all_underflow(d_raw, n)) {  // d softplus(z)/dz over the sum of all softplus
    std::copy_n(lambda, n, d_raw);
  } else {
    const auto largest = std::max_element(lambda, lambda + n) - lambda;
    const Scalar sum = detail::softplus<Scalar>(d_raw[largest]) / lambda[largest];
    detail::sigmoids(d_raw, n, d_raw);
    for (Eigen::Index i = 0; i < n; ++i) d_raw[i] /= sum;
  }
  for (Eigen::Index i = 0; i < n; ++i) d_raw[i] *= (d_lambda[i] - mean) / Scalar(tau);
}

}  // namespace loglinear

#define LOGLINEAR_NORMALIZED_MIXTURE(EXTERN, SCALAR)                                         \
  EXTERN template void NormalizedMixture::weigh_levels(const SCALAR*, Eigen::Index, SCALAR*) \
      const;                                                                                 \
  EXTERN template void NormalizedMixture::pull_back_levels(                                  \
      const SCALAR*, const SCALAR*, const SCALAR*, Eigen::Index, SCALAR*) const;
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_NORMALIZED_MIXTURE)

#endif  // LOGLINEAR_RULES_NORMALIZED_MIXTURE_HPP
