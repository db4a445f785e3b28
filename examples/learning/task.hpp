// SPDX-License-Identifier: MIT
#ifndef LEARNING_TASK_HPP
#define LEARNING_TASK_HPP

#include <bit>
#include <cstddef>
#include <cstdint>
#include <loglinear/random.hpp>
#include <vector>

namespace learning {

/// The label of a position where nothing is asked.
inline constexpr std::int64_t no_label = -100;

/// One sequence: what the model sees, what it should say, and by what its answers are told apart
/// when they are counted. All of one length.
struct Instance {
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> labels;  ///< `no_label` where nothing is asked
  std::vector<std::int64_t> groups;  ///< for instance a distance; read where there is a label

  explicit Instance(std::int64_t length, std::int64_t filler = 0)
      : tokens(static_cast<std::size_t>(length), filler),
        labels(tokens.size(), no_label),
        groups(tokens.size(), 0) {}
};

/// What may differ from batch to batch.
struct Setting {
  std::int64_t length = 128;  ///< tokens
  std::int64_t items = 32;    ///< pairs of MQAR, tokens to copy; other tasks ignore it

  friend bool operator==(const Setting&, const Setting&) = default;
};

/// Training and evaluation never share text; generated instances never share a generator.
enum class Part { training, evaluation };

/// A source of instances.
class Task {
 public:
  virtual ~Task() = default;

  /// Tokens and labels are below it.
  [[nodiscard]] virtual std::int64_t vocabulary() const = 0;
  /// \throws std::invalid_argument if there are no instances of this setting
  virtual void require_legal(const Setting& setting) const = 0;
  /// An instance of a legal setting.
  [[nodiscard]] virtual Instance draw(loglinear::Xorshift64& random, const Setting& setting,
                                      Part part) const = 0;
};

/// The group of distances 2^i to 2^(i + 1) - 1: its first one. n >= 1.
[[nodiscard]] inline std::int64_t octave_of(std::int64_t n) {
  return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(n)));
}

}  // namespace learning

#endif  // LEARNING_TASK_HPP
