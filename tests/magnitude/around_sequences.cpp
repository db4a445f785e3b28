// SPDX-License-Identifier: MIT
// Nothing that stands around the forms of a sequence meets a denormal number.

#include "catch.hpp"
#include "loglinear/sequence/exponential_gates.hpp"
#include "loglinear/sequence/rotary_phases.hpp"
#include "loglinear/sequence/trapezoidal_steps.hpp"
#include "magnitude/denormals.hpp"

using namespace loglinear;
using Eigen::Index;

TEMPLATE_TEST_CASE("Nothing around a sequence meets a denormal number", "[magnitude]", float,
                   double) {
  using Scalar = TestType;
  using Rows = detail::RowMajorMatrix<Scalar>;
  test::DenormalWatch watch;
  test::Random random(12);
  int refused = 0;
  for (const test::Fading& stream : test::fading_streams<Scalar>()) {
    const auto columns = stream.inputs<Scalar>(random, 4);
    const Index tokens = std::min<Index>(static_cast<Index>(columns.size()), 400);
    Rows x(tokens, 4);
    for (Index t = 0; t < tokens; ++t) x.row(t) = columns[static_cast<std::size_t>(t)].transpose();
    const Rows gate = x.leftCols(1), forget = x.col(1).cwiseAbs() * Scalar(-1), d = x.reverse();
    const auto done = [&](const char* name, auto operation) {
      if (!watch(name, operation)) ++refused;
    };
    done("exponential gates", [&] {
      const ExponentialGates<Scalar> gates(gate, forget);
      Rows k;
      done("their keys", [&] { k = gates.keys(x); });
      done("their values", [&] { k = gates.values(x); });
      done("their outputs", [&] { k = gates.outputs(x); });
      done("their gradient", [&] { k = gates.outputs_gradient(x, d.leftCols(3).eval()); });
    });
    done("trapezoidal steps", [&] {
      const TrapezoidalSteps<Scalar> steps(forget, gate, Rows::Constant(tokens, 1, Scalar(0.4)));
      Rows k, pairs(2 * tokens, 4);
      pairs << d, x;
      done("their keys", [&] { k = steps.keys(x); });
      done("their gradient", [&] { k = steps.gradient(x, pairs, gate).k; });
      done("their values' gradient", [&] { k = steps.values_gradient(pairs); });
    });
    done("rotary phases", [&] {
      const RotaryPhases<Scalar> phases(gate);
      Rows k;
      done("rotated", [&] { k = phases.rotated(x); });
      done("their gradient", [&] { k = phases.rotated_gradient(x, d).phases; });
      done("the angles' gradient", [&] { k = phases.angles_gradient(gate); });
    });
  }
  CHECK(watch.met() == "");
  CHECK(refused < 60);  // what overflows, of some 600
}
