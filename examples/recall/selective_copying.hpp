// SPDX-License-Identifier: MIT
#ifndef RECALL_SELECTIVE_COPYING_HPP
#define RECALL_SELECTIVE_COPYING_HPP

#include <cstdint>
#include <vector>

#include "task.hpp"

namespace recall {

/// Selective copying (Gu and Dao, arXiv:2312.00752, section 3.1): a few words between blanks, to be
/// said again in their order.
///
///     tokens   blanks 0 with n words at random places | n times the token 1
///     labels   none                                   | the words
///
/// Words are uniform in [2, V) and may repeat. Groups: the number of the word, from 0.
class SelectiveCopying : public learning::Task {
 public:
  static constexpr std::int64_t blank = 0, say = 1, first_word = 2;

  /// \throws std::invalid_argument unless `vocabulary` is at least 4
  explicit SelectiveCopying(std::int64_t vocabulary);

  [[nodiscard]] std::int64_t vocabulary() const override { return vocabulary_; }
  /// The length must be at least two tokens a word.
  void require_legal(const learning::Setting& setting) const override;
  [[nodiscard]] learning::Instance draw(loglinear::Xorshift64& random,
                                        const learning::Setting& setting,
                                        learning::Part part) const override;

  /// The instance of these words at these places, which ascend.
  [[nodiscard]] static learning::Instance laid_out(const std::vector<std::int64_t>& words,
                                                   const std::vector<std::int64_t>& places,
                                                   std::int64_t length);

 private:
  std::int64_t vocabulary_;
};

}  // namespace recall

#endif  // RECALL_SELECTIVE_COPYING_HPP
