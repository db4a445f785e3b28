// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP
#define LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear {

/// The arrays of a mixer, or their gradients, under the names of a state_dict and in its order.
///
/// A matrix has the state_dict's shape, (outputs, inputs); a vector of n is n x 1; the weight of a
/// depthwise convolution, (channels, 1, taps) there, is channels x taps. Column-major, so that a
/// product `W x` runs along contiguous outputs.
template <class Scalar>
class NamedWeights {
 public:
  using Matrix = detail::Matrix<Scalar>;

  /// All names, in order.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, array] : arrays_) all.push_back(name);
    return all;
  }

  /// The array called `name`, or nullptr.
  [[nodiscard]] const Matrix* find(std::string_view name) const {
    for (const auto& entry : arrays_) {
      if (entry.first == name) return &entry.second;
    }
    return nullptr;
  }
  /// The same, to be written to.
  [[nodiscard]] Matrix* find(std::string_view name) {
    return const_cast<Matrix*>(std::as_const(*this).find(name));
  }

  /// The array called `name`. \throws std::invalid_argument, which lists the names there are
  [[nodiscard]] const Matrix& operator[](std::string_view name) const {
    if (const Matrix* array = find(name)) return *array;
    std::string legal = "one of";
    for (const auto& entry : arrays_) legal += ' ' + entry.first;
    detail::fail("weight name", name, legal);
  }
  /// The same, to be written to.
  [[nodiscard]] Matrix& operator[](std::string_view name) {
    return const_cast<Matrix&>(std::as_const(*this)[name]);
  }

  /// Appends an array of zeros.
  Matrix& append(std::string name, Eigen::Index rows, Eigen::Index columns) {
    return arrays_.emplace_back(std::move(name), Matrix::Zero(rows, columns)).second;
  }

  /// Arrays of the same names and shapes, all zero.
  [[nodiscard]] NamedWeights zeros() const {
    NamedWeights other;
    for (const auto& [name, array] : arrays_) other.append(name, array.rows(), array.cols());
    return other;
  }

 private:
  std::vector<std::pair<std::string, Matrix>> arrays_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP
