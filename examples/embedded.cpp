// SPDX-License-Identifier: MIT
// The hierarchy on a small machine: sizes fixed at compile time, everything inside the object, no
// heap, no exceptions. Meant for -Os -fno-exceptions; a heap allocation by Eigen would abort.
//
// What to look at: the size of the state, which is all the memory that the stream needs, however
// long it gets; that the state expects what will be measured; and that a sensor's NaN is refused
// instead of poisoning it.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#define EIGEN_RUNTIME_NO_MALLOC
#define eigen_assert(condition) ((condition) ? void() : std::abort())
/// The errors of the library end here: a real device would log and restart.
#define LOGLINEAR_THROW(error) (std::printf("refused: %s\n", (error).what()), std::exit(0))

#include <loglinear/stream/log_linear_state.hpp>

namespace {

constexpr int d_k = 4, d_v = 2, max_levels = 10;
using State = loglinear::LogLinearState<float, d_k, d_v, max_levels>;
State state;  // static memory; nothing else is needed

/// One sample: the key is a phase of the clock, which has 16 samples a turn, the value what two
/// sensors read. Returns what they read at this phase in the turns that the newest full level
/// holds.
Eigen::Vector2f step(int t, float first, float second) {
  const auto phase = static_cast<float>(t % 16) / 16 * 6.2831853F;
  const Eigen::Vector4f key(std::sin(phase), std::cos(phase), std::sin(2 * phase),
                            std::cos(2 * phase));
  Eigen::Matrix<float, max_levels, 1> lambda = Eigen::Matrix<float, max_levels, 1>::Zero();
  for (const int level : state.active_levels()) {
    if (level < 4) continue;  // less than one turn
    lambda[level] = 2.0F / static_cast<float>(1 << level);
    break;
  }
  Eigen::Vector2f expected;
  state.query_mixed(key, lambda, expected);
  state.push_leaf(key, Eigen::Vector2f(first, second));
  return expected;
}

}  // namespace

int main() {
  Eigen::internal::set_is_malloc_allowed(false);
  std::printf("state: %d bytes, %d levels of %d x %d floats\n", static_cast<int>(sizeof(State)),
              max_levels, d_k, d_v);
  for (int t = 0; t < 1000; ++t) {
    const float wave = std::sin(static_cast<float>(t) / 16 * 6.2831853F);
    const Eigen::Vector2f expected = step(t, wave, -wave);
    if (t % 180 != 179) continue;
    std::printf("sample %3d: %d levels active, expected %+.2f %+.2f, measured %+.2f %+.2f\n", t,
                state.active_level_count(), static_cast<double>(expected[0]),
                static_cast<double>(expected[1]), static_cast<double>(wave),
                static_cast<double>(-wave));
  }
  step(1000, 0, std::numeric_limits<float>::quiet_NaN());
}
