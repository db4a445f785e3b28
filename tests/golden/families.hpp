// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_GOLDEN_FAMILIES_HPP
#define LOGLINEAR_TESTS_GOLDEN_FAMILIES_HPP

#include <functional>
#include <map>
#include <string>

#include "case.hpp"

namespace loglinear::test {

/// Replays one case from its inputs alone and compares everything it has on record.
using Replay = std::function<void(const Case&, Comparison&)>;

void replay_layer(const Case& golden, Comparison& compare);
void replay_layer_init(const Case& golden, Comparison& compare);
void replay_recall(const Case& golden, Comparison& compare);
void replay_heads(const Case& golden, Comparison& compare);
void replay_sequence(const Case& golden, Comparison& compare);
void replay_grad(const Case& golden, Comparison& compare);
void replay_rule(const Case& golden, Comparison& compare);
void replay_mlstm(const Case& golden, Comparison& compare);
void replay_mamba3(const Case& golden, Comparison& compare);

/// Reads and final state of a sequence by the dense, the recurrent and the chunkwise form.
void compare_forms(const Case& golden, Comparison& compare);

/// Whether a mode of the golden cases normalises its key; throws for a name that is not a mode.
[[nodiscard]] bool has_normalised_key(const std::string& mode);

/// The families that are known; the others are skipped.
[[nodiscard]] inline std::map<std::string, Replay> families() {
  return {
      {"layer", replay_layer}, {"layer_init", replay_layer_init}, {"recall", replay_recall},
      {"heads", replay_heads}, {"sequence", replay_sequence},     {"grad", replay_grad},
      {"rule", replay_rule},   {"mlstm", replay_mlstm},           {"mamba3", replay_mamba3},
  };
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_GOLDEN_FAMILIES_HPP
