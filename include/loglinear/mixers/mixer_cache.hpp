// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_MIXER_CACHE_HPP
#define LOGLINEAR_MIXERS_MIXER_CACHE_HPP

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear {

template <class Scalar, class Mixer>
class TokenMixer;

namespace detail {

template <class Scalar>
class StagedTokens;

/// The sizes of a mixer on which its cache depends.
struct MixerShape {
  Index hidden_size = 0, heads = 0, d_k = 0, d_v = 0;
  int num_levels = 0;                     // level weights, one more than the state's levels
  Index conv_kernel = 1;                  // taps
  std::vector<Index> conv_channels = {};  // of each short convolution
  Index chunk_size = 64;
};

/// The inputs before the first token.
template <class Scalar>
[[nodiscard]] std::vector<RowMajorMatrix<Scalar>> empty_convolutions(const MixerShape& shape) {
  std::vector<RowMajorMatrix<Scalar>> all;
  for (const Index channels : shape.conv_channels) {
    all.push_back(RowMajorMatrix<Scalar>::Zero(shape.conv_kernel - 1, channels));
  }
  return all;
}

}  // namespace detail

/// Where a stream through a mixer stands: the last inputs of its short convolutions and the
/// hierarchy of each head, the counterpart of flash-linear-attention's `conv_state` and
/// `recurrent_state`.
///
/// Made empty by `TokenMixer::make_cache`, for mixers of the same options. A plain value of
/// constant size: (K - 1) x channels numbers a convolution and levels x d_k x d_v a head; copy it
/// to branch a stream.
template <class Scalar>
class MixerCache {
 public:
  using Matrix = detail::RowMajorMatrix<Scalar>;

  MixerCache(const MixerCache&) = default;
  MixerCache(MixerCache&&) noexcept = default;
  /// Becomes a copy; if that throws std::bad_alloc, nothing is changed.
  MixerCache& operator=(const MixerCache& other) { return *this = MixerCache(other); }
  MixerCache& operator=(MixerCache&&) noexcept = default;
  ~MixerCache() = default;

  /// Tokens seen since the cache was made or reset; 0 if it was moved from.
  [[nodiscard]] std::uint64_t size() const { return states_.empty() ? 0 : states_.front().size(); }
  /// Number of heads, at least 1; 0 if it was moved from, and every mixer refuses it then.
  [[nodiscard]] Eigen::Index num_heads() const { return static_cast<Eigen::Index>(states_.size()); }
  /// The hierarchy of one head. \throws std::invalid_argument unless 0 <= head < num_heads
  [[nodiscard]] const LogLinearState<Scalar>& state(Eigen::Index head) const {
    detail::require_between("head", head, Eigen::Index{0}, num_heads() - 1);
    return states_[static_cast<std::size_t>(head)];
  }
  /// The last K - 1 inputs of each short convolution, the newest in the last row.
  [[nodiscard]] const std::vector<Matrix>& convolution_inputs() const { return convolutions_; }

  /// Bytes of all coefficients, the same however long the stream is.
  [[nodiscard]] std::size_t memory_bytes() const {
    std::size_t sum = 0;
    for (const auto& inputs : convolutions_) sum += static_cast<std::size_t>(inputs.size());
    for (const auto& state : states_) sum += static_cast<std::size_t>(state.flat_state().size());
    return sum * sizeof(Scalar);
  }

  /// Back to the beginning of a stream. Does not allocate.
  void reset() noexcept {
    for (auto& state : states_) state.reset();
    for (auto& inputs : convolutions_) inputs.setZero();
  }

  /// Whether both streams stand at the same place with the same numbers.
  [[nodiscard]] bool operator==(const MixerCache&) const = default;

 private:
  template <class, class>
  friend class TokenMixer;
  template <class>
  friend class detail::StagedTokens;
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (std::size_t i = 0; i < self.convolutions_.size(); ++i) {
      part("convolution" + std::to_string(i), self.convolutions_[i]);
    }
    for (std::size_t h = 0; h < self.states_.size(); ++h) {
      part("head" + std::to_string(h), self.states_[h]);
      if (self.states_[h].size() != self.size()) {
        detail::fail("size of head " + std::to_string(h), self.states_[h].size(),
                     "that of head 0, " + std::to_string(self.size()));
      }
    }
  }

  /// Whether it was made for a mixer of that shape.
  [[nodiscard]] bool fits(const detail::MixerShape& shape) const {
    bool fits = num_heads() == shape.heads && convolutions_.size() == shape.conv_channels.size();
    for (std::size_t i = 0; fits && i < shape.conv_channels.size(); ++i) {
      fits = convolutions_[i].rows() == shape.conv_kernel - 1 &&
             convolutions_[i].cols() == shape.conv_channels[i];
    }
    return fits && states_[0].max_levels() == shape.num_levels - 1 &&
           states_[0].d_k() == shape.d_k && states_[0].d_v() == shape.d_v;
  }

  MixerCache(std::vector<Matrix> convolutions, std::vector<LogLinearState<Scalar>> states)
      : convolutions_(std::move(convolutions)), states_(std::move(states)) {}

  std::vector<Matrix> convolutions_;
  std::vector<LogLinearState<Scalar>> states_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_MIXER_CACHE_HPP
