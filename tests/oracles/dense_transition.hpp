// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_DENSE_TRANSITION_HPP
#define LOGLINEAR_TESTS_ORACLES_DENSE_TRANSITION_HPP

// Every kind of transition as the dense matrices that its members spell, and its members one by
// one.

#include <tuple>

#include "loglinear/transitions/transition.hpp"
#include "support.hpp"

namespace loglinear::test {

/// Calls `visit` with every coefficient of a transition, in a fixed order.
template <class Scalar>
void visit_members(Identity<Scalar>&, auto) {}
template <class Scalar>
void visit_members(ScalarDecay<Scalar>& kind, auto visit) {
  visit(kind.decay);
}
template <class Scalar>
void visit_members(KeyDecay<Scalar>& kind, auto visit) {
  for (Scalar& coefficient : kind.decay) visit(coefficient);
}
template <class Scalar>
void visit_members(ValueDecay<Scalar>& kind, auto visit) {
  for (Scalar& coefficient : kind.decay) visit(coefficient);
}
template <class Diagonal>
void visit_members(RankOneUpdate<Diagonal>& kind, auto visit) {
  visit_members(kind.diagonal, visit);
  for (auto& coefficient : kind.u) visit(coefficient);
  for (auto& coefficient : kind.p) visit(coefficient);
}
template <class Scalar>
void visit_members(UpdatePerLeaf<Scalar>& kind, auto visit) {
  visit_members(kind.decay, visit);
  for (auto& update : kind.updates) visit_members(update, visit);
}
template <class... Factors>
void visit_members(TransitionProduct<Factors...>& kind, auto visit) {
  std::apply([&](auto&... factor) { (visit_members(factor, visit), ...); }, kind.factors);
}

/// A transition written out: S <- L S diag(r).
template <class Scalar>
struct Dense {
  Matrix<Scalar> l;
  Vector<Scalar> r;
};
template <class Scalar>
Dense<Scalar> plain(Index key_rows, Index d_v) {
  return {Matrix<Scalar>::Identity(key_rows, key_rows), Vector<Scalar>::Ones(d_v)};
}

template <class Scalar>
Dense<Scalar> dense(const Identity<Scalar>&, Index key_rows, Index d_v) {
  return plain<Scalar>(key_rows, d_v);
}
template <class Scalar>
Dense<Scalar> dense(const ScalarDecay<Scalar>& kind, Index key_rows, Index d_v) {
  auto result = plain<Scalar>(key_rows, d_v);
  for (Index i = 0; i < key_rows; ++i) result.l(i, i) = kind.decay;
  return result;
}
template <class Scalar>
Dense<Scalar> dense(const KeyDecay<Scalar>& kind, Index key_rows, Index d_v) {
  auto result = plain<Scalar>(key_rows, d_v);
  for (Index i = 0; i < key_rows; ++i) result.l(i, i) = kind.decay[i];
  return result;
}
template <class Scalar>
Dense<Scalar> dense(const ValueDecay<Scalar>& kind, Index key_rows, Index d_v) {
  auto result = plain<Scalar>(key_rows, d_v);
  for (Index i = 0; i < d_v; ++i) result.r[i] = kind.decay[i];
  return result;
}
template <class Diagonal>
Dense<typename Diagonal::Scalar> dense(const RankOneUpdate<Diagonal>& kind, Index key_rows,
                                       Index d_v) {
  auto result = dense(kind.diagonal, key_rows, d_v);
  for (Index i = 0; i < key_rows; ++i) {
    for (Index j = 0; j < key_rows; ++j) result.l(i, j) -= kind.u[i] * kind.p[j];
  }
  return result;
}
template <class Scalar>
Dense<Scalar> dense(const UpdatePerLeaf<Scalar>& kind, Index key_rows, Index d_v) {
  auto result = dense(kind.decay, key_rows, d_v);
  for (const auto& update : kind.updates) {
    result.l = (dense(update, key_rows, d_v).l * result.l).eval();
  }
  return result;
}
template <class... Factors>
auto dense(const TransitionProduct<Factors...>& kind, Index key_rows, Index d_v) {
  using Scalar = typename TransitionProduct<Factors...>::Scalar;
  auto result = plain<Scalar>(key_rows, d_v);
  const auto append = [&](const auto& factor) {
    const Dense<Scalar> next = dense(factor, key_rows, d_v);
    result.l = (next.l * result.l).eval();
    result.r = next.r.cwiseProduct(result.r).eval();
  };
  std::apply([&](const auto&... factor) { (append(factor), ...); }, kind.factors);
  return result;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_DENSE_TRANSITION_HPP
