// SPDX-License-Identifier: MIT
// A job that keeps a checkpoint, for killed.sh: rounds of 64 tokens of one stream, shared out over
// the ranks; after each the state is on rank 0, which replaces the checkpoint.
//
//   killed CHECKPOINT ROUNDS [KILLED [throws]]
//
// goes on from the checkpoint if there is one, until so many rounds are done. In round KILLED the
// last rank kills itself, or throws where no other does.

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "loglinear/checkpoint.hpp"
#include "loglinear/mpi.hpp"
#include "sequence/tokens.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr Index length = 64;

void run(const std::string& path, int rounds, int killed, bool throws) {
  const mpi::Ranks ranks;
  LogLinearState<double> state(8, 4, 3);
  if (std::filesystem::exists(path)) load(path, state);  // every rank; rank 0's is looked at
  while (state.size() < static_cast<std::uint64_t>(rounds * length)) {
    const int round = static_cast<int>(state.size() / length);
    test::Random random(static_cast<std::uint64_t>(round));
    const Kind kind{.decay = test::Decay::scalar, .update = test::Update::delta};
    const auto tokens = random_tokens<double>(random, kind, length, 4, 3, 9);
    const Index first = ranks.rank() * length / ranks.count();
    const Index end = (ranks.rank() + 1) * length / ranks.count();
    if (round == killed && ranks.is_last()) {
      if (throws) throw std::runtime_error("out of luck");
      std::raise(SIGKILL);
    }
    static_cast<void>(mpi::chunkwise(tokens.inputs().slice(first, end - first), state, ranks));
    mpi::broadcast(state, ranks.count() - 1, ranks);
    if (ranks.is_first()) save(path, state);
  }
  if (ranks.is_first()) {
    std::printf("%d tokens, the state's norm is %.9f\n", static_cast<int>(state.size()),
                state.flat_state().norm());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const mpi::Environment environment(argc, argv);
  try {
    run(argv[1], std::atoi(argv[2]), argc > 3 ? std::atoi(argv[3]) : -1, argc > 4);
  } catch (const std::exception& error) {
    environment.end_job(error.what());
  }
}
