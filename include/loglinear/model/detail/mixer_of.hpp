// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_DETAIL_MIXER_OF_HPP
#define LOGLINEAR_MODEL_DETAIL_MIXER_OF_HPP

#include <algorithm>
#include <cstdint>
#include <variant>

#include "loglinear/model/detail/block.hpp"
#include "loglinear/model/language_model_options.hpp"

namespace loglinear::detail {

/// The mixer of one block of a model; its weights are drawn from `random`.
template <class Scalar>
[[nodiscard]] typename Block<Scalar>::Mixer mixer_of(const LanguageModelOptions& options,
                                                     Index layer, Xorshift64& random) {
  if (const AttentionLayers* attention = attention_of(options, layer)) {
    const double deviation =
        std::visit([](const auto& o) { return o.initializer_range; }, options.mixer);
    return SlidingWindowAttention<Scalar>(*attention, hidden_size(options), deviation, random);
  }
  auto mixer = options.mixer;
  std::visit([&](auto& o) { o.seed = (std::max)(random.next(), std::uint64_t{1}); }, mixer);
  if (const auto* mamba2 = std::get_if<LogLinearMamba2Options>(&mixer)) {
    return LogLinearMamba2<Scalar>(*mamba2);
  }
  return LogLinearGatedDeltaNet<Scalar>(std::get<LogLinearGatedDeltaNetOptions>(mixer));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODEL_DETAIL_MIXER_OF_HPP
