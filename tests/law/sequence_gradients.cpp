// SPDX-License-Identifier: MIT
// The chunkwise gradient against central differences: every kind of input, every array, the initial
// state, with cotangents of the reads and of the final state.

#include "catch.hpp"
#include "oracles/differences.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr double relative_tolerance = 1e-6;  // max|a - b| / max|b| for each array

/// Fourth order: truncation is about step^4 times a fifth derivative of order 1, rounding about
/// 1e-15 / step, both some 1e-12.
constexpr double step = 1e-3;

/// A loss of a sequence: any linear function of its reads and of its final state.
struct Loss {
  Array<double> d_out, d_final;

  double operator()(const Tokens<double>& tokens, LogLinearState<double> state) const {
    const Array<double> out = recurrent(tokens.inputs(), state);
    double sum = d_out.cwiseProduct(out).sum();
    const Index size = state.d_k() * state.d_v();
    for (int l : state.active_levels()) {
      sum += d_final.row(l).dot(state.flat_state().segment(l * size, size).transpose());
    }
    return sum;
  }
};

/// Compares `gradient` with differences at `samples` of its coefficients, or at all of them.
template <class DifferenceAt>
void check_array(test::Random& random, const Array<double>& gradient, Index samples,
                 DifferenceAt difference_at) {
  if (gradient.size() == 0) return;
  const double scale = detail::max_abs(gradient);
  double worst = 0;
  for (Index n = 0; n < std::min(samples, gradient.size()); ++n) {
    const Index i = samples < gradient.size() ? random.below(static_cast<int>(gradient.size())) : n;
    const Index row = i / gradient.cols(), column = i % gradient.cols();
    worst = std::max(worst, std::abs(gradient(row, column) - difference_at(row, column)));
  }
  // An array without influence has gradient 0, and its differences are exactly 0.
  CHECK(worst <= relative_tolerance * scale);
}

void check_gradient(const Setting& setting, Index chunk_size, Index samples, std::uint64_t seed) {
  INFO(setting << ", chunk size " << chunk_size << ", seed " << seed);
  test::Random random(seed);
  auto tokens = test::random_tokens<double>(random, setting.kind, setting.length, setting.d_k,
                                            setting.d_v, setting.weights() + 1);
  // Decays so slow that the initial state is felt to the end: differences cannot see a gradient of
  // it of 1e-20.
  const double slower = std::min(0.2, 3.0 / static_cast<double>(setting.length));
  tokens.g *= slower;
  tokens.g_value *= slower;
  const auto initial = test::random_state<double>(random, setting.start, setting.max_levels,
                                                  setting.d_k, setting.d_v);
  const Index size = setting.d_k * setting.d_v;
  const Loss loss{random.matrix<double>(setting.length, setting.d_v),
                  random.matrix<double>(setting.max_levels, size)};
  const auto gradients =
      chunkwise_gradient(tokens.inputs(), initial, loss.d_out, {chunk_size}, loss.d_final);
  test::visit_arrays(tokens, gradients, [&](const char* name, auto& array, const auto& gradient) {
    INFO(name);
    REQUIRE(gradient.rows() == array.rows());
    REQUIRE(gradient.cols() == array.cols());
    check_array(random, gradient, samples, [&](Index i, Index j) {
      return derivative(step, array(i, j), [&] { return loss(tokens, initial); });
    });
  });
  INFO("state");
  REQUIRE(gradients.state.rows() == setting.max_levels);
  REQUIRE(gradients.state.cols() == size);
  Array<double> levels =
      Eigen::Map<const Array<double>>(initial.flat_state().data(), setting.max_levels, size);
  check_array(random, gradients.state, samples, [&](Index l, Index i) {
    if (!initial.is_active(static_cast<int>(l))) return 0.0;
    return derivative(step, levels(l, i), [&] {
      LogLinearState<double> moved = initial;
      moved.replace(initial.size(), [&](int level) {
        return Eigen::Map<const Array<double>>(levels.row(level).data(), setting.d_k, setting.d_v);
      });
      return loss(tokens, moved);
    });
  });
}

}  // namespace

TEST_CASE("gradients of short sequences, every coefficient", "[grad]") {
  std::uint64_t seed = 800;
  for (const Kind& kind : test::all_kinds()) {
    for (const Index chunk_size : {1, 4, 16}) {
      const Setting setting{
          .kind = kind, .length = 11, .d_k = 3, .d_v = 2, .start = 5, .max_levels = 5};
      check_gradient(setting, chunk_size, 1000, ++seed);
    }
  }
}

TEST_CASE("gradients of long sequences, some coefficients", "[grad]") {
  // 100 tokens from 45 on: stretches of every length in chunks of 64, partial ones at both ends.
  std::uint64_t seed = 1200;
  for (const Kind& kind : test::all_kinds()) {
    for (const Index chunk_size : {16, 100}) {
      for (const int max_levels : {3, 8}) {
        const Setting setting{
            .kind = kind, .length = 100, .d_k = 4, .d_v = 3, .start = 45, .max_levels = max_levels};
        check_gradient(setting, chunk_size, 12, ++seed);
      }
    }
  }
}

TEST_CASE("gradients where levels overflow, at any count and length", "[grad]") {
  const auto kinds = test::all_kinds();
  std::uint64_t seed = 1500;
  std::size_t n = 0;
  for (const int max_levels : {1, 2, 3}) {
    for (const std::uint64_t start : {0u, 1u, 2u, 3u, 4u, 7u, 8u}) {
      for (const Index length : {1, 2, 3, 8, 9}) {
        const Setting setting{.kind = kinds[n++ % kinds.size()],
                              .length = length,
                              .d_k = 3,
                              .d_v = 2,
                              .start = start,
                              .max_levels = max_levels};
        check_gradient(setting, length % 2 == 0 ? 2 : 8, 1000, ++seed);
      }
    }
  }
}

TEST_CASE("a token long ago has its gradient through every checkpoint", "[grad]") {
  // 150 chunks of one or two tokens: states are kept once in ten and computed again in between.
  const Kind kind{.decay = test::Decay::scalar, .update = test::Update::delta};
  check_gradient({.kind = kind, .length = 150, .d_k = 3, .d_v = 2, .max_levels = 8}, 1, 40, 1700);
  check_gradient({.kind = kind, .length = 300, .d_k = 3, .d_v = 2, .max_levels = 9}, 2, 40, 1701);
}
