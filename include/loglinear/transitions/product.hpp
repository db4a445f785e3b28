// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_PRODUCT_HPP
#define LOGLINEAR_TRANSITIONS_PRODUCT_HPP

/// \file
/// Several transitions at one token, one after the other.

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear {

/// `S <- L_n (... L_1 S diag(r_1) ...) diag(r_n)`: the factors act in the order of the template
/// arguments, the first one first.
template <class... Factors>
struct TransitionProduct {
  static_assert(sizeof...(Factors) > 0, "a product of transitions needs at least one factor");
  static constexpr std::size_t count = sizeof...(Factors);  ///< number of factors
  using Scalar = typename std::tuple_element_t<0, std::tuple<Factors...>>::Scalar;
  static constexpr bool scales_values = (Factors::scales_values || ...);

  /// \param leaves  of a token; for factors that depend on it
  TransitionProduct(Eigen::Index key_rows, Eigen::Index d_v, Eigen::Index leaves = 1)
      : factors(detail::new_transition<Factors>(key_rows, d_v, leaves)...),
        queries_(key_rows, static_cast<Eigen::Index>(count)),
        cotangents_(d_v, static_cast<Eigen::Index>(count)),
        s_(key_rows),
        z_(d_v) {}

  std::tuple<Factors...> factors;  ///< L_1 ... L_n

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index d_v) const {
    return std::apply([&](const auto&... factor) { return (factor.fits(key_rows, d_v) && ...); },
                      factors);
  }
  void left(auto&& m) const {
    std::apply([&](const auto&... factor) { (factor.left(m), ...); }, factors);
  }
  void left_transposed(auto&& q) const {
    backwards([&](const auto& factor, auto) { factor.left_transposed(q); });
  }
  void right(auto&& m) const {
    std::apply([&](const auto&... factor) { (factor.right(m), ...); }, factors);
  }

  /// Each factor sees the query and cotangent as they come back through the later factors, and s
  /// and z as they come forward through the earlier ones. `gradient` lends its scratch memory.
  void pullback(const auto& q, const auto& s, const auto& z, const auto& d,
                TransitionProduct& gradient) const {
    gradient.s_ = q;
    gradient.z_ = d;
    backwards([&](const auto& factor, auto j) {
      gradient.queries_.col(j) = gradient.s_;
      gradient.cotangents_.col(j) = gradient.z_;
      factor.left_transposed(gradient.s_);
      factor.right(gradient.z_.transpose());
    });
    gradient.s_ = s;
    gradient.z_ = z;
    forwards([&](const auto& factor, auto j) {
      factor.pullback(gradient.queries_.col(j), gradient.s_, gradient.z_,
                      gradient.cotangents_.col(j), std::get<j>(gradient.factors));
      factor.left(gradient.s_);
      factor.right(gradient.z_.transpose());
    });
  }

  void visit_steps(auto& steps) const requires(HasSteps<Factors>&&...) {
    std::apply([&](const auto&... factor) { (factor.visit_steps(steps), ...); }, factors);
  }
  void visit_steps(auto& steps, TransitionProduct& gradient) const
      requires(HasSteps<Factors>&&...) {
    forwards([&](const auto& factor, auto j) {
      factor.visit_steps(steps, std::get<j>(gradient.factors));
    });
  }

  /// Bounds what each factor leaves to the next, too: a later one may shrink it again.
  [[nodiscard]] double norm_bound() const {
    return std::apply(
        [](const auto&... factor) { return ((std::max)(1.0, factor.norm_bound()) * ...); },
        factors);
  }
  [[nodiscard]] bool all_finite() const {
    return std::apply([](const auto&... factor) { return (factor.all_finite() && ...); }, factors);
  }

 private:
  template <class Visit>
  void forwards(Visit visit) const {
    [&]<std::size_t... J>(std::index_sequence<J...>) {
      (visit(std::get<J>(factors), std::integral_constant<std::size_t, J>{}), ...);
    }
    (std::make_index_sequence<count>{});
  }
  template <class Visit>
  void backwards(Visit visit) const {
    [&]<std::size_t... J>(std::index_sequence<J...>) {
      (visit(std::get<count - 1 - J>(factors),
             std::integral_constant<std::size_t, count - 1 - J>{}),
       ...);
    }
    (std::make_index_sequence<count>{});
  }

  detail::Matrix<Scalar> queries_, cotangents_;
  detail::Vector<Scalar> s_, z_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_PRODUCT_HPP
