// SPDX-License-Identifier: MIT
// The mixers of the paper in float against double.

#include <algorithm>
#include <string>

#include "catch.hpp"
#include "loglinear/sequence.hpp"
#include "mixers_cases.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using Eigen::Index;

/// Some thousand roundings of float, in sums that partly cancel.
constexpr double float_rounding = 2e-4;

template <class A, class B>
double relative_error(const A& a, const B& b) {
  return (a.template cast<double>() - b).cwiseAbs().maxCoeff() /
         std::max(1e-300, b.cwiseAbs().maxCoeff());
}

template <class Narrow, class Wide>
void check_float(const typename Wide::Options& options) {
  test::Random random(6);
  Wide wide(options);
  Narrow narrow(options);
  for (const std::string& name : wide.weight_names()) {
    CAPTURE(name);
    CHECK(narrow.weight(name) == wide.weight(name).template cast<float>());
  }
  test::randomise(narrow, random);
  for (const std::string& name : wide.weight_names()) {
    wide.set_weight(name, narrow.weight(name).template cast<double>());
  }
  using Array = typename Narrow::Matrix;
  const Array x = random.matrix<float>(70, options.hidden_size);
  const Array d_out = random.matrix<float>(70, options.hidden_size);
  const typename Wide::Matrix wide_x = x.template cast<double>();
  const typename Wide::Matrix expected = wide.forward(wide_x);
  CHECK(relative_error(narrow.forward(x), expected) <= float_rounding);

  auto cache = narrow.make_cache();
  Array streamed(70, options.hidden_size);
  streamed.topRows(40) = narrow.forward(x.topRows(40), cache);
  for (Index t = 40; t < 70; ++t) streamed.row(t) = narrow.step(x.row(t), cache).transpose();
  CHECK(relative_error(streamed, expected) <= float_rounding);

  const auto gradient = narrow.gradient(x, d_out);
  const auto wide_gradient = wide.gradient(wide_x, d_out.template cast<double>());
  CHECK(relative_error(gradient.x, wide_gradient.x) <= float_rounding);
  for (const std::string& name : wide.weight_names()) {
    CAPTURE(name);
    CHECK(relative_error(gradient.weights[name], wide_gradient.weights[name]) <= float_rounding);
  }
}

}  // namespace

TEST_CASE("LogLinearMamba2 in float is LogLinearMamba2 in double, rounded") {
  for (const auto& options : test::mamba2_cases()) {
    check_float<loglinear::LogLinearMamba2<float>, loglinear::LogLinearMamba2<double>>(options);
  }
}

TEST_CASE("LogLinearGatedDeltaNet in float is LogLinearGatedDeltaNet in double, rounded") {
  for (const auto& options : test::gated_delta_net_cases()) {
    check_float<loglinear::LogLinearGatedDeltaNet<float>,
                loglinear::LogLinearGatedDeltaNet<double>>(options);
  }
}
