// SPDX-License-Identifier: MIT
// A long history is ingested by many processes at once and merged into one stream, which then goes
// on live:  mpirun -n 4 many_ranks
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <loglinear/loglinear.hpp>
#include <loglinear/mpi.hpp>

namespace {

using Layer = loglinear::LogLinearAttention<loglinear::GatedDeltaNet>;
using Part = loglinear::StreamPart<Layer, loglinear::PartProduct::matrix>;

/// Token t of the stream, wherever it is asked for.
Eigen::VectorXd token(std::uint64_t t) {
  return Eigen::VectorXd::LinSpaced(8, 0, 7).unaryExpr(
      [t](double i) { return std::sin(0.37 * static_cast<double>(t) * (i + 1)); });
}

void run() {
  const loglinear::mpi::Ranks ranks;
  const std::uint64_t history = 10000, live = 100;
  Layer layer(
      {.d_model = 8, .d_k = 16, .d_v = 8});  // the same seed, so the same weights everywhere

  // Every rank ingests consecutive tokens, from their absolute count on.
  const auto rank = static_cast<std::uint64_t>(ranks.rank());
  const auto count = static_cast<std::uint64_t>(ranks.count());
  const std::uint64_t own = history / count + (rank < history % count ? 1 : 0);
  Part part(layer, loglinear::mpi::count_before(own, ranks));
  while (part.size() < part.first() + own) part.write(token(part.size()));

  // Rank 0 has the stream that has taken them all, and goes on.
  Layer stream = layer;
  loglinear::mpi::append(stream, part, ranks);
  if (!ranks.is_first()) return;
  Layer one_pass = layer;
  for (std::uint64_t t = 0; t < history; ++t) one_pass.forward(token(t));
  double difference = 0;
  for (std::uint64_t t = history; t < history + live; ++t) {
    const Eigen::VectorXd out = stream.forward(token(t));
    difference = std::max(difference, (out - one_pass.forward(token(t))).cwiseAbs().maxCoeff());
  }
  std::printf("%d tokens ingested apart, %d live, %s one pass\n", static_cast<int>(history),
              static_cast<int>(stream.size() - history), difference < 1e-12 ? "as" : "not as");
}

}  // namespace

int main(int argc, char** argv) {
  const loglinear::mpi::Environment environment(argc, argv);
  try {
    run();
  } catch (const std::exception& error) {
    environment.end_job(error.what());
  }
}
