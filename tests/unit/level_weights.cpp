// SPDX-License-Identifier: MIT
#include "loglinear/rules/level_weights.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Vec = test::Vector<double>;
using LongVec = test::Vector<long double>;

long double exact_softplus(long double z) {
  return z > 20 ? z : z < -20 ? std::exp(z) : std::log1p(std::exp(z));
}

LongVec exact_mixture(const LongVec& raw, long double lambda_init, long double tau) {
  LongVec lambda(raw.size());
  long double sum = 0;
  for (Eigen::Index i = 0; i < raw.size(); ++i) {
    sum += lambda[i] = exact_softplus((raw[i] + lambda_init) / tau);
  }
  return lambda / sum;
}

template <class Policy, class Scalar>
test::Vector<Scalar> weigh(const Policy& policy, const test::Vector<Scalar>& raw,
                           const test::Vector<Scalar>& free = {}) {
  test::Vector<Scalar> lambda(raw.size());
  policy.weigh(raw, free, lambda);
  return lambda;
}

NormalizedMixture mixture(std::optional<double> lambda_init, double tau, int max_levels) {
  NormalizedMixture policy{lambda_init, tau};
  policy.resolve<double>(max_levels);
  return policy;
}

Vec vec(const std::vector<double>& values) {
  return Eigen::Map<const Vec>(values.data(), static_cast<Eigen::Index>(values.size()));
}

// Raw weights in every regime: small, near and beyond both asymptotes, all of them underflowing.
const std::vector<double> regimes[] = {
    {0, 0, 0, 0},          {0.3, -1.2, 2, 0.1},        {19, -19, 3, 1},
    {21, -21, 35, -35},    {700, 300, -700, 2},        {-18, -25, -40, -90},
    {-30, -31, -30.5, 10}, {-30, -31, -30.5, -45},     {-800, -800, -800, -800},
    {-800, -801, -799, 5}, {-800, -801, -799.5, -805}, {-5000, -5001, -5003, -5000.5}};

// Central differences of step h: the truncation h^2 / 6 f''' with f''' below 10 / tau^3, and the
// error of an analytic sigmoid against the slope of the asymptotes, exp(-20) = 2.1e-9 a weight.
constexpr double step = 1e-5;
double gradient_tolerance(double tau, Eigen::Index n) {
  return 10 * step * step / (tau * tau * tau) + 2.1e-9 * static_cast<double>(n) / tau;
}

}  // namespace

TEMPLATE_TEST_CASE("The normalised mixture is softplus over its sum, far out too", "", float,
                   double) {
  using Scalar = TestType;
  for (const double tau : {1.0, 0.5, 3.0}) {
    for (const double lambda_init : {0.0, 0.25, -2.5}) {
      for (const auto& values : regimes) {
        const Vec raw = vec(values);
        const auto lambda = weigh(mixture(lambda_init, tau, 4), raw.cast<Scalar>().eval());
        const LongVec exact =
            exact_mixture(raw.cast<Scalar>().template cast<long double>(), lambda_init, tau);
        // exp(z) multiplies the rounding of z by |z|; all z are at most that far from 0.
        const double farthest = (raw.cwiseAbs().maxCoeff() + std::abs(lambda_init)) / tau;
        CAPTURE(raw.transpose(), tau, lambda_init);
        CHECK(test::difference(lambda.template cast<long double>(), exact) <=
              test::rounding<Scalar>(8 + 2 * farthest, 4));
        CHECK(std::abs(lambda.sum() - 1) <= test::rounding<Scalar>(4, 4));
        CHECK(lambda.minCoeff() >= 0);
      }
    }
  }
}

TEST_CASE("The mixture stays a mixture where every softplus underflows") {
  for (const double far : {-30.0, -745.0, -800.0, -1e5, -1e300}) {
    const auto lambda = weigh<NormalizedMixture, double>(mixture({}, 1, 4), Vec::Constant(4, far));
    CHECK(test::difference(lambda, Vec::Constant(4, 0.25)) <= test::rounding<double>(4));
  }
  const auto single = weigh<NormalizedMixture, double>(mixture({}, 1, 1), Vec::Constant(1, -800));
  CHECK(single[0] == 1);
}

TEST_CASE("lambda_init is 1 / max_levels unless given") {
  CHECK(mixture({}, 1, 8).lambda_init == 0.125);
  CHECK(mixture(-3.5, 1, 8).lambda_init == -3.5);
  const Vec raw = vec({0.5, -0.5});
  CHECK(test::same_bits(weigh(mixture({}, 1, 4), raw), weigh(mixture(0.25, 1, 7), raw)));
}

TEST_CASE("tau divides the logits") {
  // softplus(ln 3) = ln 4 and softplus(ln 15) = ln 16 = 2 ln 4.
  const Vec raw = vec({2 * std::log(3.0) - 0.5, 2 * std::log(15.0) - 0.5});
  const auto lambda = weigh(mixture(0.5, 2, 2), raw);
  CHECK(std::abs(lambda[0] - 1.0 / 3) <= test::rounding<double>(16));
  CHECK(std::abs(lambda[1] - 2.0 / 3) <= test::rounding<double>(16));
}

TEST_CASE("The mixture's pullback is its derivative in every regime") {
  test::Random random(11);
  for (const double tau : {1.0, 0.5, 3.0}) {
    const NormalizedMixture policy = mixture(0.125, tau, 4);
    for (const auto& values : regimes) {
      const Vec raw = vec(values), d_lambda = random.vector<double>(4);
      Vec d_raw(4), none;
      policy.pullback(raw, none, weigh(policy, raw), d_lambda, d_raw, none);
      LongVec moved = raw.cast<long double>();
      const LongVec cotangent = d_lambda.cast<long double>();
      for (Eigen::Index i = 0; i < raw.size(); ++i) {
        const long double held = moved[i];
        moved[i] = held + step;
        const long double above = weigh(policy, moved).dot(cotangent);
        moved[i] = held - step;
        const long double below = weigh(policy, moved).dot(cotangent);
        moved[i] = held;
        CAPTURE(raw.transpose(), tau, i);
        CHECK(std::abs(d_raw[i] - (above - below) / (2 * static_cast<long double>(step))) <=
              gradient_tolerance(tau, 4));
      }
    }
  }
}

TEST_CASE("SoftplusWeights is softplus(L * r), not normalised") {
  const SoftplusWeights policy;
  const Vec raw = vec({0, std::log(3.0), -1, 50}), scale = vec({1, 1, 2, -1});
  const auto lambda = weigh(policy, raw, scale);
  const double tolerance = test::rounding<double>(8);
  CHECK(std::abs(lambda[0] - std::log(2.0)) <= tolerance);
  CHECK(std::abs(lambda[1] - std::log(4.0)) <= tolerance);
  CHECK(std::abs(lambda[2] - std::log1p(std::exp(-2.0))) <= tolerance);
  CHECK(std::abs(lambda[3] / std::exp(-50.0) - 1) <= 50 * tolerance);
  CHECK(weigh(policy, vec({100, 1e6}), vec({1, 1})) == vec({100, 1e6}));
  const auto parameters = policy.parameters(5);
  CHECK(parameters[0].name == "w_lambda");
  CHECK(parameters[1].name == "level_scale");
  CHECK(parameters[1].initial == 1.0);
  CHECK_FALSE(parameters[1].is_projection);
}

TEST_CASE("The pullback of SoftplusWeights is its derivative, by the scale too") {
  test::Random random(12);
  const SoftplusWeights policy;
  for (const auto& values : regimes) {
    const Vec raw = vec(values).cwiseMin(40).cwiseMax(-40);  // f''' grows with the scale's factor
    const Vec scale = Vec::Ones(4) + 0.5 * random.vector<double>(4);
    const Vec d_lambda = random.vector<double>(4);
    Vec d_raw(4), d_scale(4);
    policy.pullback(raw, scale, weigh(policy, raw, scale), d_lambda, d_raw, d_scale);
    LongVec moved_raw = raw.cast<long double>(), moved_scale = scale.cast<long double>();
    const LongVec cotangent = d_lambda.cast<long double>();
    const auto central = [&](long double& moved) {
      const long double held = moved;
      moved = held + step;
      const long double above = weigh(policy, moved_raw, moved_scale).dot(cotangent);
      moved = held - step;
      const long double below = weigh(policy, moved_raw, moved_scale).dot(cotangent);
      moved = held;
      return (above - below) / (2 * static_cast<long double>(step));
    };
    for (Eigen::Index i = 0; i < raw.size(); ++i) {
      CAPTURE(raw.transpose(), scale.transpose(), i);
      // Moving the scale moves z by |r| times as much, and f''' by |r|^3.
      const double stretch = 1 + std::abs(raw[i]);
      CHECK(std::abs(d_raw[i] - central(moved_raw[i])) <= gradient_tolerance(0.5, 1));
      CHECK(std::abs(d_scale[i] - central(moved_scale[i])) <=
            stretch * stretch * stretch * gradient_tolerance(1, 1));
    }
  }
}

namespace {

/// softplus(W_2 silu(W_1 x + b_1) + b_2) of the published equation, z = W_1 x given.
LongVec exact_network(const LongVec& z, const LongVec& free, Eigen::Index n) {
  const Eigen::Index m = z.size();
  LongVec lambda(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    long double sum = free[m + n * m + i];
    for (Eigen::Index j = 0; j < m; ++j) {
      const long double hidden = z[j] + free[j];
      sum += free[m + i * m + j] * hidden / (1 + std::exp(-hidden));
    }
    lambda[i] = exact_softplus(sum);
  }
  return lambda;
}

}  // namespace

TEMPLATE_TEST_CASE("MlpWeights is softplus(W2 silu(W1 x + b1) + b2)", "", float, double) {
  using Scalar = TestType;
  test::Random random(15);
  for (const int channels : {1, 3, 16, 256}) {
    for (const Eigen::Index n : {1, 5, 65}) {
      MlpWeights policy{.channels = channels};
      policy.resolve<Scalar>(static_cast<int>(n));
      const auto parameters = policy.parameters(n);
      CHECK(parameters[0].name == "w_lambda_hidden");
      CHECK(parameters[0].rows == channels);
      CHECK(parameters[1].rows + parameters[2].rows + parameters[3].rows ==
            channels + n * channels + n);
      const test::Vector<Scalar> raw = random.vector<Scalar>(channels);
      const test::Vector<Scalar> free = random.vector<Scalar>(channels + n * channels + n);
      test::Vector<Scalar> lambda(n);
      policy.weigh(raw, free, lambda);
      const LongVec exact =
          exact_network(raw.template cast<long double>(), free.template cast<long double>(), n);
      CAPTURE(channels, n);
      CHECK(test::difference(lambda.template cast<long double>(), exact) <=
            test::rounding<Scalar>(16, channels));
      CHECK(lambda.minCoeff() >= 0);
    }
  }
}

TEST_CASE("The pullback of MlpWeights is its derivative, by all of its weights") {
  test::Random random(16);
  const Eigen::Index n = 4, m = 3;
  MlpWeights policy{.channels = 3};
  for (int round = 0; round < 20; ++round) {
    const double size = round < 10 ? 1 : 5;
    const Vec raw = size * random.vector<double>(m), free = random.vector<double>(m + n * m + n);
    const Vec d_lambda = random.vector<double>(n);
    Vec lambda(n), d_raw(m), d_free(free.size());
    policy.weigh(raw, free, lambda);
    policy.pullback(raw, free, lambda, d_lambda, d_raw, d_free);
    LongVec moved_raw = raw.cast<long double>(), moved_free = free.cast<long double>();
    const LongVec cotangent = d_lambda.cast<long double>();
    const auto central = [&](long double& moved) {
      const long double held = moved;
      moved = held + step;
      const long double above = exact_network(moved_raw, moved_free, n).dot(cotangent);
      moved = held - step;
      const long double below = exact_network(moved_raw, moved_free, n).dot(cotangent);
      moved = held;
      return static_cast<double>((above - below) / (2 * static_cast<long double>(step)));
    };
    // What is moved is multiplied by 6 at most before it meets softplus, whose f''' is below 10.
    const double limit = 10 * step * step * 6 * 6 * 6 * static_cast<double>(n);
    for (Eigen::Index i = 0; i < m; ++i) CHECK(std::abs(d_raw[i] - central(moved_raw[i])) <= limit);
    for (Eigen::Index i = 0; i < free.size(); ++i) {
      CAPTURE(i);
      CHECK(std::abs(d_free[i] - central(moved_free[i])) <= limit);
    }
  }
}

TEST_CASE("MlpWeights refuses illegal numbers of channels") {
  for (const int channels : {0, -1, 257}) {
    MlpWeights policy{.channels = channels};
    CHECK(test::mentions(test::error_of([&] { policy.resolve<double>(4); }),
                         {"MlpWeights::channels", std::to_string(channels), "between 1 and 256"}));
    CHECK(test::mentions(test::error_of([&] { (void)policy.parameters(4); }), {"channels"}));
  }
}

TEST_CASE("UnitWeights are ones and need no weights") {
  const UnitWeights policy;
  CHECK(weigh(policy, Vec(Vec::Zero(5))) == Vec::Ones(5));
  CHECK(policy.parameters(5).empty());
}

TEST_CASE("NormalizedMixture refuses illegal hyperparameters") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const auto error = [](std::optional<double> lambda_init, double tau) {
    return test::error_of([&] { mixture(lambda_init, tau, 4); });
  };
  CHECK(error(-1e300, 1e-300).empty());
  CHECK(test::mentions(error(nan, 1), {"lambda_init", "nan", "finite"}));
  CHECK(test::mentions(error(infinity, 1), {"lambda_init", "inf", "finite"}));
  CHECK(test::mentions(error(-infinity, 1), {"lambda_init", "-inf", "finite"}));
  CHECK(test::mentions(error({}, 0), {"tau", " 0;", "finite and positive"}));
  CHECK(test::mentions(error({}, -1), {"tau", "-1", "finite and positive"}));
  CHECK(test::mentions(error({}, nan), {"tau", "nan", "finite and positive"}));
  CHECK(test::mentions(error({}, infinity), {"tau", "inf", "finite and positive"}));
}

TEST_CASE("NormalizedMixture stays a mixture where the sum of the softplus overflows") {
  const auto lambda =
      weigh<NormalizedMixture, double>(mixture(0.0, 1, 4), vec({1e308, 1e308, 1e308, 5e307}));
  CHECK(std::abs(lambda.sum() - 1) <= 1e-15);
  CHECK(std::abs(lambda[3] - 1.0 / 7) <= 1e-15);
}

TEST_CASE("The mixture of means divides by the tokens of each bucket") {
  test::Random random(14);
  for (const int max_levels : {1, 5, 64}) {
    for (const bool apart : {false, true}) {
      MeanMixture policy{.mixture = {.lambda_init = 0.5, .tau = 2}};
      policy.resolve<double>(max_levels);
      const Eigen::Index n = max_levels + (apart ? 1 : 0);
      const Vec raw = random.vector<double>(n), d_lambda = random.vector<double>(n);
      const Vec lambda = weigh(policy, raw);
      const Vec plain = weigh(mixture(0.5, 2, max_levels), raw);
      Vec sizes(n);  // 1, 2, 4, ..., after the token's own leaf if that stands apart
      for (Eigen::Index i = 0; i < n; ++i) {
        sizes[i] = apart && i == 0 ? 1 : std::exp2(static_cast<double>(apart ? i - 1 : i));
      }
      CHECK(lambda == plain.cwiseQuotient(sizes));

      // d lambda_i / d raw is that of the mixture over the size.
      Vec d_raw(n), expected(n), none;
      policy.pullback(raw, none, lambda, d_lambda, d_raw, none);
      const Vec scaled = d_lambda.cwiseQuotient(sizes);
      mixture(0.5, 2, max_levels).pullback(raw, none, plain, scaled, expected, none);
      CHECK(d_raw == expected);
      CHECK(d_raw.cwiseAbs().maxCoeff() >= (n > 1 ? 1e-6 : 0));
    }
  }
}
