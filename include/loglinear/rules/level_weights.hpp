// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_LEVEL_WEIGHTS_HPP
#define LOGLINEAR_RULES_LEVEL_WEIGHTS_HPP

/// \file
/// How a token weighs the levels it reads: the policies that turn `W_lambda x` into lambda.
///
/// A policy is a small aggregate of hyperparameters. For n weights (M levels, or M + 1 when the
/// order is `current_apart`) it supplies
/// * `parameters(n)`: the weight arrays it needs: projections of x arrive in `raw`, free vectors in
///   `free`;
/// * `resolve<Scalar>(max_levels)`: fills in defaults that depend on the number of levels; throws
///   std::invalid_argument on hyperparameters that are illegal in the layer's scalar;
/// * `weigh(raw, free, lambda)`: forward, n weights;
/// * `pullback(raw, free, lambda, d_lambda, d_raw, d_free)`: backward;
/// * `levels`, if it takes only one number of levels: a static constexpr int, see `OneLevel`;
/// * `is_chosen_at_run_time`, if only the run time tells whether there is one level: a static
///   constexpr bool.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/rules/mlp_weights.hpp"
#include "loglinear/rules/normalized_mixture.hpp"
#include "loglinear/rules/rule.hpp"
#include "loglinear/rules/type_list.hpp"

namespace loglinear {

/// A mixture of the levels' means: `lambda_l = mixture_l / 2^l`, where `mixture` is the
/// `NormalizedMixture` over all levels and 2^l is the number of tokens that level l holds. A sum of
/// ever more leaves saturates the layer's tanh, whose gradient then vanishes; a mean does not grow.
/// Use it for endless streams with rules that do not forget, `KeyOnly<...>`; docs/state.md has
/// figures. Once the stream overflows the last level, that level's sum does grow, unless it forgets
/// or halves (`LastLevel`). Weights: `w_lambda` (n x d_model).
struct MeanMixture {
  NormalizedMixture mixture{};  ///< its hyperparameters
  int max_levels = 0;           ///< set by the layer

  static constexpr RuleInfo info{.name = "MeanMixture", .text = "mean_mixture"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    NormalizedMixture::hyperparameters(self.mixture, visit);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index n) const {
    return mixture.parameters(n);
  }

  /// \throws std::invalid_argument as `NormalizedMixture`
  template <class Scalar>
  void resolve(int levels) {
    max_levels = levels;
    mixture.resolve<Scalar>(levels);
  }

  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    using Scalar = typename std::decay_t<decltype(lambda)>::Scalar;
    mixture.weigh(raw, free, lambda);
    for (Eigen::Index i = 0; i < lambda.size(); ++i) lambda[i] /= tokens<Scalar>(i, lambda.size());
  }

  void pullback(const auto& raw, const auto& free, const auto& lambda, const auto& d_lambda,
                auto& d_raw, auto& d_free) const {
    using Scalar = typename std::decay_t<decltype(d_lambda)>::Scalar;
    using Weights =  // on the stack
        Eigen::Matrix<Scalar, Eigen::Dynamic, 1, Eigen::ColMajor, max_level_limit + 1, 1>;
    const Eigen::Index n = lambda.size();
    Weights mixed(n), d_mixed(n);
    for (Eigen::Index i = 0; i < n; ++i) {
      mixed[i] = lambda[i] * tokens<Scalar>(i, n);
      d_mixed[i] = d_lambda[i] / tokens<Scalar>(i, n);
    }
    mixture.pullback(raw, free, mixed, d_mixed, d_raw, d_free);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const MeanMixture&) const = default;

 private:
  /// Tokens of the bucket under weight i of n: 2^level, and in the order `current_apart` the first
  /// is the token's own leaf. Dividing by a power of two rounds nothing.
  template <class Scalar>
  [[nodiscard]] Scalar tokens(Eigen::Index i, Eigen::Index n) const {
    const auto level = static_cast<int>(n > max_levels ? (std::max)(i - 1, Eigen::Index{0}) : i);
    return static_cast<Scalar>(static_cast<double>(std::uint64_t{1} << level));
  }
};

/// The paper's weights, not normalised: `lambda = softplus(L * (W_lambda x))`, L a free vector that
/// starts at ones (arXiv:2506.04761, section 3.4). Weights: `w_lambda` (n x d_model) and
/// `level_scale` (n).
struct SoftplusWeights {
  static constexpr RuleInfo info{.name = "SoftplusWeights", .text = "softplus_weights"};
  static constexpr void hyperparameters(auto&, auto&&) {}

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index n) const {
    return {projection("w_lambda", n), free_vector("level_scale", n, 1.0)};
  }

  template <class Scalar>
  void resolve(int) {}

  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    detail::multiply(free.data(), raw.data(), lambda.size(), lambda.data());
    detail::softplus(lambda.data(), lambda.size(), lambda.data());
  }

  void pullback(const auto& raw, const auto& free, const auto&, const auto& d_lambda, auto& d_raw,
                auto& d_free) const {
    const Eigen::Index n = d_lambda.size();
    auto *const through_raw = d_raw.data(), *const through_free = d_free.data();
    detail::multiply(free.data(), raw.data(), n, through_free);
    detail::sigmoids(through_free, n, through_free);  // softplus' = sg
    detail::multiply(d_lambda.data(), through_free, n, through_free);
    detail::multiply(through_free, free.data(), n, through_raw);
    detail::multiply(through_free, raw.data(), n, through_free);
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const SoftplusWeights&) const = default;
};

/// Every level counts the same, `lambda = 1`: with it a hierarchy reads what a single state of the
/// same rule would. No weights.
struct UnitWeights {
  static constexpr RuleInfo info{.name = "UnitWeights", .text = "unit_weights"};
  static constexpr void hyperparameters(auto&, auto&&) {}

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index) const { return {}; }

  template <class Scalar>
  void resolve(int) {}
  void weigh(const auto&, const auto&, auto& lambda) const {
    using Scalar = typename std::decay_t<decltype(lambda)>::Scalar;
    std::fill_n(lambda.data(), lambda.size(), Scalar(1));
  }
  void pullback(const auto&, const auto&, const auto&, const auto&, auto&, auto&) const {}

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const UnitWeights&) const = default;
};

/// The weight 1 for layers of one level: `LinearAttention`.
struct OneLevel : UnitWeights {
  static constexpr int levels = 1;  ///< the only `max_levels` that such a layer takes
};

namespace detail {

/// The only number of levels that a policy takes, its static member `levels`; 0 if it takes any.
template <class Policy>
[[nodiscard]] constexpr int fixed_levels() {
  if constexpr (requires { Policy::levels; }) {
    return Policy::levels;
  } else {
    return 0;
  }
}

/// Whether a layer of this policy is compiled with the step for one state.
template <class Policy>
[[nodiscard]] constexpr bool has_one_state() {
  if constexpr (requires { Policy::is_chosen_at_run_time; }) {
    return Policy::is_chosen_at_run_time;
  } else {
    return fixed_levels<Policy>() == 1;
  }
}

}  // namespace detail

/// What `LogLinearAttention` demands of its level weights.
template <class Policy, class Scalar>
concept LevelWeights = std::copyable<Policy> &&
    requires(Policy& policy, const Policy& fixed, const detail::ConstVectorView<Scalar>& in,
             detail::Vector<Scalar>& lambda, detail::VectorView<Scalar>& out) {
  policy.template resolve<Scalar>(1);
  { *fixed.parameters(Eigen::Index{}).begin() } -> std::convertible_to<Parameter>;
  fixed.weigh(in, in, lambda);
  fixed.pullback(in, in, lambda, lambda, out, out);
};

/// Every level weighting that can be chosen at run time. A new one needs its policy and its line
/// here.
using LevelWeightings =
    detail::TypeList<NormalizedMixture, MeanMixture, SoftplusWeights, MlpWeights, UnitWeights>;

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_LEVEL_WEIGHTS_HPP
