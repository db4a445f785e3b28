// SPDX-License-Identifier: MIT
// A stream without an end: tokens by the million through whole layers with twelve levels, so that
// nearly everything is in the last one. Nothing is allocated, the process does not grow, outputs in
// float stay with those in double, training stays finite.
//
// Usage: endurance [tokens = 100000000]; the test takes 200000. Prints a row at 10^3, 10^4, ...
// tokens: how far the raw reads are from double, root mean square of the last 64 over that of what
// double reads; exits with 1 where something is wrong.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>

#include "../no_alloc/allocation_counter.hpp"
#include "loglinear/loglinear.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

constexpr int levels = 12;
// Keys in all directions: a delta rule erases along its keys only, and rounding elsewhere adds up.
constexpr Index d_model = 16, d = 16;
bool failed = false;

void require(bool holds, const char* what) {
  if (holds) return;
  std::printf("WRONG: %s\n", what);
  failed = true;
}

/// Memory of the process in pages, that of files such as its code apart; 0 where that is not known.
long resident_pages() {
  long total = 0, resident = 0, of_files = 0;
  std::ifstream file("/proc/self/statm");
  file >> total >> resident >> of_files;
  return resident - of_files;
}

/// A row at every power of ten: the count, the drift, allocations, and growth since 10^4 tokens.
class Rows {
 public:
  explicit Rows(const char* name) : name_(name) { test::start_counting_allocations(); }
  ~Rows() { static_cast<void>(test::stop_counting_allocations()); }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  /// Whether the reads at this token count.
  [[nodiscard]] bool measures(std::uint64_t t) const { return t + 64 > next_; }

  void add(const Eigen::VectorXf& read, const Eigen::VectorXd& exact) {
    squares_ += exact.squaredNorm();
    for (Index i = 0; i < d; ++i) {
      const double error = static_cast<double>(read[i]) - exact[i];
      errors_ += error * error;
    }
  }

  /// \param bound  the most that the drift may be
  void end_token(std::uint64_t t, double bound) {
    if (t < next_) return;
    const int allocations = test::stop_counting_allocations();
    const double drift = squares_ > 0 ? std::sqrt(errors_ / squares_) : 0;
    // By 10^4 tokens all levels have been written to, and all code read.
    if (t <= 10000) pages_ = resident_pages();
    const long grown = resident_pages() - pages_;
    std::printf("| %s | %llu | %.1e | %.1e | %d | %ld |\n", name_,
                static_cast<unsigned long long>(t), drift, bound, allocations, grown);
    std::fflush(stdout);
    require(allocations == 0, "something was allocated");
    require(grown <= 4, "the process has grown");  // 4 pages: the stack, and of this output
    require(drift <= bound, "float has drifted away from double");
    squares_ = errors_ = 0;
    next_ *= 10;
    test::start_counting_allocations();
  }

 private:
  const char* name_;
  long pages_ = 0;
  std::uint64_t next_ = 1000;
  double squares_ = 0, errors_ = 0;
};

/// Random inputs, the same in both scalars.
class Inputs {
 public:
  [[nodiscard]] const Eigen::VectorXf& next() {
    for (float& x : x_) x = static_cast<float>(normal_.normal());
    return x_;
  }

 private:
  Xorshift64 normal_{1};
  Eigen::VectorXf x_{d_model};
};

/// Draws weights of unit variance, so that keys and values are of order 1.
template <class Layer>
void widen_weights(Layer& layer) {
  for (const auto& name : layer.weight_names()) {
    layer.set_weight(name, (layer.weight(name) * (100 / std::sqrt(float{d_model}))).eval());
  }
}

/// \param carried  whether every bucket stays in the last level for ever: each carry rounds it
template <class Inner>
void compare(const char* name, const Inner& inner, std::uint64_t tokens, bool carried) {
  LogLinearAttention<Inner, float, UnitWeights> layer(
      {.inner = inner, .d_model = d_model, .d_k = d, .d_v = d, .max_levels = levels});
  widen_weights(layer);
  auto exact = layer.template cast<double>();
  Inputs inputs;
  Eigen::VectorXd wide(d_model);
  Rows rows(name);
  for (std::uint64_t t = 1; t <= tokens; ++t) {
    const Eigen::VectorXf& x = inputs.next();
    wide = x.cast<double>();
    layer.forward(x);
    exact.forward(wide);
    if (rows.measures(t)) rows.add(layer.raw_read(), exact.raw_read());
    // Sums of 2 d terms with errors of eps, and those of the carries into the last level, which
    // are independent; a transition of a forgetting rule is rounded at each of the tokens that it
    // remembers, here about 1000.
    const double carries = carried ? static_cast<double>(t >> (levels - 1)) : 1000;
    rows.end_token(
        t, std::numeric_limits<float>::epsilon() * (8 * std::sqrt(2.0 * d) + std::sqrt(carries)));
  }
}

/// Training on an endless stream: outputs and weights stay finite.
void train(std::uint64_t tokens) {
  LogLinearAttention<GatedDeltaNet, float> layer({.inner = {.gate_bias = 6},
                                                  .d_model = d_model,
                                                  .d_k = d,
                                                  .d_v = d,
                                                  .max_levels = levels,
                                                  .learning_rate = 0.01});
  Inputs inputs;
  Eigen::VectorXf target(d);
  Rows rows("training");
  bool bounded = true;
  for (std::uint64_t t = 1; t <= tokens; ++t) {
    const Eigen::VectorXf& x = inputs.next();
    target = 0.5F * x.array().tanh();
    bounded = bounded && layer.train_one(x, target).cwiseAbs().maxCoeff() <= 1;
    rows.end_token(t, 0);
  }
  require(bounded, "an output is out of its range");
  require(layer.train_step_count() == tokens, "a training step is missing");
  for (const auto& name : layer.weight_names()) {
    require(layer.weight(name).array().isFinite().all(), "a weight is not finite");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t tokens = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000000;
  std::puts("| stream | tokens | drift | at most | allocations | pages grown |");
  std::puts("|---|--:|--:|--:|--:|--:|");
  compare("plain", KeyOnly<RetNet>{}, tokens, true);
  compare("decay 1 - 2^-10", RetNet{.gamma = 1 - 0x1p-10}, tokens, false);
  compare("delta rule", DeltaNet{}, tokens, false);
  train(tokens);
  return failed ? 1 : 0;
}
