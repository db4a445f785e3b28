// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_SNAPSHOT_HPP
#define LOGLINEAR_STREAM_SNAPSHOT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/pending.hpp"

namespace loglinear {

/// A moment of a stream: what a layer remembers, in its internal form, so that a layer that is
/// restored to it goes on bit for bit as it did from there. Weights are no part of it, and neither
/// are hyperparameters: every layer takes it whose states have this shape, max_levels, d_k and d_v
/// and as many leaves a token, and whose rule has this kind of transition.
///
/// It holds the active levels, the leaves that stand apart and the products of transitions that
/// levels have yet to undergo, and nothing of inactive levels: about `active_level_count()`
/// matrices. It grows to the largest moment it has held and then never allocates again. A plain
/// value, to be copied, moved and kept as long as one likes; it refers to no layer.
///
/// \tparam Kind    the kind of transition of the layer's rule
/// \tparam Stored  what levels are stored as
template <class Kind, class Stored = typename Kind::Scalar>
class StreamSnapshot {
 public:
  using Scalar = typename Kind::Scalar;
  using Index = Eigen::Index;

  /// Holds nothing yet, and no layer can be restored to it.
  StreamSnapshot() = default;
  StreamSnapshot(const StreamSnapshot&) = default;                               ///< allocates
  StreamSnapshot(StreamSnapshot&& other) noexcept { *this = std::move(other); }  ///< leaves nothing
  StreamSnapshot& operator=(const StreamSnapshot& other) {
    return *this = StreamSnapshot(other);
  }  ///< allocates; where that throws, nothing is changed
  StreamSnapshot& operator=(StreamSnapshot&& other) noexcept {
    auto others = other.members();
    members().swap(others);
    return *this;
  }  ///< an exchange

  /// Tokens that the stream had taken.
  [[nodiscard]] std::uint64_t size() const noexcept {
    return level_tokens_ + static_cast<std::uint64_t>(buffered_);
  }

  /// Bytes of levels and leaves that it holds: what taking it and restoring it copy, products of
  /// transitions apart.
  [[nodiscard]] std::size_t byte_count() const noexcept {
    return levels_.size() * sizeof(Stored) +
           (keys_.size() + values_.size() + factors_.size()) * sizeof(Scalar);
  }

  /// \name For layers
  /// \{

  /// Makes room for what `stream` is now; what is held stays. \return false where another shape is
  /// held, or nothing
  template <class Stream>
  [[nodiscard]] bool reserve(const Stream& stream) {
    if (!has_shape_of(stream)) return false;
    const auto n = static_cast<std::size_t>(stream.buffered_ * stream.leaves_);
    levels_.reserve(static_cast<std::size_t>(
        active_level_count(stream.levels_.size(), max_levels_) * key_rows_ * d_v_));
    keys_.reserve(n * static_cast<std::size_t>(key_rows_));
    values_.reserve(n * static_cast<std::size_t>(d_v_));
    factors_.reserve((std::min)(n, static_cast<std::size_t>(stream.factors_.size())));
    return true;
  }

  /// Becomes what `stream` is now; what it held stays where it throws.
  template <class Stream>
  void take(const Stream& stream) {
    if (!reserve(stream)) {
      *this = StreamSnapshot(stream);
    } else {
      write(stream);
    }
  }

  /// \throws std::invalid_argument where nothing is held, or `stream` has another shape
  template <class Stream>
  void require_shape_of(const Stream& stream) const {
    if (!recent_) detail::fail("the snapshot", "empty", "one that a layer has taken");
    detail::require_size("max_levels of the snapshot", max_levels_, stream.max_levels());
    detail::require_size("d_k of the snapshot", key_rows_, stream.key_rows());
    detail::require_size("d_v of the snapshot", d_v_, stream.d_v());
    detail::require_size("the leaves of a token of the snapshot", leaves_, stream.leaves_);
  }

  /// Makes `stream` what it was. \throws std::invalid_argument as `require_shape_of`
  template <class Stream>
  void restore(Stream& stream) const {
    require_shape_of(stream);
    stream.levels_.restore(level_tokens_, magnitude_, levels_.data());
    std::copy(keys_.begin(), keys_.end(), stream.keys_.data());
    std::copy(values_.begin(), values_.end(), stream.values_.data());
    std::copy(factors_.begin(), factors_.end(), stream.factors_.data());
    detail::copy_product(*recent_, stream.recent_);
    stream.pending_ = pending_;
    stream.buffered_ = buffered_;
    stream.growth_ = growth_;
  }
  /// \}

 private:
  template <class Stream>
  explicit StreamSnapshot(const Stream& stream)
      : recent_(stream.recent_), pending_(stream.pending_) {
    write(stream);
  }

  [[nodiscard]] auto members() {
    return std::tie(max_levels_, key_rows_, d_v_, leaves_, buffered_, level_tokens_, magnitude_,
                    growth_, levels_, keys_, values_, factors_, recent_, pending_);
  }

  template <class Stream>
  [[nodiscard]] bool has_shape_of(const Stream& stream) const {
    return recent_ && max_levels_ == stream.max_levels() && key_rows_ == stream.key_rows() &&
           d_v_ == stream.d_v() && leaves_ == stream.leaves_;
  }

  /// Copies everything, products into those of the same shape.
  template <class Stream>
  void write(const Stream& stream) {
    max_levels_ = stream.max_levels();
    key_rows_ = stream.key_rows();
    d_v_ = stream.d_v();
    leaves_ = stream.leaves_;
    level_tokens_ = stream.levels_.size();
    buffered_ = stream.buffered_;
    magnitude_ = stream.levels_.magnitude();
    growth_ = stream.growth_;
    levels_.clear();
    for (int l : stream.levels_.active_levels()) {
      const Stored* const level = stream.levels_.data(l);
      levels_.insert(levels_.end(), level, level + key_rows_ * d_v_);
    }
    const Index n = buffered_ * leaves_;
    keys_.assign(stream.keys_.data(), stream.keys_.data() + n * key_rows_);
    values_.assign(stream.values_.data(), stream.values_.data() + n * d_v_);
    factors_.assign(stream.factors_.data(),
                    stream.factors_.data() + (std::min)(n, stream.factors_.size()));
    detail::copy_product(stream.recent_, *recent_);
    pending_ = stream.pending_;
  }

  int max_levels_ = 0;
  Index key_rows_ = 0, d_v_ = 0, leaves_ = 0, buffered_ = 0;
  std::uint64_t level_tokens_ = 0;  // those that are in levels
  double magnitude_ = 0, growth_ = 1;
  std::vector<Stored> levels_{};  // the active ones, lowest first
  std::vector<Scalar> keys_{}, values_{}, factors_{};
  std::optional<detail::RecentProduct<Kind>> recent_{};
  std::vector<detail::PendingProduct<Kind>> pending_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_SNAPSHOT_HPP
