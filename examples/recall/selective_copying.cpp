// SPDX-License-Identifier: MIT
#include "selective_copying.hpp"

#include <algorithm>
#include <loglinear/detail/base/checks.hpp>
#include <string>

#include "sampling.hpp"

namespace recall {

using namespace learning;

SelectiveCopying::SelectiveCopying(std::int64_t vocabulary) : vocabulary_(vocabulary) {
  if (vocabulary < 4) loglinear::detail::fail("vocabulary", vocabulary, "at least 4");
}

void SelectiveCopying::require_legal(const Setting& setting) const {
  if (setting.items < 1) loglinear::detail::fail("words", setting.items, "at least 1");
  if (setting.length < 2 * setting.items) {
    loglinear::detail::fail(
        "length", setting.length,
        "at least " + std::to_string(2 * setting.items) + ", two tokens a word");
  }
}

Instance SelectiveCopying::laid_out(const std::vector<std::int64_t>& words,
                                    const std::vector<std::int64_t>& places, std::int64_t length) {
  Instance instance(length, blank);
  const std::size_t first = instance.tokens.size() - words.size();
  for (std::size_t i = 0; i < words.size(); ++i) {
    instance.tokens[static_cast<std::size_t>(places[i])] = words[i];
    instance.tokens[first + i] = say;
    instance.labels[first + i] = words[i];
    instance.groups[first + i] = static_cast<std::int64_t>(i);
  }
  return instance;
}

Instance SelectiveCopying::draw(loglinear::Xorshift64& random, const Setting& setting, Part) const {
  const auto count = static_cast<std::size_t>(setting.items);
  std::vector<std::int64_t> words(count);
  for (std::int64_t& word : words) word = between(random, first_word, vocabulary_);
  std::vector<std::int64_t> places = distinct(random, 0, setting.length - setting.items, count);
  std::sort(places.begin(), places.end());
  return laid_out(words, places, setting.length);
}

}  // namespace recall
