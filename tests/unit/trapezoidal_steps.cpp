// SPDX-License-Identifier: MIT
#include "loglinear/sequence/trapezoidal_steps.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/sequence/rotary_phases.hpp"
#include "support.hpp"

// Mamba-3 on few tokens that fit on paper; golden/mamba3.cpp has more of them.

namespace {

using namespace loglinear;
using Matrix = detail::RowMajorMatrix<double>;

const double tolerance = test::rounding<double>(16) * 8;
const double infinity = std::numeric_limits<double>::infinity();
const double pi = std::acos(-1.0);

Matrix column(std::initializer_list<double> numbers) {
  Matrix result(static_cast<Eigen::Index>(numbers.size()), 1);
  std::copy(numbers.begin(), numbers.end(), result.data());
  return result;
}
void refuses(auto call, std::initializer_list<const char*> words) {
  CHECK(test::mentions(test::error_of(call), words));
}

}  // namespace

TEST_CASE("a trapezoidal step writes a token and the one before it") {
  const double half = -std::log(2.0);
  const TrapezoidalSteps<double> steps(column({half, half, half}), column({2, 4, 8}),
                                       column({1, 0.25, 0.5}));
  CHECK(test::difference(steps.own, column({2, 1, 4})) <= tolerance);
  CHECK(test::difference(steps.earlier, column({0, 1.5, 2})) <= tolerance);
  const Matrix k = column({1, 3, 5});
  CHECK(test::difference(steps.keys(k), column({2, 0, 3, 1.5, 20, 6})) <= tolerance);
  CHECK(steps.values(k) == column({1, 0, 3, 1, 5, 3}));
  // S: 2, 2/2 + 3 3 + 1.5, (11.5)/2 + 20 5 + 6 3, for values as keys.
  const Matrix out = chunkwise(SequenceInputs<double>{.q = Matrix::Ones(3, 1),
                                                      .k = steps.keys(k),
                                                      .v = steps.values(k),
                                                      .lambda = Matrix::Ones(3, 3),
                                                      .g = steps.log_decay});
  CHECK(test::difference(out, column({2, 11.5, 123.75})) <= tolerance * 100);
  // The second half goes on where the first one ended.
  const TrapezoidalSteps<double> rest(column({half, half}), column({4, 8}), column({0.25, 0.5}));
  CHECK(rest.keys(column({3, 5}), column({1})) == steps.keys(k).bottomRows(4));
  CHECK(rest.values(column({3, 5}), column({1})) == steps.values(k).bottomRows(4));
}

TEST_CASE("rotations between tokens turn queries and keys by the sum of angles") {
  Matrix angles(3, 1), rows(3, 3);
  angles << pi / 2, pi, pi;
  rows << 1, 2, 7, 1, 2, 8, 1, 2, 9;
  const RotaryPhases<double> phases(angles);
  // Turned back by a quarter, three quarters and five quarters of a turn; the third column stays.
  Matrix expected(3, 3);
  expected << 2, -1, 7, -2, 1, 8, 2, -1, 9;
  CHECK(test::difference(phases.rotated(rows), expected) <= tolerance);
  // Angles are kept small, and half a stream later nothing else comes out.
  CHECK(phases.phases.cwiseAbs().maxCoeff() <= pi);
  const RotaryPhases<double> rest(angles.bottomRows(2).eval(), phases.phases.topRows(1).eval());
  CHECK(rest.phases == phases.phases.bottomRows(2));
  // Many rows a token turn together.
  const RotaryPhases<double> one(angles.topRows(1).eval());
  Matrix turned(3, 3);
  turned << 2, -1, 7, 2, -1, 8, 2, -1, 9;
  CHECK(test::difference(one.rotated(rows), turned) <= tolerance);
}

TEST_CASE("phases drift little over a long stream in float") {
  using Rows = detail::RowMajorMatrix<float>;
  const Eigen::Index tokens = 100000;
  const float angle = 0.7F;  // a sum of them without end would be rounded at each token
  const RotaryPhases<float> phases(Rows::Constant(tokens, 1, angle));
  const double exact = double{angle} * static_cast<double>(tokens),
               drift = std::remainder(double{phases.phases(tokens - 1, 0)} - exact, 2 * pi);
  CHECK(std::abs(drift) < 0.01);
}

TEST_CASE("sequences without tokens have neither steps nor phases") {
  const Matrix none(0, 1);
  const TrapezoidalSteps<double> steps(none, none, none);
  CHECK(steps.keys(Matrix(0, 3)).rows() == 0);
  CHECK(steps.values_gradient(Matrix(0, 3)).rows() == 0);
  const RotaryPhases<double> phases(none);
  CHECK(phases.rotated(Matrix(0, 2)).rows() == 0);
  CHECK(phases.angles_gradient(none).rows() == 0);
}

TEST_CASE("trapezoidal steps refuse what does not fit, by name") {
  const Matrix two = column({0.5, 1}), three = column({1, 1, 1});
  using Steps = TrapezoidalSteps<double>;
  refuses([&] { Steps(Matrix::Ones(2, 2), two, two); }, {"log_decays"});
  refuses([&] { Steps(two, three, two); }, {"steps"});
  refuses([&] { Steps(two, two, three); }, {"mixes"});
  refuses([&] { Steps(two, two, column({0.5, 1.5})); }, {"mixes[1]", "1.5", "from 0 to 1"});
  refuses([&] { Steps(two, column({1, infinity}), two); }, {"steps", "inf", "finite"});
  refuses([&] { Steps(column({800, 0}), two, two); }, {"the weight of the token before", "inf"});
  const Steps steps(two, two, two);
  refuses([&] { (void)steps.keys(three); },
          {"rows of k", "3", "a multiple of the number of tokens, 2"});
  refuses([&] { (void)steps.keys(two, two); }, {"k before the sequence"});
  refuses([&] { (void)steps.values(column({1, infinity})); }, {"v", "inf"});
  refuses([&] { (void)steps.gradient(two, two, two); }, {"d_keys"});
  refuses([&] { (void)steps.gradient(two, Matrix::Ones(4, 1), three); }, {"d_log_decay"});
  refuses([&] { (void)steps.values_gradient(two); }, {"rows of d_values", "a multiple", "4"});
  const Steps large(two, column({1e200, 1e200}), two);
  refuses([&] { (void)large.keys(column({1e200, 1})); }, {"the keys", "inf"});
}

TEST_CASE("rotary phases refuse what does not fit, by name") {
  using Phases = RotaryPhases<double>;
  const Matrix two = column({0.5, 1});
  refuses([&] { Phases(column({0, std::nan("")})); }, {"angles", "nan"});
  refuses([&] { Phases(two, two); }, {"the phases before the sequence"});
  refuses([&] { Phases(column({1e308}), column({1.5e308})); }, {"the sum of angles", "inf"});
  const Phases phases(two);
  refuses([&] { (void)phases.rotated(Matrix::Ones(3, 2)); },
          {"a multiple of the number of tokens, 2"});
  refuses([&] { (void)phases.rotated(Matrix::Ones(2, 1)); }, {"at least 2"});
  refuses([&] { (void)phases.rotated(Matrix::Constant(2, 2, infinity)); }, {"inf", "finite"});
  refuses([&] { (void)phases.rotated_gradient(Matrix::Ones(2, 2), two); }, {"d_rotated"});
  refuses([&] { (void)phases.angles_gradient(Matrix::Ones(3, 1)); }, {"d_phases"});
}

TEMPLATE_TEST_CASE("what stands around a sequence gives finite numbers or refuses", "", float,
                   double) {
  using Scalar = TestType;
  using Rows = detail::RowMajorMatrix<Scalar>;
  const Scalar largest = std::numeric_limits<Scalar>::max();
  const Rows two = Rows::Ones(2, 1), large = Rows::Constant(2, 1, largest);

  const RotaryPhases<Scalar> phases(Rows::Constant(2, 1, Scalar(pi / 4)));
  const Rows both = Rows::Constant(2, 2, largest);
  Rows apart = both;
  apart.col(1) *= -1;
  refuses([&] { (void)phases.rotated(both); }, {"the rotated rows", "inf", "finite"});
  refuses([&] { (void)phases.rotated_gradient(Rows::Ones(2, 2), apart); },
          {"the gradient of the rows", "inf"});
  refuses([&] { (void)phases.rotated_gradient(Rows::Constant(2, 2, 4), (apart / 2).eval()); },
          {"the gradient of the phases", "inf"});
  refuses([&] { (void)phases.angles_gradient(large); }, {"the gradient of the angles", "inf"});

  const TrapezoidalSteps<Scalar> steps(Rows::Zero(2, 1), Rows::Constant(2, 1, 2),
                                       Rows::Constant(2, 1, Scalar(0.5)));
  const Rows four = Rows::Ones(4, 1), large_four = Rows::Constant(4, 1, largest);
  refuses([&] { (void)steps.values_gradient(large_four); }, {"the gradient of v", "inf"});
  refuses([&] { (void)steps.gradient(two, large_four, two); }, {"the gradient of k", "inf"});
  refuses([&] { (void)steps.gradient(large, Rows::Constant(4, 1, 2), two); }, {"inf", "finite"});
  const auto d = steps.gradient(two, four, two);
  CHECK((detail::all_finite(d.k) && detail::all_finite(d.dt) && detail::all_finite(d.mix)));
}
