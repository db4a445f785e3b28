// SPDX-License-Identifier: MIT
#include "loglinear/readout/recursive_least_squares.hpp"

#include <Eigen/Eigenvalues>
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using Eigen::Index;
using loglinear::RecursiveLeastSquares;
using LongMatrix = test::Matrix<long double>;
using Solver = Eigen::SelfAdjointEigenSolver<LongMatrix>;  // one for all, as it is long to compile

/// The ridge regression that RLS is to solve, solved in one go:
/// `(sum_s f^(n-1-s) phi phi^T + f^n / p0 I) Theta = sum_s f^(n-1-s) phi y^T`.
struct Batch {
  LongMatrix information, moments;

  Batch(const test::Matrix<double>& features, const test::Matrix<double>& targets,
        double forgetting, double p0) {
    const Index n = features.cols();
    information = LongMatrix::Identity(features.rows(), features.rows()) *
                  (std::pow(static_cast<long double>(forgetting), n) / p0);
    moments = LongMatrix::Zero(features.rows(), targets.rows());
    for (Index s = 0; s < n; ++s) {
      const long double weight = std::pow(static_cast<long double>(forgetting), n - 1 - s);
      const test::Vector<long double> phi = features.col(s).cast<long double>();
      information += weight * phi * phi.transpose();
      moments += weight * phi * targets.col(s).cast<long double>().transpose();
    }
  }
  test::Matrix<double> weights() const { return solved(moments).cast<double>(); }
  test::Matrix<double> covariance() const {
    return solved(LongMatrix::Identity(information.rows(), information.rows())).cast<double>();
  }
  double condition() const {
    const Solver solver(information, Eigen::EigenvaluesOnly);
    return static_cast<double>(solver.eigenvalues().maxCoeff() / solver.eigenvalues().minCoeff());
  }

 private:
  LongMatrix solved(const LongMatrix& right) const {
    const Solver solver(information);
    const LongMatrix along = solver.eigenvectors().transpose().lazyProduct(right);
    return solver.eigenvectors().lazyProduct(
        (solver.eigenvalues().cwiseInverse().asDiagonal() * along).eval());
  }
};

double smallest_eigenvalue(const test::Matrix<double>& m) {
  const Solver solver(m.cast<long double>(), Eigen::EigenvaluesOnly);
  return static_cast<double>(solver.eigenvalues().minCoeff());
}

template <class Scalar>
typename RecursiveLeastSquares<Scalar>::Options sized(Index features, Index outputs) {
  return {.features = features, .outputs = outputs};
}

}  // namespace

TEMPLATE_TEST_CASE("After every sample the weights are those of batch ridge regression", "", float,
                   double) {
  using Scalar = TestType;
  constexpr Index features = 5, samples = 60;
  test::Random random(21);
  for (const Index outputs : {1, 3}) {
    for (const double forgetting : {1.0, 0.99, 0.875}) {
      for (const double p0 : {100.0, 0.5}) {
        const auto phi = random.matrix<Scalar>(features, samples);
        const auto y = random.matrix<Scalar>(outputs, samples);
        RecursiveLeastSquares<Scalar> rls({.features = features,
                                           .outputs = outputs,
                                           .forgetting = Scalar(forgetting),
                                           .initial_covariance = p0,
                                           .max_covariance = 1e12});  // out of the way
        for (Index s = 0; s < samples; ++s) {
          const Batch before(phi.leftCols(s).template cast<double>(),
                             y.leftCols(s).template cast<double>(), Scalar(forgetting), p0);
          const Batch after(phi.leftCols(s + 1).template cast<double>(),
                            y.leftCols(s + 1).template cast<double>(), Scalar(forgetting), p0);
          const test::Vector<Scalar> asked = rls.predict(phi.col(s));
          const test::Vector<Scalar> told = rls.update(phi.col(s), y.col(s));
          REQUIRE(test::same_bits(asked, told));

          CAPTURE(outputs, forgetting, p0, s);
          // Each update rounds once in each of its sums of `features` terms; solving multiplies by
          // the condition of the information, of the worst sample so far.
          const double steps = static_cast<double>(s + 1) + 8;
          const double growth =
              test::rounding<Scalar>(steps, features) * std::max(after.condition(), p0 * 10);
          const double largest = 1 + after.weights().cwiseAbs().maxCoeff();
          const test::Vector<double> expected =
              before.weights().transpose() * phi.col(s).template cast<double>();
          CHECK(test::difference(told.template cast<double>(), expected) <= growth * largest);
          CHECK(test::difference(rls.weights().template cast<double>(), after.weights()) <=
                growth * largest);
          CHECK(test::difference(rls.covariance().template cast<double>(), after.covariance()) <=
                growth * after.covariance().cwiseAbs().maxCoeff());
        }
        CHECK(rls.update_count() == samples);
      }
    }
  }
}

TEST_CASE("One feature, by hand") {
  RecursiveLeastSquares<double> rls(
      {.features = 1, .forgetting = 0.5, .initial_covariance = 2, .max_covariance = 8});
  const auto one = [](double value) { return test::Vector<double>::Constant(1, value); };
  // K = 2*3 / (0.5 + 18) = 12/37, Theta = 24/37, P = (2 - 12/37 * 3 * 2) / 0.5 = 4/37
  CHECK(rls.update(one(3), one(2))[0] == 0);
  CHECK(std::abs(rls.weights()(0, 0) - 24.0 / 37) <= test::rounding<double>(8));
  CHECK(std::abs(rls.covariance()(0, 0) - 4.0 / 37) <= test::rounding<double>(8));
  CHECK(std::abs(rls.predict(one(-1))[0] + 24.0 / 37) <= test::rounding<double>(8));
  CHECK(rls.update_count() == 1);
  for (int i = 0; i < 20; ++i) rls.update(one(0), one(0));  // P would double every time
  CHECK(rls.covariance()(0, 0) == 8);
}

TEMPLATE_TEST_CASE("The covariance stays symmetric, positive and bounded", "", float, double) {
  using Scalar = TestType;
  test::Random random(22);
  RecursiveLeastSquares<Scalar> rls(
      {.features = 6, .forgetting = 0.9, .initial_covariance = 10, .max_covariance = 1000});
  for (int i = 0; i < 500; ++i) {
    test::Vector<Scalar> phi = random.vector<Scalar>(6);
    if (i % 7 == 0) phi.setZero();
    if (i % 50 > 25) phi.tail(3).setZero();  // not excited for a while
    rls.update(phi, test::Vector<Scalar>::Constant(1, Scalar(random.number())));
    const test::Matrix<double> p = rls.covariance().template cast<double>();
    const double rounding = test::rounding<Scalar>(4, 6) * p.norm();
    REQUIRE(test::difference(p, p.transpose()) <= rounding);
    REQUIRE(smallest_eigenvalue(p) >= -rounding);
    REQUIRE(rls.smallest_pivot() > 0);
    REQUIRE(rls.smallest_pivot() <= Scalar(1000));
  }
}

TEMPLATE_TEST_CASE("A million updates with a dead feature and two collinear ones stay sound", "",
                   float, double) {
  using Scalar = TestType;
  constexpr int updates = 1'000'000;
  test::Random random(23);
  RecursiveLeastSquares<Scalar> rls({.features = 6, .forgetting = 0.99});
  test::Vector<Scalar> phi(6), y(1);
  Scalar largest_weight = 0, largest_error = 0;
  bool finite = true, positive = true;
  for (int i = 0; i < updates; ++i) {
    const double a = random.number(), b = random.number(), noise = 0.01 * random.number();
    phi << Scalar(1), Scalar(a), Scalar(2 * a), Scalar(0), Scalar(b), Scalar(a + b);
    y[0] = static_cast<Scalar>(0.5 + a - 2 * b + noise);
    const Scalar error = std::abs(rls.update(phi, y)[0] - y[0]);
    if (i > 1000) largest_error = std::max(largest_error, error);
    largest_weight = std::max(largest_weight, rls.weights().cwiseAbs().maxCoeff());
    finite &= rls.weights().allFinite();
    positive &= rls.smallest_pivot() > 0;
  }
  CHECK(finite);
  CHECK(positive);
  CHECK(rls.weights()(3, 0) == 0);  // nothing can be learnt about the dead feature
  // The solution of least norm is within [-2, 2]; P never exceeds 100 in any direction, and so
  // neither does what noise of 0.01 moves the collinear directions by in 100 samples.
  CHECK(largest_weight < 100);
  CHECK(largest_error < 0.05);  // noise of 0.01, seen twice, and the weights' own noise
  CHECK(rls.covariance().allFinite());
  CHECK(rls.update_count() == updates);
}

TEST_CASE("reset forgets every sample") {
  test::Random random(24);
  const RecursiveLeastSquares<double>::Options options{
      .features = 3, .outputs = 2, .forgetting = 0.9};
  RecursiveLeastSquares<double> used(options), fresh(options);
  for (int i = 0; i < 10; ++i) used.update(random.vector<double>(3), random.vector<double>(2));
  used.reset();
  CHECK(used.update_count() == 0);
  for (int i = 0; i < 10; ++i) {
    CHECK(test::same_bits(used.weights(), fresh.weights()));
    CHECK(test::same_bits(used.covariance(), fresh.covariance()));
    const auto phi = random.vector<double>(3), y = random.vector<double>(2);
    used.update(phi, y);
    fresh.update(phi, y);
  }
}

TEST_CASE("Any vector expression is a feature vector") {
  test::Random random(25);
  const auto m = random.matrix<double>(4, 4);
  const auto y = random.vector<double>(1);
  const Eigen::RowVectorXd row = m.row(1);
  const auto with = [&](const auto& phi) {
    RecursiveLeastSquares<double> rls(sized<double>(4, 1));
    rls.update(phi, y);
    return rls.weights();
  };
  const auto expected = with(test::Vector<double>(m.row(1).transpose()));
  CHECK(test::same_bits(with(m.row(1)), expected));
  CHECK(test::same_bits(with(row), expected));
  CHECK(test::same_bits(with(m.row(1).transpose()), expected));
  CHECK(test::same_bits(with(Eigen::Map<const Eigen::RowVectorXd>(row.data(), 4)), expected));
  CHECK(test::same_bits(with(0.5 * m.row(1) + 0.5 * m.row(1)), expected));
}

TEMPLATE_TEST_CASE("Options out of their ranges are refused by name", "", float, double) {
  using Rls = RecursiveLeastSquares<TestType>;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const auto error = [](auto change) {
    typename Rls::Options options{.features = 3};
    change(options);
    return test::error_of([&] { Rls rls(options); });
  };
  CHECK(error([](auto&) {}).empty());
  CHECK(test::mentions(error([](auto& o) { o.features = 0; }), {"features", "0", "at least 1"}));
  CHECK(test::mentions(error([](auto& o) { o.features = -3; }), {"features", "-3", "at least 1"}));
  CHECK(test::mentions(error([](auto& o) { o.outputs = 0; }), {"outputs", "0", "at least 1"}));
  for (const double bad : {0.0, -0.5, 1.0000001, nan, infinity}) {
    CHECK(test::mentions(error([&](auto& o) { o.forgetting = bad; }), {"forgetting", "(0, 1]"}));
    if (bad == 1.0000001) continue;
    CHECK(test::mentions(error([&](auto& o) { o.initial_covariance = bad; }),
                         {"initial_covariance", "finite and positive"}));
  }
  const double too_small = static_cast<double>(std::numeric_limits<TestType>::min()) / 2;
  CHECK(test::mentions(error([&](auto& o) { o.forgetting = too_small; }),
                       {"forgetting", "between", "and 1"}));
  CHECK(test::mentions(error([&](auto& o) { o.initial_covariance = too_small; }),
                       {"initial_covariance", "between"}));
  for (const double bad : {99.0, -1.0, nan, infinity}) {
    CHECK(test::mentions(error([&](auto& o) { o.max_covariance = bad; }),
                         {"max_covariance", "between 100 and"}));
  }
}

TEMPLATE_TEST_CASE("Bad samples are refused and change nothing", "", float, double) {
  using Scalar = TestType;
  using Rls = RecursiveLeastSquares<Scalar>;
  using Vec = test::Vector<Scalar>;
  test::Random random(26);
  Rls rls({.features = 3, .outputs = 2, .forgetting = 0.9}), twin = rls;
  const Vec good_phi = random.vector<Scalar>(3), good_y = random.vector<Scalar>(2);
  for (int i = 0; i < 5; ++i) {
    const Vec phi = random.vector<Scalar>(3), y = random.vector<Scalar>(2);
    rls.update(phi, y);
    twin.update(phi, y);
  }
  const auto refuses = [&](const Vec& phi, const Vec& y,
                           std::initializer_list<std::string_view> parts) {
    const std::string error = test::error_of([&] { rls.update(phi, y); });
    CAPTURE(error);
    CHECK(test::mentions(error, parts));
    CHECK(rls.update_count() == twin.update_count());
    CHECK(test::same_bits(rls.weights(), twin.weights()));
    CHECK(test::same_bits(rls.covariance(), twin.covariance()));
    rls.update(good_phi, good_y);
    twin.update(good_phi, good_y);
    CHECK(test::same_bits(rls.weights(), twin.weights()));
    CHECK(test::same_bits(rls.covariance(), twin.covariance()));
  };
  refuses(Vec::Zero(2), good_y, {"phi", "2", "must be 3"});
  refuses(Vec::Zero(4), good_y, {"phi", "4", "must be 3"});
  refuses(good_phi, Vec::Zero(3), {"y", "3", "must be 2"});
  CHECK(test::mentions(test::error_of([&] { rls.predict(Vec::Zero(2)); }),
                       {"phi", "2", "must be 3"}));
  for (const Scalar bad :
       {std::numeric_limits<Scalar>::quiet_NaN(), std::numeric_limits<Scalar>::infinity(),
        -std::numeric_limits<Scalar>::infinity()}) {
    for (Index i = 0; i < 3; ++i) {
      Vec phi = good_phi;
      phi[i] = bad;
      const std::string name = "phi[" + std::to_string(i) + "]";
      refuses(phi, good_y, {name, "finite"});
      CHECK(test::mentions(test::error_of([&] { rls.predict(phi); }), {name, "finite"}));
    }
    for (Index i = 0; i < 2; ++i) {
      Vec y = good_y;
      y[i] = bad;
      refuses(good_phi, y, {"y[" + std::to_string(i) + "]", "finite"});
    }
  }
  // Finite, but with squares or products that overflow.
  const Scalar huge = std::numeric_limits<Scalar>::max() / 2;
  refuses(Vec::Constant(3, huge), good_y, {"must be"});
  refuses(Vec::Constant(3, std::sqrt(huge)), good_y, {"must be"});
  CHECK(rls.weights().allFinite());
  // P phi = 10 and phi^T P phi = 1: the weight would be 5 times the target.
  rls = Rls({.features = 3, .outputs = 2});
  twin = rls;
  refuses(Vec::Unit(3, 1) / 10, Vec::Constant(2, -huge), {"largest weight", "must be"});
}
