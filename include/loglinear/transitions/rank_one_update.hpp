// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_RANK_ONE_UPDATE_HPP
#define LOGLINEAR_TRANSITIONS_RANK_ONE_UPDATE_HPP

/// \file
/// The transition of the delta rules: a diagonal minus a matrix of rank one.

#include <algorithm>
#include <cmath>
#include <concepts>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear {

/// Whether a diagonal kind can be the D of a `RankOneUpdate`: the requirements `row_factor(i)` and
/// `row_factors()`; see `Transition`.
template <class Kind>
concept HasRowFactors = requires(const Kind& kind, Eigen::Index i) {
  { kind.row_factor(i) } -> std::convertible_to<typename Kind::Scalar>;
  { kind.row_factors() } -> std::convertible_to<const typename Kind::Scalar*>;
};

/// `S <- (D - u p^T) S`, with D a diagonal of key rows: `Identity`, `ScalarDecay`,
/// `KeyDecay`, or a kind of your own that `HasRowFactors`.
///
/// The gated delta rule `a (I - b k k^T)` is `D = a`, `u = a b k`, `p = k`. RWKV-7 is `D =
/// diag(w)`, `u = a*kappa` with `p = kappa` (the paper's) or `p = w*kappa` (decay first).
template <class Diagonal>
struct RankOneUpdate {
  static_assert(HasRowFactors<Diagonal>,
                "the D of a RankOneUpdate is a diagonal kind with row_factor(i) and row_factors(): "
                "one of Identity, ScalarDecay and KeyDecay, or give your own kind both members");
  using Scalar = typename Diagonal::Scalar;
  static constexpr bool scales_values = false;

  RankOneUpdate(Eigen::Index key_rows, Eigen::Index d_v)
      : diagonal(key_rows, d_v),
        u(detail::zeros<Scalar>(key_rows)),
        p(detail::zeros<Scalar>(key_rows)) {}

  Diagonal diagonal;         ///< D
  detail::Vector<Scalar> u;  ///< what is written back, length key_rows
  detail::Vector<Scalar> p;  ///< what is looked up, length key_rows

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index d_v) const {
    return u.size() == key_rows && p.size() == key_rows && diagonal.fits(key_rows, d_v);
  }

  /// m <- D m - u (p^T m), a block of columns at a time so that p^T m fits on the stack.
  void left(auto&& m) const {
    const Eigen::Index n = u.size();
    for (Eigen::Index first = 0; first < m.cols(); first += found_block) {
      const Eigen::Index width = (std::min<Eigen::Index>)(found_block, m.cols() - first);
      Scalar found[found_block];
      if constexpr (detail::is_row_major_memory<decltype(m)>) {
        Scalar* const block = m.data() + first;
        detail::weighted_rows(block, n, width, m.outerStride(), p.data(), found);
        detail::update_rows(block, n, width, m.outerStride(), scaling(), found, u.data());
      } else if constexpr (detail::is_column_major_memory<decltype(m)>) {
        Scalar* const block = m.data() + first * m.outerStride();
        for (Eigen::Index j = 0; j < width; ++j) {
          found[j] = detail::dot<Scalar>(p.data(), block + j * m.outerStride(), n);
        }
        update_columns(block, width, m.outerStride(), found);
      } else {
        auto block = m.middleCols(first, width);
        Eigen::Map<detail::Vector<Scalar>> sums(found, width);
        sums.setZero();
        for (Eigen::Index i = 0; i < n; ++i) sums += p[i] * block.row(i).transpose();
        diagonal.left(block);
        for (Eigen::Index i = 0; i < n; ++i) block.row(i) -= u[i] * sums.transpose();
      }
    }
  }

  /// m <- D m - u found^T where `found` = p^T m is known already; m is column-major in memory.
  void left(auto&& m, const Scalar* found) const {
    update_columns(m.data(), m.cols(), m.outerStride(), found);
  }

  /// q <- D q - p (u^T q)
  void left_transposed(auto&& q) const {
    const Scalar along = detail::dot<Scalar>(u.data(), q.data(), u.size());
    diagonal.left_transposed(q);
    detail::axpy<Scalar>(-along, p.data(), p.size(), q.data());
  }

  void right(auto&& /*m*/) const {}

  void pullback(const auto& q, const auto& s, const auto& z, const auto& d,
                RankOneUpdate& gradient) const {
    diagonal.pullback(q, s, z, d, gradient.diagonal);
    const Eigen::Index n = u.size();
    detail::scale_to<Scalar>(-detail::dot<Scalar>(p.data(), s.data(), n), q.data(), n,
                             gradient.u.data());
    detail::scale_to<Scalar>(-detail::dot<Scalar>(u.data(), q.data(), n), s.data(), n,
                             gradient.p.data());
  }

  void visit_steps(auto& steps, auto&... gradient) const requires HasSteps<Diagonal> {
    steps.look_up(p.data(), gradient.p.data()...);
    diagonal.visit_steps(steps, gradient.diagonal...);
    steps.write_back(u.data(), gradient.u.data()...);
  }

  /// If D is one number a, and u = c p + w with w orthogonal to p: `max(|a|, |a - u.p|) + |w| |p|`,
  /// which is 1 for a delta rule; else `|D| + |u| |p|`. Bounds p^T m too, which `left` computes on
  /// the way: it can overflow where u is tiny and p is not.
  [[nodiscard]] double norm_bound() const {
    const auto product = [&](const auto& x, const auto& y) {
      return detail::to_double(detail::dot<Scalar>(x.data(), y.data(), x.size()));
    };
    const double uu = product(u, u), pp = product(p, p);
    if constexpr (requires { diagonal.factor(); }) {
      if (detail::is_at_most(uu, 2) && detail::is_at_most(pp, 2) && pp > 1e-6) {
        const double a = detail::to_double(diagonal.factor()), up = product(u, p);
        const double across = (std::max)(0.0, uu * pp - up * up);
        return (std::max)(std::abs(a), std::abs(a - up)) + std::sqrt(across);
      }
    }
    return diagonal.norm_bound() + (std::max)(1.0, detail::stable_norm(u)) * detail::stable_norm(p);
  }
  /// D, as the kernels take it.
  [[nodiscard]] detail::Scaling<Scalar> scaling() const {
    const Scalar* const of_row = diagonal.row_factors();
    return {of_row == nullptr ? diagonal.row_factor(0) : Scalar(1), of_row, nullptr};
  }
  [[nodiscard]] bool all_finite() const {
    return diagonal.all_finite() && detail::all_finite(u) && detail::all_finite(p);
  }

 private:
  /// Columns whose p^T m lies on the stack at a time.
  static constexpr int found_block = 4 * detail::column_block;

  /// Columns in memory become D m - u found^T.
  void update_columns(Scalar* m, Eigen::Index columns, Eigen::Index stride,
                      const Scalar* found) const {
    const auto [factor, of_row, of_column] = scaling();
    detail::update_rows(m, columns, u.size(), stride, {factor, of_column, of_row}, u.data(), found);
  }
};

namespace detail {

template <class Kind>
inline constexpr bool is_rank_one_update = false;
template <class Diagonal>
inline constexpr bool is_rank_one_update<RankOneUpdate<Diagonal>> = true;

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_RANK_ONE_UPDATE_HPP
