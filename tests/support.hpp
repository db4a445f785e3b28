// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_SUPPORT_HPP
#define LOGLINEAR_TESTS_SUPPORT_HPP

// What several test programs share: errors as text, numbers that are the same on every platform,
// comparison of bits, and the tolerance.

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace loglinear::test {

using Eigen::Index;

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// The distance from 1 to the next number. Eigen 3.4 says 2^-13 of half, which has 10 binary
/// digits.
template <class Scalar>
double epsilon() {
  if (std::is_same_v<Scalar, Eigen::half>) return 0x1p-10;
  return static_cast<double>(Eigen::NumTraits<Scalar>::epsilon());
}

/// The message of the std::invalid_argument that `call` throws; empty where it throws nothing.
template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

/// Whether a message holds every one of the parts, strings or string views.
template <class Parts = std::initializer_list<std::string_view>>
bool mentions(const std::string& message, const Parts& parts) {
  for (const std::string_view part : parts) {
    if (message.find(part) == std::string::npos) return false;
  }
  return true;
}

/// Numbers from a fixed seed; the standard's distributions differ between libraries, these do not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// Uniform in [low, high).
  double number(double low = -1, double high = 1) {
    return low + (high - low) * (static_cast<double>(engine_() >> 11) * 0x1p-53);
  }
  /// Uniform in 0 ... bound - 1.
  int below(int bound) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(bound)); }

  template <class Scalar>
  Matrix<Scalar> matrix(Index rows, Index cols) {
    Matrix<Scalar> m(rows, cols);
    for (Index i = 0; i < m.size(); ++i) m.data()[i] = static_cast<Scalar>(number());
    return m;
  }
  template <class Scalar>
  Vector<Scalar> vector(Index size) {
    return matrix<Scalar>(size, 1);
  }

 private:
  std::mt19937_64 engine_;
};

/// Whether two arrays of float or double have the same shape and the same bits.
template <class A, class B>
bool same_bits(const Eigen::MatrixBase<A>& a, const Eigen::MatrixBase<B>& b) {
  using Scalar = typename A::Scalar;
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  if (a.size() == 0) return true;  // no memory to compare
  const Matrix<Scalar> left = a, right = b;
  return std::memcmp(left.data(), right.data(),
                     static_cast<std::size_t>(left.size()) * sizeof(Scalar)) == 0;
}

/// The error of `operations` roundings in a row on numbers of order 1, each at the end of a sum of
/// `d` terms whose errors are independent: operations * sqrt(d) * eps.
template <class Scalar>
Scalar rounding(double operations, Index d = 1) {
  return static_cast<Scalar>(operations * std::sqrt(static_cast<double>(d))) *
         std::numeric_limits<Scalar>::epsilon();
}

/// max |a - b|, NaN where either holds one.
template <class A, class B>
typename A::Scalar difference(const Eigen::MatrixBase<A>& a, const Eigen::MatrixBase<B>& b) {
  return (a - b).array().abs().template maxCoeff<Eigen::PropagateNaN>();
}

/// All coefficients in double, row after row.
template <class Scalar>
std::vector<double> row_major(const Matrix<Scalar>& m) {
  std::vector<double> flat;
  for (Index i = 0; i < m.rows(); ++i) {
    for (Index j = 0; j < m.cols(); ++j) flat.push_back(static_cast<double>(m(i, j)));
  }
  return flat;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_SUPPORT_HPP
