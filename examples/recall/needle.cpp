// SPDX-License-Identifier: MIT
#include "needle.hpp"

#include <loglinear/detail/base/checks.hpp>

#include "sampling.hpp"

namespace recall {

using namespace learning;

Needle::Needle(std::int64_t vocabulary) : vocabulary_(vocabulary) {
  if (vocabulary < 4) loglinear::detail::fail("vocabulary", vocabulary, "at least 4");
}

void Needle::require_legal(const Setting& setting) const {
  if (setting.length < 3) loglinear::detail::fail("length", setting.length, "at least 3");
}

void Needle::hide(Instance& instance, std::int64_t position, std::int64_t value) {
  const auto at = static_cast<std::size_t>(position);
  const std::size_t last = instance.tokens.size() - 1;
  instance.tokens[at] = marker;
  instance.tokens[at + 1] = value;
  instance.tokens[last] = question;
  instance.labels[last] = value;
  instance.groups[last] = static_cast<std::int64_t>(10 * at / (last - 1));  // of last - 1 places
}

Instance Needle::draw(loglinear::Xorshift64& random, const Setting& setting, Part) const {
  Instance instance(setting.length);
  for (std::int64_t& token : instance.tokens) token = between(random, first_word, vocabulary_);
  const std::int64_t position = between(random, 0, setting.length - 2);
  hide(instance, position, between(random, first_word, vocabulary_));
  return instance;
}

}  // namespace recall
