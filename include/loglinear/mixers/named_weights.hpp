// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP
#define LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP

#include <Eigen/Core>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/mixers/linear.hpp"

namespace loglinear {

/// The arrays of a mixer, or their gradients, under the names of a state_dict and in its order.
///
/// A matrix has the state_dict's shape, (outputs, inputs); a vector of n is n x 1; the weight of a
/// depthwise convolution, (channels, 1, taps) there, is channels x taps. Column-major, so that a
/// product `W x` runs along contiguous outputs.
///
/// A matrix may be kept in bfloat16, in half the memory: `keep_narrow` rounds it once, and
/// products widen it tile by tile.
template <class Scalar>
class NamedWeights {
 public:
  using Matrix = detail::Matrix<Scalar>;
  using NarrowMatrix = detail::Matrix<typename detail::NarrowWeight<Scalar>::Type>;

  NamedWeights() = default;
  NamedWeights(const NamedWeights&) = default;
  NamedWeights(NamedWeights&&) noexcept = default;
  /// Becomes a copy; if that throws std::bad_alloc, nothing is changed.
  NamedWeights& operator=(const NamedWeights& other) { return *this = NamedWeights(other); }
  NamedWeights& operator=(NamedWeights&&) noexcept = default;
  ~NamedWeights() = default;

  /// All names, in order.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const Entry& entry : entries_) all.push_back(entry.name);
    return all;
  }

  /// The array called `name`, or nullptr. \throws std::invalid_argument for one kept in bfloat16
  [[nodiscard]] const Matrix* find(std::string_view name) const {
    const Entry* const entry = entry_of(name);
    if (entry == nullptr) return nullptr;
    if (entry->is_narrow) detail::fail(name, "kept in bfloat16", "kept in the mixer's scalar");
    return &entry->array;
  }
  /// The same, to be written to.
  [[nodiscard]] Matrix* find(std::string_view name) {
    return const_cast<Matrix*>(std::as_const(*this).find(name));
  }

  /// The array called `name`. \throws std::invalid_argument, which lists the names there are, and
  /// for one kept in bfloat16
  [[nodiscard]] const Matrix& operator[](std::string_view name) const {
    static_cast<void>(required(name));
    return *find(name);
  }
  /// The same, to be written to.
  [[nodiscard]] Matrix& operator[](std::string_view name) {
    return const_cast<Matrix&>(std::as_const(*this)[name]);
  }

  /// A copy of the array called `name`, whatever it is kept in. \throws std::invalid_argument for
  /// an unknown name
  [[nodiscard]] Matrix widened_weight(std::string_view name) const {
    const Entry& entry = required(name);
    return entry.is_narrow ? Matrix(entry.narrow.template cast<Scalar>()) : entry.array;
  }

  /// Replaces an array; a vector may be given as a row or as a column. One that is kept in bfloat16
  /// is rounded to nearest. \throws std::invalid_argument for an unknown name, another shape, or a
  /// coefficient that is not finite in what it is kept in; nothing is changed then
  void set_weight(std::string_view name, Matrix given) {
    Entry& entry = const_cast<Entry&>(required(name));
    if (columns_of(entry) == 1 && given.rows() == 1) given.transposeInPlace();
    detail::require_size("the rows of " + std::string(name), given.rows(), rows_of(entry));
    detail::require_size("the columns of " + std::string(name), given.cols(), columns_of(entry));
    detail::require_finite(name, given);
    if (entry.is_narrow) {
      entry.narrow = rounded(name, given);
    } else {
      entry.array = std::move(given);
    }
  }

  /// Keeps an array in bfloat16 from now on, rounded to nearest. \throws std::invalid_argument for
  /// an unknown name or a coefficient too large for it; nothing is changed then
  void keep_narrow(std::string_view name) {
    Entry& entry = const_cast<Entry&>(required(name));
    if (entry.is_narrow) return;
    entry.narrow = rounded(name, entry.array);
    entry.array = Matrix();
    entry.is_narrow = true;
  }

  /// Keeps the matrices of all projections in bfloat16. \throws std::invalid_argument as
  /// `keep_narrow`; nothing is changed then
  void keep_projections_narrow() {
    NamedWeights narrowed = *this;
    for (const std::string& name : names()) {
      if (is_projection(name)) narrowed.keep_narrow(name);
    }
    *this = std::move(narrowed);
  }

  /// Whether a weight of that name is the matrix of a projection, of an embedding or of a head.
  [[nodiscard]] static bool is_projection(std::string_view name) {
    return name.ends_with("proj.weight") || name == "l_mlp.0.weight" || name == "l_mlp.2.weight" ||
           name.ends_with("embeddings.weight") || name == "lm_head.weight";
  }

  /// A view of a matrix for products, whatever it is kept in; valid as long as these weights are.
  /// \throws std::invalid_argument for an unknown name
  [[nodiscard]] detail::Projection<Scalar> projection(std::string_view name) const {
    const Entry& entry = required(name);
    if (entry.is_narrow) return {nullptr, &entry.narrow};
    return {&entry.array, nullptr};
  }

  /// Bytes of all coefficients.
  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Entry& entry : entries_) {
      sum += static_cast<std::size_t>(entry.array.size()) * sizeof(Scalar) +
             static_cast<std::size_t>(entry.narrow.size()) * sizeof(Eigen::bfloat16);
    }
    return sum;
  }

  /// Appends an array of zeros.
  Matrix& append(std::string name, Eigen::Index rows, Eigen::Index columns) {
    entries_.push_back({std::move(name), Matrix::Zero(rows, columns)});
    return entries_.back().array;
  }

  /// Arrays of the same names and shapes, all zero, in Scalar.
  [[nodiscard]] NamedWeights zeros() const {
    NamedWeights other;
    for (const Entry& entry : entries_) other.append(entry.name, rows_of(entry), columns_of(entry));
    return other;
  }

 private:
  struct Entry {
    std::string name{};
    Matrix array{};
    NarrowMatrix narrow{};
    bool is_narrow = false;
  };

  static Eigen::Index rows_of(const Entry& entry) {
    return entry.is_narrow ? entry.narrow.rows() : entry.array.rows();
  }
  static Eigen::Index columns_of(const Entry& entry) {
    return entry.is_narrow ? entry.narrow.cols() : entry.array.cols();
  }
  static NarrowMatrix rounded(std::string_view name, const Matrix& values) {
    NarrowMatrix narrow = values.template cast<Eigen::bfloat16>();
    detail::require_finite(std::string(name) + " in bfloat16",
                           narrow.template cast<Scalar>().eval());
    return narrow;
  }
  [[nodiscard]] const Entry* entry_of(std::string_view name) const {
    for (const Entry& entry : entries_) {
      if (entry.name == name) return &entry;
    }
    return nullptr;
  }
  [[nodiscard]] const Entry& required(std::string_view name) const {
    if (const Entry* entry = entry_of(name)) return *entry;
    std::string legal = "one of";
    for (const Entry& entry : entries_) legal += ' ' + entry.name;
    detail::fail("weight name", name, legal);
  }

  std::vector<Entry> entries_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP
