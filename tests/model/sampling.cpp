// SPDX-License-Identifier: MIT
// How the next token is chosen.

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "loglinear/model/sampling.hpp"
#include "support.hpp"

using loglinear::Sampler;
using loglinear::test::error_of;
using loglinear::test::mentions;

TEST_CASE("A temperature of 0 takes the most likely token, of equal ones the first") {
  Sampler greedy({.temperature = 0});
  CHECK(greedy(Eigen::Vector4f(1, 3, 2, 3)) == 1);
  CHECK(greedy(Eigen::RowVector3d(-5, -5, -6)) == 0);
  CHECK(greedy(Eigen::VectorXf::Ones(1)) == 0);
}

TEST_CASE("Tokens are drawn with the probabilities of the softmax") {
  const Eigen::Vector4d logits(0, std::log(2.0), std::log(3.0), std::log(4.0));
  constexpr int draws = 40000;
  const auto shares = [&](const loglinear::SamplingOptions& options) {
    Sampler sampler(options);
    Eigen::Array4d counts = Eigen::Array4d::Zero();
    for (int i = 0; i < draws; ++i) counts[sampler(logits)] += 1.0 / draws;
    return counts;
  };
  // Five standard deviations of a share, at most 1/2 over the root of the draws.
  const double limit = 2.5 / std::sqrt(draws);
  CHECK((shares({}) - Eigen::Array4d(0.1, 0.2, 0.3, 0.4)).abs().maxCoeff() < limit);
  CHECK((shares({.temperature = 0.5}) - Eigen::Array4d(1, 4, 9, 16) / 30).abs().maxCoeff() < limit);
  const Eigen::Array4d of_two = shares({.top_k = 2});
  CHECK(of_two.head(2).isZero(0));
  CHECK((of_two - Eigen::Array4d(0, 0, 3, 4) / 7).abs().maxCoeff() < limit);
  CHECK((shares({.top_k = 9}) - shares({})).isZero(0));
  CHECK((shares({.top_k = 1}) - Eigen::Array4d(0, 0, 0, 1)).abs().maxCoeff() < 1e-9);
}

TEST_CASE("A seed draws the same tokens again, and large logits do not overflow") {
  const Eigen::VectorXf logits = Eigen::VectorXf::LinSpaced(50, 0, 3);
  Sampler first({.seed = 7}), again({.seed = 7}), other({.seed = 8});
  bool same = true, differs = false;
  for (int i = 0; i < 100; ++i) {
    const auto token = first(logits);
    same = same && token == again(logits);
    differs = differs || token != other(logits);
  }
  CHECK(same);
  CHECK(differs);
  CHECK(first(Eigen::Vector2d(-1e300, 1e300)) == 1);
}

TEST_CASE("A sampler refuses what is out of range") {
  CHECK(mentions(error_of([] { Sampler sampler({.temperature = -1}); }), {"temperature", "-1"}));
  CHECK(mentions(
      error_of([] { Sampler sampler({.temperature = std::numeric_limits<double>::infinity()}); }),
      {"temperature", "inf"}));
  CHECK(mentions(error_of([] { Sampler sampler({.top_k = -1}); }), {"top_k", "-1"}));
  CHECK(mentions(error_of([] { Sampler sampler({.seed = 0}); }), {"seed", "0"}));
  Sampler sampler;
  CHECK(mentions(error_of([&] { sampler(Eigen::VectorXf()); }), {"number of logits", "0"}));
  CHECK(mentions(
      error_of([&] { sampler(Eigen::Vector2f(0, std::numeric_limits<float>::quiet_NaN())); }),
      {"logits", "nan"}));
}
