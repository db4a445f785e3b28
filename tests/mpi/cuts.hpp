// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MPI_CUTS_HPP
#define LOGLINEAR_TESTS_MPI_CUTS_HPP

#include <algorithm>
#include <cstddef>
#include <vector>

#include "support.hpp"

namespace loglinear::test {

/// Consecutive tokens.
struct Stretch {
  Index first = 0, count = 0;
};

/// Where the tokens of each rank begin, and the end: some ranks have many, some none.
inline std::vector<Index> random_cuts(Random& random, Index length, int ranks) {
  std::vector<Index> cuts{0};
  for (int rank = 1; rank < ranks; ++rank) {
    cuts.push_back(rank > 1 && random.below(4) == 0
                       ? cuts.back()
                       : Index{random.below(static_cast<int>(length) + 1)});
  }
  cuts.push_back(length);
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

[[nodiscard]] inline Stretch stretch_of(const std::vector<Index>& cuts, int rank) {
  const auto at = static_cast<std::size_t>(rank);
  return {cuts[at], cuts[at + 1] - cuts[at]};
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_MPI_CUTS_HPP
