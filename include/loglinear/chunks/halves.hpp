// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_HALVES_HPP
#define LOGLINEAR_CHUNKS_HALVES_HPP

// Vector decays between pairs of rows. D(b+1..a) does not split into a part of b and a part of a
// over a whole chunk: it would be a quotient of cumulative products. Between the two halves of a
// stretch of moments it does: D passes through the middle, and both parts are products. The rows of
// the later half meet those of the earlier half in one matrix product; each half is then a stretch
// of its own, and the shortest stretches are summed directly.

#include <algorithm>
#include <bit>
#include <cstdint>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// Consecutive rows.
struct RowRange {
  Index first, size;
};
/// The rows, of `count`, that happen in [low, high).
[[nodiscard]] inline RowRange rows_between(Moments m, Index low, Index high, Index count) {
  const Index first = m.count_before(low, count);
  return {first, m.count_before(high, count) - first};
}

inline constexpr Index shortest_stretch = 8;

/// Halves [low, high): `between(low, middle, high)` for each pair of halves, `direct(low, high)`
/// for each stretch that is short enough.
template <class Direct, class Between>
void visit_halves(Index low, Index high, Direct direct, Between between) {
  if (high - low <= shortest_stretch) return direct(low, high);
  const auto half = std::bit_ceil(static_cast<std::uint64_t>(high - low)) / 2;
  const Index middle = low + static_cast<Index>(half);
  between(low, middle, high);
  visit_halves(low, middle, direct, between);
  visit_halves(middle, high, direct, between);
}

/// The two parts of the decays between the halves of a stretch.
template <class Scalar>
class HalfDecays {
 public:
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  HalfDecays(Index moments, Index columns)
      : columns_(columns), later_(moments, columns), earlier_(moments, columns) {}

  void prepare(const ConstBlock& decay, Index low, Index middle, Index high) {
    low_ = low;
    middle_ = middle;
    const Block later(later_), earlier(earlier_);
    copy(decay.row(middle), columns_, later.row(0));
    for (Index m = middle + 1; m < high; ++m) {
      multiply(later.row(m - middle - 1), decay.row(m), columns_, later.row(m - middle));
    }
    std::fill_n(earlier.row(middle - 1 - low), columns_, Scalar(1));
    for (Index m = middle - 1; m > low; --m) {
      multiply(earlier.row(m - low), decay.row(m), columns_, earlier.row(m - 1 - low));
    }
  }
  /// D(middle..a) for a in the later half.
  [[nodiscard]] const Scalar* later(Index a) const {
    return later_.data() + (a - middle_) * columns_;
  }
  /// D(b+1..middle-1) for b in the earlier half.
  [[nodiscard]] const Scalar* earlier(Index b) const {
    return earlier_.data() + (b - low_) * columns_;
  }

  /// Adds what rows x of the later half contribute to the gradient of the log decays: row i counts
  /// for the moments from the middle up to a_i. `sum` is scratch.
  static void note_later(Moments a, RowRange rows, Index middle, Index high, const ConstBlock& x,
                         const ConstBlock& d_x, Vector<Scalar>& sum, const Block& d_log) {
    std::fill_n(sum.data(), sum.size(), Scalar(0));
    for (Index m = high - 1, i = rows.size; m >= middle; --m) {
      for (; i > 0 && a[rows.first + i - 1] == m; --i) {
        add_product(x.row(i - 1), d_x.row(i - 1), sum.size(), sum.data());
      }
      add(d_log.row(m), sum.data(), sum.size(), d_log.row(m));
    }
  }
  /// The same for the earlier half: row j counts for the moments after b_j.
  static void note_earlier(Moments b, RowRange rows, Index low, Index middle, const ConstBlock& x,
                           const ConstBlock& d_x, Vector<Scalar>& sum, const Block& d_log) {
    std::fill_n(sum.data(), sum.size(), Scalar(0));
    for (Index m = low + 1, j = 0; m < middle; ++m) {
      for (; j < rows.size && b[rows.first + j] < m; ++j) {
        add_product(x.row(j), d_x.row(j), sum.size(), sum.data());
      }
      add(d_log.row(m), sum.data(), sum.size(), d_log.row(m));
    }
  }

 private:
  Index columns_;
  RowMajorMatrix<Scalar> later_, earlier_;
  Index low_ = 0, middle_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_HALVES_HPP
