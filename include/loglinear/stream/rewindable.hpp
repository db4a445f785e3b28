// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_REWINDABLE_HPP
#define LOGLINEAR_STREAM_REWINDABLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "loglinear/detail/base/alive.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear {

/// A layer whose last tokens can be taken back, any number of them up to `depth`, bit for bit. Use
/// it for speculative decoding, where a draft of several tokens is tried and its wrong end dropped,
/// and for late corrections of a stream.
///
/// It keeps a snapshot for every `snapshot_every` tokens, and the inputs x_t. To take tokens back
/// it restores the last snapshot before them and repeats the tokens in between. That is exact
/// because the weights cannot change meanwhile: the layer inside is read-only but for `forward`.
///
/// With E = `snapshot_every`, N = `depth` and a state of A active levels:
///
/// * `forward` costs what the layer's does, and one snapshot every E tokens, which copies A/E
///   matrices a token on average;
/// * `rewind` takes one snapshot, restores another and repeats up to E - 1 tokens, (E - 1)/2 on
///   average;
/// * memory holds at most ceil(N/E) + 2 snapshots and N + E inputs of d_model numbers.
///
/// The constructor makes room for up to 1024 inputs; room for more is allocated as tokens come.
/// Once that has ended, and every snapshot, that of `rewind` included, has held as many active
/// levels as there can be, neither call allocates. N and E may be up to 2^63 - 1. If E is larger
/// than the stream, its beginning is the only snapshot: a rewind then repeats the stream from
/// there, and every input is kept.
///
/// \tparam Layer_  `LogLinearAttention<...>`, `LinearAttention<...>` or `MultiHeadAttention<...>`
template <class Layer_>
class Rewindable {
 public:
  using Layer = Layer_;
  using Scalar = typename Layer::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;

  /// How much is kept; `depth` must be given.
  struct Options {
    Index depth = 0;            ///< tokens that can be taken back at any time, at least 1
    Index snapshot_every = 16;  ///< tokens from one snapshot to the next, at least 1, no bound
  };

  /// Takes over a layer with its stream; the tokens in it cannot be taken back.
  /// \throws std::invalid_argument for an option out of its range
  Rewindable(Layer layer, const Options& options)
      : layer_(std::move(layer)), depth_(options.depth), every_(options.snapshot_every) {
    detail::require_positive("depth", depth_);
    detail::require_positive("snapshot_every", every_);
    snapshots_.resize(static_cast<std::size_t>((std::min)(most_snapshots(), first_room)));
    inputs_.resize(layer_.d_model(), static_cast<Index>((std::min)(most_inputs(), first_room)));
    x_.resize(layer_.d_model());
  }

  Rewindable(const Rewindable&) = default;  ///< allocates
  Rewindable(Rewindable&&) = default;       ///< leaves one that refuses use until it is assigned to
  Rewindable& operator=(const Rewindable& other) { return *this = Rewindable(other); }  ///< a copy
  Rewindable& operator=(Rewindable&&) = default;  ///< as the constructor

  /// Reads and writes a token, as `forward` of the layer does.
  /// \return the output, overwritten by the next call
  /// \throws std::invalid_argument as the layer; nothing is changed then
  template <class In>
  const Vector& forward(const In& x) {
    if (snapshots_.empty()) detail::fail_moved_from("the stream");
    detail::load_vector(x, "x", x_);
    make_room();
    if (position_ % count(every_) == 0) layer_.snapshot(snapshot_at(position_));
    const Vector& output = layer_.forward(x_);
    detail::copy(x_.data(), x_.size(), input(position_));
    ++position_;
    if (position_ - earliest_ > count(depth_)) ++earliest_;
    return output;
  }

  /// `query_readonly` of the layer: reads the state as it stands. \return as `forward`
  template <class In>
  const Vector& query_readonly(const In& x) {
    return layer_.query_readonly(x);
  }

  /// Takes the last `tokens` tokens back: the stream is what it was before them, to the bit.
  /// \throws std::invalid_argument unless 0 <= tokens <= rewindable(); nothing is changed then
  void rewind(Index tokens) {
    detail::require_between("tokens to take back", tokens, Index{0}, rewindable());
    if (tokens > 0) rewind_to(position_ - count(tokens));
  }

  /// How many tokens can be taken back now: `depth`, or fewer near the beginning of the stream and
  /// after a rewind.
  [[nodiscard]] Index rewindable() const noexcept {
    return static_cast<Index>(position_ - earliest_);
  }

  /// The layer as it is now.
  [[nodiscard]] const Layer& layer() const noexcept { return layer_; }

  /// Empties the stream; nothing can be taken back then.
  void reset() noexcept {
    layer_.reset();
    position_ = earliest_ = 0;
  }

 private:
  static constexpr std::uint64_t first_room = 1024;

  /// The final length of the ring of inputs; `most_snapshots` is that of the ring of snapshots.
  [[nodiscard]] std::uint64_t most_inputs() const { return count(depth_) + count(every_); }
  [[nodiscard]] std::uint64_t most_snapshots() const {
    return (count(depth_) - 1) / count(every_) + 2;
  }
  /// Lets a ring grow before the next token when it is full for the first time. It has not wrapped
  /// around then, so that every input and every snapshot stays at its place.
  void make_room() {
    const auto doubled = [](std::uint64_t room, std::uint64_t most) {
      return (std::min)(2 * room, most);
    };
    const auto inputs = count(inputs_.cols());
    if (position_ >= inputs && inputs < most_inputs()) {
      detail::Matrix<Scalar> more(inputs_.rows(),
                                  static_cast<Index>(doubled(inputs, most_inputs())));
      detail::copy(inputs_.data(), inputs_.size(), more.data());
      inputs_.swap(more);
    }
    const std::uint64_t snapshots = snapshots_.size();
    if (position_ / count(every_) >= snapshots && snapshots < most_snapshots()) {
      snapshots_.resize(static_cast<std::size_t>(doubled(snapshots, most_snapshots())));
    }
  }

  [[nodiscard]] static std::uint64_t count(Index tokens) {
    return static_cast<std::uint64_t>(tokens);
  }
  /// Where the input of the token at `position` is kept.
  [[nodiscard]] Scalar* input(std::uint64_t position) {
    return inputs_.data() + static_cast<Index>(position % count(inputs_.cols())) * inputs_.rows();
  }
  [[nodiscard]] typename Layer::Snapshot& snapshot_at(std::uint64_t position) {
    return snapshots_[static_cast<std::size_t>(position / count(every_) % snapshots_.size())];
  }

  /// Restores the last snapshot at or before `position` and repeats the tokens since. If a token
  /// throws, although the layer has taken it before, the stream stays as it was.
  void rewind_to(std::uint64_t position) {
    layer_.snapshot(present_);
    const std::uint64_t kept = position / count(every_) * count(every_);
    layer_.restore(snapshot_at(kept));
    const std::exception_ptr failure = detail::caught([&] {
      for (std::uint64_t t = kept; t < position; ++t) {
        detail::copy(input(t), x_.size(), x_.data());
        layer_.forward(x_);
      }
    });
    if (failure) {
      layer_.restore(present_);
      std::rethrow_exception(failure);
    }
    position_ = position;
  }

  Layer layer_;
  Index depth_, every_;
  std::uint64_t position_ = 0, earliest_ = 0;  // tokens so far; the earliest place to go back to
  std::vector<typename Layer::Snapshot> snapshots_{};
  typename Layer::Snapshot present_{};  // what a rewind that fails goes back to
  detail::Matrix<Scalar> inputs_{};     // column t mod its width: x_t
  Vector x_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_REWINDABLE_HPP
