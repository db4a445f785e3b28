// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_STORAGE_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_STORAGE_HPP

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/fields.hpp"

namespace loglinear::detail {

/// The memory of levels: `max_levels` matrices of `d_k x d_v`, row-major, one after the other; with
/// a fixed shape of up to 16 KiB inside the object, else allocated once, by the constructor.
template <class Scalar_, int KeyDim, int ValueDim, int MaxLevels>
class LevelStorage {
 public:
  using Scalar = Scalar_;

  static constexpr bool has_fixed_shape =
      KeyDim != Eigen::Dynamic && ValueDim != Eigen::Dynamic && MaxLevels != Eigen::Dynamic;
  static constexpr Index fixed_coefficients =
      has_fixed_shape ? Index{KeyDim} * Index{ValueDim} * Index{MaxLevels} : 0;
  static constexpr bool is_inline =
      has_fixed_shape &&
      fixed_coefficients * static_cast<Index>(sizeof(Scalar)) <= Index{16 * 1024};

  using Matrix = Eigen::Matrix<Scalar, KeyDim, ValueDim,
                               ValueDim == 1 && KeyDim != 1 ? Eigen::ColMajor : Eigen::RowMajor>;
  using ConstLevel = Eigen::Map<const Matrix>;
  using Level = Eigen::Map<Matrix>;
  using ConstFlat = Eigen::Map<const Vector<Scalar>>;

  LevelStorage(int max_levels, Index d_k, Index d_v) {
    require_between("max_levels", max_levels, 1, max_level_limit);
    require_length("d_k", d_k);
    require_length("d_v", d_v);
    constexpr Index most = (std::numeric_limits<Index>::max)() / Index{sizeof(Scalar)};
    require_between("d_v", d_v, Index{1}, most / max_levels / d_k);
    if constexpr (MaxLevels != Eigen::Dynamic) require_size("max_levels", max_levels, MaxLevels);
    if constexpr (KeyDim != Eigen::Dynamic) require_size("d_k", d_k, KeyDim);
    if constexpr (ValueDim != Eigen::Dynamic) require_size("d_v", d_v, ValueDim);
    max_levels_ = max_levels;
    d_k_ = d_k;
    d_v_ = d_v;
    coefficients_.resize(Index{max_levels} * d_k * d_v);
    std::fill_n(coefficients_.data(), coefficients_.size(), Scalar(0));
  }
  LevelStorage(const LevelStorage&) = default;
  LevelStorage(LevelStorage&&) = default;
  /// If it throws, nothing is changed. Does not allocate if both have as many coefficients.
  LevelStorage& operator=(const LevelStorage& other) {
    if (size() != other.size()) {  // Eigen's own assignment frees before it allocates
      Coefficients coefficients(other.coefficients_);
      coefficients_ = std::move(coefficients);
    }
    fixed(*this) = fixed(other);
    assign(other);
    return *this;
  }
  LevelStorage& operator=(LevelStorage&&) = default;

  [[nodiscard]] int max_levels() const noexcept { return static_cast<int>(max_levels_); }
  [[nodiscard]] Index d_k() const noexcept { return d_k_; }
  [[nodiscard]] Index d_v() const noexcept { return d_v_; }
  /// Coefficients of one level, and of all.
  [[nodiscard]] Index level_size() const noexcept { return d_k_ * d_v_; }
  [[nodiscard]] Index size() const noexcept { return coefficients_.size(); }

  [[nodiscard]] const Scalar* data(int l) const { return coefficients_.data() + l * level_size(); }
  [[nodiscard]] Scalar* data(int l) { return coefficients_.data() + l * level_size(); }
  [[nodiscard]] ConstLevel level(int l) const { return ConstLevel(data(l), d_k_, d_v_); }
  [[nodiscard]] Level level(int l) { return Level(data(l), d_k_, d_v_); }
  [[nodiscard]] ConstFlat flat() const noexcept { return ConstFlat(data(0), size()); }

  void clear(int l) noexcept { std::fill_n(data(l), level_size(), Scalar(0)); }
  void clear() noexcept { std::fill_n(data(0), size(), Scalar(0)); }

  /// Becomes what another one of the same shape is, in this scalar.
  template <class Other>
  void assign(const LevelStorage<Other, KeyDim, ValueDim, MaxLevels>& other) noexcept {
    if constexpr (std::is_same_v<Accumulator<Scalar>, Accumulator<Other>>) {
      convert(other.data(0), size(), data(0));
    } else {
      fields(AssignField{}, *this, other);
    }
  }
  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("coefficients", rows_field(self.coefficients_, self.size())...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.d_k_, self.d_v_, self.max_levels_);
  }

  [[nodiscard]] bool operator==(const LevelStorage& other) const {
    return fixed(*this) == fixed(other) && size() == other.size() &&
           coefficients_ == other.coefficients_;
  }

 private:
  template <class, int, int, int>
  friend class LevelStorage;
  using Coefficients =
      Vector<Scalar, is_inline ? static_cast<int>(fixed_coefficients) : Eigen::Dynamic>;

  Coefficients coefficients_{};
  Index d_k_ = 0, d_v_ = 0, max_levels_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_STORAGE_HPP
