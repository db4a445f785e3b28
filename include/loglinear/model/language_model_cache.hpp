// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_LANGUAGE_MODEL_CACHE_HPP
#define LOGLINEAR_MODEL_LANGUAGE_MODEL_CACHE_HPP

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include "loglinear/mixers/mixer_cache.hpp"
#include "loglinear/model/attention_cache.hpp"

namespace loglinear {

template <class Scalar>
class LanguageModel;

/// Where a stream through a `LanguageModel` stands: the cache of each of its blocks.
///
/// `LanguageModel::make_cache` makes an empty one. It is a plain value: a copy is a snapshot, and
/// assigning it back takes tokens back, to the bit. Its size stays the same, except for blocks of
/// attention, which grow up to their window, or for ever without one.
template <class Scalar>
class LanguageModelCache {
 public:
  /// The cache of one block.
  using Layer = std::variant<MixerCache<Scalar>, AttentionCache<Scalar>>;

  LanguageModelCache(const LanguageModelCache&) = default;
  LanguageModelCache(LanguageModelCache&&) noexcept = default;
  /// If it throws std::bad_alloc, the cache stays as it was.
  LanguageModelCache& operator=(const LanguageModelCache& other) {
    return *this = LanguageModelCache(other);
  }
  LanguageModelCache& operator=(LanguageModelCache&&) noexcept = default;
  ~LanguageModelCache() = default;

  /// Tokens seen since the cache was made or reset; 0 if it was moved from.
  [[nodiscard]] std::uint64_t size() const {
    if (layers_.empty()) return 0;
    return std::visit([](const auto& layer) { return layer.size(); }, layers_.front());
  }
  /// The caches of the blocks, in order.
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  /// Bytes of all coefficients.
  [[nodiscard]] std::size_t memory_bytes() const {
    std::size_t sum = 0;
    for (const Layer& layer : layers_) {
      sum += std::visit([](const auto& one) { return one.memory_bytes(); }, layer);
    }
    return sum;
  }

  /// Back to the beginning of a stream. Does not allocate.
  void reset() noexcept {
    for (Layer& layer : layers_) {
      if (auto* const mixer = std::get_if<0>(&layer)) mixer->reset();
      if (auto* const attention = std::get_if<1>(&layer)) attention->reset();
    }
  }

  /// Whether both streams stand at the same place with the same numbers.
  [[nodiscard]] bool operator==(const LanguageModelCache&) const = default;

 private:
  friend class LanguageModel<Scalar>;
  explicit LanguageModelCache(std::vector<Layer> layers) : layers_(std::move(layers)) {}

  std::vector<Layer> layers_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODEL_LANGUAGE_MODEL_CACHE_HPP
