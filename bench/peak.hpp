// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_PEAK_HPP
#define LOGLINEAR_BENCH_PEAK_HPP

// What the core can do at this moment, in float: multiply-adds in registers, and Eigen's products
// of 512 x 512 matrices. Yardsticks of products, measured next to what they are held against.

#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <algorithm>

#include "samples.hpp"

namespace bench {

/// GFLOP/s of independent multiply-adds on the widest registers that this program is compiled for.
inline double fma_peak_gflops() {
  constexpr int width = Eigen::internal::packet_traits<float>::size;
  // Not Eigen's multiply-add, which is inline assembly for some compilers: they are to see through.
  typedef float Packet __attribute__((vector_size(width * sizeof(float))));
  // Two a cycle, each 4 cycles late: 8 chains at least; with two factors they fit 16 registers.
  constexpr int chains = 12, steps = 1000000;  // some milliseconds, like what is held against it
  float numbers[chains + 2];
  for (int i = 0; i < chains + 2; ++i) numbers[i] = 1 - 1e-3F * static_cast<float>(i);
  benchmark::DoNotOptimize(numbers);  // nothing about them is known at compile time
  const double ns = processor_nanoseconds([&] {
    const Packet factor = Packet{} + numbers[chains], added = Packet{} + (1 - numbers[chains + 1]);
    Packet sums[chains];
    for (int i = 0; i < chains; ++i) sums[i] = Packet{} + numbers[i];
    for (int step = 0; step < steps; ++step) {
      for (int i = 0; i < chains; ++i) sums[i] = sums[i] * factor + added;
    }
    for (int i = 1; i < chains; ++i) sums[0] += sums[i];
    benchmark::DoNotOptimize(sums[0]);
  });
  return 2.0 * width * chains * steps / ns;
}

/// Eigen's product of two matrices of 512 x 512 floats.
class Sgemm {
 public:
  Sgemm() : a_(Matrix::Random(n, n)), b_(Matrix::Random(n, n)), c_(Matrix::Zero(n, n)) {}

  /// GFLOP/s, the better of two orders of the left operand.
  double gflops() {
    return std::max(run([&] { c_.noalias() = a_ * b_; }),
                    run([&] { c_.noalias() = a_.transpose() * b_; }));
  }

 private:
  using Matrix = Eigen::MatrixXf;
  static constexpr Eigen::Index n = 512;

  template <class Product>
  double run(Product product) {
    const double ns = processor_nanoseconds([&] {
      product();
      benchmark::DoNotOptimize(c_.data());
      benchmark::ClobberMemory();
    });
    return 2.0 * static_cast<double>(n * n * n) / ns;
  }

  Matrix a_, b_, c_;
};

}  // namespace bench

#endif  // LOGLINEAR_BENCH_PEAK_HPP
