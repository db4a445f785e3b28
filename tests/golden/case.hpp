// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_GOLDEN_CASE_HPP
#define LOGLINEAR_TESTS_GOLDEN_CASE_HPP

// One golden case: named scalars, named arrays, and the comparison of what was computed with what
// is on record.

#include <Eigen/Core>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace loglinear::test {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

class Case {
 public:
  /// Reads a file; throws std::runtime_error or nlohmann::json::exception where it is not a case.
  explicit Case(const std::filesystem::path& file);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string family() const { return config_.at("family"); }

  /// A scalar of the configuration.
  template <class Type>
  [[nodiscard]] Type get(const std::string& key) const {
    return config_.at(key).get<Type>();
  }
  [[nodiscard]] std::uint64_t seed() const { return std::stoull(get<std::string>("seed")); }

  [[nodiscard]] bool has(const std::string& array) const { return arrays_.contains(array); }
  [[nodiscard]] std::vector<Eigen::Index> shape(const std::string& array) const;
  /// An array as a matrix: the first dimension as rows, all others together as columns.
  [[nodiscard]] RowMajor matrix(const std::string& array) const;

 private:
  std::string name_;
  nlohmann::json config_, arrays_;
};

/// The largest error of a replay, each array's measured against its own tolerance
/// `1e-10 max|expected| + 1e-14`.
class Comparison {
 public:
  /// Compares an array of the case with what was computed, whose coefficients stand in the same
  /// order. A different number of coefficients, or a NaN, is an infinite error. `form` says how it
  /// was computed, where there are several ways.
  void array(const Case& expected, const std::string& name, const RowMajor& computed,
             const std::string& form = {});
  /// The same for what is expected without being on record itself.
  void numbers(const std::string& name, const RowMajor& expected, const RowMajor& computed);
  /// Exact equality, for counters.
  void exact(const std::string& name, std::uint64_t expected, std::uint64_t computed);

  [[nodiscard]] double worst() const { return worst_; }  ///< error / tolerance; <= 1 passes
  [[nodiscard]] const std::string& where() const { return where_; }  ///< the array of the worst

 private:
  void note(const std::string& name, double error);

  double worst_ = 0;
  std::string where_ = "nothing";
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_GOLDEN_CASE_HPP
