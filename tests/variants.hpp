// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_VARIANTS_HPP
#define LOGLINEAR_TESTS_VARIANTS_HPP

// Rules and level weights with hyperparameters that take every path, made from what each says of
// itself.

#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "loglinear/rules.hpp"

namespace loglinear::test {

/// Sets every number of a rule to its example.
template <class Described>
void set_examples(Described& described) {
  Described::hyperparameters(described, [](const Hyperparameter& parameter, auto& value) {
    using Value = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, int> || std::is_same_v<Value, double> ||
                  std::is_same_v<Value, std::optional<double>>) {
      value = static_cast<Value>(parameter.example);
    }
  });
}

/// The rule with every combination of those hyperparameters that are words.
template <class Described>
[[nodiscard]] std::vector<Described> with_all_words(const Described& first) {
  std::vector<Described> all = {first};
  std::size_t place = 0;
  Described::hyperparameters(first, [&](const Hyperparameter&, const auto& word) {
    using Word = std::remove_cvref_t<decltype(word)>;
    const std::size_t here = place++;
    if constexpr (std::is_same_v<Word, bool> || std::is_enum_v<Word>) {
      std::vector<Described> more;
      for (const Described& one : all) {
        for (std::size_t value = 0; value < words_of(word).size(); ++value) {
          Described& other = more.emplace_back(one);
          std::size_t at = 0;
          Described::hyperparameters(other, [&](const Hyperparameter&, auto& member) {
            if constexpr (std::is_same_v<std::remove_reference_t<decltype(member)>, Word>) {
              if (at == here) member = static_cast<Word>(value);
            }
            ++at;
          });
        }
      }
      all.swap(more);
    }
  });
  return all;
}

/// Every combination of words, numbers as in the examples.
template <class Described>
[[nodiscard]] std::vector<Described> examples_of() {
  Described first;
  set_examples(first);
  return with_all_words(first);
}

/// A rule and its hyperparameters, for messages.
template <class Rule>
[[nodiscard]] std::string described(const Rule& rule) {
  std::string text(Rule::info.name);
  text += '<' + std::to_string(detail::leaves_of<Rule>()) + ">(";
  Rule::hyperparameters(rule, [&](const Hyperparameter& parameter, const auto& value) {
    text += std::string(parameter.name) + '=' + std::to_string(static_cast<double>(value)) + ' ';
  });
  return text + ')';
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_VARIANTS_HPP
