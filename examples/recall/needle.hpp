// SPDX-License-Identifier: MIT
#ifndef RECALL_NEEDLE_HPP
#define RECALL_NEEDLE_HPP

#include <cstdint>

#include "task.hpp"

namespace recall {

/// A needle in a stream of distractors: somewhere a marker and a value, at the end a question for
/// the value.
///
///     tokens   distractor ... distractor 0 value distractor ... distractor 1
///     label    of the last token: value
///
/// Value and distractors are uniform in [2, V): only the marker tells them apart. The marker's
/// position is uniform; groups are its depth in tenths, 0 at the beginning and 9 next to the
/// question.
class Needle : public learning::Task {
 public:
  static constexpr std::int64_t marker = 0, question = 1, first_word = 2;

  /// \throws std::invalid_argument unless `vocabulary` is at least 4
  explicit Needle(std::int64_t vocabulary);

  [[nodiscard]] std::int64_t vocabulary() const override { return vocabulary_; }
  /// The length must be at least 3.
  void require_legal(const learning::Setting& setting) const override;
  [[nodiscard]] learning::Instance draw(loglinear::Xorshift64& random,
                                        const learning::Setting& setting,
                                        learning::Part part) const override;

  /// Puts marker, value and question into an instance full of distractors.
  static void hide(learning::Instance& instance, std::int64_t position, std::int64_t value);

 private:
  std::int64_t vocabulary_;
};

}  // namespace recall

#endif  // RECALL_NEEDLE_HPP
