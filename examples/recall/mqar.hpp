// SPDX-License-Identifier: MIT
#ifndef RECALL_MQAR_HPP
#define RECALL_MQAR_HPP

#include <cstdint>
#include <vector>

#include "task.hpp"

namespace recall {

/// Multi-query associative recall as Zoology defines it (Arora et al., arXiv:2312.04927,
/// `multiquery_ar` of its code): pairs of a key and its value, then every key once more, where its
/// value is the label.
///
///     keys from [1, V/2), values from [V/2, V), each without repetition
///     tokens   k_0 v_0 ... k_{n-1} v_{n-1} | slots of two tokens: a key and a filler, or two
///     fillers
///
/// The n slots in use are drawn one after the other without repetition, slot i with probability
/// proportional to a (i + 1)^(a - 1), a = 0.01, for k_0 first. The filler is 0, or each a token
/// from all of [0, V). Groups: octaves of the distance from a query back to its key.
class Mqar : public learning::Task {
 public:
  static constexpr double power = 0.01;  ///< a

  /// \throws std::invalid_argument unless `vocabulary` is at least 4
  Mqar(std::int64_t vocabulary, bool random_filler);

  [[nodiscard]] std::int64_t vocabulary() const override { return vocabulary_; }
  /// The length must be even and at least 4 pairs; there must be enough keys. Zoology demands
  /// V > length as well, which nothing here depends on.
  void require_legal(const learning::Setting& setting) const override;
  [[nodiscard]] learning::Instance draw(loglinear::Xorshift64& random,
                                        const learning::Setting& setting,
                                        learning::Part part) const override;

  /// The instance of these keys, values and slots, with filler 0.
  [[nodiscard]] static learning::Instance laid_out(const std::vector<std::int64_t>& keys,
                                                   const std::vector<std::int64_t>& values,
                                                   const std::vector<std::int64_t>& slots,
                                                   std::int64_t length);

 private:
  std::int64_t vocabulary_;
  bool random_filler_;
};

}  // namespace recall

#endif  // RECALL_MQAR_HPP
