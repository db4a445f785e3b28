// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_MAGNITUDES_HPP
#define LOGLINEAR_BENCH_MAGNITUDES_HPP

// Inputs of several magnitudes, and a table of what they cost over inputs of full size.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "loglinear/detail/base/types.hpp"

namespace bench {

using Eigen::Index;

/// Token t is multiplied by first factor^t.
struct Magnitude {
  std::string name;
  double first, factor;
  bool is_long;  // whether it takes thousands of tokens to fade away

  [[nodiscard]] double at(Index t) const { return first * std::pow(factor, t); }
};

/// Streams that fade away, and constants from the smallest number to the largest.
template <class Scalar>
[[nodiscard]] std::vector<Magnitude> magnitudes() {
  constexpr bool is_float = std::is_same_v<Scalar, float>;
  std::vector<Magnitude> all{{is_float ? "0.99^t" : "0.9^t", 1, is_float ? 0.99 : 0.9, true}};
  const double largest = is_float ? 38 : 308;
  for (const double part : {-1.0, -0.8, -0.6, -0.5, -0.34, -0.29, -0.16, 0.16, 0.5, 1.0}) {
    const double exponent = std::round(part * largest);
    all.push_back(
        {"1e" + std::to_string(static_cast<int>(exponent)), std::pow(10, exponent), 1, false});
  }
  return all;
}

/// `base` with each row, a token, multiplied by its magnitude.
template <class Matrix>
[[nodiscard]] Matrix scaled(const Matrix& base, const Magnitude& magnitude,
                            Index rows_a_token = 1) {
  Matrix rows = base;
  for (Index i = 0; i < rows.rows(); ++i) {
    for (Index j = 0; j < rows.cols(); ++j) {
      rows(i, j) = static_cast<typename Matrix::Scalar>(static_cast<double>(base(i, j)) *
                                                        magnitude.at(i / rows_a_token));
    }
  }
  return rows;
}

/// A row of a Markdown table. What is refused, too large a number, has no ratio.
class Row {
 public:
  explicit Row(const std::string& name) { std::printf("| %s |", name.c_str()); }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  ~Row() { std::puts(""); }

  void add(double ratio) {
    std::printf(" %.2f |", ratio);
    std::fflush(stdout);
    largest_ratio = std::max(largest_ratio, ratio);
  }
  void add_refused() { std::printf(" - |"); }

  static inline double largest_ratio = 0;
};

inline void print_header(const std::string& first, const std::vector<std::string>& columns) {
  std::printf("\n| %s |", first.c_str());
  for (const std::string& name : columns) std::printf(" %s |", name.c_str());
  std::printf("\n|---|");
  for (std::size_t i = 0; i < columns.size(); ++i) std::printf("--:|");
  std::puts("");
}

}  // namespace bench

#endif  // LOGLINEAR_BENCH_MAGNITUDES_HPP
