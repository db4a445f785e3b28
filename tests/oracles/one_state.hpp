// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_ONE_STATE_HPP
#define LOGLINEAR_TESTS_ORACLES_ONE_STATE_HPP

// Linear attention of every kind of input with one state and written-out matrices.

#include "sequence/settings.hpp"

namespace loglinear::test {

/// A_t as a matrix, C_t as a matrix and the decays of the value columns, as the table in
/// sequence/inputs.hpp has them.
struct OneToken {
  test::Matrix<double> transition, leaf;
  test::Vector<double> value_decay;
};

inline OneToken written_out(const Kind& kind, const Tokens<double>& tokens, Index t) {
  const Index d_k = tokens.q.cols(), d_v = tokens.v.cols();
  const auto identity = test::Matrix<double>::Identity(d_k, d_k);
  test::Matrix<double> decay = identity;
  if (kind.decay == test::Decay::scalar) decay *= std::exp(tokens.g(t, 0));
  if (kind.decay == test::Decay::key_rows) {
    decay = tokens.g.row(t).array().exp().matrix().asDiagonal();
  }
  OneToken token{decay, test::Matrix<double>::Zero(d_k, d_v), test::Vector<double>::Ones(d_v)};
  if (kind.decays_values) token.value_decay = tokens.g_value.row(t).array().exp();
  if (kind.update == test::Update::delta) {
    for (Index j = t * kind.leaves, n = 0; n < kind.leaves; ++j, ++n) {
      const double beta = tokens.beta(t, n);
      const test::Vector<double> key = tokens.k.row(j).transpose();
      const test::Matrix<double> householder = identity - beta * key * key.transpose();
      token.transition = (householder * token.transition).eval();
      token.leaf = (householder * token.leaf).eval() + beta * key * tokens.v.row(j);
    }
    return token;
  }
  for (Index j = t * kind.leaves, n = 0; n < kind.leaves; ++j, ++n) {
    token.leaf += tokens.k.row(j).transpose() * tokens.v.row(j);
  }
  for (Index j = t * kind.updates, n = 0; n < kind.updates; ++j, ++n) {
    const test::Matrix<double> outer = tokens.u.row(j).transpose() * tokens.p.row(j);
    const test::Matrix<double> update = (n == 0 ? decay : test::Matrix<double>(identity)) - outer;
    token.transition = n == 0 ? update : test::Matrix<double>(update * token.transition);
  }
  return token;
}

/// The reads of S <- A_t S R_t + C_t, o_t = S^T q_t, and the last S in `state`.
inline Array<double> linear_attention(const Kind& kind, const Tokens<double>& tokens,
                                      test::Matrix<double>& state) {
  Array<double> out(tokens.q.rows(), tokens.v.cols());
  for (Index t = 0; t < out.rows(); ++t) {
    const OneToken token = written_out(kind, tokens, t);
    state = (token.transition * state * token.value_decay.asDiagonal()).eval() + token.leaf;
    out.row(t) = tokens.q.row(t) * state;
  }
  return out;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_ONE_STATE_HPP
