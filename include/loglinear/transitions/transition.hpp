// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_TRANSITION_HPP
#define LOGLINEAR_TRANSITIONS_TRANSITION_HPP

/// \file
/// What an inner rule does to every older state at a token: a linear map `S <- L S diag(r)` shared
/// by all levels. Being linear it commutes with the merging of buckets, which is why a hierarchy
/// can undergo it level by level (arXiv:2506.04761, section 3: the mask `M^S (.) M^H`).
///
/// There are few kinds, and all algorithms are written once for all of them, and for those that a
/// user adds:
///
/// | kind                       | L                                     | r |
/// |----------------------------|---------------------------------------|---|
/// | `Identity`                 | I                                     | 1 |
/// | `ScalarDecay`              | a I                                   | 1 |
/// | `KeyDecay`                 | diag(w)                               | 1 |
/// | `ValueDecay`               | I                                     | w |
/// | `RankOneUpdate<Diagonal>`  | D - u p^T, D one of the first three   | 1 |
/// | `UpdatePerLeaf`            | H_n ... H_1 a, H_j = I - u_j p_j^T    | 1 |
/// | `TransitionProduct<...>`   | L_n ... L_2 L_1                       | . |
///
/// docs/rules.md says which rules use them.
///
/// A rule fills the kind's public members. Its gradient is written to the same members, so that the
/// cotangent of a transition is a transition of the same type.

#include <concepts>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/transitions/decays.hpp"
#include "loglinear/transitions/product.hpp"
#include "loglinear/transitions/rank_one_update.hpp"
#include "loglinear/transitions/steps.hpp"
#include "loglinear/transitions/update_per_leaf.hpp"

namespace loglinear {

/// What a kind of transition supplies, for matrices `m` with `key_rows` rows, queries `q` and `s`
/// of that length, reads `z` and `d` of length `d_v`:
///
/// * `Kind(key_rows, d_v)`: allocates its members once; a kind that depends on how many leaves a
///   token writes has `Kind(key_rows, d_v, leaves)`, too, and layers call that one;
/// * `fits(key_rows, d_v)`: whether its members have the sizes that such a state needs;
/// * `left(m)`: m <- L m, in place; m may be a vector;
/// * `left_transposed(q)`: q <- L^T q, in place;
/// * `right(m)`: m <- m diag(r), in place; a read z is passed as the row z^T;
/// * `norm_bound()`: an upper bound, as a double, of the factor by which a Frobenius norm can grow,
///   that of every intermediate result of `left` and `right` included;
/// * `all_finite()`: whether every member is a finite number;
/// * `pullback(q, s, z, d, gradient)`: writes into `gradient`, a transition of the same type that
///   was made for the same sizes, the derivative of `q^T L s + d . (r z)` with respect to every
///   member.
///
/// And where it can:
///
/// * `visit_steps(steps)` and `visit_steps(steps, gradient)`: what it is made of, see
///   transitions/steps.hpp. Without them, spans of tokens are read token by token and have no
///   gradient (`HasSteps`);
/// * `scales_values`, a static constexpr bool: false where r is always 1; if it is missing, r may
///   not be 1;
/// * where L is diagonal and products are of the same kind, `follow(later)`: this <- later * this,
///   `reset()`: this <- I, `row_factor(i)`: coefficient i of L, and `column_factors()`: a pointer
///   to those of r, or null for ones. Layers then keep such a product in place of a dense one
///   (`HasOwnProducts`);
/// * `factor()`, where moreover L is a multiple of I and r is 1: that multiple;
/// * `row_factors()`, where it is to be the D of a `RankOneUpdate`, beside `row_factor(i)`: a
///   pointer to the coefficients of L, or null where all are `row_factor(0)` (`HasRowFactors`).
///
/// Only the constructor may allocate or throw.
template <class Kind, class Scalar>
concept Transition = std::constructible_from<Kind, Eigen::Index, Eigen::Index> &&
    requires(const Kind& kind, Kind& gradient, detail::Matrix<Scalar>& m, detail::Vector<Scalar>& q,
             const detail::Vector<Scalar>& s) {
  kind.left(m);
  kind.left_transposed(q);
  kind.right(m);
  kind.pullback(s, s, s, s, gradient);
  { kind.fits(s.size(), s.size()) } -> std::convertible_to<bool>;
  { kind.norm_bound() } -> std::convertible_to<double>;
  { kind.all_finite() } -> std::convertible_to<bool>;
};

/// Whether products of the kind are of the kind: the requirements `follow(later)`, `reset()`,
/// `row_factor(i)` and `column_factors()`.
template <class Kind>
concept HasOwnProducts = requires(Kind& product, const Kind& later, Eigen::Index i) {
  product.follow(later);
  product.reset();
  { later.row_factor(i) } -> std::convertible_to<typename Kind::Scalar>;
  { later.column_factors() } -> std::convertible_to<const typename Kind::Scalar*>;
};

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_TRANSITION_HPP
