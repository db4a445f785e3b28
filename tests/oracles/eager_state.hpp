// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_EAGER_STATE_HPP
#define LOGLINEAR_TESTS_ORACLES_EAGER_STATE_HPP

// The streaming step in its straightforward form, on Eigen alone: every level is read, undergoes
// the transition and is merged by itself, at every token. The oracle of the optimised form, and its
// rival in the benchmarks. It shares nothing with the library but the kinds' members.

#include <Eigen/Core>
#include <cstdint>
#include <tuple>
#include <vector>

#include "loglinear/transitions/transition.hpp"

namespace loglinear::test {

template <class Scalar>
class EagerState {
 public:
  using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;
  using Level = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  /// \param kept  what a carry into a full last level leaves of what it held
  EagerState(int max_levels, Eigen::Index d_k, Eigen::Index d_v, Scalar kept = Scalar(1))
      : kept_(kept),
        levels_(static_cast<std::size_t>(max_levels), Level::Zero(d_k, d_v)),
        active_(static_cast<std::size_t>(max_levels), false),
        found_(d_v),
        read_(d_v) {}

  /// out = sum_l lambda_l S_l^T q, before the token writes.
  void read(const Vector& q, const Vector& lambda, Vector& out) {
    out.setZero();
    for (std::size_t l = 0; l < levels_.size(); ++l) {
      if (!active_[l]) continue;
      read_.noalias() = levels_[l].transpose() * q;
      out += lambda[static_cast<Eigen::Index>(l)] * read_;
    }
  }

  /// Every level undergoes the transition, then the leaf `keys values^T` is carried in.
  template <class Kind, class Keys, class Values>
  void write(const Kind& transition, const Keys& keys, const Values& values) {
    for (std::size_t l = 0; l < levels_.size(); ++l) {
      if (active_[l]) undergo(levels_[l], transition);
    }
    std::size_t landed = 0;
    while (landed + 1 < levels_.size() && active_[landed]) ++landed;
    if (active_[landed]) levels_[landed] *= kept_;
    for (std::size_t l = 0; l < landed; ++l) {
      levels_[landed] += levels_[l];
      levels_[l].setZero();
      active_[l] = false;
    }
    levels_[landed].noalias() += keys * values.transpose();
    active_[landed] = true;
  }

  [[nodiscard]] const std::vector<Level>& levels() const { return levels_; }
  [[nodiscard]] bool is_active(std::size_t level) const { return active_[level]; }

 private:
  void undergo(Level&, const loglinear::Identity<Scalar>&) {}
  void undergo(Level& s, const loglinear::ScalarDecay<Scalar>& kind) { s *= kind.decay; }
  void undergo(Level& s, const loglinear::KeyDecay<Scalar>& kind) {
    s.array().colwise() *= kind.decay.array();
  }
  void undergo(Level& s, const loglinear::ValueDecay<Scalar>& kind) {
    s.array().rowwise() *= kind.decay.transpose().array();
  }
  template <class Diagonal>
  void undergo(Level& s, const loglinear::RankOneUpdate<Diagonal>& kind) {
    found_.noalias() = s.transpose() * kind.p;
    undergo(s, kind.diagonal);
    s.noalias() -= kind.u * found_.transpose();
  }
  void undergo(Level& s, const loglinear::UpdatePerLeaf<Scalar>& kind) {
    undergo(s, kind.decay);
    for (const auto& update : kind.updates) undergo(s, update);
  }
  template <class... Factors>
  void undergo(Level& s, const loglinear::TransitionProduct<Factors...>& kind) {
    std::apply([&](const auto&... factor) { (undergo(s, factor), ...); }, kind.factors);
  }

  /// Any other kind says itself what it does.
  template <class Kind>
  void undergo(Level& s, const Kind& kind) {
    kind.left(s);
    kind.right(s);
  }

  Scalar kept_;
  std::vector<Level> levels_;
  std::vector<bool> active_;
  Vector found_, read_;
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_EAGER_STATE_HPP
