// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DENSE_HPP
#define LOGLINEAR_SEQUENCE_DENSE_HPP

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/sequence/detail/results.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear {

/// The sequence form by its definition: every query reads every token up to its own. The tests
/// compare the other forms with it.
///
/// For each t the query walks back, `q <- A_s^T q` from token to token, and reads each leaf under
/// `lambda[t][bit_width(t ^ s)]` as it passes (arXiv:2506.04761, equations 4 and 5). It shares
/// nothing with `recurrent` and `chunkwise` but the level arithmetic.
///
/// \param in       the tokens
/// \param initial  the state before them, which does not change; its size() is the position of the
///                 first token
/// \return the reads, T x d_v
/// \throws std::invalid_argument as `SequenceInputs::validate`, or where a read would not be
/// finite. O(T^2 (d_k + d_v)); allocates.
template <class Scalar>
[[nodiscard]] typename SequenceInputs<Scalar>::Matrix dense(const SequenceInputs<Scalar>& in,
                                                            const LogLinearState<Scalar>& initial) {
  using Eigen::Index;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  constexpr auto order = ReadOrder::current_apart;
  const detail::FlushToZero<Scalar> flush;
  const std::uint64_t start = initial.size();
  const int max_levels = initial.max_levels();
  if (in.length() > 0) {
    detail::require_size("q (columns, d_k of the state)", in.d_k(), initial.d_k());
    detail::require_size("v (columns, d_v of the state)", in.d_v(), initial.d_v());
  }
  in.validate(start, max_levels);
  detail::RowMajorMatrix<Scalar> out = detail::RowMajorMatrix<Scalar>::Zero(in.length(), in.d_v());
  const Index leaves = in.leaves(), updates = in.updates();
  for (Index t = 0; t < in.length(); ++t) {
    const std::uint64_t now = start + static_cast<std::uint64_t>(t);
    Row query = in.q.row(t), decay = Row::Ones(in.d_v());  // of the value columns
    Row key_factors(in.d_k()), value_factors(in.d_v());
    for (Index s = t; s >= 0; --s) {
      const Scalar weight =
          in.lambda(t, level_of(start + static_cast<std::uint64_t>(s), now, order, max_levels));
      // Token s backwards: leaves and updates, the newest first, and the decay last.
      const bool is_delta = in.beta.size() > 0;
      for (Index j = leaves; j-- > 0;) {
        const Row key = in.k.row(s * leaves + j) * (is_delta ? in.beta(s, j) : Scalar(1));
        out.row(t) += weight * query.dot(key) * decay.cwiseProduct(in.v.row(s * leaves + j));
        if (is_delta) query -= query.dot(key) * in.k.row(s * leaves + j);
      }
      Row removed = Row::Zero(in.d_k());
      for (Index j = updates; !is_delta && j-- > 0;) {
        // D - u p^T with D = I for all updates but the first, whose decay follows below.
        removed = query.dot(in.u.row(s * updates + j)) * in.p.row(s * updates + j);
        if (j > 0) query -= removed;
      }
      if (!in.g.is_absent() && in.g.cols() == 1) query *= std::exp(in.g(s, 0));
      if (!in.g.is_absent() && in.g.cols() > 1) {
        detail::decays_of(in.g.row(s), key_factors);
        query.array() *= key_factors.array();
      }
      if (in.g_value.size() > 0) {
        detail::decays_of(in.g_value.row(s), value_factors);
        decay.array() *= value_factors.array();
      }
      query -= removed;
    }
    for (int l : initial.active_levels()) {
      const Bucket bucket = bucket_of(start, l, max_levels);
      const Scalar weight = in.lambda(t, level_of(bucket.first, now, order, max_levels));
      out.row(t) += weight * decay.cwiseProduct(Row(query * initial.level(l)));
    }
  }
  detail::require_finite_reads(out, 0);
  return out;
}

/// Overload without a state: begins at an empty one of as many levels as the sequence needs. Errors
/// and cost are those above.
template <class Scalar>
[[nodiscard]] typename SequenceInputs<Scalar>::Matrix dense(const SequenceInputs<Scalar>& in) {
  const auto width = [&](Eigen::Index columns) {  // of tokens; without any, no memory is needed
    return in.length() == 0 ? Eigen::Index{1} : (std::max<Eigen::Index>)(1, columns);
  };
  return dense(in, LogLinearState<Scalar>(levels_needed(static_cast<std::uint64_t>(in.length())),
                                          width(in.d_k()), width(in.d_v())));
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_DENSE_HPP
