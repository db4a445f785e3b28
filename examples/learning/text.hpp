// SPDX-License-Identifier: MIT
#ifndef LEARNING_TEXT_HPP
#define LEARNING_TEXT_HPP

#include <cstdint>
#include <string>

#include "task.hpp"

namespace learning {

/// The next byte of real text: every token is a byte, its label the byte that follows.
///
/// Sequences begin anywhere in one of the two parts of the text. Groups: octaves of the position,
/// counted from 1, that is of the number of bytes that the model has seen.
class Text : public Task {
 public:
  /// Texts to train on and to evaluate on.
  Text(std::string training, std::string evaluation);

  /// The files of a folder whose name ends so, one after the other in the order of their names.
  /// Every tenth of them is for evaluation, of fewer than ten the last tenth of their bytes.
  /// \throws std::invalid_argument if there is none
  [[nodiscard]] static Text of_folder(const std::string& folder, const std::string& ending);

  [[nodiscard]] std::int64_t vocabulary() const override { return 256; }
  /// Both parts must be longer than a sequence.
  void require_legal(const Setting& setting) const override;
  [[nodiscard]] Instance draw(loglinear::Xorshift64& random, const Setting& setting,
                              Part part) const override;

  /// The instance that begins at a byte of a part.
  [[nodiscard]] Instance starting_at(std::int64_t first, std::int64_t length, Part part) const;

  /// The part itself.
  [[nodiscard]] const std::string& part(Part part) const {
    return part == Part::training ? training_ : evaluation_;
  }

 private:
  std::string training_, evaluation_;
};

}  // namespace learning

#endif  // LEARNING_TEXT_HPP
