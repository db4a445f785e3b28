// SPDX-License-Identifier: MIT
// Many ranks against one, in turn, by the clock; the results are compared.
//
//   mpirun -n 2 bench_mpi [ROUNDS [TOKENS]]
//   bench_mpi --model NANOSECONDS_A_TOKEN      what docs/many_heads.md says of larger machines
//
// One head of 65,536 tokens with the schedule `scan`, eight heads of 8,192 tokens with `pipelined`;
// float, d = 64, one thread a rank. strong: one rank's time over that of P ranks for the same
// tokens. weak: one rank's time for T tokens over that of P ranks for P T. by_work: as strong, by
// the processor time of the busiest rank without its time within MPI, which is what processors that
// share nothing would need. ns/token: one rank's processor time for a token and head. Medians over
// the rounds.

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "keep_memory.hpp"
#include "loglinear/batch.hpp"
#include "loglinear/mpi.hpp"
#include "loglinear/parallel.hpp"
#include "mpi_cost.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using Numbers = std::vector<float>;

double processor_time() {
  std::timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
double within_mpi = 0;
template <class Call>
int timed(Call call) {
  const double begin = processor_time();
  const int code = call();
  within_mpi += processor_time() - begin;
  return code;
}

}  // namespace

// The calls in which ranks wait for each other.
extern "C" {
int MPI_Recv(void* data, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm,
             MPI_Status* status) {
  return timed([&] { return PMPI_Recv(data, count, type, from, tag, comm, status); });
}
int MPI_Waitall(int count, MPI_Request* requests, MPI_Status* statuses) {
  return timed([&] { return PMPI_Waitall(count, requests, statuses); });
}
int MPI_Exscan(const void* data, void* out, int count, MPI_Datatype type, MPI_Op op,
               MPI_Comm comm) {
  return timed([&] { return PMPI_Exscan(data, out, count, type, op, comm); });
}
int MPI_Allreduce(const void* data, void* out, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm) {
  return timed([&] { return PMPI_Allreduce(data, out, count, type, op, comm); });
}
int MPI_Allgather(const void* data, int count, MPI_Datatype type, void* out, int out_count,
                  MPI_Datatype out_type, MPI_Comm comm) {
  return timed([&] { return PMPI_Allgather(data, count, type, out, out_count, out_type, comm); });
}
int MPI_Bcast(void* data, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  return timed([&] { return PMPI_Bcast(data, count, type, root, comm); });
}
}

namespace {

constexpr Index d = 64;

/// Random arrays [1, T, H, ...].
struct Arrays {
  Index tokens, heads, levels;
  Numbers q, k, v, lambda, g, beta;

  Arrays(Index t, Index h) : tokens(t), heads(h), levels(20) {
    std::srand(1);
    const auto random = [&](Index columns, float scale, float shift) {
      const Eigen::ArrayXf numbers =
          Eigen::ArrayXf::Random(tokens * heads * columns) * scale + shift;
      return Numbers(numbers.begin(), numbers.end());
    };
    q = random(d, 1, 0);
    k = random(d, 1 / std::sqrt(static_cast<float>(d)), 0);
    v = random(d, 1, 0);
    lambda = random(levels, 0.5F, 0.5F);
    g = random(1, 0.01F, -0.01F);
    beta = random(1, 0.5F, 0.5F);
  }
  /// Tokens [first, first + count).
  [[nodiscard]] BatchInputs<float> inputs(bool is_delta, Index first, Index count) const {
    const auto lay = [&](const Numbers& numbers, Index columns) {
      return HeadArray<const float>::bthd(numbers.data() + first * heads * columns, 1, count, heads,
                                          columns);
    };
    BatchInputs<float> in{.q = lay(q, d),
                          .k = lay(k, d),
                          .v = lay(v, d),
                          .lambda = lay(lambda, levels),
                          .g = lay(g, 1)};
    if (is_delta) in.beta = lay(beta, 1);
    return in;
  }
};

/// Waits for all ranks without turning in circles.
void meet(const mpi::Ranks& ranks) {
  MPI_Request request;
  MPI_Ibarrier(ranks.comm(), &request);
  for (int done = 0; done == 0;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

struct Times {
  double seconds = 0, work = 0;
};
/// The longest of all ranks.
template <class Work>
Times time_of(const mpi::Ranks& ranks, Work work) {
  meet(ranks);
  within_mpi = 0;
  const double begin = MPI_Wtime(), processor = processor_time();
  work();
  double mine[2] = {MPI_Wtime() - begin, processor_time() - processor - within_mpi}, most[2];
  meet(ranks);
  PMPI_Allreduce(mine, most, 2, MPI_DOUBLE, MPI_MAX, ranks.comm());
  return {most[0], most[1]};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// The reads, and the gradient of their sum with respect to q.
struct Results {
  Numbers out, d_q;
};

void compute(const Arrays& all, bool is_delta, bool has_gradient, Index first, Index count,
             const mpi::Ranks* ranks, mpi::Schedule schedule, Results& results) {
  const BatchInputs<float> in = all.inputs(is_delta, first, count);
  const auto size = static_cast<std::size_t>(count * all.heads * d);
  results.out.resize(size);
  results.d_q.resize(size);
  const auto out = HeadArray<float>::bthd(results.out.data(), 1, count, all.heads, d);
  const Numbers ones(size, 1);
  const auto d_out = HeadArray<const float>::bthd(ones.data(), 1, count, all.heads, d);
  const BatchGradients<float> gradients{
      .q = HeadArray<float>::bthd(results.d_q.data(), 1, count, all.heads, d)};
  BatchStates<float> states(static_cast<std::size_t>(all.heads), LogLinearState<float>(19, d, d));
  if (ranks == nullptr) {
    BatchTape<float> tape;
    chunkwise(in, out, states, {}, has_gradient ? &tape : nullptr);
    if (has_gradient) chunkwise_gradient(in, tape, d_out, gradients);
  } else {
    mpi::Tape<float> tape;
    mpi::chunkwise(in, out, states, *ranks, {.schedule = schedule}, has_gradient ? &tape : nullptr);
    if (has_gradient) mpi::chunkwise_gradient(in, tape, d_out, gradients, *ranks);
  }
}

/// The largest difference from one rank's results, relative to the largest number.
double difference(const Numbers& mine, const Numbers& all, std::size_t first) {
  double most = 0, largest = 1e-30;
  for (std::size_t i = 0; i < mine.size(); ++i) {
    most = std::max(most,
                    std::abs(static_cast<double>(mine[i]) - static_cast<double>(all[first + i])));
    largest = std::max(largest, std::abs(static_cast<double>(all[first + i])));
  }
  return most / largest;
}

bool measure(const mpi::Ranks& ranks, const char* name, Index tokens, Index heads, bool is_delta,
             bool has_gradient, mpi::Schedule schedule, int rounds) {
  const Index count = ranks.count(), rank = ranks.rank();
  const Arrays all(tokens * count, heads);  // enough for the weak scaling
  const auto cut = [&](Index length, Index n) { return n * (length / count / 64) * 64; };
  const auto end = [&](Index length) { return rank + 1 == count ? length : cut(length, rank + 1); };
  std::vector<double> strong, weak, by_work, seconds;
  Results one, many;
  bool is_right = true;
  for (int round = 0; round < rounds; ++round) {
    const Times alone = time_of(ranks, [&] {
      if (rank == 0) compute(all, is_delta, has_gradient, 0, tokens, nullptr, schedule, one);
    });
    const Index first = cut(tokens, rank);
    const Times shared = time_of(ranks, [&] {
      compute(all, is_delta, has_gradient, first, end(tokens) - first, &ranks, schedule, many);
    });
    if (round == 0) {
      if (rank > 0) compute(all, is_delta, has_gradient, 0, tokens, nullptr, schedule, one);
      const auto at = static_cast<std::size_t>(first * heads * d);
      const double tolerance = schedule == mpi::Schedule::pipelined ? 0 : 1e-4;
      is_right = difference(many.out, one.out, at) <= tolerance &&
                 (!has_gradient || difference(many.d_q, one.d_q, at) <= tolerance);
    }
    const Index wide = cut(tokens * count, rank);
    const Times wider = time_of(ranks, [&] {
      compute(all, is_delta, has_gradient, wide, end(tokens * count) - wide, &ranks, schedule,
              many);
    });
    seconds.push_back(alone.work);
    strong.push_back(alone.seconds / shared.seconds);
    by_work.push_back(alone.work / shared.work);
    weak.push_back(alone.seconds / wider.seconds);
  }
  mpi::together(ranks, [&] {
    if (!is_right) throw std::runtime_error(std::string(name) + ": other numbers than one rank");
  });
  if (rank == 0) {
    std::printf("%-42s %8.0f %8.2f %8.2f %8.2f\n", name,
                1e9 * median(seconds) / static_cast<double>(tokens * heads), median(strong),
                median(by_work), median(weak));
    std::fflush(stdout);
  }
  return is_right;
}

/// The table of docs/many_heads.md: how many times as fast as one rank, for a scan that passes
/// elements on from rank to rank and for one that doubles.
void print_model(double nanoseconds) {
  std::printf("%9s %6s %8s %20s %20s\n", "tokens", "ranks", "kB", "10 Gbit/s", "100 Gbit/s");
  for (const std::int64_t tokens : {std::int64_t{1} << 16, std::int64_t{1} << 20}) {
    for (std::int64_t ranks = 2; ranks <= 256; ranks *= 2) {
      const bench::MpiCost cost{.ranks = ranks, .tokens = tokens};
      const double in_line = static_cast<double>(ranks - 1);
      const double doubling = std::log2(static_cast<double>(ranks));
      const bench::MpiMachine slow{.seconds_a_token = 1e-9 * nanoseconds},
          fast{.latency = 2e-6, .bytes_a_second = 12.5e9, .seconds_a_token = 1e-9 * nanoseconds};
      const auto p = static_cast<double>(ranks);
      std::printf("%9lld %6lld %8.0f %9.1f %9.1f %10.1f %9.1f\n", static_cast<long long>(tokens),
                  static_cast<long long>(ranks), static_cast<double>(cost.scan_bytes()) / 1000,
                  p * slow.efficiency(cost, in_line), p * slow.efficiency(cost, doubling),
                  p * fast.efficiency(cost, in_line), p * fast.efficiency(cost, doubling));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && std::string(argv[1]) == "--model") {
    print_model(std::atof(argv[2]));
    return 0;
  }
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7;
  const Index tokens = argc > 2 ? std::atol(argv[2]) : 65536;
  const mpi::Environment environment(argc, argv);
  const mpi::Ranks ranks;
  bench::keep_memory();
  set_thread_count(1);
  if (ranks.is_first()) {
    std::printf("%d ranks, medians of %d rounds\n%-42s %8s %8s %8s %8s\n", ranks.count(), rounds,
                "", "ns/token", "strong", "by_work", "weak");
  }
  using mpi::Schedule;
  for (const bool has_gradient : {false, true}) {
    const std::string with = has_gradient ? ", with gradient" : "";
    for (const bool is_delta : {false, true}) {
      const std::string rule = (is_delta ? "gated delta rule" : "scalar gate") + with;
      measure(ranks, ("scan, 1 head, " + rule).c_str(), tokens, 1, is_delta, has_gradient,
              Schedule::scan, rounds);
      measure(ranks, ("pipelined, 8 heads, " + rule).c_str(), tokens / 8, 8, is_delta, has_gradient,
              Schedule::pipelined, rounds);
    }
  }
}
