// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_ONE_STATE_RUN_HPP
#define LOGLINEAR_CHUNKS_ONE_STATE_RUN_HPP

// A hierarchy of one level is one state, S. Where it fits into a near cache, the recurrence takes
// less time than the products of a chunk, which cost more operations: one pass over S writes one
// moment and reads for the next,
//
//     S <- D S diag(r) - u f^T + sum_n k_n v_n^T        f = S^T p,  S^T q' of what S is then,
//
// where q' is the query as the state before the token sees it, A^T q. What the token writes itself
// is added apart, under its own level weight.

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/chunks/level_mask.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/stepped_rows.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"

namespace loglinear::detail {

/// The tokens of one chunk after the other, for one state.
template <class Scalar>
class OneStateRun {
 public:
  /// Whether the recurrence is the faster way. It is faster while S fits into a near cache; how
  /// large S may be depends on how many more operations the products of a chunk need. Measured with
  /// 16 and 32 registers of 4 to 16 floats, S of 16 x 16 to 256 x 256.
  [[nodiscard]] static bool is_faster(const SequenceShape& shape, int max_levels) {
    const bool is_plain = shape.steps == 0 && shape.decays <= 1;
    const Index kibibytes = shape.decays_values ? 4  // no pass does all at once then
                            : is_plain          ? 16
                            : shape.steps == 0  ? 32
                            : shape.is_delta    ? 48
                                                : 144;
    const bool has_registers = widest_block<Scalar> >= 16 && !is_plain && !shape.decays_values;
    const Index bytes = shape.d_k * shape.d_v * Index{sizeof(Scalar)};
    return max_levels == 1 && bytes <= kibibytes * (has_registers ? 3 : 1) * 1024;
  }

  OneStateRun(const SequenceShape& shape, Index capacity, Index weights)
      : shape_(shape),
        chunk_(shape, capacity, weights),
        query_(shape.d_k),
        old_read_(shape.d_v),
        own_read_(shape.d_v),
        found_(shape.d_v),
        next_found_(shape.d_v),
        spare_(shape.d_v),
        ones_(ones<Scalar>(shape.d_v)),
        terms_(array_size(shape.leaves + 1)) {}
  OneStateRun(const OneStateRun&) = delete;
  OneStateRun& operator=(const OneStateRun&) = delete;

  /// Takes the `tokens` tokens from `first` on. If `reads`, it writes their reads to where the
  /// source wants them.
  void step(TokenSource<Scalar>& source, Index first, Index tokens, bool reads,
            Hierarchy<Scalar>& states) {
    chunk_.tokens = tokens;
    rows_ = source.load(first, chunk_);
    if (states.count() == 0) states.set_zero(0);
    s_ = states.level(0).data();
    for (Index t = 0; t < tokens; ++t) step_token(t, states.count(), reads);
    write();
    clear_negligible(s_, shape_.d_k * shape_.d_v);
    states.set_count(states.count() + static_cast<std::uint64_t>(tokens));
  }

  [[nodiscard]] const Chunk<Scalar>& chunk() const { return chunk_; }

 private:
  void step_token(Index t, std::uint64_t before, bool reads) {
    if (reads) pull_query(t);
    const Index begin = t * shape_.moments();
    for (Index j = 0; j < shape_.moments(); ++j) {
      const bool is_first = j == 0, reads_now = reads && is_first;
      const Scalar* const r =
          is_first && shape_.decays_values ? row(chunk_.value_decay, t) : nullptr;
      std::array<RowSum<Scalar>, 2> sums;
      int count = 0;
      if (reads_now) sums[array_size(count++)] = {query_.data(), old_read_.data()};
      if (shape_.steps > 0) {
        sums[array_size(count++)] = {row(chunk_.p, begin + j), next_found_.data()};
      }
      write_and_sum(sums.data(), count);
      if (r != nullptr) {
        if (reads_written()) multiply(old_read_.data(), r, shape_.d_v, old_read_.data());
        multiply(next_found_.data(), r, shape_.d_v, next_found_.data());
      }
      std::swap(found_, next_found_);
      note(t, begin + j, r);
    }
    if (reads) put_read(t, before);
  }

  /// The query as the state before token t sees it, and what it reads of the token itself.
  void pull_query(Index t) {
    copy(rows_.q.row(t), shape_.d_k, query_.data());
    std::fill_n(own_read_.data(), shape_.d_v, Scalar(0));
    if (!reads_written()) return;
    const Scalar own = rows_.lambda(t, 0);
    const Index end = (t + 1) * shape_.moments();
    for (Index moment = end - 1; moment >= t * shape_.moments(); --moment) {
      for_each_leaf(t, moment, [&](Index leaf) {
        const Scalar score = dot(rows_.k.row(leaf), query_.data(), shape_.d_k);
        axpy<Scalar>(own * score, rows_.v.row(leaf), shape_.d_v, own_read_.data());
      });
      const Scalar along =
          shape_.steps > 0 ? dot(removal(moment), query_.data(), shape_.d_k) : Scalar(0);
      if (shape_.decays == 1) scale_by(*row(chunk_.decay, moment), query_.data(), shape_.d_k);
      if (shape_.decays > 1) {
        multiply(query_.data(), row(chunk_.decay, moment), shape_.d_k, query_.data());
      }
      if (shape_.steps > 0) axpy<Scalar>(-along, row(chunk_.p, moment), shape_.d_k, query_.data());
    }
  }
  /// The read of token t; the state before the first token of all has no weight.
  void put_read(Index t, std::uint64_t before) {
    Scalar* const out = rows_.out.row(t);
    copy(own_read_.data(), shape_.d_v, out);
    if (before + static_cast<std::uint64_t>(t) == 0) return;
    const LevelMask mask{shape_.order, 1, before};
    axpy<Scalar>(rows_.lambda(t, mask.level(0, t)), old_read_.data(), shape_.d_v, out);
  }

  /// What is to be written at a moment: `r` decays value columns, if it is not null.
  void note(Index t, Index moment, const Scalar* r) {
    scaling_ = {Scalar(1), nullptr, r == nullptr ? ones_.data() : r};
    if (shape_.decays == 1) scaling_.factor = *row(chunk_.decay, moment);
    if (shape_.decays > 1) scaling_.of_row = row(chunk_.decay, moment);
    count_ = 0;
    if (shape_.steps > 0) {
      terms_[array_size(count_++)] = {removal(moment), found_.data(), Scalar(-1)};
    }
    for_each_leaf(t, moment, [&](Index leaf) {
      terms_[array_size(count_++)] = {rows_.k.row(leaf), rows_.v.row(leaf), Scalar(1)};
    });
    has_note_ = true;
  }
  /// Writes what was noted.
  void write() {
    if (!has_note_) return;
    step_rows<0, true>(s_, shape_.d_k, shape_.d_v, shape_.d_v, scaling_, terms_.data(), count_);
    has_note_ = false;
  }
  /// The same, and `sums` of the rows of the state as it is then; there is room for two of them.
  void write_and_sum(RowSum<Scalar>* sums, int sum_count) {
    const Index rows = shape_.d_k, columns = shape_.d_v;
    const bool is_fused = has_note_ && sum_count > 0 && scaling_.of_column == ones_.data();
    if (is_fused && count_ == 1 && sum_count == 1) {
      stepped_rows<1, 1>(s_, rows, columns, scaling_, terms_.data(), sums);
    } else if (is_fused && count_ == 2) {
      if (sum_count == 1) sums[1] = {sums[0].weights, spare_.data()};  // as much as there may be
      stepped_rows<2, 2>(s_, rows, columns, scaling_, terms_.data(), sums);
    } else {
      write();
      for (int s = 0; s < sum_count; ++s) {
        weighted_rows(s_, rows, columns, columns, sums[s].weights, sums[s].out);
      }
    }
    has_note_ = false;
  }

  /// Calls `visit(leaf)` for the leaves that token t writes at a moment.
  template <class Visit>
  void for_each_leaf(Index t, Index moment, Visit visit) const {
    if (shape_.is_delta) return visit(moment);
    if (moment != (t + 1) * shape_.moments() - 1) return;
    for (Index n = 0; n < shape_.leaves; ++n) visit(t * shape_.leaves + n);
  }
  /// u of a moment.
  [[nodiscard]] const Scalar* removal(Index moment) const {
    return shape_.is_delta ? rows_.k.row(moment) : row(chunk_.u, moment);
  }
  [[nodiscard]] bool reads_written() const { return info_of(shape_.order).reads_written; }
  [[nodiscard]] static const Scalar* row(const RowMajorMatrix<Scalar>& m, Index i) {
    return m.data() + i * m.cols();
  }

  SequenceShape shape_;
  Chunk<Scalar> chunk_;
  typename Chunk<Scalar>::Views rows_{};
  Scalar* s_ = nullptr;
  Vector<Scalar> query_, old_read_, own_read_, found_, next_found_, spare_, ones_;
  // What is still to be written.
  Scaling<Scalar> scaling_{};
  std::vector<OuterProduct<Scalar>> terms_;
  int count_ = 0;
  bool has_note_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_ONE_STATE_RUN_HPP
