// SPDX-License-Identifier: MIT
// The mixers of the paper with many streams at once, and with projections kept in bfloat16.

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include "mixers_cases.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using Eigen::Index;
using test::error_of;
using test::mentions;
using test::Random;

/// One product for all streams rounds as sums of some ten terms do in another order.
constexpr double rounding = 1e-12;

template <class Mixer>
void check_streams(const typename Mixer::Options& options) {
  using Array = typename Mixer::Matrix;
  Random random(1);
  Mixer mixer(options);
  test::randomise(mixer, random);
  std::vector<typename Mixer::Cache> together, alone;
  for (Index s = 0; s < 4; ++s) {  // at different places
    together.push_back(mixer.make_cache());
    (void)mixer.forward(random.matrix<double>(5 * s, options.hidden_size), together.back());
  }
  alone = together;
  std::vector<typename Mixer::Cache*> caches;
  for (auto& cache : together) caches.push_back(&cache);
  for (int t = 0; t < 9; ++t) {
    const Array x = random.matrix<double>(4, options.hidden_size);
    const Array out = mixer.step_streams(x, caches);
    for (Index s = 0; s < 4; ++s) {
      const auto expected = mixer.step(x.row(s), alone[static_cast<std::size_t>(s)]);
      CHECK((out.row(s).transpose() - expected).cwiseAbs().maxCoeff() <= rounding);
    }
  }
  for (std::size_t s = 0; s < 4; ++s) CHECK(together[s].size() == alone[s].size());

  // None of them changes where one is refused, and staged tokens are not written before `commit`.
  const auto before = together;
  Array x = random.matrix<double>(4, options.hidden_size);
  {
    auto [out, staged] = mixer.stage(x, caches);
    CHECK(together == before);
    staged.commit();
    CHECK_FALSE(together == before);
    together = before;
  }
  x(3, 0) = std::numeric_limits<double>::quiet_NaN();
  CHECK(mentions(error_of([&] { (void)mixer.step_streams(x, caches); }), {"x[", "nan"}));
  const Array fewer = x.topRows(3);
  CHECK(mentions(error_of([&] { (void)mixer.step_streams(fewer, caches); }), {"x (rows)", "4"}));
  caches[2] = caches[1];
  const Array fine = random.matrix<double>(4, options.hidden_size);
  CHECK(mentions(error_of([&] { (void)mixer.step_streams(fine, caches); }), {"caches", "twice"}));
  CHECK(together == before);
  CHECK(mixer.step_streams(Array(0, options.hidden_size), {}).rows() == 0);
}

template <class Mixer>
void check_narrow(const typename Mixer::Options& options, const std::string& projection) {
  using Array = typename Mixer::Matrix;
  Random random(2);
  Mixer narrow(options);
  test::randomise(narrow, random);
  narrow.keep_projections_narrow();
  Mixer wide(options);
  for (const std::string& name : wide.weight_names()) {
    wide.set_weight(name, narrow.widened_weight(name));
  }
  CHECK(narrow.weight_bytes() < wide.weight_bytes());
  const Array x = random.matrix<double>(23, options.hidden_size);
  auto narrow_cache = narrow.make_cache(), wide_cache = wide.make_cache();
  CHECK((narrow.forward(x, narrow_cache) - wide.forward(x, wide_cache)).cwiseAbs().maxCoeff() <=
        rounding);
  CHECK((narrow.step(x.row(3), narrow_cache) - wide.step(x.row(3), wide_cache))
            .cwiseAbs()
            .maxCoeff() <= rounding);

  const Eigen::MatrixXd old = narrow.widened_weight(projection);
  CHECK(mentions(error_of([&] { (void)narrow.weight(projection); }), {projection, "bfloat16"}));
  CHECK(mentions(error_of([&] { (void)narrow.gradient(x, x); }), {"bfloat16"}));
  CHECK(mentions(error_of([&] {
                   narrow.set_weight(projection,
                                     Eigen::MatrixXd::Constant(old.rows(), old.cols(), 1e300));
                 }),
                 {projection, "bfloat16", "finite"}));
  CHECK(narrow.widened_weight(projection) == old);
  narrow.set_weight(projection, Eigen::MatrixXd::Constant(old.rows(), old.cols(), 1.0009765625));
  CHECK(narrow.widened_weight(projection) == Eigen::MatrixXd::Ones(old.rows(), old.cols()));
}

}  // namespace

TEST_CASE("LogLinearMamba2 takes a token of each of many streams") {
  for (const auto& options : test::mamba2_cases()) {
    check_streams<loglinear::LogLinearMamba2<double>>(options);
    check_narrow<loglinear::LogLinearMamba2<double>>(options, "in_proj.weight");
  }
}

TEST_CASE("LogLinearGatedDeltaNet takes a token of each of many streams") {
  for (const auto& options : test::gated_delta_net_cases()) {
    check_streams<loglinear::LogLinearGatedDeltaNet<double>>(options);
    check_narrow<loglinear::LogLinearGatedDeltaNet<double>>(options, "q_proj.weight");
  }
}
