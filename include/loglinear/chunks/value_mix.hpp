// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_VALUE_MIX_HPP
#define LOGLINEAR_CHUNKS_VALUE_MIX_HPP

#include <algorithm>

#include "loglinear/chunks/halves.hpp"
#include "loglinear/chunks/pairs.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// The values of a chunk under their weights, o_t = sum_s w(t, s) R(s+1..t) v_s, with R the decays
/// of the value columns where there are any; and what those do to everything that crosses the
/// chunk's ends. Moments are tokens here.
template <class Scalar>
class ValueMix {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  ValueMix(const SequenceShape& shape, Index capacity)
      : decays_(shape.decays_values),
        d_v_(shape.d_v),
        queries_at_{info_of(shape.order).reads_written ? Index{0} : Index{-1}, 1},
        leaves_at_{0, 1, shape.leaves},
        halves_(decays_ ? capacity : 0, shape.d_v),
        from_start_(decays_ ? capacity + 1 : 0, shape.d_v),
        to_end_(decays_ ? capacity : 0, shape.d_v),
        later_(decays_ ? capacity : 0, shape.d_v),
        earlier_(decays_ ? capacity * shape.leaves : 0, shape.d_v),
        d_earlier_(decays_ ? capacity * shape.leaves : 0, shape.d_v),
        earlier_transposed_(decays_ ? shape.d_v : 0, capacity * shape.leaves),
        notes_(decays_ ? shortest_stretch : 0, shape.d_v),
        running_(shape.d_v),
        sum_(shape.d_v) {}

  /// \param v  the values of the chunk
  void prepare(const Chunk<Scalar>& chunk, const ConstBlock& v) {
    tokens_ = chunk.tokens;
    if (!decays_) return;
    decay_ = block_of(chunk.value_decay).topRows(tokens_);
    const Block from_start(from_start_), to_end(to_end_);
    std::fill_n(from_start.row(0), d_v_, Scalar(1));
    for (Index t = 0; t < tokens_; ++t) {
      multiply(from_start.row(t), decay_.row(t), d_v_, from_start.row(t + 1));
    }
    std::fill_n(to_end.row(tokens_ - 1), d_v_, Scalar(1));
    for (Index t = tokens_ - 1; t > 0; --t) {
      multiply(to_end.row(t), decay_.row(t), d_v_, to_end.row(t - 1));
    }
    resize(ended_values_, v.rows(), d_v_);
    for (Index j = 0; j < v.rows(); ++j) {
      multiply(v.row(j), to_end.row(leaves_at_[j]), d_v_, Block(ended_values_).row(j));
    }
  }

  /// The values as they are at the end of the chunk: `v` itself where none decay.
  [[nodiscard]] ConstBlock ended(const ConstBlock& v) const {
    return decays_ ? ConstBlock(ended_values_) : v;
  }

  /// Call it before states are read: out = the mix under the lower triangular weights w. Where
  /// values decay it is 0, since what is read of the states has to decay first.
  void begin_reads(const ConstBlock& w, const ConstBlock& v, const Block& out) const {
    if (decays_) return out.setZero();
    product_of_pairs<Into::replace>(w, queries_at_, leaves_at_, v, out);
  }
  /// Call it after states were read. Where values decay, it decays what was read and adds the mix.
  void end_reads(const ConstBlock& w, const ConstBlock& v, const Block& out) {
    if (!decays_) return;
    decay_from_start(out);
    add_mix(w, v, out);
  }
  /// o_t <- R(0..t) o_t: what is read of the states from before the chunk.
  void decay_from_start(const Block& o) const {
    for (Index t = 0; decays_ && t < o.rows(); ++t) {
      multiply(o.row(t), ConstBlock(from_start_).row(queries_at_[t] + 1), d_v_, o.row(t));
    }
  }
  /// s <- s R(0..C-1), for the value columns from `first` on.
  void carry(Matrix& s, Index first = 0) const {
    for (Index i = 0; decays_ && i < s.rows(); ++i) {
      Scalar* const row = s.data() + i * s.cols();
      multiply(row, ConstBlock(from_start_).row(tokens_) + first, s.cols(), row);
    }
  }

  /// The pullback of the mix: fills d_w, at least its lower triangle, adds to d_v and to the
  /// gradient of the log decays.
  void pull_back_mix(const ConstBlock& w, const ConstBlock& v, const ConstBlock& d_out,
                     const Block& d_w, const Block& d_v, const Block& d_log) {
    if (!decays_) {
      transpose_into(v, values_transposed_);
      product_to_pairs<Into::replace>(d_out, queries_at_, values_transposed_, leaves_at_, d_w);
      product_of_transposed_pairs<Into::add>(w, queries_at_, leaves_at_, d_out, d_v);
      return;
    }
    d_w.setZero();
    visit_halves(
        0, tokens_,
        [&](Index low, Index high) {
          const RowRange rows = rows_between(queries_at_, low, high, tokens_);
          for (Index t = rows.first; t < rows.first + rows.size; ++t) {
            pull_back_read(t, low, w.row(t), v, d_out.row(t), d_w.row(t), d_v, d_log);
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(queries_at_, middle, high, tokens_);
          const RowRange earlier = meet(v, low, middle, high);
          pull_back_halves(low, middle, high, later, earlier, w, d_out, d_w, d_v, d_log);
        });
  }

  /// The pullback of `decay_from_start`, given the decayed reads.
  void pull_back_from_start(const ConstBlock& decayed, const Block& d_o, const Block& d_log) {
    if (!decays_) return;
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index t = tokens_ - 1; t >= 0; --t) {
      add_product(decayed.row(t), d_o.row(t), d_v_, sum_.data());
      if (queries_at_[t] >= 0) add_sum_to(d_log.row(queries_at_[t]));
    }
    decay_from_start(d_o);
  }
  /// The pullback of `ended`: d_v <- R d_v.
  void pull_back_to_end(const Block& d_v, const Block& d_log) {
    if (!decays_) return;
    const ConstBlock ended(ended_values_);
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index t = 1; t < tokens_; ++t) {
      for (Index j = (t - 1) * leaves_at_.rows; j < t * leaves_at_.rows; ++j) {
        add_product(ended.row(j), d_v.row(j), d_v_, sum_.data());
      }
      add_sum_to(d_log.row(t));
    }
    for (Index j = 0; j < d_v.rows(); ++j) {
      multiply(d_v.row(j), ConstBlock(to_end_).row(leaves_at_[j]), d_v_, d_v.row(j));
    }
  }
  /// The pullback of `carry`, given the state after the chunk.
  void pull_back_carry(const Matrix& carried, Matrix& d_s, const Block& d_log) {
    if (!decays_) return;
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index i = 0; i < d_s.rows(); ++i) {
      add_product(carried.data() + i * d_v_, d_s.data() + i * d_v_, d_v_, sum_.data());
    }
    for (Index t = 0; t < tokens_; ++t) add_sum_to(d_log.row(t));
    carry(d_s);
  }

 private:
  /// out += the mix of values that decay.
  void add_mix(const ConstBlock& w, const ConstBlock& v, const Block& out) {
    visit_halves(
        0, tokens_,
        [&](Index low, Index high) {
          const RowRange rows = rows_between(queries_at_, low, high, tokens_);
          for (Index t = rows.first; t < rows.first + rows.size; ++t) {
            for_each_earlier(queries_at_[t], low, [&](Index j, Index) {
              add_scaled_product(w(t, j), running_.data(), v.row(j), d_v_, out.row(t));
            });
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(queries_at_, middle, high, tokens_);
          const RowRange earlier = meet(v, low, middle, high);
          const Block reads = Block(later_).topRows(later.size);
          product<Into::replace>(w.block(later.first, earlier.first, later.size, earlier.size),
                                 ConstBlock(earlier_).topRows(earlier.size), reads);
          for (Index i = 0; i < later.size; ++i) {
            const Index t = later.first + i;
            add_product(reads.row(i), halves_.later(queries_at_[t]), d_v_, out.row(t));
          }
        });
  }

  void add_sum_to(Scalar* row) const { add(row, sum_.data(), d_v_, row); }

  /// Calls `visit(j, token)` for the leaves of the tokens in [low, t], the newest first, with
  /// R(token+1..t) in `running_`.
  template <class Visit>
  void for_each_earlier(Index t, Index low, Visit visit) {
    std::fill_n(running_.data(), d_v_, Scalar(1));
    for (Index token = t; token >= low; --token) {
      for (Index j = token * leaves_at_.rows; j < (token + 1) * leaves_at_.rows; ++j) {
        visit(j, token);
      }
      multiply(running_.data(), decay_.row(token), d_v_, running_.data());
    }
  }

  /// The values of the earlier half as they are in the middle.
  RowRange meet(const ConstBlock& v, Index low, Index middle, Index high) {
    halves_.prepare(decay_, low, middle, high);
    const RowRange earlier = rows_between(leaves_at_, low, middle, v.rows());
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      multiply(v.row(row), halves_.earlier(leaves_at_[row]), d_v_, earlier_.data() + j * d_v_);
    }
    return earlier;
  }

  /// The pullback of what query t reads of the tokens from `low` on, summed directly.
  void pull_back_read(Index t, Index low, const Scalar* w, const ConstBlock& v, const Scalar* d_out,
                      Scalar* d_w, const Block& d_v, const Block& d_log) {
    const Block notes(notes_);
    notes.setZero();
    for_each_earlier(queries_at_[t], low, [&](Index j, Index moment) {
      multiply(running_.data(), d_out, d_v_, sum_.data());
      d_w[j] = dot(sum_.data(), v.row(j), d_v_);
      scale_by(w[j], sum_.data(), d_v_);
      add_sum_to(d_v.row(j));
      add_product(sum_.data(), v.row(j), d_v_, notes.row(moment - low));
    });
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index moment = low + 1; moment <= queries_at_[t]; ++moment) {
      add(sum_.data(), notes.row(moment - 1 - low), d_v_, sum_.data());
      add_sum_to(d_log.row(moment));
    }
  }

  /// The pullback of what the later half reads of the earlier one.
  void pull_back_halves(Index low, Index middle, Index high, RowRange later, RowRange earlier,
                        const ConstBlock& w, const ConstBlock& d_out, const Block& d_w,
                        const Block& d_v, const Block& d_log) {
    const ConstBlock w_block = w.block(later.first, earlier.first, later.size, earlier.size);
    const ConstBlock values = ConstBlock(earlier_).topRows(earlier.size);
    const Block d_reads = Block(later_).topRows(later.size);
    const Block d_values = Block(d_earlier_).topRows(earlier.size);
    for (Index i = 0; i < later.size; ++i) {
      const Index t = later.first + i;
      multiply(d_out.row(t), halves_.later(queries_at_[t]), d_v_, d_reads.row(i));
    }
    const Block transposed = Block(earlier_transposed_).leftCols(earlier.size);
    transpose_into(values, transposed);
    product<Into::replace>(ConstBlock(d_reads), ConstBlock(transposed),
                           d_w.block(later.first, earlier.first, later.size, earlier.size));
    product<Into::replace>(w_block.transpose(), ConstBlock(d_reads), d_values);
    halves_.note_earlier(leaves_at_, earlier, low, middle, values, d_values, sum_, d_log);
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      add_product(d_values.row(j), halves_.earlier(leaves_at_[row]), d_v_, d_v.row(row));
    }
    resize(reads_, later.size, d_v_);
    product<Into::replace>(w_block, values, Block(reads_));
    halves_.note_later(queries_at_, later, middle, high, reads_, d_reads, sum_, d_log);
  }

  bool decays_;
  Index d_v_;
  Moments queries_at_, leaves_at_;
  Index tokens_ = 0;
  HalfDecays<Scalar> halves_;
  ConstBlock decay_{};  // of the chunk's tokens
  Matrix from_start_, to_end_, ended_values_{};
  Matrix later_, earlier_, d_earlier_, earlier_transposed_, values_transposed_{}, reads_{}, notes_;
  Vector<Scalar> running_, sum_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_VALUE_MIX_HPP
