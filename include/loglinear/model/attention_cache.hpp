// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_ATTENTION_CACHE_HPP
#define LOGLINEAR_MODEL_ATTENTION_CACHE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "loglinear/detail/base/types.hpp"

namespace loglinear {

/// Where a stream through `SlidingWindowAttention` stands: keys, rotated by their positions, and
/// values of the tokens that the next one sees. With a window a plain value of constant size,
/// 2 (window - 1) x columns numbers; without one it grows with the stream. Copy it to branch a
/// stream.
template <class Scalar>
class AttentionCache {
 public:
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Index = Eigen::Index;

  /// \param window  tokens that one sees, itself included; 0 for all \param columns  of a token's
  /// keys, all heads side by side
  AttentionCache(Index window, Index columns) : window_(window), columns_(columns) {
    keys_.resize(window == 0 ? 0 : window - 1, columns);
    values_.resize(keys_.rows(), columns);
    keys_.setZero();
    values_.setZero();
  }

  /// Tokens seen since the cache was made or reset.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Tokens of the window; 0 for all.
  [[nodiscard]] Index window() const { return window_; }
  /// Of keys and of values.
  [[nodiscard]] Index columns() const { return columns_; }
  /// Tokens that are kept.
  [[nodiscard]] Index kept() const {
    const auto seen = static_cast<Index>((std::min)(size_, std::uint64_t{1} << 40));
    return window_ == 0 ? seen : (std::min)(seen, window_ - 1);
  }
  /// The kept keys and values are the first `kept()` rows, in no order.
  [[nodiscard]] const Matrix& keys() const { return keys_; }
  [[nodiscard]] const Matrix& values() const { return values_; }
  /// Bytes of all coefficients.
  [[nodiscard]] std::size_t memory_bytes() const {
    return 2 * static_cast<std::size_t>(keys_.size()) * sizeof(Scalar);
  }

  /// The kept rows of `keys()` or `values()`, oldest first.
  [[nodiscard]] Matrix in_order(const Matrix& rows) const {
    Matrix ordered(kept(), columns_);
    const Index newest = kept() == 0 ? 0 : next_row();
    ordered.topRows(kept() - newest) = rows.middleRows(newest, kept() - newest);
    ordered.bottomRows(newest) = rows.topRows(newest);
    return ordered;
  }

  /// Makes room for so many more tokens, so that `append` does not allocate.
  void reserve(Index tokens) {
    if (window_ != 0 || kept() + tokens <= keys_.rows()) return;
    const Index rows = (std::max)(kept() + tokens, 2 * keys_.rows());
    keys_.conservativeResize(rows, columns_);
    values_.conservativeResize(rows, columns_);
  }

  /// Takes tokens, a row each. Neither allocates nor throws where `reserve` has made room.
  template <class Rows>
  void append(const Rows& keys, const Rows& values) {
    reserve(keys.rows());
    const Index capacity = window_ == 0 ? keys_.rows() : window_ - 1;
    for (Index t = 0; t < keys.rows(); ++t) {
      if (capacity > 0) {
        const Index row = next_row();
        keys_.row(row) = keys.row(t);
        values_.row(row) = values.row(t);
      }
      ++size_;
    }
  }

  /// Back to the beginning of a stream. Does not allocate.
  void reset() noexcept {
    size_ = 0;
    keys_.setZero();
    values_.setZero();
  }

  /// Whether both streams stand at the same place with the same numbers.
  [[nodiscard]] bool operator==(const AttentionCache& other) const {
    return size_ == other.size_ && window_ == other.window_ && columns_ == other.columns_ &&
           keys_.topRows(kept()) == other.keys_.topRows(kept()) &&
           values_.topRows(kept()) == other.values_.topRows(kept());
  }

 private:
  /// Where the next token goes, over the oldest one once the window is full.
  [[nodiscard]] Index next_row() const {
    if (window_ == 0) return static_cast<Index>(size_) % (std::max)(keys_.rows(), Index{1});
    return static_cast<Index>(size_ % static_cast<std::uint64_t>(window_ - 1));
  }

  Index window_, columns_;
  std::uint64_t size_ = 0;
  Matrix keys_{}, values_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODEL_ATTENTION_CACHE_HPP
