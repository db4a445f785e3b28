// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_READOUT_RECURSIVE_LEAST_SQUARES_HPP
#define LOGLINEAR_READOUT_RECURSIVE_LEAST_SQUARES_HPP

#include <algorithm>
#include <cstdint>
#include <limits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/base/vector_argument.hpp"

namespace loglinear {

/// Recursive least squares: the linear readout that, after every sample, minimises
/// `sum_s f^(t-s) |y_s - Theta^T phi_s|^2 + f^t |Theta|^2 / p0` exactly, for any feature vector.
///
///     K = P phi / (f + phi^T P phi)    Theta <- Theta + K (y - Theta^T phi)^T
///     P <- (P - K phi^T P) / f
///
/// (Haykin, *Adaptive Filter Theory*, chapter on the RLS algorithm.) The covariance is kept as `P =
/// U D U^T`, U unit upper triangular and D a positive diagonal, and Bierman's algorithm updates it
/// (*Factorization Methods for Discrete Sequential Estimation*, 1977): it stays symmetric and
/// positive through any number of updates. Forgetting would let P grow without bound in directions
/// that the features never take; therefore no coefficient of D grows beyond `max_covariance`.
///
/// `phi` has length `features`, `y` length `outputs`; each is any Eigen vector, std::vector,
/// std::array or std::span. Errors: std::invalid_argument with name,
/// value and legal range, before anything has changed. `predict` costs features x outputs
/// multiplications, `update` about 3 features^2; neither allocates. Numbers below
/// std::numeric_limits<Scalar>::min() count as zero, see docs/numerics.md.
template <class Scalar_ = double>
class RecursiveLeastSquares {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;

  /// How to build one; `features` must be given.
  struct Options {
    Index features = 0;               ///< length of phi, 1 to 2^26
    Index outputs = 1;                ///< length of y, 1 to 2^26
    double forgetting = 1;            ///< f in (0, 1]; samples count over some 1 / (1 - f) steps
    double initial_covariance = 100;  ///< p0 > 0; the smaller, the stronger the pull towards 0
    double max_covariance = 0;        ///< bound of D, >= p0; 0 stands for p0
  };

  /// Allocates everything. \throws std::invalid_argument for an option out of its range
  explicit RecursiveLeastSquares(const Options& options) : options_(options) {
    detail::require_length("features", options.features);
    detail::require_length("outputs", options.outputs);
    const double p0 = options.initial_covariance;
    const double limit = detail::magnitude_limit<Scalar>();
    if (!(options.forgetting > 0 && detail::is_at_most(options.forgetting, 1))) {
      detail::fail("forgetting", options.forgetting, "in (0, 1]");
    }
    if (!(p0 > 0 && detail::is_at_most(p0, limit))) {
      detail::fail("initial_covariance", p0, "finite and positive");
    }
    // Below its smallest normal number a scalar rounds to 0 or divides to infinity.
    const double smallest = detail::to_double((std::numeric_limits<Scalar>::min)());
    detail::require_between("forgetting", options.forgetting, smallest, 1.0);
    detail::require_between("initial_covariance", p0, smallest, limit);
    if (detail::is_exactly(options.max_covariance, 0.0)) options_.max_covariance = p0;
    detail::require_between("max_covariance", options_.max_covariance, p0, limit);
    const Index n = options.features;
    weights_.resize(n, options.outputs);
    upper_.resize(n, n);
    diagonal_.resize(n);
    phi_.resize(n);
    seen_.resize(n);
    scaled_.resize(n);
    gain_.resize(n);
    target_.resize(options.outputs);
    prediction_.resize(options.outputs);
    reset();
  }

  RecursiveLeastSquares(const RecursiveLeastSquares&) = default;  ///< allocates
  RecursiveLeastSquares(RecursiveLeastSquares&&) =
      default;  ///< leaves one that can only be assigned to or destroyed
  RecursiveLeastSquares& operator=(const RecursiveLeastSquares& other) {
    return *this = RecursiveLeastSquares(other);
  }                                                                     ///< all or nothing
  RecursiveLeastSquares& operator=(RecursiveLeastSquares&&) = default;  ///< as the constructor

  /// Forgets every sample: Theta = 0, P = p0 I. Does not allocate.
  void reset() {
    weights_.setZero();
    upper_.setIdentity();
    diagonal_.setConstant(Scalar(options_.initial_covariance));
    prediction_.setZero();
    updates_ = 0;
  }

  /// Theta^T phi. \return a reference, overwritten by the next call; length outputs. \throws
  /// std::invalid_argument for a wrong size, or where a number or the result is not finite. Does
  /// not allocate
  template <class Features>
  const Vector& predict(const Features& phi) {
    const detail::FlushToZero<Scalar> flush;
    detail::load_vector(phi, "phi", phi_);
    predict_loaded();
    return prediction_;
  }

  /// Learns one sample. \return the prediction from before it, that of `predict(phi)`. \throws as
  /// `predict`, or where an update would not be finite; nothing is learnt then. Does not allocate
  template <class Features, class Target>
  const Vector& update(const Features& phi, const Target& y) {
    const detail::FlushToZero<Scalar> flush;
    detail::load_vector(phi, "phi", phi_);
    detail::load_vector(y, "y", target_);
    predict_loaded();
    const Scalar denominator = find_gain();
    target_ -= prediction_;  // the error
    const double largest = detail::max_abs(gain_) / detail::to_double(denominator);
    detail::require_between("the largest weight after this update",
                            detail::max_abs(weights_) + largest * detail::max_abs(target_), 0.0,
                            detail::magnitude_limit<Scalar>());

    gain_ /= denominator;  // the error over the denominator may be too large a number
    for (Index j = 0; j < outputs(); ++j) weights_.col(j) += target_[j] * gain_;
    update_factors();
    ++updates_;
    return prediction_;
  }

  /// \name What has been learnt
  /// \{
  [[nodiscard]] const Matrix& weights() const noexcept { return weights_; }  ///< Theta, n x outputs
  [[nodiscard]] std::uint64_t update_count() const noexcept { return updates_; }  ///< samples
  [[nodiscard]] const Options& options() const noexcept { return options_; }      ///< as resolved
  [[nodiscard]] Index features() const noexcept { return weights_.rows(); }       ///< length of phi
  [[nodiscard]] Index outputs() const noexcept { return weights_.cols(); }        ///< length of y
  /// P = U D U^T, symmetric and positive definite; allocates, features^3 operations.
  [[nodiscard]] Matrix covariance() const {
    const detail::FlushToZero<Scalar> flush;
    const Matrix u = upper_.template triangularView<Eigen::UnitUpper>();
    return u * diagonal_.asDiagonal() * u.transpose();
  }
  /// The smallest coefficient of D: positive as long as P is.
  [[nodiscard]] Scalar smallest_pivot() const { return diagonal_.minCoeff(); }
  /// \}

 private:
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("weights", self.weights_);
    part("upper", self.upper_);
    part("diagonal", self.diagonal_);
    part("update_count", self.updates_);
    if constexpr (detail::is_written<Self>) {
      constexpr Scalar smallest = (std::numeric_limits<Scalar>::min)();
      const double limit = detail::magnitude_limit<Scalar>();
      detail::require_between("the largest weight", detail::max_abs(self.weights_), 0.0, limit);
      detail::require_between("the largest of U", detail::max_abs(self.upper_), 0.0, limit);
      detail::require_between("the smallest of D", self.diagonal_.minCoeff(), smallest,
                              Scalar(self.options_.max_covariance));
      detail::require_between("the largest of D", self.diagonal_.maxCoeff(), smallest,
                              Scalar(self.options_.max_covariance));
      const Matrix expected = self.upper_.template triangularView<Eigen::UnitUpper>();
      if (self.upper_ != expected) detail::fail("U", "another matrix", "unit upper triangular");
    }
  }

  void predict_loaded() {
    prediction_.noalias() = weights_.transpose() * phi_;
    detail::require_finite("coefficient # of the prediction", prediction_);
  }

  /// seen = U^T phi, scaled = D seen, gain = U scaled = P phi. \return f + phi^T P phi
  ///
  /// Partial sums over a row of U may be far larger than the result, here and in `update_factors`.
  /// They are therefore bounded in advance and not checked themselves.
  Scalar find_gain() {
    const Scalar forgetting = Scalar(options_.forgetting);  // rounded: what is added below
    const double f = detail::to_double(forgetting), limit = detail::magnitude_limit<Scalar>();
    const double sum = 1 + static_cast<double>(features() - 1) * detail::max_abs(upper_);
    detail::require_between("the magnitude of U^T phi", detail::max_abs(phi_) * sum, 0.0, limit);
    for (Index j = 0; j < features(); ++j) {
      seen_[j] = phi_[j] + upper_.col(j).head(j).dot(phi_.head(j));
      scaled_[j] = diagonal_[j] * seen_[j];
    }
    detail::require_between("the magnitude of D U^T phi",
                            detail::max_abs(diagonal_) * detail::max_abs(seen_), 0.0, limit);
    detail::require_between(
        "the magnitude of the gain before scaling",
        (std::max)(1.0, detail::max_abs(seen_) / f) * detail::max_abs(scaled_) * sum, 0.0, limit);
    gain_.setZero();
    for (Index j = 0; j < features(); ++j) {
      gain_.head(j) += scaled_[j] * upper_.col(j).head(j);
      gain_[j] += scaled_[j];
    }
    const Scalar denominator = forgetting + seen_.dot(scaled_);
    detail::require_between("phi^T P phi", detail::to_double(denominator), f, limit);
    return denominator;
  }

  /// Bierman's update of U and D by one sample, column by column, then forgetting.
  void update_factors() {
    const Scalar f = Scalar(options_.forgetting), ceiling = Scalar(options_.max_covariance);
    const Scalar smallest =
        (std::numeric_limits<Scalar>::min)();  // underflow would freeze a direction
    Scalar before = f;
    gain_.setZero();
    for (Index j = 0; j < features(); ++j) {
      const Scalar after = before + seen_[j] * scaled_[j];
      diagonal_[j] = std::clamp<Scalar>(diagonal_[j] * (before / after) / f, smallest, ceiling);
      const Scalar correction = seen_[j] / before;
      for (Index i = 0; i < j; ++i) {
        const Scalar old = upper_(i, j);
        upper_(i, j) = old - correction * gain_[i];
        gain_[i] += scaled_[j] * old;
      }
      gain_[j] = scaled_[j];
      before = after;
    }
  }

  Options options_;
  Matrix weights_{};
  Matrix upper_{};  // U; its diagonal is 1, what lies below is never read
  Vector diagonal_{};
  Vector phi_{}, seen_{}, scaled_{}, gain_{}, target_{}, prediction_{};
  std::uint64_t updates_ = 0;
};

}  // namespace loglinear

#endif  // LOGLINEAR_READOUT_RECURSIVE_LEAST_SQUARES_HPP
