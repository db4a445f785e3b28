// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_DECAYS_HPP
#define LOGLINEAR_TRANSITIONS_DECAYS_HPP

/// \file
/// The diagonal kinds of transition: none, one decay, a decay per key row, a decay per value
/// column. The interface they share is documented in transition.hpp.

#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"

namespace loglinear {

/// `S <- S`: nothing happens to older states.
template <class Scalar_>
struct Identity {
  using Scalar = Scalar_;
  static constexpr bool scales_values = false;

  Identity(Eigen::Index /*key_rows*/, Eigen::Index /*d_v*/) {}

  [[nodiscard]] bool fits(Eigen::Index, Eigen::Index) const { return true; }
  void left(auto&& /*m*/) const {}
  void left_transposed(auto&& /*q*/) const {}
  void right(auto&& /*m*/) const {}
  void pullback(const auto&, const auto&, const auto&, const auto&, Identity&) const {}
  void reset() {}
  void follow(const Identity&) {}
  void visit_steps(auto& /*steps*/, auto&... /*gradient*/) const {}
  [[nodiscard]] Scalar factor() const { return Scalar(1); }
  [[nodiscard]] Scalar row_factor(Eigen::Index) const { return Scalar(1); }
  [[nodiscard]] const Scalar* row_factors() const { return nullptr; }
  [[nodiscard]] const Scalar* column_factors() const { return nullptr; }
  [[nodiscard]] double norm_bound() const { return 1; }
  [[nodiscard]] bool all_finite() const { return true; }
};

/// `S <- a S`: one decay for the whole state.
template <class Scalar_>
struct ScalarDecay {
  using Scalar = Scalar_;
  static constexpr bool scales_values = false;

  ScalarDecay(Eigen::Index /*key_rows*/, Eigen::Index /*d_v*/) {}

  Scalar decay{1};  ///< a

  [[nodiscard]] bool fits(Eigen::Index, Eigen::Index) const { return true; }
  void left(auto&& m) const {
    if (!detail::is_exactly(decay, Scalar(1))) m *= decay;
  }
  void left_transposed(auto&& q) const { q *= decay; }
  void right(auto&& /*m*/) const {}
  void pullback(const auto& q, const auto& s, const auto&, const auto&,
                ScalarDecay& gradient) const {
    gradient.decay = q.dot(s);
  }
  void reset() { decay = Scalar(1); }
  void follow(const ScalarDecay& later) {
    decay *= later.decay;
    detail::clear_negligible(&decay, 1);
  }
  void visit_steps(auto& steps, auto&... gradient) const { steps.decay(decay, gradient.decay...); }
  [[nodiscard]] Scalar factor() const { return decay; }
  [[nodiscard]] Scalar row_factor(Eigen::Index) const { return decay; }
  [[nodiscard]] const Scalar* row_factors() const { return nullptr; }
  [[nodiscard]] const Scalar* column_factors() const { return nullptr; }
  [[nodiscard]] double norm_bound() const { return std::abs(detail::to_double(decay)); }
  [[nodiscard]] bool all_finite() const { return detail::is_finite(decay); }
};

/// `S <- diag(w) S`: one decay for each key row.
template <class Scalar_>
struct KeyDecay {
  using Scalar = Scalar_;
  static constexpr bool scales_values = false;

  KeyDecay(Eigen::Index key_rows, Eigen::Index /*d_v*/)
      : decay(detail::Vector<Scalar>::Ones(key_rows)) {}

  detail::Vector<Scalar> decay;  ///< w, length key_rows

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index) const {
    return decay.size() == key_rows;
  }
  void left(auto&& m) const {
    if constexpr (detail::is_row_major_memory<decltype(m)>) {
      detail::scale<Scalar, Scalar>(
          m.data(), m.rows(), m.cols(), m.outerStride(), [&](Eigen::Index i) { return decay[i]; },
          nullptr);
    } else if constexpr (detail::is_column_major_memory<decltype(m)>) {
      detail::scale<Scalar, Scalar>(
          m.data(), m.cols(), m.rows(), m.outerStride(), [](Eigen::Index) { return Scalar(1); },
          decay.data());
    } else {
      for (Eigen::Index i = 0; i < decay.size(); ++i) m.row(i) *= decay[i];
    }
  }
  void left_transposed(auto&& q) const { q.array() *= decay.array(); }
  void right(auto&& /*m*/) const {}
  void pullback(const auto& q, const auto& s, const auto&, const auto&, KeyDecay& gradient) const {
    gradient.decay = q.cwiseProduct(s);
  }
  void reset() { decay.setOnes(); }
  void follow(const KeyDecay& later) {
    decay.array() *= later.decay.array();
    detail::clear_negligible(decay.data(), decay.size());
  }
  void visit_steps(auto& steps, auto&... gradient) const {
    steps.decay_rows(decay.data(), gradient.decay.data()...);
  }
  [[nodiscard]] Scalar row_factor(Eigen::Index i) const { return decay[i]; }
  [[nodiscard]] const Scalar* row_factors() const { return decay.data(); }
  [[nodiscard]] const Scalar* column_factors() const { return nullptr; }
  [[nodiscard]] double norm_bound() const { return detail::max_abs(decay); }
  [[nodiscard]] bool all_finite() const { return detail::all_finite(decay); }
};

/// `S <- S diag(w)`: one decay for each value column.
template <class Scalar_>
struct ValueDecay {
  using Scalar = Scalar_;
  static constexpr bool scales_values = true;

  ValueDecay(Eigen::Index /*key_rows*/, Eigen::Index d_v)
      : decay(detail::Vector<Scalar>::Ones(d_v)) {}

  detail::Vector<Scalar> decay;  ///< w, length d_v

  [[nodiscard]] bool fits(Eigen::Index, Eigen::Index d_v) const { return decay.size() == d_v; }
  void left(auto&& /*m*/) const {}
  void left_transposed(auto&& /*q*/) const {}
  void right(auto&& m) const {
    if constexpr (detail::is_row_major_memory<decltype(m)>) {
      detail::scale<Scalar, Scalar>(
          m.data(), m.rows(), m.cols(), m.outerStride(), [](Eigen::Index) { return Scalar(1); },
          decay.data());
    } else {
      for (Eigen::Index i = 0; i < m.rows(); ++i) {
        m.row(i).array() *= decay.transpose().array();
      }
    }
  }
  void pullback(const auto&, const auto&, const auto& z, const auto& d,
                ValueDecay& gradient) const {
    gradient.decay = z.cwiseProduct(d);
  }
  void reset() { decay.setOnes(); }
  void follow(const ValueDecay& later) {
    decay.array() *= later.decay.array();
    detail::clear_negligible(decay.data(), decay.size());
  }
  void visit_steps(auto& steps, auto&... gradient) const {
    steps.decay_values(decay.data(), gradient.decay.data()...);
  }
  [[nodiscard]] Scalar row_factor(Eigen::Index) const { return Scalar(1); }
  [[nodiscard]] const Scalar* column_factors() const { return decay.data(); }
  [[nodiscard]] double norm_bound() const { return detail::max_abs(decay); }
  [[nodiscard]] bool all_finite() const { return detail::all_finite(decay); }
};

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_DECAYS_HPP
