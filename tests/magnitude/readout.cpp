// SPDX-License-Identifier: MIT
// No operation of a readout meets a denormal number.

#include "loglinear/readout/recursive_least_squares.hpp"

#include "catch.hpp"
#include "magnitude/denormals.hpp"

namespace test = loglinear::test;

TEMPLATE_TEST_CASE("No operation of a readout meets a denormal number", "[magnitude]", float,
                   double) {
  using Scalar = TestType;
  test::DenormalWatch watch;
  test::Random random(11);
  bool is_normal = true;
  for (const double forgetting : {1.0, 0.9, 0.5}) {
    for (const test::Fading& features : test::fading_streams<Scalar>()) {
      for (const test::Fading& targets : test::fading_streams<Scalar>()) {
        loglinear::RecursiveLeastSquares<Scalar> readout(
            {.features = 5, .outputs = 2, .forgetting = forgetting, .max_covariance = 1e9});
        const auto phi = features.inputs<Scalar>(random, 5), y = targets.inputs<Scalar>(random, 2);
        for (std::size_t t = 0; t < std::min({phi.size(), y.size(), std::size_t{400}}); ++t) {
          watch("update", [&] { readout.update(phi[t], y[t]); });
          watch("predict",
                [&] { is_normal = is_normal && test::has_no_denormals(readout.predict(phi[t])); });
        }
        is_normal = is_normal && test::has_no_denormals(readout.weights());
        test::Matrix<Scalar> covariance;
        watch("covariance", [&] { covariance = readout.covariance(); });
        is_normal = is_normal && test::has_no_denormals(covariance);
      }
    }
  }
  CHECK(watch.met() == "");
  CHECK(is_normal);
}
