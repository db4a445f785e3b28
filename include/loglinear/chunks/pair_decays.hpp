// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_PAIR_DECAYS_HPP
#define LOGLINEAR_CHUNKS_PAIR_DECAYS_HPP

#include <algorithm>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// The decays between all pairs of moments of a chunk, where one decay holds for all rows of a
/// state: D(b+1..a) at row a + 1, column b <= a, else 0.
template <class Scalar>
class PairDecays {
 public:
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  /// For up to `moments` moments, or for none. Behind the last row lies a packet to spare.
  explicit PairDecays(Index moments)
      : between_(zeros<RowMajorMatrix<Scalar>>(
            moments > 0 ? moments + 2 + packet_size<Scalar> / moments : 0, moments)),
        unit_(zeros<Scalar>(2 * moments)),
        sums_(moments) {
    if (moments > 0) unit_[moments] = Scalar(1);
  }

  /// Computes the decays between all pairs from the decays of `moments` moments.
  void prepare(const Scalar* decays, Index moments) {
    constexpr Index width = packet_size<Scalar>;
    moments_ = moments;
    const Index columns = between_.cols();
    Index first = 0;
    for (; first < moments && first + 4 * width <= columns; first += 4 * width) {
      prepare_columns<4>(decays, first);
    }
    for (; first < moments && first + width <= columns; first += width) {
      prepare_columns<1>(decays, first);
    }
    for (; first < moments; ++first) {
      Scalar product(1);
      for (Index a = first; a < moments; ++a) {
        if (a > first) product *= decays[a];
        between_(a + 1, first) = product;
      }
    }
  }

  /// D(b+1..a) of every moment b <= a.
  [[nodiscard]] const Scalar* until(Index a) const {
    return between_.data() + (a + 1) * between_.cols();
  }

  /// Multiplies each pair by its decay, and clears it where the right row is not seen.
  void decay(const Block& g, Moments a, Moments b) const {
    for (Index i = 0; i < g.rows(); ++i) {
      const Index seen = b.count_until(a[i], g.cols());
      Scalar* const row = g.row(i);
      const Scalar* const by = until(a[i]);
      if (b.is_dense()) {  // whole packets, so that there is no rest
        multiply(row, by, whole_packets<Scalar>(seen, g.cols()), row);
      } else {
        for (Index j = 0; j < seen; ++j) row[j] *= by[b[j]];
      }
      std::fill(row + seen, row + g.cols(), Scalar(0));
    }
  }

  /// The pullback of `decay`: from the gradient of decayed pairs to that of the pairs, in place,
  /// and of the logarithms of the decays, which is added to `d_log`. \p g holds the pairs, before
  /// they were decayed or after. A pair counts for all moments after b_j up to a_i. Going down from
  /// the last moment, `sums_` holds for each moment b the terms of what was written at b and is
  /// read at or after the current moment. Entries of later moments are not read any more.
  void pull_back(const ConstBlock& g, bool is_decayed, const Block& d_g, Moments a, Moments b,
                 Scalar* d_log) {
    std::fill_n(sums_.data(), sums_.size(), Scalar(0));
    for (Index moment = moments_ - 1, i = g.rows(); moment >= -1; --moment) {
      for (; i > 0 && a[i - 1] >= moment; --i) {
        const Index seen = b.count_until(a[i - 1], g.cols());
        const Scalar *const row = g.row(i - 1), *const by = until(a[i - 1]);
        Scalar* const d_row = d_g.row(i - 1);
        if (b.is_dense() && b.first == 0) {  // whole packets, so that there is no rest
          pull_back_row(row, is_decayed, whole_packets<Scalar>(seen, g.cols()), by, d_row);
        } else {
          for (Index j = 0; j < seen; ++j) {
            const Scalar d = d_row[j];
            d_row[j] *= by[b[j]];
            sums_[b[j]] += row[j] * (is_decayed ? d : d_row[j]);
          }
        }
        std::fill(d_row + seen, d_row + g.cols(), Scalar(0));
      }
      if (moment > 0) d_log[moment] += sum(sums_.data(), moment);
    }
  }

 private:
  /// N packets of columns, whose products stay in registers from row to row.
  template <int N>
  void prepare_columns(const Scalar* decays, Index first) {
    namespace ei = Eigen::internal;
    using P = Packet<Scalar>;
    constexpr Index width = packet_size<Scalar>;
    const Index columns = between_.cols();
    P products[array_size(N)];
    for (P& product : products) product = ei::pset1<P>(Scalar(0));
    for (Index a = first; a < moments_; ++a) {
      const P decay = ei::pset1<P>(decays[a]);
      const Scalar* const one_at_a = unit_.data() + columns - a + first;
      Scalar* const row = between_.data() + (a + 1) * columns + first;
      for (int n = 0; n < N; ++n) {
        products[n] = ei::pmadd(decay, products[n], ei::ploadu<P>(one_at_a + n * width));
        ei::pstoreu(row + n * width, products[n]);
      }
    }
  }

  /// The pullback of one row of dense pairs.
  void pull_back_row(const Scalar* g, bool is_decayed, Index size, const Scalar* by, Scalar* d_g) {
    if (is_decayed) add_product(g, d_g, size, sums_.data());
    multiply(d_g, by, size, d_g);
    if (!is_decayed) add_product(g, d_g, size, sums_.data());
  }

  Index moments_ = 0;
  RowMajorMatrix<Scalar> between_;
  Vector<Scalar> unit_;  // zeros, a 1 and zeros
  Vector<Scalar> sums_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_PAIR_DECAYS_HPP
