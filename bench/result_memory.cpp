// SPDX-License-Identifier: MIT
// What new memory for the results of whole sequences costs in a loop: a forward pass with a tape
// and its gradient, 4,096 tokens in float on one thread, into new matrices and into those of the
// round before, by turns. Prints a table of medians; docs/streaming_and_sequences.md has its
// ratios. The two must agree to the bit.
//
// Usage: result_memory [rounds = 31]

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

#include "loglinear/parallel.hpp"
#include "loglinear/sequence.hpp"
#include "sequence_data.hpp"

namespace {

using namespace loglinear;
using Matrix = SequenceInputs<float>::Matrix;
constexpr Eigen::Index length = 4096;

/// What one round computes.
struct Results {
  Matrix out;
  SequenceGradients<float> gradients;
};

void into(const SequenceInputs<float>& in, const Matrix& d_out, Results& results) {
  SequenceTape<float> tape;
  chunkwise(in, results.out, {}, &tape);
  chunkwise_gradient(in, tape, d_out, results.gradients);
}

double nanoseconds_a_token(auto&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - begin;
  return time.count() / static_cast<double>(length);
}

double median(std::vector<double> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

/// Whether both ways agree.
bool print_row(const char* name, bench::Rule rule, Eigen::Index d, int rounds) {
  const bench::SequenceData<float> data = bench::random_sequence(rule, length, d);
  const SequenceInputs<float> in = data.inputs();
  Results kept;
  into(in, data.v, kept);
  std::optional<Results> fresh;
  std::vector<double> with_new, with_kept;
  bool agree = true;
  for (int n = 0; n < rounds; ++n) {
    with_new.push_back(nanoseconds_a_token([&] {
      fresh.emplace();  // frees those of the round before
      into(in, data.v, *fresh);
    }));
    with_kept.push_back(nanoseconds_a_token([&] { into(in, data.v, kept); }));
    agree = agree && fresh->out == kept.out && fresh->gradients.k == kept.gradients.k;
  }
  std::printf("| %s, d = %d | %.0f | %.0f | %.2f |\n", name, static_cast<int>(d), median(with_new),
              median(with_kept), median(with_new) / median(with_kept));
  return agree;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 31;
  set_thread_count(1);
  std::puts("| ns a token | new matrices | those of the round before | ratio |");
  std::puts("|---|--:|--:|--:|");
  bool agree = true;
  for (const Eigen::Index d : {Eigen::Index{64}, Eigen::Index{128}}) {
    agree = print_row("scalar gate", bench::Rule::scalar_gate, d, rounds) && agree;
    agree = print_row("gated delta rule", bench::Rule::gated_delta, d, rounds) && agree;
  }
  if (!agree) std::puts("the results differ");
  return agree ? 0 : 1;
}
