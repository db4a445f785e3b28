// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_SEQUENCE_TOKENS_HPP
#define LOGLINEAR_TESTS_SEQUENCE_TOKENS_HPP

// Random sequences of every kind of input that the sequence form takes.

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "loglinear/sequence.hpp"
#include "support.hpp"

namespace loglinear::test {

template <class Scalar>
using Array = loglinear::detail::RowMajorMatrix<Scalar>;

/// The arrays of a sequence, under the names that SequenceInputs and SequenceGradients give them.
template <class Scalar>
struct Tokens {
  Array<Scalar> q, k, v, lambda, g, g_value, beta, u, p;

  /// Refers to this object's arrays.
  [[nodiscard]] loglinear::SequenceInputs<Scalar> inputs() const {
    return {q, k, v, lambda, g, g_value, beta, u, p};
  }
};

/// Calls `visit(name, array of a, array of b)` for every array.
template <class A, class B, class Visit>
void visit_arrays(A&& a, B&& b, Visit visit) {
  visit("q", a.q, b.q);
  visit("k", a.k, b.k);
  visit("v", a.v, b.v);
  visit("lambda", a.lambda, b.lambda);
  visit("g", a.g, b.g);
  visit("g_value", a.g_value, b.g_value);
  visit("beta", a.beta, b.beta);
  visit("u", a.u, b.u);
  visit("p", a.p, b.p);
}

template <class To, class From>
Tokens<To> cast(const Tokens<From>& tokens) {
  Tokens<To> wide;
  visit_arrays(wide, tokens,
               [](const char*, auto& to, const auto& from) { to = from.template cast<To>(); });
  return wide;
}

enum class Decay { none, scalar, key_rows };
enum class Update { none, delta, rank_one };

/// A row of the table in sequence/inputs.hpp, or a combination of rows.
struct Kind {
  Decay decay = Decay::none;
  bool decays_values = false;
  Update update = Update::none;
  int leaves = 1;   // rows of k and v a token
  int updates = 0;  // rows of u and p a token
};

inline std::string name_of(const Kind& kind) {
  std::string name = kind.decay == Decay::none     ? "no decay"
                     : kind.decay == Decay::scalar ? "scalar decay"
                                                   : "decay of key rows";
  if (kind.decays_values) name += ", decay of value columns";
  if (kind.update == Update::delta) name += ", delta rule";
  if (kind.updates > 0) name += ", " + std::to_string(kind.updates) + " rank-one updates";
  return name + ", leaves " + std::to_string(kind.leaves);
}

/// Every decay with every update.
inline std::vector<Kind> all_kinds() {
  std::vector<Kind> kinds;
  for (const Decay decay : {Decay::none, Decay::scalar, Decay::key_rows}) {
    for (const bool decays_values : {false, true}) {
      for (const int leaves : {1, 2}) kinds.push_back({decay, decays_values, Update::none, leaves});
      for (const int leaves : {1, 3}) {
        kinds.push_back({decay, decays_values, Update::delta, leaves});
      }
      for (const int updates : {1, 2}) {
        for (const int leaves : {1, 3}) {
          kinds.push_back({decay, decays_values, Update::rank_one, leaves, updates});
        }
      }
    }
  }
  return kinds;
}

/// Log decays: most of them slow, some fast, some none at all.
inline double random_log_decay(Random& random) {
  const int which = random.below(8);
  return which == 0 ? 0 : which == 1 ? random.number(-30, -1) : random.number(-0.2, 0);
}

/// Level weights of either sign, a quarter of them 0.
template <class Scalar>
Array<Scalar> random_level_weights(Random& random, Index tokens, int levels) {
  Array<Scalar> lambda(tokens, levels);
  for (Scalar& weight : lambda.reshaped()) {
    weight = random.below(4) == 0 ? Scalar(0) : static_cast<Scalar>(random.number());
  }
  return lambda;
}

/// Tokens under whose transitions a state does not grow on average, with `levels` level weights.
template <class Scalar>
Tokens<Scalar> random_tokens(Random& random, const Kind& kind, Index tokens, Index d_k, Index d_v,
                             int levels) {
  const auto draw = [&](Index rows, Index columns, auto number) {
    Array<Scalar> array(rows, columns);
    for (Scalar& x : array.reshaped()) x = static_cast<Scalar>(number());
    return array;
  };
  const auto number = [&] { return random.number(); };
  const auto log_decay = [&] { return random_log_decay(random); };
  const auto unit_rows = [](Array<Scalar>& rows) {
    for (Index i = 0; i < rows.rows(); ++i) rows.row(i).normalize();
  };
  const Index leaves = tokens * kind.leaves, updates = tokens * kind.updates;
  Tokens<Scalar> all;
  all.q = draw(tokens, d_k, number);
  all.k = draw(leaves, d_k, number);
  all.v = draw(leaves, d_v, number);
  all.lambda = random_level_weights<Scalar>(random, tokens, levels);
  if (kind.decay != Decay::none)
    all.g = draw(tokens, kind.decay == Decay::scalar ? 1 : d_k, log_decay);
  if (kind.decays_values) all.g_value = draw(tokens, d_v, log_decay);
  if (kind.update == Update::delta) {
    unit_rows(all.k);
    all.beta = draw(tokens, kind.leaves, [&] { return random.number(0, 1.5); });
  }
  if (kind.update == Update::rank_one) {
    // u = s p + e: on average |x - u p.x| < |x| for |p| = 1 and e^2 < 2 s - s^2.
    all.p = draw(updates, d_k, number);
    unit_rows(all.p);
    Array<Scalar> e = draw(updates, d_k, number);
    unit_rows(e);
    all.u = Scalar(0.4) * e;
    for (Index i = 0; i < updates; ++i) {
      all.u.row(i) += static_cast<Scalar>(random.number(0.2, 1)) * all.p.row(i);
    }
  }
  return all;
}

/// A state after `count` tokens, with random levels.
template <class Scalar>
loglinear::LogLinearState<Scalar> random_state(Random& random, std::uint64_t count, int max_levels,
                                               Index d_k, Index d_v) {
  loglinear::LogLinearState<Scalar> state(max_levels, d_k, d_v);
  std::vector<Matrix<Scalar>> levels;
  for (int l = 0; l < max_levels; ++l) levels.push_back(random.matrix<Scalar>(d_k, d_v));
  state.replace(
      count, [&](int l) -> const auto& { return levels[static_cast<std::size_t>(l)]; });
  return state;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_SEQUENCE_TOKENS_HPP
