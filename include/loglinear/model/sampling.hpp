// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_SAMPLING_HPP
#define LOGLINEAR_MODEL_SAMPLING_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/random.hpp"

namespace loglinear {

/// How the next token is chosen.
struct SamplingOptions {
  double temperature = 1;   ///< logits are divided by it, finite and >= 0; 0 takes the most likely
  Eigen::Index top_k = 0;   ///< only so many of the most likely tokens are drawn; 0 for all
  std::uint64_t seed = 42;  ///< of the draws, at least 1
};

/// Draws tokens from logits: token i with probability proportional to exp(logits_i / temperature)
/// among the top_k most likely. Where logits are the same, lower numbers count as more likely. The
/// same seed draws the same tokens.
class Sampler {
 public:
  /// \throws std::invalid_argument for an option out of its range
  explicit Sampler(const SamplingOptions& options = {}) : options_(options), random_(options.seed) {
    if (!(options.temperature >= 0) || !detail::is_finite(options.temperature)) {
      detail::fail("temperature", options.temperature, "finite and at least 0");
    }
    detail::require_between("top_k", options.top_k, Eigen::Index{0}, Eigen::Index{1} << 30);
  }

  /// The next token. O(n) for n logits, with top_k O(n log n). Allocates.
  /// \param logits  a vector of at least one number
  /// \throws std::invalid_argument where one is not finite
  template <class Derived>
  std::int32_t operator()(const Eigen::MatrixBase<Derived>& logits) {
    static_assert(Derived::IsVectorAtCompileTime, "a Sampler takes the logits of one token");
    detail::require_positive("the number of logits", logits.size());
    std::vector<double> values(static_cast<std::size_t>(logits.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<double>(logits.derived()[static_cast<Eigen::Index>(i)]);
    }
    detail::require_finite("logits", values.data(), logits.size());
    return draw(values);
  }

 private:
  std::int32_t draw(const std::vector<double>& logits) {
    std::vector<std::size_t> order(logits.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto likelier = [&](std::size_t a, std::size_t b) {
      return logits[a] > logits[b] || (!(logits[b] > logits[a]) && a < b);
    };
    const std::size_t best = *std::min_element(order.begin(), order.end(), likelier);
    if (!(options_.temperature > 0)) return static_cast<std::int32_t>(best);
    const auto kept = static_cast<std::size_t>(options_.top_k);
    if (kept > 0 && kept < order.size()) {
      std::partial_sort(order.begin(), order.begin() + options_.top_k, order.end(), likelier);
      order.resize(kept);
    }
    std::vector<double> sums;
    double sum = 0;
    for (const std::size_t i : order) {
      sum += std::exp((logits[i] - logits[best]) / options_.temperature);
      sums.push_back(sum);
    }
    const double drawn = random_.uniform() * sum;
    const auto found = std::upper_bound(sums.begin(), sums.end() - 1, drawn);
    return static_cast<std::int32_t>(order[static_cast<std::size_t>(found - sums.begin())]);
  }

  SamplingOptions options_;
  Xorshift64 random_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODEL_SAMPLING_HPP
