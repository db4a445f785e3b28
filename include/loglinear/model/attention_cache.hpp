// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_ATTENTION_CACHE_HPP
#define LOGLINEAR_MODEL_ATTENTION_CACHE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear {

/// Where a stream through `SlidingWindowAttention` stands: keys, rotated by their positions, and
/// values of the tokens that the next one sees. It grows with the stream; with a window it stops at
/// `2 (window - 1) columns` numbers. It is a plain value: copy it to branch a stream. A cache that
/// was moved from is empty and has no columns, so that every layer refuses it.
///
/// If a member throws, the cache is what it was.
template <class Scalar>
class AttentionCache {
 public:
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Index = Eigen::Index;

  /// Begins a stream. Does not allocate.
  /// \param window   tokens that a token sees, itself included; 0 for all
  /// \param columns  of a token's keys, all heads side by side, at least 1
  /// \throws std::invalid_argument for a size out of its range
  AttentionCache(Index window, Index columns) : window_(window), columns_(columns) {
    detail::require_between("window", window, Index{0}, most_tokens);
    detail::require_between("columns", columns, Index{1}, most_tokens);
    keys_.resize(0, columns);
    values_.resize(0, columns);
  }
  AttentionCache(const AttentionCache&) = default;
  AttentionCache(AttentionCache&& other) noexcept
      : window_(other.window_),
        columns_(std::exchange(other.columns_, 0)),
        size_(std::exchange(other.size_, 0)),
        keys_(std::move(other.keys_)),
        values_(std::move(other.values_)) {}
  /// All or nothing: what is assigned is a whole copy.
  AttentionCache& operator=(const AttentionCache& other) { return *this = AttentionCache(other); }
  AttentionCache& operator=(AttentionCache&& other) noexcept {
    AttentionCache moved(std::move(other));
    window_ = moved.window_;
    columns_ = moved.columns_;
    size_ = moved.size_;
    keys_.swap(moved.keys_);
    values_.swap(moved.values_);
    return *this;
  }
  ~AttentionCache() = default;

  /// Tokens seen since the cache was made or reset; 0 if it was moved from.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Tokens of the window; 0 for all.
  [[nodiscard]] Index window() const { return window_; }
  /// Columns of keys and of values; 0 if it was moved from.
  [[nodiscard]] Index columns() const { return columns_; }
  /// Tokens that are kept.
  [[nodiscard]] Index kept() const {
    const auto seen = static_cast<Index>((std::min)(size_, std::uint64_t{most_tokens}));
    return window_ == 0 ? seen : (std::min)(seen, window_ - 1);
  }
  /// The kept keys and values are the first `kept()` rows, in no order.
  [[nodiscard]] const Matrix& keys() const { return keys_; }
  [[nodiscard]] const Matrix& values() const { return values_; }  ///< likewise
  /// Bytes of all coefficients.
  [[nodiscard]] std::size_t memory_bytes() const {
    return 2 * static_cast<std::size_t>(keys_.size()) * sizeof(Scalar);
  }

  /// A copy of the kept keys, oldest first.
  [[nodiscard]] Matrix keys_in_order() const { return in_order(keys_); }
  /// The same of the values.
  [[nodiscard]] Matrix values_in_order() const { return in_order(values_); }

  /// Makes room for `tokens` more tokens, so that `append` does not allocate.
  /// \throws std::invalid_argument for a number out of its range
  void reserve(Index tokens) {
    detail::require_between("tokens to reserve", tokens, Index{0}, most_tokens);
    const Index most = window_ == 0 ? 2 * most_tokens : window_ - 1;
    const Index needed = (std::min)(kept() + tokens, most);
    if (needed <= keys_.rows()) return;
    const Index rows = (std::min)((std::max)(needed, 2 * keys_.rows()), most);
    Matrix keys(rows, columns_), values(rows, columns_);
    keys.topRows(kept()) = keys_.topRows(kept());
    values.topRows(kept()) = values_.topRows(kept());
    keys_.swap(keys);
    values_.swap(values);
  }

  /// Takes tokens, a row each. \throws std::invalid_argument for another shape, or a coefficient
  /// that is not finite. Does not allocate where `reserve` has made room
  template <class Keys, class Values>
  void append(const Eigen::MatrixBase<Keys>& keys, const Eigen::MatrixBase<Values>& values) {
    detail::require_positive("the columns of the cache", columns_);
    detail::require_size("the columns of keys", keys.cols(), columns_);
    detail::require_size("the columns of values", values.cols(), columns_);
    detail::require_size("the rows of values", values.rows(), keys.rows());
    detail::require_finite("keys", keys);
    detail::require_finite("values", values);
    reserve(keys.rows());
    for (Index t = 0; t < keys.rows(); ++t) {
      if (window_ != 1) {
        keys_.row(next_row()) = keys.row(t);
        values_.row(next_row()) = values.row(t);
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
  static constexpr Index most_tokens = Index{1} << 40;

  /// Where the next token goes, over the oldest one once the window is full.
  [[nodiscard]] Index next_row() const {
    if (window_ == 0) return static_cast<Index>(size_);
    return static_cast<Index>(size_ % static_cast<std::uint64_t>(window_ - 1));
  }
  [[nodiscard]] Matrix in_order(const Matrix& rows) const {
    Matrix ordered(kept(), columns_);
    const bool is_full = window_ > 1 && kept() == window_ - 1;
    const Index oldest = is_full ? next_row() : 0;
    ordered.topRows(kept() - oldest) = rows.middleRows(oldest, kept() - oldest);
    ordered.bottomRows(oldest) = rows.topRows(oldest);
    return ordered;
  }

  Index window_, columns_;
  std::uint64_t size_ = 0;
  Matrix keys_{}, values_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODEL_ATTENTION_CACHE_HPP
