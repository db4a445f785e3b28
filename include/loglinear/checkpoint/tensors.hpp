// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_TENSORS_HPP
#define LOGLINEAR_CHECKPOINT_TENSORS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/convert.hpp"
#include "loglinear/checkpoint/dtype.hpp"
#include "loglinear/checkpoint/error.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/product.hpp"

namespace loglinear {

/// An array as a file holds it: row-major, little-endian, without gaps.
struct Tensor {
  DType dtype = DType::f32;          ///< what a coefficient is
  std::vector<std::uint64_t> shape;  ///< its dimensions; none for a single number
  std::vector<std::byte> bytes;      ///< the coefficients, the last index running fastest
  std::string other_dtype = {};      ///< the file's name for a dtype that is DType::other

  /// What the file calls the dtype.
  [[nodiscard]] std::string_view dtype_name() const {
    return dtype == DType::other ? std::string_view(other_dtype) : name_of(dtype);
  }

  /// `"F32[8, 64]"`, for messages: long names and shapes are cut.
  [[nodiscard]] std::string description() const {
    constexpr std::size_t most = 8;
    std::string text = detail::shortened(dtype_name()) + '[';
    for (std::size_t i = 0; i < (std::min)(shape.size(), most); ++i) {
      text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    }
    if (shape.size() > most) text += ", ...: " + std::to_string(shape.size()) + " dimensions";
    return text + ']';
  }
};

namespace detail {

/// The number of bytes that a tensor's shape and dtype need, rounded up; nothing if the dtype is
/// unknown. \throws CheckpointError for a product that overflows
[[nodiscard]] inline std::optional<std::uint64_t> legal_size(const Tensor& tensor,
                                                             std::string_view name,
                                                             std::string_view source) {
  bool is_empty = false;
  std::uint64_t product = 1;
  const auto multiply = [&](std::uint64_t factor) {
    if (product > std::uint64_t{PTRDIFF_MAX} / factor) {
      refuse_tensor(source, name, "is " + tensor.description() + ", more than memory can hold");
    }
    product *= factor;
  };
  for (const std::uint64_t length : tensor.shape) {
    is_empty = is_empty || length == 0;
    if (length > 0) multiply(length);
  }
  if (tensor.dtype == DType::other) return {};
  if (is_empty) return 0;
  multiply(bits_of(tensor.dtype));
  return product / 8 + (product % 8 == 0 ? 0 : 1);
}

/// Throws unless a tensor of this dtype and shape can have `bytes` bytes.
inline void require_legal_size(const Tensor& tensor, std::uint64_t bytes, std::string_view name,
                               std::string_view source) {
  const std::optional<std::uint64_t> legal = legal_size(tensor, name, source);
  if (!legal || *legal == bytes) return;
  refuse_tensor(source, name,
                "is " + tensor.description() + " and has " + std::to_string(bytes) +
                    " bytes; it must have " + std::to_string(*legal));
}

}  // namespace detail

/// Named arrays and some text: what a safetensors file holds, in memory. `safetensors.hpp` reads
/// and writes files; this header knows neither files nor JSON.
class Tensors {
 public:
  /// What a tensor of two dimensions is read into.
  template <class Scalar>
  using Matrix = detail::RowMajorMatrix<Scalar>;

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

  /// A tensor as a matrix: its first dimension gives the rows, all others together the columns; a
  /// vector is a column. F64, F32, F16, BF16 and integers are converted to float or double, exactly
  /// where `is_exact_in<Scalar>(dtype)`, else to the nearest. Allocates.
  /// \throws CheckpointError for an unknown name, another DType, or a coefficient that is not
  /// finite or not in the range of `Scalar`
  template <class Scalar>
  [[nodiscard]] Matrix<Scalar> matrix(std::string_view name) const {
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
    Matrix<Scalar> values(rows, columns);
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

  /// Adds a tensor.
  /// \throws CheckpointError for a name that is `__metadata__` or there already, and where shape
  /// and number of bytes do not agree. The two cannot be compared for DType::other; its
  /// `other_dtype` must not be the name of another DType
  void add(const std::string& name, Tensor tensor) {
    if (name == "__metadata__") detail::refuse_tensor(source, name, "is no legal name");
    if (find(name) != nullptr) detail::refuse_tensor(source, name, "is there already");
    if (tensor.dtype == DType::other && dtype_from(tensor.other_dtype)) {
      detail::refuse_tensor(source, name,
                            "is of DType::other called " + detail::in_quotes(tensor.other_dtype) +
                                "; it must not be the name of another DType");
    }
    detail::require_legal_size(tensor, tensor.bytes.size(), name, source);
    tensors_.emplace(name, std::move(tensor));
  }

  /// Adds a vector as a tensor of one dimension, or a matrix as one of two: any Eigen expression of
  /// float or double.
  /// \param dtype  F64, F32, F16 or BF16, to which coefficients are rounded, to nearest, ties to
  ///               even
  /// \throws CheckpointError as above, for another DType, and for a coefficient that is not finite
  /// or too large for it
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
  /// Adds all tensors and metadata of `other`. Where both have a key of the metadata, the text of
  /// `other` counts.
  /// \throws CheckpointError if a tensor of one of its names is there already; nothing is added
  /// then
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
