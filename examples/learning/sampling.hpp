// SPDX-License-Identifier: MIT
#ifndef LEARNING_SAMPLING_HPP
#define LEARNING_SAMPLING_HPP

// Draws that are the same on every machine, and generators that need no saving: every instance has
// a generator of its own, found by numbers that say which instance it is.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <loglinear/random.hpp>
#include <numeric>
#include <vector>

namespace learning {

/// A generator for the thing that these numbers name, for instance {seed, step, row}: their mix by
/// the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
[[nodiscard]] inline loglinear::Xorshift64 generator_of(
    std::initializer_list<std::uint64_t> numbers) {
  std::uint64_t mixed = 0;
  for (const std::uint64_t number : numbers) {
    mixed += number + 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    mixed ^= mixed >> 31;
  }
  return loglinear::Xorshift64(mixed == 0 ? 1 : mixed);
}

/// Uniform in [low, high); low < high.
[[nodiscard]] inline std::int64_t between(loglinear::Xorshift64& random, std::int64_t low,
                                          std::int64_t high) {
  return low + static_cast<std::int64_t>(random.uniform() * static_cast<double>(high - low));
}

/// `count` different numbers of [low, high), every ordered choice equally likely: the first steps
/// of Fisher and Yates' shuffle.
[[nodiscard]] inline std::vector<std::int64_t> distinct(loglinear::Xorshift64& random,
                                                        std::int64_t low, std::int64_t high,
                                                        std::size_t count) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(high - low));
  std::iota(all.begin(), all.end(), low);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t j =
        between(random, static_cast<std::int64_t>(i), static_cast<std::int64_t>(all.size()));
    std::swap(all[i], all[static_cast<std::size_t>(j)]);
  }
  all.resize(count);
  return all;
}

/// `count` different indices, drawn one after the other, each with the probability that its weight
/// has among those left. The order in which independent clocks of these rates ring is just that
/// (Efraimidis and Spirakis 2006).
[[nodiscard]] inline std::vector<std::int64_t> weighted_distinct(loglinear::Xorshift64& random,
                                                                 const std::vector<double>& weights,
                                                                 std::size_t count) {
  std::vector<double> rings(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    rings[i] = -std::log1p(-random.uniform()) / weights[i];
  }
  std::vector<std::int64_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return rings[static_cast<std::size_t>(a)] < rings[static_cast<std::size_t>(b)];
  });
  order.resize(count);
  return order;
}

}  // namespace learning

#endif  // LEARNING_SAMPLING_HPP
