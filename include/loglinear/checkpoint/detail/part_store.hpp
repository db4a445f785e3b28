// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_PART_STORE_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_PART_STORE_HPP

// The two visitors of an object's parts (loglinear/detail/base/parts.hpp): one makes tensors of
// them, the other tensors into parts. The names of nested parts are joined by dots.

#include <concepts>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/configuration.hpp"
#include "loglinear/checkpoint/tensors.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"

namespace loglinear::detail {

template <class Part>
concept Number = std::is_arithmetic_v<Part>;
template <class Part>
concept Dense = requires {
  typename Part::PlainObject;
  Part::ColsAtCompileTime;
};
template <class Part>
concept Configured = requires(const Part& part) {
  { configuration_of(part) } -> std::convertible_to<Configuration>;
};

/// Whether an array has one dimension in a file.
template <class Array>
inline constexpr bool is_vector_in_file = Array::ColsAtCompileTime == 1;

class PartWriter {
 public:
  PartWriter(Tensors& tensors, std::string scope) : tensors_(tensors), scope_(std::move(scope)) {}

  template <class Part>
  void operator()(std::string_view name, const Part& part) const {
    const std::string full = scope_ + std::string(name);
    if constexpr (Number<Part>) {
      Tensor tensor{.dtype = dtype_of<Part>(), .shape = {}, .bytes = {}};
      tensor.bytes.resize(sizeof part);
      std::memcpy(tensor.bytes.data(), &part, sizeof part);
      tensors_.add(full, std::move(tensor));
    } else if constexpr (Dense<Part>) {
      using Scalar = typename Part::Scalar;
      tensors_.add(full, part.template cast<Accumulator<Scalar>>(), dtype_of<Scalar>());
    } else {
      write_object(tensors_, name.empty() ? scope_ : full + '.', part);
    }
  }

  template <class Object>
  static void write_object(Tensors& tensors, const std::string& scope, const Object& object) {
    if constexpr (Configured<Object>) {
      for (const auto& [option, value] : configuration_of(object)) {
        if (!value.empty()) tensors.metadata[scope + option] = value;
      }
    }
    Parts::visit(object, PartWriter(tensors, scope));
  }

 private:
  Tensors& tensors_;
  std::string scope_;
};

class PartReader {
 public:
  /// \param read  collects the names of what has been read
  PartReader(const Tensors& tensors, std::string scope, std::set<std::string>& read)
      : tensors_(tensors), scope_(std::move(scope)), read_(read) {}

  template <class Part>
  void operator()(std::string_view name, Part&& part) const {
    using Type = std::remove_cvref_t<Part>;
    const std::string full = scope_ + std::string(name);
    if constexpr (Number<Type>) {
      const Tensor& tensor = typed(full, dtype_of<Type>());
      if (!tensor.shape.empty()) wrong(full, tensor, "a single number, " + expected<Type>() + "[]");
      if constexpr (std::is_same_v<Type, bool>) {
        const auto byte = number_at<std::uint8_t>(tensor.bytes.data());
        if (byte > 1) refuse_tensor(tensors_.source, full, "is neither true nor false");
        part = byte == 1;
      } else {
        part = number_at<Type>(tensor.bytes.data());
      }
      if constexpr (std::is_floating_point_v<Type>) {
        if (!is_finite(part)) refuse_tensor(tensors_.source, full, "is not finite");
      }
    } else if constexpr (Dense<Type>) {
      read_array(full, part);
    } else {
      read_object(tensors_, name.empty() ? scope_ : full + '.', part, read_);
    }
  }

  /// Writes to an object; what its class finds wrong with the parts names the object.
  template <class Object>
  static void read_object(const Tensors& tensors, const std::string& scope, Object& object,
                          std::set<std::string>& read) {
    if constexpr (Configured<Object>) require_same(tensors, scope, configuration_of(object));
    handling<std::invalid_argument>(
        [&] { Parts::visit(object, PartReader(tensors, scope, read)); },
        [&](const std::invalid_argument& error) { name_object(error, tensors, scope); });
  }

 private:
  /// Raises the error again, as a CheckpointError that names the object. An error that does so
  /// already stays as it is.
  [[noreturn]] static void name_object(const std::invalid_argument& error, const Tensors& tensors,
                                       const std::string& scope) {
    std::string_view what = error.what();
    if (what.starts_with("loglinear: " + tensors.source + ": ")) {
      raise(CheckpointError(std::string(what)));
    }
    if (what.starts_with("loglinear: ")) what.remove_prefix(11);
    std::string where = scope;
    if (!where.empty()) where.replace(where.size() - 1, 1, ": ");  // in place of the last dot
    refuse(tensors.source, where.append(what));
  }

  static void require_same(const Tensors& tensors, const std::string& scope,
                           const Configuration& wanted) {
    for (const auto& [option, value] : wanted) {
      const auto found = tensors.metadata.find(scope + option);
      if (found == tensors.metadata.end() ? value.empty() : found->second == value) continue;
      const std::string unless_recorded(default_of(option));
      const auto text = [&](bool is_recorded, const std::string& recorded) {
        if (is_recorded) return in_quotes(recorded);
        return unless_recorded.empty() ? "absent" : in_quotes(unless_recorded);
      };
      const bool is_there = found != tensors.metadata.end();
      refuse(tensors.source, scope + option + " is " +
                                 text(is_there, is_there ? found->second : "") + "; it must be " +
                                 text(!value.empty(), value) + ", as in the object that loads it");
    }
  }

  template <class Type>
  [[nodiscard]] static std::string expected() {
    return std::string(name_of(dtype_of<Type>()));
  }
  [[noreturn]] void wrong(const std::string& name, const Tensor& tensor,
                          const std::string& legal) const {
    refuse_tensor(tensors_.source, name, "is " + tensor.description() + "; it must be " + legal);
  }

  [[nodiscard]] const Tensor& typed(const std::string& name, DType dtype) const {
    const Tensor& tensor = tensors_[name];
    if (tensor.dtype != dtype) {
      wrong(name, tensor, "of dtype " + std::string(name_of(dtype)));
    }
    read_.insert(name);
    return tensor;
  }

  /// An array keeps its size; an empty one that can be resized takes the file's.
  template <class Array>
  void read_array(const std::string& name, Array& array) const {
    using Scalar = typename Array::Scalar;
    const Tensor& tensor = typed(name, dtype_of<Scalar>());
    const std::size_t dimensions = is_vector_in_file<Array> ? 1 : 2;
    if (tensor.shape.size() != dimensions) {
      wrong(name, tensor, "of " + std::to_string(dimensions) + " dimensions");
    }
    const auto rows = static_cast<Index>(tensor.shape[0]);
    const Index columns = dimensions == 2 ? static_cast<Index>(tensor.shape[1]) : 1;
    if constexpr (std::is_base_of_v<Eigen::PlainObjectBase<Array>, Array>) {
      if (array.size() == 0) array.resize(rows, columns);
    }
    if (rows != array.rows() || columns != array.cols()) {
      Tensor legal{
          .dtype = tensor.dtype, .shape = {static_cast<std::uint64_t>(array.rows())}, .bytes = {}};
      if (dimensions == 2) legal.shape.push_back(static_cast<std::uint64_t>(array.cols()));
      wrong(name, tensor, legal.description());
    }
    array = tensors_.matrix<Accumulator<Scalar>>(name).template cast<Scalar>();
  }

  const Tensors& tensors_;
  std::string scope_;
  std::set<std::string>& read_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_PART_STORE_HPP
