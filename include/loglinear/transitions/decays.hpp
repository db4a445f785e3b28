// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_DECAYS_HPP
#define LOGLINEAR_TRANSITIONS_DECAYS_HPP

/// \file
/// The diagonal kinds of transition: none, one decay, a decay per key row, a decay per value
/// column. The interface they share is documented in transition.hpp.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

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
    using M = std::remove_cvref_t<decltype(m)>;
    if (detail::is_exactly(decay, Scalar(1))) return;
    if constexpr (detail::has_pieces<M>) {
      for (Eigen::Index i = 0; i < m.outerSize(); ++i) {
        detail::scale_by(decay, m.data() + i * m.outerStride(), m.innerSize());
      }
    } else {
      m *= decay;
    }
  }
  void left_transposed(auto&& q) const { detail::scale_by(decay, q.data(), q.size()); }
  void right(auto&& /*m*/) const {}
  void pullback(const auto& q, const auto& s, const auto&, const auto&,
                ScalarDecay& gradient) const {
    gradient.decay = detail::dot<Scalar>(q.data(), s.data(), q.size());
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

  KeyDecay(Eigen::Index key_rows, Eigen::Index /*d_v*/) : decay(detail::ones<Scalar>(key_rows)) {}

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
  void left_transposed(auto&& q) const {
    detail::multiply<Scalar>(q.data(), decay.data(), decay.size(), q.data());
  }
  void right(auto&& /*m*/) const {}
  void pullback(const auto& q, const auto& s, const auto&, const auto&, KeyDecay& gradient) const {
    detail::multiply<Scalar>(q.data(), s.data(), decay.size(), gradient.decay.data());
  }
  void reset() { std::fill_n(decay.data(), decay.size(), Scalar(1)); }
  void follow(const KeyDecay& later) {
    detail::multiply(decay.data(), later.decay.data(), decay.size(), decay.data());
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

  ValueDecay(Eigen::Index /*key_rows*/, Eigen::Index d_v) : decay(detail::ones<Scalar>(d_v)) {}

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
    detail::multiply<Scalar>(z.data(), d.data(), decay.size(), gradient.decay.data());
  }
  void reset() { std::fill_n(decay.data(), decay.size(), Scalar(1)); }
  void follow(const ValueDecay& later) {
    detail::multiply(decay.data(), later.decay.data(), decay.size(), decay.data());
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
