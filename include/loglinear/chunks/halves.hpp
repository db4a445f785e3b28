// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_HALVES_HPP
#define LOGLINEAR_CHUNKS_HALVES_HPP

// Vector decays between pairs of rows. D(b+1..a) does not split into a part of b and a part of a
// over a whole chunk: it would be a quotient of cumulative products. Between the two halves of a
// stretch of moments it does: D passes through the middle, and both parts are products. The rows of
// the later half meet those of the earlier half in one matrix product; each half is then a stretch
// of its own, and the shortest stretches are summed directly.

#include <bit>
#include <cstdint>

#include "loglinear/chunks/chunk.hpp"

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
  HalfDecays(Index moments, Index columns) : later_(moments, columns), earlier_(moments, columns) {}

  template <class Decay>
  void prepare(const Decay& decay, Index low, Index middle, Index high) {
    low_ = low;
    middle_ = middle;
    later_.row(0) = decay.row(middle);
    for (Index m = middle + 1; m < high; ++m) {
      later_.row(m - middle) = later_.row(m - middle - 1).cwiseProduct(decay.row(m));
    }
    earlier_.row(middle - 1 - low).setOnes();
    for (Index m = middle - 1; m > low; --m) {
      earlier_.row(m - 1 - low) = earlier_.row(m - low).cwiseProduct(decay.row(m));
    }
  }
  /// D(middle..a) for a in the later half.
  [[nodiscard]] auto later(Index a) const { return later_.row(a - middle_); }
  /// D(b+1..middle-1) for b in the earlier half.
  [[nodiscard]] auto earlier(Index b) const { return earlier_.row(b - low_); }

  /// Adds to the gradient of the log decays what rows of the later half say: what row i has counts
  /// for the moments from the middle up to a_i.
  template <class NoteOf, class Row, class DLog>
  static void note_later(Moments a, RowRange rows, Index middle, Index high, NoteOf note_of,
                         Row& sum, DLog& d_log) {
    sum.setZero();
    for (Index m = high - 1, i = rows.size; m >= middle; --m) {
      for (; i > 0 && a[rows.first + i - 1] == m; --i) sum += note_of(i - 1);
      d_log.row(m) += sum;
    }
  }
  /// Likewise of the earlier half: what row j has counts for the moments after b_j.
  template <class NoteOf, class Row, class DLog>
  static void note_earlier(Moments b, RowRange rows, Index low, Index middle, NoteOf note_of,
                           Row& sum, DLog& d_log) {
    sum.setZero();
    for (Index m = low + 1, j = 0; m < middle; ++m) {
      for (; j < rows.size && b[rows.first + j] < m; ++j) sum += note_of(j);
      d_log.row(m) += sum;
    }
  }

 private:
  RowMajorMatrix<Scalar> later_, earlier_;
  Index low_ = 0, middle_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_HALVES_HPP
