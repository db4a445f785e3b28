// SPDX-License-Identifier: MIT
#include <cstdio>
#include <exception>
#include <loglinear/mpi.hpp>
#include <vector>

int main(int argc, char** argv) {
  const loglinear::mpi::Environment environment(argc, argv);
  try {
    const loglinear::mpi::Ranks ranks;
    // This rank's quarter of one long sequence: float arrays [1, T, H, D].
    const int T = 4096 / ranks.count(), H = 2, D = 16, levels = 13;
    std::vector<float> q(T * H * D, 0.1f), k(T * H * D, 0.2f), v(T * H * D, 0.3f), out(q);
    std::vector<float> lambda(T * H * levels, 1), g(T * H, -0.05f), beta(T * H, 0.5f);

    using In = loglinear::HeadArray<const float>;
    loglinear::BatchStates<float> states(H, loglinear::LogLinearState<float>(levels, D, D));
    loglinear::mpi::chunkwise<float>({.q = In::bthd(q.data(), 1, T, H, D),
                                      .k = In::bthd(k.data(), 1, T, H, D),
                                      .v = In::bthd(v.data(), 1, T, H, D),
                                      .lambda = In::bthd(lambda.data(), 1, T, H, levels),
                                      .g = In::bthd(g.data(), 1, T, H),
                                      .beta = In::bthd(beta.data(), 1, T, H)},
                                     loglinear::HeadArray<float>::bthd(out.data(), 1, T, H, D),
                                     states, ranks);
    loglinear::mpi::broadcast(states[0], ranks.count() - 1, ranks);
    if (ranks.is_first()) {
      std::printf("%d tokens on each of %d ranks; the state has %d\n", T, ranks.count(),
                  static_cast<int>(states[0].size()));
    }
  } catch (const std::exception& error) {
    environment.end_job(error.what());
  }
}
