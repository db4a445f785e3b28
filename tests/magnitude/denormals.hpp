// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MAGNITUDE_DENORMALS_HPP
#define LOGLINEAR_TESTS_MAGNITUDE_DENORMALS_HPP

// Denormal numbers cost some processors a hundred times the time of others. Whether an operation
// met one can be seen without a clock: x86 raises a flag when an operand is denormal and is not
// taken for zero. Other processors have no such flag; there the watch sees nothing.

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "support.hpp"

namespace loglinear::test {

#if defined(__SSE2_MATH__)
inline constexpr bool sees_denormals = true;  ///< whether the processor tells
inline constexpr unsigned all_exception_flags = 0x3F, denormal_flag = 2;

[[nodiscard]] inline unsigned control_register() {
  unsigned word;
  __asm__ volatile("stmxcsr %0" : "=m"(word) : : "memory");
  return word;
}
inline void set_control_register(unsigned word) {
  __asm__ volatile("ldmxcsr %0" : : "m"(word) : "memory");
}
inline void clear_exception_flags() {
  set_control_register(control_register() & ~all_exception_flags);
}
[[nodiscard]] inline bool met_a_denormal() {
  return (control_register() & denormal_flag) != 0;
}
#else
inline constexpr bool sees_denormals = false;
inline void clear_exception_flags() {}
[[nodiscard]] inline bool met_a_denormal() {
  return false;
}
#endif

/// Keeps the names of the operations that met a denormal number.
class DenormalWatch {
 public:
  /// Calls `operation`, which may refuse its arguments. Returns whether it did not.
  template <class Operation>
  bool operator()(const char* name, Operation&& operation) {
    bool is_done = true;
    clear_exception_flags();
    try {
      operation();
    } catch (const std::invalid_argument&) {
      is_done = false;
    }
    if (met_a_denormal()) met_.insert(name);
    return is_done;
  }

  /// The names, for a check that prints them.
  [[nodiscard]] std::string met() const {
    std::string names;
    for (const std::string& name : met_) names += (names.empty() ? "" : ", ") + name;
    return names;
  }

 private:
  std::set<std::string> met_;
};

/// Whether no coefficient is denormal, by the bits: a comparison would raise the flag.
template <class Derived>
[[nodiscard]] bool has_no_denormals(const Eigen::DenseBase<Derived>& values) {
  for (Index j = 0; j < values.cols(); ++j) {
    for (Index i = 0; i < values.rows(); ++i) {
      if (std::fpclassify(values.derived().coeff(i, j)) == FP_SUBNORMAL) return false;
    }
  }
  return true;
}

/// A stream of inputs: x_t = first factor^t times numbers of either sign, 1 in magnitude or less.
struct Fading {
  double first, factor;
  int tokens;

  template <class Scalar>
  [[nodiscard]] std::vector<Vector<Scalar>> inputs(Random& random, Index size) const {
    std::vector<Vector<Scalar>> all;
    double scale = first;
    for (int t = 0; t < tokens; ++t, scale *= factor) {
      Vector<Scalar> x(size);
      for (Scalar& coefficient : x) coefficient = static_cast<Scalar>(scale * random.number());
      all.push_back(std::move(x));
    }
    return all;
  }
};

/// Streams that fade away slowly, fast and at once, and streams of one magnitude: from the smallest
/// number of the scalar to its largest, its roots and what products of a few make denormal.
template <class Scalar>
[[nodiscard]] std::vector<Fading> fading_streams() {
  constexpr bool is_float = std::is_same_v<Scalar, float>;
  std::vector<Fading> all = {
      {1, is_float ? 0.9 : 0.5, 1100}, {is_float ? 1e-30 : 1e-300, 0.99, 2100}, {1, 0, 600}};
  const double decades = is_float ? 38 : 308;
  for (const double part : {1.17, 1.0, 0.98, 0.9, 0.7, 0.6, 0.52, 0.5, 0.4, 0.34, 0.29, 0.2, 0.1,
                            0.03, 0.0, -0.03, -0.2, -0.5, -1.0}) {
    const double exponent = part > 1 && !is_float ? 323 : decades * part;
    all.push_back({std::pow(10.0, -exponent), 1, 150});
  }
  return all;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_MAGNITUDE_DENORMALS_HPP
