// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_MEMORY_HPP
#define STREAM_FORECAST_MEMORY_HPP

// The attention layer, with its rule hidden: the only part of the program that is compiled anew for
// every kind of transition.

#include <Eigen/Core>
#include <cstdint>
#include <loglinear/mode/mode.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace loglinear {
class Checkpoint;
}

namespace stream_forecast {

/// A streaming layer of any rule, in one state or in the hierarchy.
template <class Scalar>
class Memory {
 public:
  using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;

  virtual ~Memory() = default;

  /// What the past answers, raw; nothing changes.
  virtual const Vector& ask(const Vector& token) = 0;
  /// A token of the stream. \return the layer's output
  virtual const Vector& take(const Vector& token) = 0;
  /// The same, learning to answer it with `target`.
  virtual void take(const Vector& token, const Vector& target) = 0;
  virtual void reset() = 0;

  [[nodiscard]] virtual std::vector<std::string> weight_names() const = 0;
  /// Rows of a weight array; its columns are d_model, or its length if it has one row only.
  [[nodiscard]] virtual Eigen::Index weight_rows(std::string_view name) const = 0;
  virtual void set_weight(std::string_view name, const Matrix& value) = 0;

  /// The layer, under `name`, to a checkpoint and back. \throws loglinear::CheckpointError
  virtual void save(loglinear::Checkpoint& to, const std::string& name) const = 0;
  virtual void load(loglinear::Checkpoint& from, const std::string& name) = 0;

  [[nodiscard]] virtual Eigen::Index key_rows() const = 0;
  [[nodiscard]] virtual int levels() const = 0;
};

struct MemoryShape {
  Eigen::Index d_model = 0, d_k = 0, d_v = 0;
  double learning_rate = 0;
  std::uint64_t seed = 42;
};

enum class States { one, hierarchy };

/// The layer of a mode's rule, in one state or in the mode's hierarchy.
template <class Scalar>
[[nodiscard]] std::unique_ptr<Memory<Scalar>> make_memory(const loglinear::LogLinear& mode,
                                                          States states, const MemoryShape& shape);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_MEMORY_HPP
