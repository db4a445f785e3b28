// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_STREAMING_TOKENS_HPP
#define LOGLINEAR_BENCH_STREAMING_TOKENS_HPP

// The tokens of the streaming benchmarks: prepared once, taken in turn.

#include <cstdint>
#include <string>
#include <vector>

#include "loglinear/transitions/token.hpp"
#include "loglinear/transitions/transition.hpp"

namespace bench {

using loglinear::detail::Index;

/// What a gate leaves at every token: after a million tokens there is still something of the first,
/// so that no level may be skipped.
inline constexpr double slow_decay = 1 - 1.0 / (1 << 20);

template <class Scalar>
void set_decay(loglinear::Identity<Scalar>&, double) {}
template <class Scalar>
void set_decay(loglinear::ScalarDecay<Scalar>& kind, double decay) {
  kind.decay = static_cast<Scalar>(decay);
}
template <class Scalar>
void set_decay(loglinear::KeyDecay<Scalar>& kind, double decay) {
  kind.decay.setConstant(static_cast<Scalar>(decay));
}
template <class Scalar>
void set_decay(loglinear::ValueDecay<Scalar>& kind, double decay) {
  kind.decay.setConstant(static_cast<Scalar>(decay));
}

/// The gated delta rule of strength 1/2: `a (I - k k^T / 2)`, leaf `k v^T / 2`.
template <class Kind>
void set_token(loglinear::Token<Kind>& token, double decay) {
  set_decay(token.transition, decay);
}
template <class Diagonal>
void set_token(loglinear::Token<loglinear::RankOneUpdate<Diagonal>>& token, double decay) {
  using Scalar = typename Diagonal::Scalar;
  set_decay(token.transition.diagonal, decay);
  token.keys.col(0).normalize();
  token.transition.p = token.keys.col(0);
  token.transition.u = static_cast<Scalar>(decay / 2) * token.keys.col(0);
  token.keys /= 2;
}

template <class Kind>
struct Tokens {
  using Scalar = typename Kind::Scalar;
  static constexpr std::size_t count = 64;

  Tokens(Index d, int max_levels, double decay = slow_decay, double value_size = 1) {
    std::srand(1);
    for (std::size_t i = 0; i < count; ++i) {
      loglinear::Token<Kind> token(d, d, 1);
      token.keys.setRandom();
      token.values.setRandom();
      token.values *= static_cast<Scalar>(value_size);
      token.query.setRandom();
      set_token(token, decay);
      tokens.push_back(token);
      lambdas.push_back(loglinear::detail::Vector<Scalar>::Random(max_levels).cwiseAbs());
    }
  }
  [[nodiscard]] const loglinear::Token<Kind>& token(std::uint64_t t) const {
    return tokens[t % count];
  }
  [[nodiscard]] const loglinear::detail::Vector<Scalar>& lambda(std::uint64_t t) const {
    return lambdas[t % count];
  }

  std::vector<loglinear::Token<Kind>> tokens;
  std::vector<loglinear::detail::Vector<Scalar>> lambdas;
};

}  // namespace bench

#endif  // LOGLINEAR_BENCH_STREAMING_TOKENS_HPP
