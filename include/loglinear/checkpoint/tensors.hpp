// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_TENSORS_HPP
#define LOGLINEAR_CHECKPOINT_TENSORS_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/convert.hpp"
#include "loglinear/checkpoint/dtype.hpp"
#include "loglinear/checkpoint/error.hpp"
#include "loglinear/detail/checks.hpp"
#include "loglinear/detail/product.hpp"

namespace loglinear {

/// An array as a file holds it: row-major, little-endian, without gaps.
struct Tensor {
  DType dtype = DType::f32;          ///< what a coefficient is
  std::vector<std::uint64_t> shape;  ///< its dimensions; none for a single number
  std::vector<std::byte> bytes;      ///< the coefficients, the last index running fastest

  /// `"F32[8, 64]"`, for messages.
  [[nodiscard]] std::string description() const {
    std::string text(name_of(dtype));
    for (std::size_t i = 0; i < shape.size(); ++i) {
      text += (i == 0 ? "[" : ", ") + std::to_string(shape[i]);
    }
    return text + (shape.empty() ? "[]" : "]");
  }
};

/// Named arrays and some text: what a safetensors file holds, in memory. `safetensors.hpp` reads
/// and writes files; this header knows neither files nor JSON.
class Tensors {
 public:
  std::map<std::string, std::string> metadata{};  ///< the file's `__metadata__`
  std::string source = "tensors";                 ///< where they come from, for messages: the path

  /// All names, sorted.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : tensors_) all.push_back(entry.first);
    return all;
  }

  /// The tensor called `name`, or nullptr.
  [[nodiscard]] const Tensor* find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

  /// The tensor called `name`. \throws CheckpointError, which lists the names there are
  [[nodiscard]] const Tensor& operator[](std::string_view name) const {
    if (const Tensor* tensor = find(name)) return *tensor;
    const std::vector<std::string> known = names();
    detail::refuse_tensor(
        source, name,
        "is missing; there are " + (known.empty() ? "none" : detail::in_quotes(known)));
  }

  /// A tensor as a matrix: its first dimension are the rows, all others together the columns; a
  /// vector is a column. F64, F32, F16, BF16 and integers are converted to float or double, exactly
  /// where `is_exact_in<Scalar>(dtype)`, else to the nearest. \throws CheckpointError for an
  /// unknown name, another DType, or a coefficient that is not finite or not in the range of
  /// `Scalar`
  template <class Scalar>
  [[nodiscard]] detail::RowMajorMatrix<Scalar> matrix(std::string_view name) const {
    const Tensor& tensor = (*this)[name];
    if (!detail::is_convertible(tensor.dtype)) {
      detail::refuse_tensor(source, name,
                            "is " + tensor.description() +
                                "; only F64, F32, F16, BF16 and integers can be converted");
    }
    Eigen::Index rows = 1, columns = 1;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      (i == 0 ? rows : columns) *= static_cast<Eigen::Index>(tensor.shape[i]);
    }
    const auto step = static_cast<Eigen::Index>(size_of(tensor.dtype));
    detail::RowMajorMatrix<Scalar> values(rows, columns);
    for (Eigen::Index i = 0; i < values.size(); ++i) {
      values.data()[i] = detail::decoded<Scalar>(tensor.dtype, tensor.bytes.data() + i * step);
      if (!detail::is_finite(values.data()[i])) {
        const auto value = detail::decoded<double>(tensor.dtype, tensor.bytes.data() + i * step);
        detail::refuse_tensor(source, name,
                              detail::Text("coefficient ", i, " is ", value,
                                           "; it must be finite in the scalar converted to"));
      }
    }
    return values;
  }

  /// Adds a tensor. \throws CheckpointError for a name that is empty, `__metadata__` or there
  /// already, and where shape and number of bytes do not agree
  void add(const std::string& name, Tensor tensor) {
    if (name.empty() || name == "__metadata__") {
      detail::refuse_tensor(source, name, "is no legal name");
    }
    if (find(name) != nullptr) detail::refuse_tensor(source, name, "is there already");
    std::uint64_t bytes = size_of(tensor.dtype);
    bool is_empty = false;
    for (const std::uint64_t length : tensor.shape) {
      constexpr std::uint64_t most = PTRDIFF_MAX;
      is_empty = is_empty || length == 0;
      if (length > 0 && bytes > most / length) {
        detail::refuse_tensor(source, name,
                              "is " + tensor.description() + ", more than memory can hold");
      }
      if (length > 0) bytes *= length;
    }
    if (is_empty) bytes = 0;
    if (bytes != tensor.bytes.size()) {
      detail::refuse_tensor(source, name,
                            "is " + tensor.description() + " and has " +
                                std::to_string(tensor.bytes.size()) + " bytes; it must have " +
                                std::to_string(bytes));
    }
    tensors_.emplace(name, std::move(tensor));
  }

  /// Adds a vector, as a tensor of one dimension, or a matrix, of two; any Eigen expression of
  /// float or double. \param dtype  F64, F32, F16 or BF16, to which the coefficients are rounded,
  /// to nearest, ties to even \throws CheckpointError as above, for another DType, and for a
  /// coefficient that is not finite or too large for it
  template <class Derived>
  void add(const std::string& name, const Eigen::MatrixBase<Derived>& values, DType dtype) {
    if (dtype > DType::bf16) {
      detail::refuse_tensor(
          source, name,
          "cannot be made " + std::string(name_of(dtype)) + "; it must be F64, F32, F16 or BF16");
    }
    Tensor tensor{
        .dtype = dtype, .shape = {static_cast<std::uint64_t>(values.rows())}, .bytes = {}};
    if (Derived::ColsAtCompileTime != 1) {
      tensor.shape.push_back(static_cast<std::uint64_t>(values.cols()));
    }
    const std::size_t step = size_of(dtype);
    tensor.bytes.resize(static_cast<std::size_t>(values.size()) * step);
    const detail::RowMajorMatrix<typename Derived::Scalar> stored = values;
    for (Eigen::Index i = 0; i < stored.size(); ++i) {
      std::byte* const to = tensor.bytes.data() + static_cast<std::size_t>(i) * step;
      if (detail::encode(stored.data()[i], dtype, to)) continue;
      detail::refuse_tensor(source, name,
                            detail::Text("coefficient ", i, " is ", stored.data()[i],
                                         "; it must be finite as ", name_of(dtype)));
    }
    add(name, std::move(tensor));
  }
  /// The same in the scalar's own DType, bit for bit.
  template <class Derived>
  void add(const std::string& name, const Eigen::MatrixBase<Derived>& values) {
    add(name, values, dtype_of<typename Derived::Scalar>());
  }
  /// Adds all tensors and metadata of another, whose text counts where both have a key. \throws
  /// CheckpointError if a tensor of one of its names is there already; nothing is added then
  void add(Tensors other) {
    for (const auto& entry : other.tensors_) {
      if (find(entry.first) != nullptr) {
        detail::refuse_tensor(source, entry.first, "is there already");
      }
    }
    tensors_.merge(other.tensors_);
    other.metadata.merge(metadata);
    metadata.swap(other.metadata);
  }

 private:
  std::map<std::string, Tensor, std::less<>> tensors_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_TENSORS_HPP
