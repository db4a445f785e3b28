// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_RANDOM_KINDS_HPP
#define LOGLINEAR_TESTS_RANDOM_KINDS_HPP

// Kinds of transition with random members: all that the library has, products of them, and one that
// it knows nothing of.

#include <cmath>
#include <tuple>
#include <utility>

#include "loglinear/transitions/transition.hpp"
#include "support.hpp"

namespace loglinear::test {

template <class Scalar>
using Delta = RankOneUpdate<ScalarDecay<Scalar>>;
template <class Scalar>
using PlainDelta = RankOneUpdate<Identity<Scalar>>;
template <class Scalar>
using RowDelta = RankOneUpdate<KeyDecay<Scalar>>;
template <class Scalar>
using Householder = TransitionProduct<ScalarDecay<Scalar>, RankOneUpdate<Identity<Scalar>>,
                                      RankOneUpdate<Identity<Scalar>>>;
/// With two updates, as if a token had two leaves.
template <class Scalar_>
struct TwoLeaves : UpdatePerLeaf<Scalar_> {
  TwoLeaves(Index key_rows, Index d_v) : UpdatePerLeaf<Scalar_>(key_rows, d_v, 2) {}
};
template <class Scalar>
using RowsAndColumns = TransitionProduct<KeyDecay<Scalar>, ValueDecay<Scalar>>;
template <class Scalar>
using DeltaAndColumns = TransitionProduct<RankOneUpdate<KeyDecay<Scalar>>, ValueDecay<Scalar>>;

/// A kind that nothing is known of but what every kind supplies: the first two rows turn.
template <class Scalar_>
struct Turn {
  using Scalar = Scalar_;
  Turn(Index, Index) {}
  Scalar cosine{1}, sine{0};
  [[nodiscard]] bool fits(Index key_rows, Index) const { return key_rows > 1; }
  void left(auto&& m) const {
    for (Index j = 0; j < m.cols(); ++j) {
      const Scalar x = m(0, j), y = m(1, j);
      m(0, j) = cosine * x - sine * y;
      m(1, j) = sine * x + cosine * y;
    }
  }
  void left_transposed(auto&& q) const {
    const Scalar x = q[0], y = q[1];
    q[0] = cosine * x + sine * y;
    q[1] = cosine * y - sine * x;
  }
  void right(auto&& /*m*/) const {}
  void pullback(const auto&, const auto&, const auto&, const auto&, Turn&) const {}
  [[nodiscard]] double norm_bound() const { return 1 + 1e-6; }
  [[nodiscard]] bool all_finite() const { return true; }
};

/// Random members. Gentle ones leave something of the oldest token; others forget in some dozens of
/// tokens, with a decay of exactly 0 now and then.
struct RandomKind {
  Random& random;
  bool gentle;

  template <class Scalar>
  Scalar decay() {
    if (gentle) return static_cast<Scalar>(random.number(0.999, 1));
    return random.below(97) == 0 ? Scalar(0) : static_cast<Scalar>(random.number(0.8, 1));
  }
  template <class Scalar>
  void fill(Identity<Scalar>&) {}
  template <class Scalar>
  void fill(ScalarDecay<Scalar>& kind) {
    kind.decay = decay<Scalar>();
  }
  template <class Scalar>
  void fill(KeyDecay<Scalar>& kind) {
    for (Scalar& w : kind.decay) w = decay<Scalar>();
  }
  template <class Scalar>
  void fill(ValueDecay<Scalar>& kind) {
    for (Scalar& w : kind.decay) w = decay<Scalar>();
  }
  template <class Diagonal>
  void fill(RankOneUpdate<Diagonal>& kind) {
    using Scalar = typename Diagonal::Scalar;
    fill(kind.diagonal);
    kind.p = random.vector<Scalar>(kind.p.size()).normalized();
    kind.u = static_cast<Scalar>(random.number(0, gentle ? 0.02 : 1)) * kind.p;
    if constexpr (requires { kind.diagonal.factor(); }) {
      kind.u *= kind.diagonal.factor();
      kind.u += Scalar(gentle ? 1e-4 : 0.01) * random.vector<Scalar>(kind.u.size());
    } else {
      kind.u.array() *= kind.diagonal.decay.array() * Scalar(0.1);
    }
  }
  template <class Scalar>
  void fill(UpdatePerLeaf<Scalar>& kind) {
    fill(kind.decay);
    for (auto& update : kind.updates) fill(update);
  }
  template <class... Factors>
  void fill(TransitionProduct<Factors...>& kind) {
    std::apply([&](auto&... factor) { (fill(factor), ...); }, kind.factors);
  }
  template <class Scalar>
  void fill(Turn<Scalar>& kind) {
    const double angle = random.number(-2, 2);
    kind.cosine = static_cast<Scalar>(std::cos(angle));
    kind.sine = static_cast<Scalar>(std::sin(angle));
  }
};

/// The same members in a wider scalar.
template <class From, class To>
void widen(const From& from, To& to) {
  using Wide = typename To::Scalar;
  if constexpr (requires { from.factors; }) {
    [&]<std::size_t... J>(std::index_sequence<J...>) {
      (widen(std::get<J>(from.factors), std::get<J>(to.factors)), ...);
    }
    (std::make_index_sequence<From::count>{});
  } else if constexpr (requires { from.updates; }) {
    widen(from.decay, to.decay);
    for (std::size_t j = 0; j < from.updates.size(); ++j) widen(from.updates[j], to.updates[j]);
  } else if constexpr (requires { from.p; }) {
    widen(from.diagonal, to.diagonal);
    to.u = from.u.template cast<Wide>();
    to.p = from.p.template cast<Wide>();
  } else if constexpr (requires { from.sine; }) {
    to.cosine = from.cosine;
    to.sine = from.sine;
  } else if constexpr (requires { from.decay.size(); }) {
    to.decay = from.decay.template cast<Wide>();
  } else if constexpr (requires { from.decay; }) {
    to.decay = from.decay;
  }
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_RANDOM_KINDS_HPP
