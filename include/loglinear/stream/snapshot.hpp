// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_SNAPSHOT_HPP
#define LOGLINEAR_STREAM_SNAPSHOT_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/stream/detail/leaf_buffer.hpp"
#include "loglinear/stream/detail/levels_moment.hpp"
#include "loglinear/stream/detail/pending_tiers.hpp"
#include "loglinear/stream/detail/stream_shape.hpp"

namespace loglinear {

/// A moment of a stream: what a layer remembers, in its internal form. A layer that is restored to
/// it goes on bit for bit as it did from there. It holds neither weights nor hyperparameters: a
/// layer takes it if max_levels, d_k, d_v and the number of leaves a token are the same and its
/// rule has the same kind of transition.
///
/// It holds the active levels, the buffered leaves and the products of transitions that levels have
/// yet to undergo: about `active_level_count()` matrices. It grows to the largest moment it has
/// held and then never allocates again. It is a plain value that refers to no layer: copy it, move
/// it and keep it as long as you like.
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
  StreamSnapshot(const StreamSnapshot&) = default;  ///< allocates
  StreamSnapshot(StreamSnapshot&& other) noexcept {
    *this = std::move(other);
  }  ///< empties `other`
  StreamSnapshot& operator=(const StreamSnapshot& other) {
    return *this = StreamSnapshot(other);
  }  ///< allocates; where that throws, nothing is changed
  StreamSnapshot& operator=(StreamSnapshot&& other) noexcept {
    held_.swap(other.held_);
    return *this;
  }  ///< exchanges both

  /// Tokens that the stream had taken.
  [[nodiscard]] std::uint64_t size() const noexcept {
    return held_ ? held_->levels.size() + static_cast<std::uint64_t>(held_->buffer.count()) : 0;
  }

  /// Bytes of the levels and leaves that it holds, which taking and restoring it copies. Products
  /// of transitions are not counted.
  [[nodiscard]] std::size_t byte_count() const noexcept {
    return held_ ? held_->levels.byte_count() + held_->buffer.byte_count() : 0;
  }

  /// \name For layers
  /// \{

  /// Makes room for what `stream` is now; what is held stays.
  /// \return false where another shape is held, or nothing
  template <class Stream>
  [[nodiscard]] bool reserve(const Stream& stream) {
    if (!held_ || !(held_->shape == stream.shape())) return false;
    held_->levels.reserve(stream.levels());
    held_->buffer.reserve(stream.buffer());
    return true;
  }

  /// Takes over what `stream` is now. If it throws, what it held before stays.
  template <class Stream>
  void take(const Stream& stream) {
    if (!reserve(stream)) {
      *this = StreamSnapshot(stream);
    } else {
      held_->levels.take(stream.levels());
      held_->buffer.assign(stream.buffer());
      held_->tiers.assign(stream.tiers());
    }
  }

  /// \throws std::invalid_argument where nothing is held, or `stream` has another shape
  template <class Stream>
  void require_shape_of(const Stream& stream) const {
    if (!held_) detail::fail("the snapshot", "empty", "one that a layer has taken");
    const detail::StreamShape own = held_->shape, other = stream.shape();
    detail::require_size("max_levels of the snapshot", own.max_levels, other.max_levels);
    detail::require_size("d_k of the snapshot", own.key_rows, other.key_rows);
    detail::require_size("d_v of the snapshot", own.d_v, other.d_v);
    detail::require_size("the leaves of a token of the snapshot", own.leaves, other.leaves);
  }

  /// Makes `stream` what it was. \throws std::invalid_argument as `require_shape_of`
  template <class Stream>
  void restore(Stream& stream) const {
    require_shape_of(stream);
    held_->levels.restore(stream.levels());
    stream.buffer().assign(held_->buffer);
    stream.tiers().assign(held_->tiers);
  }
  /// \}

 private:
  /// The values of a stream, without memory for what the stream does not hold.
  struct Held {
    template <class Stream>
    explicit Held(const Stream& stream)
        : shape(stream.shape()),
          buffer(stream.buffer().level(), shape.leaves, shape.key_rows, shape.d_v,
                 stream.buffer().count()),
          tiers(stream.tiers()) {
      levels.take(stream.levels());
      buffer.assign(stream.buffer());
    }

    detail::StreamShape shape;
    detail::LevelsMoment<Stored> levels{};
    detail::LeafBuffer<Kind> buffer;
    detail::PendingTiers<Kind, Stored> tiers;
  };

  template <class Stream>
  explicit StreamSnapshot(const Stream& stream) : held_(std::in_place, stream) {}

  std::optional<Held> held_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_SNAPSHOT_HPP
