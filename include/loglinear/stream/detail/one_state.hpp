// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_ONE_STATE_HPP
#define LOGLINEAR_STREAM_DETAIL_ONE_STATE_HPP

// The step of a stream of one level, which holds all tokens:
//
//     S <- kept (L S diag(r)) + sum_n k_n v_n^T,
//
// where `kept` is the fraction of its content that the level keeps. The state is read once, under
// the query and what the transition looks up together, and rewritten once, row by row.
//
// Every transition made of steps, decays of value columns apart, is a diagonal minus updates of
// rank one, L = D - sum_j u_j z_j^T: with f_j = S^T z_j known, a row becomes D_i S_i - sum_j u_ji
// f_j + sum_n k_ni v_n.

#include <algorithm>
#include <type_traits>
#include <vector>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/stream/detail/pending_product.hpp"
#include "loglinear/stream/detail/read_memory.hpp"
#include "loglinear/transitions/token.hpp"

namespace loglinear::detail {

/// Works on a level that it is given. Its own members are scratch memory, which it allocates only
/// if there is one level.
template <class Kind>
class OneState {
 public:
  using Scalar = typename Kind::Scalar;
  /// Whether the transition is a product of steps, whose z_j are still to be found.
  static constexpr bool has_product =
      std::is_same_v<RecentProduct<Kind>, LowRankProduct<Kind>> && !looks_up<Kind>;
  /// Whether `write` knows the kind.
  static constexpr bool is_known = HasOwnProducts<Kind> || looks_up<Kind> || has_product;

  static constexpr bool scales_columns = scales_values<Kind>;

  OneState(int max_levels, Index key_rows, Index d_v, Index leaves)
      : product_(max_levels == 1 ? key_rows : 0, 1, leaves) {
    if (max_levels > 1) return;
    Index updates = looks_up<Kind> ? 1 : 0;
    if constexpr (has_product) {
      updates = product_.score_columns();
      found_ = zeros<RowMajorMatrix<Scalar>>(updates, d_v);
    }
    if constexpr (HasOwnProducts<Kind>) row_factors_ = zeros<Scalar>(key_rows);
    if constexpr (scales_columns) column_ones_ = ones<Scalar>(d_v);
    terms_.resize(array_size(updates + leaves));
  }

  /// out = weight S^T query; unless `next` is null also S^T p, which writing it takes. The bits of
  /// `out` do not depend on `next`.
  template <class Stored>
  static void read(const Stored* state, const Scalar* query, const Scalar& weight, Index rows,
                   Index columns, Scalar* out, const Kind* next, LookUp<Kind>* looked_up) {
    if (next != nullptr) {
      weighted_rows_pair(state, rows, columns, columns, query, next->p.data(), out,
                         looked_up->of_state.data());
    } else {
      weighted_rows(state, rows, columns, columns, query, out);
    }
    scale_by(weight, out, columns);
  }

  /// Writes a token. Precondition: a read of this state for the token has found `looked_up`.
  template <class Stored>
  void write(const Token<Kind>& token, const Scalar& kept, const LookUp<Kind>& looked_up,
             Stored* state) {
    const Index rows = token.keys.rows(), columns = token.values.rows();
    Scaling<Scalar> scaling;
    int count = 0;
    const auto add_term = [&](const Scalar* of_row, const Scalar* along, const Scalar& factor) {
      terms_[array_size(count++)] = {of_row, along, factor};
    };
    if constexpr (HasOwnProducts<Kind>) {
      scaling = scaling_of(token.transition, rows);
    } else if constexpr (looks_up<Kind>) {
      scaling = token.transition.scaling();
      add_term(token.transition.u.data(), looked_up.of_state.data(), -kept);
    } else {
      product_.reset();
      product_.follow(token.transition);
      scaling = {Scalar(1), product_.diagonal(), nullptr};
      for (Index j = 0; j < product_.update_count(); ++j) {
        const auto update = product_.update(j);
        Scalar* const found = found_.data() + j * columns;
        weighted_rows(state, rows, columns, columns, update.z, found);
        add_term(update.u, found, -kept * update.u_factor);
      }
    }
    scaling.factor *= kept;
    for (Index n = 0; n < token.keys.cols(); ++n) {
      add_term(token.keys.data() + n * rows, token.values.data() + n * columns, Scalar(1));
    }
    step_rows<looks_up<Kind> ? 2
              : has_product  ? 0
                             : 1,
              scales_columns>(state, rows, columns, columns, scaling, terms_.data(), count);
  }

 private:
  [[nodiscard]] Scaling<Scalar> scaling_of(const Kind& kind, Index rows) {
    const Scalar* of_column = scales_columns ? kind.column_factors() : nullptr;
    if (scales_columns && of_column == nullptr) of_column = column_ones_.data();
    if constexpr (OneFactor<Kind>) {
      return {kind.factor(), nullptr, of_column};
    } else {
      for (Index i = 0; i < rows; ++i) row_factors_[i] = kind.row_factor(i);
      return {Scalar(1), row_factors_.data(), of_column};
    }
  }

  struct Nothing {
    Nothing(Index, Index, Index) {}
    Index none = 0;
  };

  std::conditional_t<has_product, LowRankProduct<Kind>, Nothing> product_;  // L
  RowMajorMatrix<Scalar> found_{};                                          // f_j, a row each
  Vector<Scalar> row_factors_{}, column_ones_{};
  std::vector<OuterProduct<Scalar>> terms_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_ONE_STATE_HPP
