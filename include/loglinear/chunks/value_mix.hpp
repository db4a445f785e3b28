// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_VALUE_MIX_HPP
#define LOGLINEAR_CHUNKS_VALUE_MIX_HPP

#include "loglinear/chunks/halves.hpp"
#include "loglinear/chunks/pairs.hpp"

namespace loglinear::detail {

/// The values of a chunk under their weights, o_t = sum_s w(t, s) R(s+1..t) v_s, with R the decays
/// of the value columns where there are any; and what those do to everything that crosses the
/// chunk's ends. Moments are tokens here.
template <class Scalar>
class ValueMix {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  ValueMix(const SequenceShape& shape, Index capacity)
      : decays_(shape.decays_values),
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
        running_(1, shape.d_v),
        sum_(1, shape.d_v) {}

  /// \param v  the values of the chunk
  void prepare(const Chunk<Scalar>& chunk, const RowsView<Scalar>& v) {
    tokens_ = chunk.tokens;
    if (!decays_) return;
    assign(ended_values_, v);
    assign(decay_, chunk.value_decay.topRows(tokens_));
    from_start_.row(0).setOnes();
    for (Index t = 0; t < tokens_; ++t) {
      from_start_.row(t + 1) = from_start_.row(t).cwiseProduct(decay_.row(t));
    }
    to_end_.row(tokens_ - 1).setOnes();
    for (Index t = tokens_ - 1; t > 0; --t) {
      to_end_.row(t - 1) = to_end_.row(t).cwiseProduct(decay_.row(t));
    }
    for (Index j = 0; j < ended_values_.rows(); ++j) {
      ended_values_.row(j).array() *= to_end_.row(leaves_at_[j]).array();
    }
  }

  /// The values as they are at the end of the chunk: `v` itself where none decay.
  [[nodiscard]] RowsView<Scalar> ended(const RowsView<Scalar>& v) const {
    return decays_ ? view_of(ended_values_) : v;
  }

  /// o_t <- R(0..t) o_t: what is read of the states from before the chunk.
  template <class Rows>
  void decay_from_start(Rows&& o) const {
    for (Index t = 0; decays_ && t < o.rows(); ++t) {
      o.row(t).array() *= from_start_.row(queries_at_[t] + 1).array();
    }
  }
  /// s <- s R(0..C-1).
  void carry(Matrix& s) const {
    for (Index i = 0; decays_ && i < s.rows(); ++i) {
      s.row(i).array() *= from_start_.row(tokens_).array();
    }
  }

  /// out += the mix under the lower triangular weights w.
  template <class Values, class Out>
  void add_mix(const Matrix& w, const Values& v, Out&& out) {
    if (!decays_) {
      return product_of_pairs<Into::add>(w, queries_at_, leaves_at_, v, out);
    }
    visit_halves(
        0, tokens_,
        [&](Index low, Index high) {
          const RowRange rows = rows_between(queries_at_, low, high, tokens_);
          for (Index t = rows.first; t < rows.first + rows.size; ++t) {
            for_each_earlier(queries_at_[t], low, [&](Index j, Index) {
              out.row(t) += w(t, j) * running_.cwiseProduct(v.row(j));
            });
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(queries_at_, middle, high, tokens_);
          const RowRange earlier = meet(v, low, middle, high);
          auto reads = later_.topRows(later.size);
          product<Into::replace>(w.block(later.first, earlier.first, later.size, earlier.size),
                                 earlier_.topRows(earlier.size), reads);
          for (Index i = 0; i < later.size; ++i) {
            const Index t = later.first + i;
            out.row(t) += reads.row(i).cwiseProduct(halves_.later(queries_at_[t]));
          }
        });
  }

  /// The pullback of `add_mix`: fills d_w, at least its lower triangle, adds to d_v and to the
  /// gradient of the log decays.
  template <class Values, class DOut, class DValues, class DLog>
  void pull_back_mix(const Matrix& w, const Values& v, const DOut& d_out, Matrix& d_w,
                     DValues&& d_v, DLog&& d_log) {
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
            notes_.setZero();
            for_each_earlier(queries_at_[t], low, [&](Index j, Index moment) {
              sum_ = running_.cwiseProduct(d_out.row(t));
              d_w(t, j) = sum_.dot(v.row(j));
              sum_ *= w(t, j);
              d_v.row(j) += sum_;
              notes_.row(moment - low) += sum_.cwiseProduct(v.row(j));
            });
            sum_.setZero();
            for (Index moment = low + 1; moment <= queries_at_[t]; ++moment) {
              sum_ += notes_.row(moment - 1 - low);
              d_log.row(moment) += sum_;
            }
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(queries_at_, middle, high, tokens_);
          const RowRange earlier = meet(v, low, middle, high);
          const auto w_block = w.block(later.first, earlier.first, later.size, earlier.size);
          auto d_reads = later_.topRows(later.size), d_values = d_earlier_.topRows(earlier.size);
          for (Index i = 0; i < later.size; ++i) {
            const Index t = later.first + i;
            d_reads.row(i) = d_out.row(t).cwiseProduct(halves_.later(queries_at_[t]));
          }
          auto transposed = earlier_transposed_.leftCols(earlier.size);
          transpose_into(earlier_.topRows(earlier.size), transposed);
          product<Into::replace>(d_reads, transposed,
                                 d_w.block(later.first, earlier.first, later.size, earlier.size));
          product<Into::replace>(w_block.transpose(), d_reads, d_values);
          halves_.note_earlier(
              leaves_at_, earlier, low, middle,
              [&](Index j) { return earlier_.row(j).cwiseProduct(d_values.row(j)); }, sum_, d_log);
          for (Index j = 0; j < earlier.size; ++j) {
            const Index row = earlier.first + j;
            d_v.row(row) += d_values.row(j).cwiseProduct(halves_.earlier(leaves_at_[row]));
          }
          resize(reads_, later.size, running_.cols());
          product<Into::replace>(w_block, earlier_.topRows(earlier.size), reads_);
          halves_.note_later(
              queries_at_, later, middle, high,
              [&](Index i) { return reads_.row(i).cwiseProduct(d_reads.row(i)); }, sum_, d_log);
        });
  }

  /// The pullback of `decay_from_start`, given the decayed reads.
  template <class Rows, class DRows, class DLog>
  void pull_back_from_start(const Rows& decayed, DRows&& d_o, DLog&& d_log) {
    if (!decays_) return;
    sum_.setZero();
    for (Index t = tokens_ - 1; t >= 0; --t) {
      sum_ += decayed.row(t).cwiseProduct(d_o.row(t));
      if (queries_at_[t] >= 0) d_log.row(queries_at_[t]) += sum_;
    }
    decay_from_start(d_o);
  }
  /// The pullback of `ended`: d_v <- R d_v.
  template <class DValues, class DLog>
  void pull_back_to_end(DValues&& d_v, DLog&& d_log) {
    if (!decays_) return;
    sum_.setZero();
    for (Index t = 1; t < tokens_; ++t) {
      for (Index j = (t - 1) * leaves_at_.rows; j < t * leaves_at_.rows; ++j) {
        sum_ += ended_values_.row(j).cwiseProduct(d_v.row(j));
      }
      d_log.row(t) += sum_;
    }
    for (Index j = 0; j < d_v.rows(); ++j) {
      d_v.row(j).array() *= to_end_.row(leaves_at_[j]).array();
    }
  }
  /// The pullback of `carry`, given the state after the chunk.
  template <class DLog>
  void pull_back_carry(const Matrix& carried, Matrix& d_s, DLog&& d_log) {
    if (!decays_) return;
    sum_ = carried.cwiseProduct(d_s).colwise().sum();
    for (Index t = 0; t < tokens_; ++t) d_log.row(t) += sum_;
    carry(d_s);
  }

 private:
  /// Calls `visit(j, token)` for the leaves of the tokens in [low, t], the newest first, with
  /// R(token+1..t) in `running_`.
  template <class Visit>
  void for_each_earlier(Index t, Index low, Visit visit) {
    running_.setOnes();
    for (Index token = t; token >= low; --token) {
      for (Index j = token * leaves_at_.rows; j < (token + 1) * leaves_at_.rows; ++j) {
        visit(j, token);
      }
      running_.array() *= decay_.row(token).array();
    }
  }

  /// The values of the earlier half as they are in the middle.
  template <class Values>
  RowRange meet(const Values& v, Index low, Index middle, Index high) {
    halves_.prepare(decay_, low, middle, high);
    const RowRange earlier = rows_between(leaves_at_, low, middle, v.rows());
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      earlier_.row(j) = v.row(row).cwiseProduct(halves_.earlier(leaves_at_[row]));
    }
    return earlier;
  }

  bool decays_;
  Moments queries_at_, leaves_at_;
  Index tokens_ = 0;
  HalfDecays<Scalar> halves_;
  Matrix decay_{}, from_start_, to_end_, ended_values_{};
  Matrix later_, earlier_, d_earlier_, earlier_transposed_, values_transposed_{}, reads_{}, notes_;
  Eigen::Matrix<Scalar, 1, Eigen::Dynamic> running_, sum_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_VALUE_MIX_HPP
