// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_HPP
#define LOGLINEAR_CHUNKS_CHUNK_HPP

// The tokens of one chunk, and where they come from. The chunkwise algorithm sees nothing else: it
// is compiled once a scalar, whatever rule or interface fills the chunks.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"

namespace loglinear::detail {

/// When the rows of an array happen within a chunk: `rows` of them at moment `first`, as many
/// `stride` moments later, and so on. A query sees what was written up to and including its moment.
struct Moments {
  Index first = 0, stride = 1, rows = 1;

  [[nodiscard]] Index operator[](Index i) const { return first + quotient(i, rows) * stride; }
  /// How many of `count` rows lie before `moment`.
  [[nodiscard]] Index count_before(Index moment, Index count) const {
    return moment <= first ? 0
                           : (std::min)(count, (quotient(moment - 1 - first, stride) + 1) * rows);
  }
  /// How many of `count` rows lie at or before `moment`.
  [[nodiscard]] Index count_until(Index moment, Index count) const {
    return count_before(moment + 1, count);
  }
  /// The same for the rows from `row` on, which is the first of its moment.
  [[nodiscard]] Moments from(Index row) const { return {(*this)[row], stride, rows}; }
  /// Whether row i happens at moment `first + i`.
  [[nodiscard]] bool is_dense() const { return stride == 1 && rows == 1; }

 private:
  /// Mostly by 1, which need not take the time of a division.
  [[nodiscard]] static Index quotient(Index i, Index by) { return by == 1 ? i : i / by; }
};

/// The transition of a token, taken apart: an optional decay of every value column, and `steps`
/// updates `D_j - u_j p_j^T` one after the other, or one decay D alone where `steps` is 0.
struct SequenceShape {
  Index d_k = 0, d_v = 0;
  Index leaves = 1;            // keys and values a token writes
  Index steps = 0;             // rank-one updates a token
  Index decays = 0;            // coefficients of each D: 0 for D = I, 1, or d_k
  bool decays_values = false;  // whether value columns decay too
  bool is_delta = false;       // whether leaf j is written right after update j, and u_j is its key
  ReadOrder order = ReadOrder::current_apart;

  /// Moments a token takes: one an update.
  [[nodiscard]] Index moments() const { return (std::max)(steps, Index{1}); }

  [[nodiscard]] Moments queries_at() const {
    return {info_of(order).reads_written ? moments() - 1 : -1, moments()};
  }
  [[nodiscard]] Moments leaves_at() const {
    return is_delta ? Moments{0, 1} : Moments{moments() - 1, moments(), leaves};
  }
  [[nodiscard]] static Moments lookups_at() { return {-1, 1}; }  // p^T S of the state before
  [[nodiscard]] static Moments removals_at() { return {0, 1}; }
};

/// The rows of a matrix where they are.
template <class Rows>
[[nodiscard]] RowsView<typename Rows::Scalar> view_of(const Rows& rows) {
  static_assert(Rows::IsRowMajor);
  return {rows.data(), rows.rows(), rows.cols(), Eigen::OuterStride<>(rows.outerStride())};
}

/// The same to be written to.
template <class Scalar>
using RowsTarget = Eigen::Map<RowMajorMatrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class Rows>
[[nodiscard]] RowsTarget<typename std::remove_cvref_t<Rows>::Scalar> target_of(Rows&& rows) {
  static_assert(std::remove_cvref_t<Rows>::IsRowMajor);
  return {rows.data(), rows.rows(), rows.cols(), Eigen::OuterStride<>(rows.outerStride())};
}

/// Up to `capacity` consecutive tokens, a row each (`leaves` or `moments` rows where said so); or
/// the gradient with respect to them, with decays as logarithms.
template <class Scalar>
struct Chunk {
  Chunk(const SequenceShape& shape, Index capacity, Index weights)
      : q(capacity, shape.d_k),
        k(capacity * shape.leaves, shape.d_k),
        v(capacity * shape.leaves, shape.d_v),
        decay(shape.decays > 0 ? capacity * shape.moments() : 0, shape.decays),
        value_decay(shape.decays_values ? capacity : 0, shape.d_v),
        u(shape.is_delta ? 0 : capacity * shape.steps, shape.d_k),
        p(capacity * shape.steps, shape.d_k),
        lambda(capacity, weights),
        out(capacity, shape.d_v) {}

  RowMajorMatrix<Scalar> q;            // queries
  RowMajorMatrix<Scalar> k, v;         // leaves
  RowMajorMatrix<Scalar> decay;        // of each moment
  RowMajorMatrix<Scalar> value_decay;  // of each token
  RowMajorMatrix<Scalar> u, p;         // of each moment; u is k for delta rules
  RowMajorMatrix<Scalar> lambda;       // level weights
  RowMajorMatrix<Scalar> out;          // reads
  Index tokens = 0;                    // of the capacity, those in use

  /// The queries, leaves and level weights in use, and where the reads are to be written: those
  /// above, or where the source has them.
  struct Views {
    ConstRowBlock<Scalar> q{}, k{}, v{}, lambda{};
    RowBlock<Scalar> out{};
  };
  [[nodiscard]] Views own_views() {
    const Index rows = own_rows();
    return {block_of(q).topRows(tokens), block_of(k).topRows(rows), block_of(v).topRows(rows),
            block_of(lambda).topRows(tokens), writable_block_of(out).topRows(tokens)};
  }

  /// For a gradient: where those of the queries and leaves are to be written, and where that of the
  /// reads is.
  struct Targets {
    RowBlock<Scalar> q{}, k{}, v{};
    ConstRowBlock<Scalar> out{};
  };
  [[nodiscard]] Targets own_targets(const ConstRowBlock<Scalar>& d_out) {
    const Index rows = own_rows();
    return {writable_block_of(q).topRows(tokens), writable_block_of(k).topRows(rows),
            writable_block_of(v).topRows(rows), d_out};
  }

 private:
  /// Rows of k and v in use.
  [[nodiscard]] Index own_rows() const {
    return tokens * (q.rows() == 0 ? 1 : k.rows() / q.rows());
  }
};

/// Fills chunks and takes what was computed from them.
template <class Scalar>
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  [[nodiscard]] virtual SequenceShape shape() const = 0;
  [[nodiscard]] virtual Index length() const = 0;
  /// Whether `load` and `take_out` may be called for different chunks at the same time.
  [[nodiscard]] virtual bool is_concurrent() const { return false; }
  /// Fills `chunk` with `chunk.tokens` tokens from `first` on, except `out`. The result says where
  /// q, k, v and lambda are, in the chunk or elsewhere, and where reads go; what is elsewhere need
  /// not be filled.
  virtual typename Chunk<Scalar>::Views load(Index first, Chunk<Scalar>& chunk) = 0;
  /// Prefetches part `part` of `parts` of these tokens, which will be loaded soon. Does nothing if
  /// the source does not know where they lie.
  virtual void foresee(Index /*first*/, Index /*tokens*/, Index /*part*/, Index /*parts*/) const {}
  /// The same before the gradient of these tokens is opened and they are loaded for it.
  virtual void foresee_gradient(Index /*first*/, Index /*tokens*/, Index /*part*/,
                                Index /*parts*/) const {}
  /// Takes the reads of these tokens, which have been written to where `load` said.
  virtual void take_out(Index first, const Chunk<Scalar>& chunk) = 0;
  /// Says where the gradient with respect to `out` is, and where those of q, k and v are to be
  /// written: in `gradient` or elsewhere. `chunk` is loaded.
  virtual typename Chunk<Scalar>::Targets open_gradient(Index first, const Chunk<Scalar>& chunk,
                                                        Chunk<Scalar>& gradient) = 0;
  /// Takes what has been written, and everything else in `gradient`; the last such call for these
  /// tokens.
  virtual void take_gradient(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) = 0;
};

/// A function that calls `ask(part, parts)`, each part once, when it is called `parts` times.
template <class Ask>
[[nodiscard]] auto in_parts(Index parts, Ask ask) {
  return [parts, ask, part = Index{0}]() mutable {
    if (part < parts) ask(part++, parts);
  };
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_HPP
