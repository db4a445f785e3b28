// SPDX-License-Identifier: MIT
// No operation of a mixer of the paper meets a denormal number.

#include "catch.hpp"
#include "magnitude/layers.hpp"
#include "mixers_cases.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

template <class Mixer>
void check_mixer(const Mixer& mixer, Index hidden_size) {
  using Scalar = typename Mixer::Scalar;
  using Rows = detail::RowMajorMatrix<Scalar>;
  DenormalWatch watch;
  test::Random random(9);
  bool is_normal = true;
  for (const test::Fading& fading : test::fading_streams<Scalar>()) {
    const auto x = fading.inputs<Scalar>(random, hidden_size);
    auto cache = mixer.make_cache();
    for (std::size_t t = 0; t + 23 <= x.size(); t += 23) {
      for (std::size_t s = 0; s < 4; ++s) {
        test::Vector<Scalar> out;
        watch("step", [&] { out = mixer.step(x[t + s], cache); });
        is_normal = is_normal && test::has_no_denormals(out);
      }
      const Rows piece = rows_of(x, t + 4, 19);
      const Rows d_out = Rows::Constant(19, hidden_size, Scalar(0.3));
      Rows out = Rows::Zero(1, 1);
      watch("gradient from a cache", [&] {
        const auto gradient = mixer.gradient(piece, d_out, cache);
        is_normal = is_normal && test::has_no_denormals(gradient.x);
      });
      watch("forward from a cache", [&] { out = mixer.forward(piece, cache); });
      is_normal = is_normal && test::has_no_denormals(out);
      watch("forward", [&] { out = mixer.forward(piece); });
      is_normal = is_normal && test::has_no_denormals(out);
      watch("gradient, faint", [&] {
        const auto gradient = mixer.gradient(piece, piece);
        is_normal = is_normal && test::has_no_denormals(gradient.x);
      });
    }
  }
  CHECK(watch.met() == "");
  CHECK(is_normal);
}

}  // namespace

TEMPLATE_TEST_CASE("No operation of a mixer of the paper meets a denormal number", "[magnitude]",
                   float, double) {
  test::Random random(10);
  for (const auto& options : test::mamba2_cases()) {
    LogLinearMamba2<TestType> mixer(options);
    check_mixer(mixer, options.hidden_size);
    test::randomise(mixer, random);
    check_mixer(mixer, options.hidden_size);
  }
  for (const auto& options : test::gated_delta_net_cases()) {
    LogLinearGatedDeltaNet<TestType> mixer(options);
    check_mixer(mixer, options.hidden_size);
    test::randomise(mixer, random);
    check_mixer(mixer, options.hidden_size);
  }
}
