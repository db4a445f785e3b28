// SPDX-License-Identifier: MIT
#include "mqar.hpp"

#include <cmath>
#include <loglinear/detail/base/checks.hpp>
#include <string>

#include "sampling.hpp"

namespace recall {

using namespace learning;

Mqar::Mqar(std::int64_t vocabulary, bool random_filler)
    : vocabulary_(vocabulary), random_filler_(random_filler) {
  if (vocabulary < 4) loglinear::detail::fail("vocabulary", vocabulary, "at least 4");
}

void Mqar::require_legal(const Setting& setting) const {
  loglinear::detail::require_between("pairs", setting.items, std::int64_t{1}, vocabulary_ / 2 - 1);
  if (setting.length % 2 != 0 || setting.length < 4 * setting.items) {
    loglinear::detail::fail(
        "length", setting.length,
        "even and at least " + std::to_string(4 * setting.items) + ", four tokens a pair");
  }
}

Instance Mqar::laid_out(const std::vector<std::int64_t>& keys,
                        const std::vector<std::int64_t>& values,
                        const std::vector<std::int64_t>& slots, std::int64_t length) {
  Instance instance(length);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::size_t key = 2 * i;
    const std::size_t query = 2 * keys.size() + 2 * static_cast<std::size_t>(slots[i]);
    instance.tokens[key] = keys[i];
    instance.tokens[key + 1] = values[i];
    instance.tokens[query] = keys[i];
    instance.labels[query] = values[i];
    instance.groups[query] = octave_of(static_cast<std::int64_t>(query - key));
  }
  return instance;
}

Instance Mqar::draw(loglinear::Xorshift64& random, const Setting& setting, Part) const {
  const auto pairs = static_cast<std::size_t>(setting.items);
  const std::vector<std::int64_t> keys = distinct(random, 1, vocabulary_ / 2, pairs);
  const std::vector<std::int64_t> values = distinct(random, vocabulary_ / 2, vocabulary_, pairs);
  std::vector<double> weights(static_cast<std::size_t>((setting.length - 2 * setting.items) / 2));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] = power * std::pow(static_cast<double>(i + 1), power - 1);
  }
  Instance instance =
      laid_out(keys, values, weighted_distinct(random, weights, pairs), setting.length);
  if (random_filler_) {
    for (std::int64_t& token : instance.tokens) {
      if (token == 0) token = between(random, 0, vocabulary_);
    }
  }
  return instance;
}

}  // namespace recall
