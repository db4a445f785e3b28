// SPDX-License-Identifier: MIT
// The cascade against its recurrence written plainly over a list of tokens, its gradients against
// differences, and what it refuses.
#include "loglinear/readout/cascade.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/rules.hpp"
#include "support.hpp"

namespace {

using Eigen::Index;
using namespace loglinear;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr float infinity_f = std::numeric_limits<float>::infinity();
constexpr float nan_f = std::numeric_limits<float>::quiet_NaN();

/// e <- (num + kappa e) / (mass + kappa), the oldest level first. The last column is the mass.
template <class Scalar>
test::Matrix<Scalar> plainly(const test::Matrix<Scalar>& reads, Scalar kappa,
                             const test::Vector<Scalar>& prior) {
  const Index m = reads.cols() - 1;
  test::Matrix<Scalar> estimates(reads.rows(), m);
  test::Vector<Scalar> e = prior;
  for (Index l = reads.rows() - 1; l >= 0; --l) {
    for (Index j = 0; j < m; ++j) e[j] = (reads(l, j) + kappa * e[j]) / (reads(l, m) + kappa);
    estimates.row(l) = e.transpose();
  }
  return estimates;
}

/// Reads as keys that are not negative make them; some levels are empty.
template <class Scalar>
test::Matrix<Scalar> random_reads(test::Random& random, Index levels, Index outputs) {
  test::Matrix<Scalar> reads = random.matrix<Scalar>(levels, outputs + 1);
  for (Index l = 0; l < levels; ++l) {
    reads(l, outputs) = static_cast<Scalar>(random.number(0, 3));
    if (random.below(3) == 0) reads.row(l).setZero();
  }
  return reads;
}

struct Written {
  test::Vector<long double> key, y;
};

/// What a key reads of the tokens so far, bucket by bucket of the binary counter.
test::Matrix<long double> reads_of(const std::vector<Written>& tokens, int levels, Index outputs,
                                   const test::Vector<long double>& q) {
  test::Matrix<long double> reads = test::Matrix<long double>::Zero(levels, outputs + 1);
  for (int l = 0; l < levels; ++l) {
    const Bucket bucket = bucket_of(tokens.size(), l, levels);
    for (std::uint64_t s = bucket.first; s < bucket.first + bucket.size; ++s) {
      const long double score = tokens[s].key.dot(q);
      reads.row(l).head(outputs) += score * tokens[s].y.transpose();
      reads(l, outputs) += score;
    }
  }
  return reads;
}

test::Vector<double> positive(test::Random& random, Index size, bool one_hot) {
  test::Vector<double> key = test::Vector<double>::Zero(size);
  if (one_hot) {
    key[random.below(static_cast<int>(size))] = 1;
  } else {
    for (double& k : key) k = random.number(0, 1);
  }
  return key;
}

}  // namespace

TEST_CASE("The cascade of a stream is its recurrence over the list of tokens") {
  for (const bool one_hot : {false, true}) {
    for (const int levels : {1, 3, 9}) {
      for (const Index outputs : {1, 2}) {
        CAPTURE(one_hot, levels, outputs);
        test::Random random(81);
        Cascade<> cascade(
            {.d_k = 9, .outputs = outputs, .max_levels = levels, .kappa = 0.75, .prior = 0.25});
        std::vector<Written> tokens;
        const test::Vector<long double> prior = test::Vector<long double>::Constant(outputs, 0.25L);
        double worst = 0;
        for (int n = 0; n < 150; ++n) {
          const auto key = positive(random, 9, one_hot);
          const auto y = random.vector<double>(outputs);
          const test::Matrix<long double> expected = plainly<long double>(
              reads_of(tokens, levels, outputs, key.cast<long double>()), 0.75L, prior);
          const test::Matrix<double> estimates = cascade.read(key);
          worst = std::max(worst, test::difference(estimates, expected.cast<double>().eval()));
          CHECK(test::same_bits(cascade.predict(key).transpose(), estimates.row(0)));
          const test::Vector<double> features = cascade.features(key);
          for (Index l = 0; l < levels; ++l) {
            CHECK(test::same_bits(features.segment(l * outputs, outputs).transpose(),
                                  estimates.row(l)));
          }
          CHECK(cascade.feature_count() == features.size());
          cascade.write(key, y);
          tokens.push_back({key.cast<long double>(), y.cast<long double>()});
        }
        CHECK(worst <= 1e-13);
        CHECK(cascade.size() == 150);
        cascade.reset();
        CHECK(cascade.read(positive(random, 9, one_hot)).isConstant(0.25, 0));
      }
    }
  }
}

TEST_CASE("A span of the cascade is its tokens one after the other") {
  test::Random random(83);
  Cascade<float> one_by_one({.d_k = 6, .outputs = 2, .max_levels = 8}), at_once(one_by_one);
  test::Matrix<float> keys(40, 6);
  for (Index t = 0; t < 40; ++t) {
    keys.row(t) = positive(random, 6, t % 2 == 0).cast<float>().transpose();
  }
  const auto y = random.matrix<float>(40, 2);
  const test::Matrix<float> features = at_once.forward_span(keys, y);
  bool same = true;
  for (Index t = 0; t < 40; ++t) {
    same &= test::same_bits(one_by_one.features(keys.row(t)).transpose(), features.row(t));
    one_by_one.write(keys.row(t), y.row(t));
  }
  CHECK(same);
  CHECK(one_by_one.state() == at_once.state());
  keys(39, 3) = -1e6f;  // the mass of the last token is negative: nothing is written
  CHECK(test::mentions(test::error_of([&] { at_once.forward_span(keys, y); }),
                       {"the mass of level"}));
  CHECK(one_by_one.state() == at_once.state());
}

TEST_CASE("Gradients of the cascade are those of differences") {
  using Wide = long double;
  test::Random random(85);
  for (const Index outputs : {1, 3}) {
    for (const int levels : {1, 2, 7}) {
      CAPTURE(outputs, levels);
      const auto reads = random_reads<double>(random, levels, outputs);
      const test::Vector<double> prior = random.vector<double>(outputs);
      const auto c = random.matrix<double>(levels, outputs);
      const double kappa = random.number(0.3, 2);
      CascadeReadout<> readout({.outputs = outputs, .max_levels = levels, .kappa = kappa});
      readout.set_prior(prior);
      const test::Matrix<double> estimates = readout.estimate(reads);
      CHECK(test::difference(estimates, plainly<double>(reads, kappa, prior)) <= 1e-15);
      test::Matrix<double> d_reads(levels, outputs + 1);
      readout.pull_back(c + estimates, d_reads);

      // Of sum c e + e^2 / 2, with respect to everything.
      const auto loss = [&](const test::Matrix<Wide>& r, Wide k, const test::Vector<Wide>& p) {
        const test::Matrix<Wide> e = plainly<Wide>(r, k, p);
        return (c.cast<Wide>().array() * e.array() + e.array().square() / 2).sum();
      };
      constexpr Wide step = 1e-4L;
      const auto derivative = [&](auto shifted) {
        return static_cast<double>(
            (8 * (shifted(step) - shifted(-step)) - (shifted(2 * step) - shifted(-2 * step))) /
            (12 * step));
      };
      const test::Matrix<Wide> r = reads.cast<Wide>();
      const test::Vector<Wide> p = prior.cast<Wide>();
      for (Index i = 0; i < reads.size(); ++i) {
        const double expected = derivative([&](Wide by) {
          auto moved = r;
          moved(i) += by;
          return loss(moved, kappa, p);
        });
        CHECK(std::abs(d_reads(i) - expected) <= 1e-9);
      }
      CHECK(std::abs(readout.d_kappa() -
                     derivative([&](Wide by) { return loss(r, kappa + by, p); })) <= 1e-9);
      for (Index j = 0; j < outputs; ++j) {
        const double expected = derivative([&](Wide by) {
          auto moved = p;
          moved[j] += by;
          return loss(r, kappa, moved);
        });
        CHECK(std::abs(readout.d_prior()[j] - expected) <= 1e-9);
      }
    }
  }
}

TEST_CASE("An empty level passes the older estimate on as it is") {
  CascadeReadout<> readout({.max_levels = 4, .kappa = 0.1, .prior = 1.0 / 3});
  test::Matrix<double> reads = test::Matrix<double>::Zero(4, 2);
  CHECK(readout.estimate(reads).isConstant(1.0 / 3, 0));
  reads.row(2) << 1.5, 2;
  const test::Matrix<double> estimates = readout.estimate(reads);
  CHECK(estimates(3, 0) == 1.0 / 3);
  CHECK(estimates(2, 0) == (1.5 + 0.1 * (1.0 / 3)) / 2.1);
  CHECK(estimates(1, 0) == estimates(2, 0));
  CHECK(estimates(0, 0) == estimates(2, 0));
}

TEST_CASE("The cascade takes the place of a layer's mixture, decays and all") {
  // Values (y, 1) are W_v x of x = (key, y, 1).
  constexpr Index keys = 5;
  LogLinearAttention<RetNet> layer(
      {.inner = {.gamma = 0.9}, .d_model = keys + 2, .d_k = keys, .d_v = 2, .max_levels = 7});
  test::Matrix<double> of_key = test::Matrix<double>::Zero(keys, keys + 2), of_value(2, keys + 2);
  of_key.leftCols(keys).setIdentity();
  of_value.setZero();
  of_value.rightCols(2).setIdentity();
  layer.set_weight("w_key", of_key);
  layer.set_weight("w_query", of_key);
  layer.set_weight("w_value", of_value);
  CascadeReadout<> readout({.max_levels = 7});
  RecursiveLeastSquares<> rls({.features = 7});
  auto reads = layer.make_level_reads();
  std::vector<Written> tokens;
  test::Random random(87);
  for (int n = 0; n < 100; ++n) {
    test::Vector<double> x = test::Vector<double>::Zero(keys + 2);
    x.head(keys) = positive(random, keys, true);
    x[keys + 1] = 1;
    layer.level_reads(x, reads);
    const double e = readout.estimate(reads)(0, 0);
    test::Matrix<double> expected_reads = test::Matrix<double>::Zero(7, 2);
    for (int l = 0; l < 7; ++l) {
      const Bucket bucket = bucket_of(tokens.size(), l, 7);
      for (std::uint64_t s = bucket.first; s < bucket.first + bucket.size; ++s) {
        const double decayed = std::pow(0.9, static_cast<double>(tokens.size() - 1 - s)) *
                               x.head(keys).dot(tokens[s].key.cast<double>());
        expected_reads(l, 0) += decayed * static_cast<double>(tokens[s].y[0]);
        expected_reads(l, 1) += decayed;
      }
    }
    CHECK(std::abs(e - plainly<double>(expected_reads, 1, test::Vector<double>::Zero(1))(0, 0)) <=
          1e-13);
    x[keys] = random.number();
    CHECK(rls.update(readout.features(), x.segment(keys, 1)).size() == 1);
    layer.forward(x);
    tokens.push_back({x.head(keys).cast<long double>(), x.segment(keys, 1).cast<long double>()});
  }
  CHECK(rls.update_count() == 100);
}

TEST_CASE("All estimates follow a key whose mean jumps sooner than its long mean does") {
  test::Random random(89);
  Cascade<> cascade({.d_k = 3, .max_levels = 12});
  RecursiveLeastSquares<> rls({.features = cascade.feature_count(), .forgetting = 0.999});
  double cascade_error = 0, mean_error = 0, sum = 0;
  for (int n = 0; n < 3000; ++n) {
    const auto key = positive(random, 3, true);
    const double level = n / 500 % 2 == 0 ? 1 : -1;
    const Eigen::Matrix<double, 1, 1> y(level + random.number(-0.5, 0.5));
    const double expected = rls.update(cascade.features(key), y)[0];
    if (n > 0) {
      cascade_error += std::abs(expected - y[0]);
      mean_error += std::abs(sum / n - y[0]);
    }
    cascade.write(key, y);
    sum += y[0];
  }
  CHECK(cascade_error < 0.5 * mean_error);
}

TEST_CASE("What the cascade refuses leaves its estimates as they were") {
  const auto made = [](const auto& options) {
    return test::error_of([&] { static_cast<void>(CascadeReadout<>(options)); });
  };
  using Options = CascadeReadout<>::Options;
  for (const double kappa : {0.0, -1.0, infinity, not_a_number, 1e-310}) {
    CHECK(test::mentions(made(Options{.kappa = kappa}), {"kappa is", "finite, positive and not"}));
  }
  CHECK(test::mentions(made(Options{.outputs = 0}), {"outputs is 0"}));
  CHECK(test::mentions(made(Options{.max_levels = 66}), {"max_levels is 66"}));
  CHECK(test::mentions(made(Options{.prior = infinity}), {"prior is inf"}));
  CHECK(test::mentions(test::error_of([] { Cascade<>({.outputs = 2}); }), {"d_k is 0"}));

  CascadeReadout<float> readout({.max_levels = 3, .kappa = 0.5});
  test::Matrix<float> reads(3, 2);
  reads << 1, 2, 3, 4, 5, 6;
  const test::Matrix<float> before = readout.estimate(reads);
  const auto refused = [&](Index row, Index column, float value) {
    test::Matrix<float> wrong = reads;
    wrong(row, column) = value;
    const std::string error = test::error_of([&] { readout.estimate(wrong); });
    CHECK(test::same_bits(readout.estimates(), before));
    return error;
  };
  CHECK(test::mentions(refused(1, 1, -0.5f), {"the mass of level 1 is -0.5", "above -kappa"}));
  CHECK(test::mentions(refused(0, 1, -7), {"the mass of level 0 is -7"}));
  CHECK(test::mentions(refused(2, 1, nan_f), {"the mass of level 2 is nan"}));
  CHECK(test::mentions(refused(2, 1, infinity_f), {"the mass of level 2 is inf"}));
  CHECK(test::mentions(refused(2, 0, infinity_f), {"the estimate after level 2 is inf"}));
  CHECK(test::mentions(refused(1, 0, nan_f), {"the estimate after level 1 is nan"}));
  test::Matrix<float> signed_mass = reads;
  signed_mass(0, 1) = -0.25f;  // above -kappa
  CHECK(test::error_of([&] { readout.estimate(signed_mass); }) == "");
  CHECK(test::mentions(test::error_of([&] { readout.estimate(reads.topRows(2)); }),
                       {"the reads (rows, one a level) is 2"}));
  CHECK(test::mentions(test::error_of([&] { readout.estimate(reads.leftCols(1)); }),
                       {"the reads (columns, outputs + 1) is 1"}));

  Cascade<> cascade({.d_k = 2});
  const Eigen::Vector2d key(0, 1);
  cascade.write(key, Eigen::Matrix<double, 1, 1>(3.0));
  const auto state = cascade.state();
  CHECK(test::error_of([&] { cascade.write(key, Eigen::Vector2d(1, 2)); }) != "");
  CHECK(test::error_of([&] { cascade.write(key, Eigen::Matrix<double, 1, 1>(not_a_number)); }) !=
        "");
  CHECK(test::error_of([&] { cascade.write(Eigen::Vector3d(1, 2, 3), key.head(1)); }) != "");
  CHECK(test::error_of([&] { cascade.read(Eigen::Vector2d(not_a_number, 1)); }) != "");
  CHECK(test::error_of([&] { cascade.read(Eigen::Vector2d(0, -2)); }) != "");
  CHECK(cascade.state() == state);
}

TEST_CASE("A cascade whose keys grew is one that always had their length") {
  Cascade<> growing({.d_k = 2, .max_levels = 4}), whole({.d_k = 9, .max_levels = 4});
  const auto one_hot = [](Index length, Index place) {
    return Eigen::VectorXd(Eigen::VectorXd::Unit(length, place));
  };
  for (int t = 0; t < 40; ++t) {
    const auto values = static_cast<Index>(2 + t * 7 / 40);  // as they come: 2 to 8
    if (values > growing.d_k()) growing.grow_keys(values);
    const Index place = t % values;
    const Eigen::VectorXd features = growing.features(one_hot(growing.d_k(), place));
    REQUIRE(test::same_bits(features, whole.features(one_hot(9, place))));
    const Eigen::Matrix<double, 1, 1> y(std::sin(double(t)));
    growing.write(one_hot(growing.d_k(), place), y);
    whole.write(one_hot(9, place), y);
  }
  growing.grow_keys(9);
  CHECK(growing.state() == whole.state());
  CHECK(
      test::mentions(test::error_of([&] { growing.grow_keys(8); }), {"d_k to grow to is 8", "9"}));
  CHECK(growing.state() == whole.state());
}

TEST_CASE("The pullback of a cascade is that of its last estimates, or changes nothing") {
  test::Random random(91);
  const test::Matrix<double> reads = random.matrix<double>(4, 3).cwiseAbs();
  const test::Matrix<double> d = random.matrix<double>(4, 2);
  CascadeReadout<> readout({.outputs = 2, .max_levels = 4, .kappa = 0.5}), moved = readout;
  test::Matrix<double> d_reads(4, 3), d_moved(4, 3);
  readout.estimate(reads);
  moved.estimate(reads);
  readout.pull_back(d, d_reads);
  // What the next estimates are made of has no part in it.
  moved.set_kappa(50);
  moved.set_prior(Eigen::Vector2d(3, -4));
  moved.pull_back(d, d_moved);
  CHECK(d_moved == d_reads);
  CHECK((moved.d_kappa() == readout.d_kappa() && moved.d_prior() == readout.d_prior()));

  const double d_kappa = readout.d_kappa();
  const Eigen::VectorXd d_prior = readout.d_prior();
  CascadeReadout<> small({.outputs = 2, .max_levels = 4, .kappa = 1e-5});
  small.estimate(test::Matrix<double>::Zero(4, 3));
  CHECK(test::error_of(
            [&] { small.pull_back(test::Matrix<double>::Constant(4, 2, 1e308), d_moved); }) != "");
  CHECK((d_moved.isZero(0) && small.d_kappa() == 0 && small.d_prior().isZero(0)));
  // Gradients of the reads that are finite, beside one of kappa that is not.
  CascadeReadout<> far({.outputs = 1, .max_levels = 4, .prior = 1e300});
  test::Matrix<double> far_reads = test::Matrix<double>::Zero(4, 2);
  far_reads(3, 1) = 1e10;
  far.estimate(far_reads);
  test::Matrix<double> d_far = test::Matrix<double>::Zero(4, 1), d_far_reads(4, 2);
  d_far(3, 0) = 1e19;
  d_far_reads.setConstant(7);
  const std::string error = test::error_of([&] { far.pull_back(d_far, d_far_reads); });
  CAPTURE(error, d_far_reads);
  CHECK(error.find("the gradient of kappa") != error.npos);
  CHECK(d_far_reads.isZero(0));
  CHECK((readout.d_kappa() == d_kappa && readout.d_prior() == d_prior));
}
