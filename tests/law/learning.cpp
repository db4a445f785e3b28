// SPDX-License-Identifier: MIT
// With the options that nobody chose, every rule learns regressions of two targets on four inputs
// within 2,000 rows, whatever the scale of the inputs.

#include <algorithm>
#include <cmath>
#include <string>

#include "catch.hpp"
#include "rules.hpp"

using namespace loglinear;
using loglinear::test::for_each_rule;
using loglinear::test::Normal;
using loglinear::test::set_order_one_weights;

namespace {

using Matrix = detail::Matrix<double>;
using Vector = detail::Vector<double>;

enum class Series { linear, bent, smooth, waves };

/// One row after the other of a series: inputs of size 1, and targets inside tanh.
class Rows {
 public:
  Rows(Series series, unsigned seed)
      : series_(series), normal_(seed), weights_(normal_.matrix<double>(2, 4, 1)) {
    for (Eigen::Index i = 0; i < 2; ++i) weights_.row(i).normalize();
  }
  void next() {
    const double t = count_++;
    if (series_ == Series::smooth) {  // each input remembers its last value
      x_ = 0.9 * x_ + std::sqrt(1 - 0.81) * normal_.vector<double>(4, 1);
    } else if (series_ == Series::waves) {
      for (Eigen::Index j = 0; j < 4; ++j) x_[j] = std::sin(0.1 * t + static_cast<double>(j));
    } else {
      x_ = normal_.vector<double>(4, 1);
    }
    const Vector sum = weights_ * x_;
    y_ = series_ == Series::bent ? Vector((0.5 * sum.array() + 0.2).tanh()) : Vector(0.25 * sum);
  }
  [[nodiscard]] const Vector& x() const { return x_; }
  [[nodiscard]] const Vector& y() const { return y_; }

 private:
  Series series_;
  Normal normal_;
  Matrix weights_;
  Vector x_ = Vector::Zero(4), y_;
  double count_ = 0;
};

/// The root of the mean squared error over the last 500 of 2,000 rows, in deviations of the
/// targets.
template <class Inner>
double error_of(Series series, double scale, unsigned seed) {
  LogLinearAttention<Inner> layer({.d_model = 4, .d_k = 8, .d_v = 2});
  Rows rows(series, seed);
  Vector error = Vector::Zero(2), sum = error, squares = error;
  for (int t = 0; t < 2000; ++t) {
    rows.next();
    const Vector o = layer.train_one(scale * rows.x(), rows.y());
    if (t < 1500) continue;
    error += (o - rows.y()).cwiseAbs2() / 500;
    sum += rows.y() / 500;
    squares += rows.y().cwiseAbs2() / 500;
  }
  return std::sqrt(error.sum() / (squares - sum.cwiseAbs2()).sum());
}

}  // namespace

TEST_CASE("every rule learns with default options, whatever the scale of the inputs", "[law]") {
  RuleTypes::for_each([]<class Inner>(std::type_identity<Inner>) {
    for (const Series series : {Series::linear, Series::bent, Series::waves}) {
      for (const double scale : {1e-3, 1e-1, 1.0, 1e3}) {
        for (const unsigned seed : {1U, 2U}) {
          CAPTURE(Inner::info.name, detail::leaves_of<Inner>(), static_cast<int>(series), scale,
                  seed);
          CHECK(error_of<Inner>(series, scale, seed) < 1.0 / 3);
        }
      }
    }
  });
}

TEST_CASE("every rule finds out that only the present counts", "[law]") {
  RuleTypes::for_each([]<class Inner>(std::type_identity<Inner>) {
    // At their defaults these keep at least nine tenths of the past at every token, and the past is
    // like the present here.
    constexpr bool remembers = std::is_same_v<Inner, RetNet> || std::is_same_v<Inner, HGRN2>;
    for (const double scale : {1e-3, 1.0, 1e3}) {
      CAPTURE(Inner::info.name, detail::leaves_of<Inner>(), scale);
      CHECK(error_of<Inner>(Series::smooth, scale, 1) < (remembers ? 0.6 : 1.0 / 3));
    }
  });
}

TEST_CASE("plain gradient descent at the rate 0.1 learns none of it", "[law]") {
  LogLinearAttention<GatedDeltaNet> layer({.d_model = 4, .d_k = 8, .d_v = 2, .learning_rate = 0.1});
  Rows rows(Series::linear, 1);
  double error = 0, squares = 0;
  for (int t = 0; t < 2000; ++t) {
    rows.next();
    const Vector o = layer.train_one(rows.x(), rows.y());
    if (t < 1500) continue;
    error += (o - rows.y()).squaredNorm();
    squares += rows.y().squaredNorm();
  }
  CHECK(error > 0.9 * squares);
}
