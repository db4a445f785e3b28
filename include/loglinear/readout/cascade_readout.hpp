// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_READOUT_CASCADE_READOUT_HPP
#define LOGLINEAR_READOUT_CASCADE_READOUT_HPP

#include <algorithm>
#include <limits>
#include <string_view>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"

namespace loglinear {

/// The cascade: one weighted mean of the reads of all levels, without a choice of time scale.
///
/// Where every token's value is (y, 1), the read of a level is a numerator and a mass,
/// `num_l = sum_s (k_s . q) y_s` and `mass_l = sum_s (k_s . q)` over the tokens s of its bucket.
/// From the oldest level to the newest the estimate moves towards what the level says, the further
/// the more mass there is:
///
///     e_M = prior        e_l = (num_l + kappa e_(l+1)) / (mass_l + kappa),   l = M - 1 ... 0
///
/// An empty level passes the older estimate on as it is. e_0 is the last estimate; e_l leaves the
/// 2^l newest tokens or so out. `Cascade` keeps such a stream; the reads of a layer come from its
/// `forward_levels`, the last of its d_v values being 1.
///
/// All keys and queries should be at least 0 in every coefficient (one-hot, softmax, squares): then
/// no mass is negative, and each estimate lies between the values. Others are accepted as long as
/// `mass_l + kappa > 0`.
///
/// Errors: std::invalid_argument with name, value and legal range; the estimates are as they were
/// then. Nothing allocates but the constructor and copies.
template <class Scalar_ = double>
class CascadeReadout {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Vector = detail::Vector<Scalar>;

  /// How to build one.
  struct Options {
    Index outputs = 1;    ///< length of y, 1 to 2^26 - 1
    int max_levels = 32;  ///< rows of the reads, 1 to 65: lambda().size() of a layer
    double kappa = 1;     ///< the mass of the older estimate, positive and not denormal
    double prior = 0;     ///< what every output starts from, finite
  };

  /// Allocates everything. \throws std::invalid_argument for an option out of its range
  explicit CascadeReadout(const Options& options) {
    detail::require_length("outputs", options.outputs);
    detail::require_length("outputs + 1", options.outputs + 1);
    detail::require_between("max_levels", options.max_levels, 1, max_level_limit + 1);
    set_kappa(options.kappa);
    const Index rows = options.max_levels, columns = options.outputs;
    if (!detail::is_finite(static_cast<Scalar>(options.prior))) {
      detail::fail("prior", options.prior, "finite in the readout's scalar");
    }
    prior_ = detail::filled<Scalar>(columns, static_cast<Scalar>(options.prior));
    estimates_ = detail::zeros<Matrix>(rows, columns);
    for (Index l = 0; l < rows; ++l) estimates_.row(l) = prior_.transpose();
    next_ = estimates_;
    totals_ = detail::filled<Scalar>(rows, kappa_);
    oldest_ = prior_;
    estimated_kappa_ = kappa_;
    d_prior_ = next_d_prior_ = detail::zeros<Scalar>(columns);
  }

  [[nodiscard]] int max_levels() const noexcept {
    return static_cast<int>(estimates_.rows());
  }                                                                           ///< M
  [[nodiscard]] Index outputs() const noexcept { return estimates_.cols(); }  ///< length of y
  [[nodiscard]] Scalar kappa() const noexcept { return kappa_; }              ///< as rounded
  [[nodiscard]] const Vector& prior() const noexcept { return prior_; }       ///< length outputs
  /// Sets kappa. \throws std::invalid_argument unless positive and not denormal in the scalar
  void set_kappa(double kappa) {
    const auto rounded = static_cast<Scalar>(kappa);
    if (!(detail::is_finite(rounded) && rounded >= (std::numeric_limits<Scalar>::min)())) {
      detail::fail("kappa", kappa, "finite, positive and not denormal in the readout's scalar");
    }
    kappa_ = rounded;
  }
  /// Sets what the next estimates start from. \param prior  length outputs, finite \throws
  /// std::invalid_argument for another prior. Does not allocate
  template <class Derived>
  void set_prior(const Eigen::MatrixBase<Derived>& prior) {
    detail::require_size("the prior", prior.size(), outputs());
    detail::require_finite("the prior", prior);
    prior_.noalias() = detail::as_column(prior);
  }

  /// All estimates of one token: row l is e_l, row 0 the last one. \param reads  M x (outputs + 1),
  /// in each row the numerators of a level and its mass. \throws std::invalid_argument for another
  /// shape, where a mass + kappa is not positive, or an estimate is not finite
  template <class Derived>
  const Matrix& estimate(const Eigen::MatrixBase<Derived>& reads) {
    const detail::FlushToZero<Scalar> flush;
    require_shape("the reads", reads);
    const Index m = outputs();
    for (Index l = max_levels(); l-- > 0;) {
      const Scalar* const older = l + 1 < max_levels() ? row(next_, l + 1) : prior_.data();
      Scalar* const newer = row(next_, l);
      const Scalar mass = reads.coeff(l, m), total = mass + kappa_;
      if (!(total > Scalar(0)) || !detail::is_finite(total)) {
        detail::fail(detail::Text("the mass of level ", l), detail::to_double(mass),
                     "finite and above -kappa, which keys of coefficients >= 0 ensure");
      }
      bool is_empty = detail::is_exactly(mass, Scalar(0));
      for (Index j = 0; j < m; ++j) {
        is_empty = is_empty && detail::is_exactly(reads.coeff(l, j), Scalar(0));
      }
      for (Index j = 0; j < m; ++j) {
        newer[j] = is_empty ? older[j] : (reads.coeff(l, j) + kappa_ * older[j]) / total;
        if (detail::is_finite(newer[j])) continue;
        detail::fail(detail::Text("the estimate after level ", l), detail::to_double(newer[j]),
                     "finite: a result leaves the range of the scalar type");
      }
    }
    for (Index l = 0; l < max_levels(); ++l) totals_[l] = reads.coeff(l, m) + kappa_;
    estimates_.swap(next_);
    detail::copy(prior_.data(), m, oldest_.data());
    estimated_kappa_ = kappa_;
    return estimates_;
  }
  /// What the last call gave, M x outputs.
  [[nodiscard]] const Matrix& estimates() const noexcept { return estimates_; }

  /// The same as features of `RecursiveLeastSquares`, e_0 first, length M outputs; a view.
  [[nodiscard]] Eigen::Map<const Vector> features() const noexcept {
    return {estimates_.data(), estimates_.size()};
  }

  /// The pullback of the last `estimate`: the gradient with respect to the reads, from that with
  /// respect to all estimates.
  ///
  ///     g_l = d_l + kappa g_(l-1) / (mass_(l-1) + kappa),   l = 0 ... M,   d_M = 0
  ///     d num_l = g_l / (mass_l + kappa)         d mass_l = -g_l . e_l / (mass_l + kappa)
  ///     d kappa = sum_l g_l . (e_(l+1) - e_l) / (mass_l + kappa)         d prior = g_M
  ///
  /// where g_l is the gradient with respect to e_l.
  /// \param d_estimates  M x outputs; zeros but for row 0 if only the last estimate counts
  /// \param d_reads      M x (outputs + 1), overwritten
  /// \throws std::invalid_argument also where a gradient would not be finite; d_reads is 0 then
  template <class Derived, class Out>
  void pull_back(const Eigen::MatrixBase<Derived>& d_estimates,
                 Eigen::MatrixBase<Out> const& d_reads) {
    const detail::FlushToZero<Scalar> flush;
    detail::require_size("the gradient of the estimates (rows)", d_estimates.rows(), max_levels());
    detail::require_size("the gradient of the estimates (columns)", d_estimates.cols(), outputs());
    detail::require_finite("the gradient of the estimates", d_estimates);
    require_shape("the gradient of the reads", d_reads);
    auto& out = const_cast<Eigen::MatrixBase<Out>&>(d_reads).derived();
    const Index m = outputs();
    std::fill_n(next_d_prior_.data(), m, Scalar(0));
    Scalar d_kappa(0);
    for (Index l = 0; l < max_levels(); ++l) {
      const Scalar* const older = l + 1 < max_levels() ? row(estimates_, l + 1) : oldest_.data();
      const Scalar* const newer = row(estimates_, l);
      Scalar d_total(0);
      for (Index j = 0; j < m; ++j) {
        const Scalar g = (next_d_prior_[j] + d_estimates.coeff(l, j)) / totals_[l];
        out(l, j) = g;
        d_total -= g * newer[j];
        d_kappa += g * older[j];
        next_d_prior_[j] = estimated_kappa_ * g;
      }
      out(l, m) = d_total;
      d_kappa += d_total;
    }
    const bool is_finite = detail::all_finite(out);
    if (!is_finite || !detail::all_finite(next_d_prior_) || !detail::is_finite(d_kappa)) {
      out.setZero();
    }
    if (!is_finite) {
      detail::fail("the gradient of the reads", "beyond the range of the scalar type", "finite");
    }
    detail::require_finite("the gradient of the prior", next_d_prior_);
    detail::require_finite("the gradient of kappa", &d_kappa, 1);
    d_prior_.swap(next_d_prior_);
    d_kappa_ = d_kappa;
  }
  /// \name Of the last `pull_back`
  /// \{
  [[nodiscard]] Scalar d_kappa() const noexcept { return d_kappa_; }  ///< with respect to kappa
  [[nodiscard]] const Vector& d_prior() const noexcept {
    return d_prior_;
  }  ///< with respect to the prior, length outputs
     /// \}

 private:
  friend struct detail::Parts;

  /// For checkpoints: what the next estimates depend on.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("kappa", self.kappa_);
    part("prior", self.prior_);
    if constexpr (detail::is_written<Self>) {
      self.set_kappa(detail::to_double(self.kappa_));
      detail::require_finite("the prior", self.prior_);
    }
  }

  template <class Derived>
  void require_shape(std::string_view name, const Eigen::MatrixBase<Derived>& reads) const {
    static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                  "the reads must have the readout's scalar: convert them with .cast<Scalar>()");
    if (reads.rows() != max_levels()) {
      detail::fail(detail::Text(name, " (rows, one a level)"), reads.rows(), max_levels());
    }
    if (reads.cols() != outputs() + 1) {
      detail::fail(detail::Text(name, " (columns, outputs + 1)"), reads.cols(), outputs() + 1);
    }
  }
  [[nodiscard]] static Scalar* row(Matrix& m, Index l) { return m.data() + l * m.cols(); }
  [[nodiscard]] static const Scalar* row(const Matrix& m, Index l) {
    return m.data() + l * m.cols();
  }

  Scalar kappa_{1}, d_kappa_{0};
  Vector prior_{}, d_prior_{}, next_d_prior_{};
  Matrix estimates_{}, next_{};
  // What the last estimates are made of: mass_l + kappa, kappa, and the prior.
  Vector totals_{}, oldest_{};
  Scalar estimated_kappa_{1};
};

}  // namespace loglinear

#endif  // LOGLINEAR_READOUT_CASCADE_READOUT_HPP
