// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_INPUTS_HPP
#define LOGLINEAR_SEQUENCE_INPUTS_HPP

/// \file
/// What the sequence form computes on, in the field's names and shapes.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/resize.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/sequence/array.hpp"
#include "loglinear/sequence/detail/arrays.hpp"

namespace loglinear {

namespace detail {

/// to = exp(log), coefficient by coefficient; 0 at -infinity, where Eigen's packets leave some
/// 1e-309.
template <class Log, class To>
void decays_of(const Eigen::DenseBase<Log>& log, To&& to) {
  using Scalar = typename Log::Scalar;
  constexpr Scalar lowest = -std::numeric_limits<Scalar>::infinity();
  const auto write = [&](const auto& from, auto& into) {
    into = from.exp();
    for (Index i = 0; i < from.rows(); ++i) {
      for (Index j = 0; j < from.cols(); ++j) {
        if (is_exactly<Scalar>(from(i, j), lowest)) into(i, j) = Scalar(0);
      }
    }
  };
  const Index size = log.size();
  if (log.cols() == 1 && to.outerStride() == 1) {
    // Eigen's packets run down one column. A column with gaps is gathered first, so that it has the
    // same bits.
    Vector<Scalar> gathered;
    const Scalar* from = log.derived().data();
    if (const Index stride = log.derived().outerStride(); stride != 1) {
      gathered.resize(size);
      for (Index i = 0; i < size; ++i) gathered[i] = from[i * stride];
      from = gathered.data();
    }
    Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>> into(to.data(), size);
    write(Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>(from, size), into);
  } else {
    auto into = to.array();
    write(log.derived().array(), into);
  }
}

}  // namespace detail

// clang-format off
/// One sequence of T tokens, one head: queries, leaves, gates and level weights, a row a token.
///
///     o_t = sum_{s <= t} lambda[t][level(t, s)] q_t^T A_t A_{t-1} ... A_{s+1} C_s
///     level(t, s) = bit_width(t ^ s), tokens numbered from the stream's beginning
///
/// (Guo et al., arXiv:2506.04761, equations 4 and 5; the read order `current_apart`). What is given
/// decides the rule; an array without coefficients is absent, whatever its shape. Keys are used as
/// they are: nothing is normalised or scaled by 1/sqrt(d_k).
///
/// | rule                     | arrays besides q, k, v, lambda  | A_t                                                     | C_t                                            |
/// |--------------------------|---------------------------------|---------------------------------------------------------|------------------------------------------------|
/// | linear attention         |                                 | I                                                       | k v^T                                          |
/// | RetNet, GLA, Mamba-2     | g (T x 1)                       | e^g I                                                   | k v^T                                          |
/// | gated by key row         | g (T x d_k)                     | diag(e^g)                                               | k v^T                                          |
/// | DeltaNet                 | beta (T x 1)                    | I - b k k^T                                             | b k v^T                                        |
/// | Gated DeltaNet, KDA      | beta, g (T x 1 or T x d_k)      | (I - b k k^T) diag(e^g)                                 | b k v^T                                        |
/// | DeltaProduct, n a token  | beta (T x n), k, v (nT rows), g | H_n ... H_1 diag(e^g), H_j = I - b_j k_j k_j^T          | sum_j H_n ... H_{j+1} b_j k_j v_j^T            |
/// | diagonal plus rank one   | u, p (T x d_k), g               | diag(e^g) - u p^T                                       | k v^T                                          |
/// | decay per value column   | g_value (T x d_v), with any     | and diag(e^g_value) from the right                      |                                                |
///
/// Without beta, n rows of k and v a token are n leaves, C_t = sum_j k_j v_j^T, and m rows of u and
/// p a token are m updates one after the other, the first of them with the decay.
///
/// The names are those of flash-linear-attention (`chunk_log_linear_attn(q, k, v, g,
/// level_scales)`, where lambda is `level_scales`, and `beta` of its delta rules; `a` and `b` of
/// its DPLR operator are -p and u) and of ONNX's LinearAttention operator (`decay` is g, `beta` is
/// beta, `update_rule` is which of them are given, `scale` belongs into q). Those have batch and
/// head dimensions and T x d in between: a head of one sequence here is one block of such a tensor.
///
/// Each member is a `SequenceArray`: a view of the caller's named matrix where that is row-major with
/// contiguous rows (maps and blocks included), which must then outlive this struct, and a matrix of
/// its own otherwise. The struct is a plain value: copies are of views or deep, as each member is.
// clang-format on
template <class Scalar>
struct SequenceInputs {
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Rows = SequenceArray<Scalar>;

  Rows q;             ///< queries, T x d_k
  Rows k;             ///< keys, T x d_k, or n rows a token
  Rows v;             ///< values, T x d_v, or n rows a token
  Rows lambda;        ///< level weights, T x levels, any finite numbers; see `levels_read`
  Rows g = {};        ///< log decays, T x 1 or T x d_k; -infinity forgets everything
  Rows g_value = {};  ///< log decays of value columns, T x d_v; likewise
  Rows beta = {};     ///< strengths of the delta rule, T x n; not together with u and p
  Rows u = {};        ///< what an update writes back, T x d_k, or m rows a token
  Rows p = {};        ///< what an update looks up, like u

  [[nodiscard]] Eigen::Index length() const { return q.rows(); }  ///< T
  [[nodiscard]] Eigen::Index d_k() const { return q.cols(); }     ///< columns of q and k
  [[nodiscard]] Eigen::Index d_v() const { return v.cols(); }     ///< columns of v
  /// Rows of k and v a token, n.
  [[nodiscard]] Eigen::Index leaves() const { return length() == 0 ? 1 : k.rows() / length(); }
  /// Rank-one updates a token: m, or n with beta.
  [[nodiscard]] Eigen::Index updates() const {
    if (!beta.is_absent()) return leaves();
    return length() == 0 || u.is_absent() ? 0 : u.rows() / length();
  }

  /// The tokens [first, first + count) alone, views of these arrays, which must outlive them.
  /// \throws std::invalid_argument unless 0 <= first, 0 <= count and first + count <= length(), or
  /// for an array whose number of rows is no multiple of length()
  [[nodiscard]] SequenceInputs slice(Eigen::Index first, Eigen::Index count) const& {
    return slice_of<false>(*this, first, count);
  }
  /// The same of a temporary; what that owns is copied.
  [[nodiscard]] SequenceInputs slice(Eigen::Index first, Eigen::Index count) const&& {
    return slice_of<true>(*this, first, count);
  }

  /// Columns of lambda that tokens [start, start + T) of a stream read with `max_levels` levels of
  /// state: 1 for the token's own leaf, and one for each level that any of them can see.
  /// \throws std::invalid_argument unless length >= 0, start + length < 2^64 and max_levels is 1 to
  /// 64
  [[nodiscard]] static int levels_read(std::uint64_t start, Eigen::Index length, int max_levels) {
    detail::require_level_count(max_levels);
    require_room(start, length);
    if (length == 0) return 0;
    const std::uint64_t last = start + static_cast<std::uint64_t>(length) - 1;
    return (std::min)(static_cast<int>(std::bit_width(last)), max_levels) + 1;
  }

  /// \throws std::invalid_argument where shapes do not fit together, lambda has too few columns for
  /// tokens from `start` on, or a number is not finite (g and g_value may be -infinity)
  void validate(std::uint64_t start, int max_levels) const {
    const detail::FlushToZero<Scalar> flush;
    require_shapes(start, max_levels);
    require_numbers(levels_read(start, length(), max_levels));
  }

  /// The part of `validate` about shapes.
  void require_shapes(std::uint64_t start, int max_levels) const {
    const Eigen::Index tokens = length();
    if (tokens == 0) return require_no_rows();
    require_room(start, tokens);
    detail::require_positive("d_k (columns of q)", d_k());
    detail::require_positive("d_v (columns of v)", d_v());
    detail::require_size("k (columns)", k.cols(), d_k());
    require_rows("k", k.rows());
    detail::require_size("v (rows)", v.rows(), k.rows());
    detail::require_size("lambda (rows)", lambda.rows(), tokens);
    const int needed = levels_read(start, tokens, max_levels);
    if (lambda.cols() < needed) {
      detail::fail("the number of level weights (columns of lambda)", lambda.cols(),
                   "at least " + std::to_string(needed) + " for tokens " + std::to_string(start) +
                       " to " + std::to_string(start + static_cast<std::uint64_t>(tokens) - 1));
    }
    if (!g.is_absent()) {
      detail::require_size("g (rows)", g.rows(), tokens);
      if (g.cols() != 1) detail::require_size("g (columns, unless 1)", g.cols(), d_k());
    }
    if (!g_value.is_absent()) {
      detail::require_size("g_value (rows)", g_value.rows(), tokens);
      detail::require_size("g_value (columns)", g_value.cols(), d_v());
    }
    if (!beta.is_absent()) {
      detail::require_size("beta (rows)", beta.rows(), tokens);
      detail::require_size("beta (columns)", beta.cols(), leaves());
      detail::require_size("u and p, with beta given,", u.size() + p.size(), 0);
    }
    if (!u.is_absent() || !p.is_absent()) {
      detail::require_size("u (columns)", u.cols(), d_k());
      detail::require_size("p (columns)", p.cols(), d_k());
      require_rows("u", u.rows());
      detail::require_size("p (rows)", p.rows(), u.rows());
    }
  }

  /// The part of `validate` about numbers; `levels` is the number of columns of lambda that are
  /// read.
  void require_numbers(int levels) const {
    detail::for_each_array(
        [&](const char* name, const Rows& rows) {
          if (&rows == &g || &rows == &g_value) return require_log_decays(name, rows);
          if (&rows == &lambda) return detail::require_finite(name, rows.leftCols(levels));
          detail::require_finite(name, rows);
        },
        *this);
  }

 private:
  static void require_room(std::uint64_t start, Eigen::Index tokens) {
    const std::uint64_t room = (std::numeric_limits<std::uint64_t>::max)() - start;
    if (tokens >= 0 && static_cast<std::uint64_t>(tokens) <= room) return;
    detail::fail(
        "the number of tokens (rows of q)", tokens,
        "at least 0 and at most " + std::to_string(room) + " after " + std::to_string(start));
  }
  void require_rows(const char* name, Eigen::Index rows) const {
    if (rows > 0 && rows % length() == 0) return;
    detail::fail(std::string("the number of rows of ") + name, rows,
                 "a multiple of the number of tokens, " + std::to_string(length()));
  }
  /// Without tokens nothing else may have any coefficients.
  void require_no_rows() const {
    detail::for_each_array(
        [](const char* name, const Rows& rows) {
          if (rows.is_absent()) return;
          detail::fail(std::string("the number of rows of ") + name, rows.rows(),
                       "0, as q has no tokens");
        },
        *this);
  }
  template <bool copies_owned>
  [[nodiscard]] static SequenceInputs slice_of(const SequenceInputs& in, Eigen::Index first,
                                               Eigen::Index count) {
    detail::require_between("the first token of the slice", first, Eigen::Index{0}, in.length());
    detail::require_between("the number of tokens of the slice", count, Eigen::Index{0},
                            in.length() - first);
    SequenceInputs slice{};
    detail::for_each_array(
        [&](const char* name, const Rows& all, Rows& to) {
          if (in.length() == 0 || all.is_absent()) {
            to = all;
            return;
          }
          in.require_rows(name, all.rows());
          const Eigen::Index each = all.rows() / in.length();
          const auto part = all.middleRows(first * each, count * each);
          if (copies_owned && all.owns()) {
            to = Matrix(part);
          } else {
            to = Rows(part);  // by its name: it is viewed
          }
        },
        in, slice);
    return slice;
  }
  static void require_log_decays(const char* name, const Rows& values) {
    if (detail::all_finite(values)) return;
    const Scalar lowest = -std::numeric_limits<Scalar>::infinity();
    for (Eigen::Index i = 0; i < values.rows(); ++i) {
      for (Eigen::Index j = 0; j < values.cols(); ++j) {
        if (detail::is_finite(values(i, j)) || detail::is_exactly<Scalar>(values(i, j), lowest))
          continue;
        detail::fail(std::string(name) + "[" + std::to_string(i) + ", " + std::to_string(j) + "]",
                     detail::to_double(values(i, j)), "finite or -infinity");
      }
    }
  }
};

/// Gradients with respect to `SequenceInputs`, of the same shapes. Those of g and g_value are with
/// respect to the log decays, not to the decays. Level weights that are not read have gradient 0.
template <class Scalar>
struct SequenceGradients {
  using Matrix = detail::RowMajorMatrix<Scalar>;

  Matrix q;        ///< with respect to `SequenceInputs::q`, and so on
  Matrix k;        ///< of k
  Matrix v;        ///< of v
  Matrix lambda;   ///< of lambda
  Matrix g;        ///< of g
  Matrix g_value;  ///< of g_value
  Matrix beta;     ///< of beta
  Matrix u;        ///< of u
  Matrix p;        ///< of p
  /// With respect to the initial levels, each flattened row-major: max_levels x d_k d_v, 0 where
  /// inactive; without rows if there was no initial state.
  Matrix state;

  /// Memory for the gradients with respect to `in`; those of level weights are set to zero.
  /// Allocates.
  [[nodiscard]] static SequenceGradients sized_like(const SequenceInputs<Scalar>& in) {
    SequenceGradients sized{};
    sized.resize_like(in);
    return sized;
  }
  /// The same, in the memory of these where that has the size; allocates elsewhere.
  void resize_like(const SequenceInputs<Scalar>& in) {
    const auto resize = [](const char*, const auto& input, Matrix& gradient) {
      detail::resize(gradient, input.rows(), input.cols());
    };
    detail::for_each_array(resize, in, *this);
    lambda.setZero();
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_INPUTS_HPP
