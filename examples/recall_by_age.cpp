// SPDX-License-Identifier: MIT
// Associative recall without training: a stream stores 1023 pairs of a random key and a random
// value, then is asked for the value of a key that it saw some time ago. The hierarchy is asked on
// the level that holds that time; a single state, which is the sum of all levels, knows no time.
//
// What to look at: the last two columns, the cosine between answer and value (1 is perfect). One
// state hears all 1023 pairs at once, whatever the age. The hierarchy hears only those of one
// level: the recent past is exact, and every doubling of the age doubles the company.

#include <cstdio>
#include <loglinear/fenwick.hpp>
#include <loglinear/stream/log_linear_state.hpp>
#include <random>

namespace {

constexpr int pairs = 1023, d = 64, max_levels = 10;

/// A column a pair.
Eigen::MatrixXf normals(std::mt19937& random) {
  return Eigen::MatrixXf::NullaryExpr(d, pairs, [&] {
    float sum = 0;  // of twelve uniform numbers: nearly normal, and the same on every machine
    for (int i = 0; i < 12; ++i) sum += static_cast<float>(random() >> 8) * 0x1p-24F;
    return sum - 6;
  });
}

float cosine(const Eigen::VectorXf& a, const Eigen::VectorXf& b) {
  return a.dot(b) / (a.norm() * b.norm());
}

}  // namespace

int main() {
  std::mt19937 random(1);
  const Eigen::MatrixXf keys = normals(random).colwise().normalized(), values = normals(random);
  loglinear::LogLinearState<float> state(max_levels, d, d);
  for (int t = 0; t < pairs; ++t) state.push_leaf(keys.col(t), values.col(t));

  std::printf("   age   level   pairs there   hierarchy   one state\n");
  for (const int age : {1, 3, 5, 12, 25, 50, 100, 200, 400, 900}) {
    const int t = pairs - age;
    // The next token reads: its level for token t is where token t lies now.
    const std::uint64_t now = state.size();
    const int level = loglinear::level_of(now - static_cast<std::uint64_t>(age), now,
                                          loglinear::ReadOrder::before_push, max_levels);
    Eigen::VectorXf one_level(d), all_levels(d);
    state.query_mixed(keys.col(t), Eigen::VectorXf::Unit(max_levels, level), one_level);
    state.query_mixed(keys.col(t), Eigen::VectorXf::Ones(max_levels), all_levels);
    std::printf("%6d   %5d   %11llu   %9.2f   %9.2f\n", age, level,
                static_cast<unsigned long long>(loglinear::bucket_of(now, level, max_levels).size),
                cosine(one_level, values.col(t)), cosine(all_levels, values.col(t)));
  }
}
