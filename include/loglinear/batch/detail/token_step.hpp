// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_DETAIL_TOKEN_STEP_HPP
#define LOGLINEAR_BATCH_DETAIL_TOKEN_STEP_HPP

// One token of one head in two phases: everything that can be refused while the state is still
// whole, then the writing.

#include <cmath>

#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "loglinear/sequence/recurrent.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear::detail {

template <class Scalar>
class TokenStep {
 public:
  /// The read, 1 x d_v: with A and diag(r) what older states undergo and C the leaf,
  ///
  ///     out = (sum_l lambda_(l+1) S_l^T A^T q) * r + lambda_0 C^T q
  ///
  /// \throws std::invalid_argument where the state would overflow or the read would not be finite
  [[nodiscard]] RowMajorMatrix<Scalar> read(const SequenceInputs<Scalar>& in,
                                            LogLinearState<Scalar>& state) {
    leaves_of(in, 0, keys_, values_);
    SequenceTransition<Scalar> transition(in);
    admitted_ = levels_of(state).admit(transition.norm_bound(), keys_, values_);
    RowMajorMatrix<Scalar> query = in.q;
    Vector<Scalar> found(in.d_v());
    RowMajorMatrix<Scalar> out = RowMajorMatrix<Scalar>::Zero(1, in.d_v());
    const RowMajorMatrix<Scalar> from_keys = query * keys_;
    transition.left_transposed(query);
    for (const int l : state.active_levels()) {
      weighted_rows(state.level(l).data(), in.d_k(), in.d_v(), in.d_v(), query.data(),
                    found.data());
      scaled_row<true>(in.lambda(0, l + 1), found.data(), in.d_v(), out.data());
    }
    transition.right(out);
    out += (in.lambda(0, 0) * from_keys) * values_.transpose();
    require_finite_reads(out, 0);
    return out;
  }
  void write(const SequenceInputs<Scalar>& in, LogLinearState<Scalar>& state) const {
    auto& levels = levels_of(state);
    levels.undergo(SequenceTransition<Scalar>(in));
    levels.push(keys_, values_, admitted_);
  }

 private:
  Matrix<Scalar> keys_{}, values_{};
  Admitted admitted_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BATCH_DETAIL_TOKEN_STEP_HPP
