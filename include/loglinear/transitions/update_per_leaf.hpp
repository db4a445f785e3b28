// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_UPDATE_PER_LEAF_HPP
#define LOGLINEAR_TRANSITIONS_UPDATE_PER_LEAF_HPP

/// \file
/// As many transitions at one token as it writes leaves: how many is known at run time alone.

#include <algorithm>
#include <cstddef>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/transitions/decays.hpp"
#include "loglinear/transitions/rank_one_update.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear {

/// `S <- H_n ... H_1 a S`: a decay, then for each of the token's n leaves a transition `H_j = I -
/// u_j p_j^T`, with u_j and p_j of length key_rows. DeltaProduct is `u_j = b_j k_j`, `p_j = k_j`
/// (Siems et al., arXiv:2502.10297, equation 5). One type serves every n, so that a program
/// compiles its layers once for all of them. `left` costs n times what that of `RankOneUpdate`
/// does. Only the constructor and copies allocate.
template <class Scalar_>
struct UpdatePerLeaf {
  using Scalar = Scalar_;
  using Update = RankOneUpdate<Identity<Scalar>>;
  static constexpr bool scales_values = false;

  /// \param leaves  how many leaves a token writes. \throws std::invalid_argument below 1
  UpdatePerLeaf(Eigen::Index key_rows, Eigen::Index d_v, Eigen::Index leaves = 1)
      : decay(key_rows, d_v),
        updates(detail::array_size(checked(leaves)), Update(key_rows, d_v)),
        queries_(key_rows, leaves),
        s_(key_rows) {}

  ScalarDecay<Scalar> decay;    ///< a
  std::vector<Update> updates;  ///< H_1 ... H_n

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index d_v) const {
    return !updates.empty() && queries_.cols() == static_cast<Eigen::Index>(updates.size()) &&
           s_.size() == key_rows &&
           std::all_of(updates.begin(), updates.end(),
                       [&](const Update& update) { return update.fits(key_rows, d_v); });
  }
  void left(auto&& m) const {
    decay.left(m);
    for (const Update& update : updates) update.left(m);
  }
  void left_transposed(auto&& q) const {
    for (std::size_t j = updates.size(); j-- > 0;) updates[j].left_transposed(q);
    decay.left_transposed(q);
  }
  void right(auto&& /*m*/) const {}

  /// Each update sees the query as it comes back through the later ones, and s as it comes forward
  /// through the earlier ones. `gradient` lends its scratch memory.
  void pullback(const auto& q, const auto& s, const auto& z, const auto& d,
                UpdatePerLeaf& gradient) const {
    gradient.s_ = q;
    for (std::size_t j = updates.size(); j-- > 0;) {
      gradient.queries_.col(static_cast<Eigen::Index>(j)) = gradient.s_;
      updates[j].left_transposed(gradient.s_);
    }
    decay.pullback(gradient.s_, s, z, d, gradient.decay);
    gradient.s_ = s;
    decay.left(gradient.s_);
    for (std::size_t j = 0; j < updates.size(); ++j) {
      updates[j].pullback(gradient.queries_.col(static_cast<Eigen::Index>(j)), gradient.s_, z, d,
                          gradient.updates[j]);
      updates[j].left(gradient.s_);
    }
  }

  void visit_steps(auto& steps) const {
    decay.visit_steps(steps);
    for (const Update& update : updates) update.visit_steps(steps);
  }
  void visit_steps(auto& steps, UpdatePerLeaf& gradient) const {
    decay.visit_steps(steps, gradient.decay);
    for (std::size_t j = 0; j < updates.size(); ++j) {
      updates[j].visit_steps(steps, gradient.updates[j]);
    }
  }

  /// Bounds what each factor leaves to the next, too: a later one may shrink it again.
  [[nodiscard]] double norm_bound() const {
    double bound = (std::max)(1.0, decay.norm_bound());
    for (const Update& update : updates) bound *= (std::max)(1.0, update.norm_bound());
    return bound;
  }
  [[nodiscard]] bool all_finite() const {
    return decay.all_finite() &&
           std::all_of(updates.begin(), updates.end(),
                       [](const Update& update) { return update.all_finite(); });
  }

 private:
  [[nodiscard]] static Eigen::Index checked(Eigen::Index leaves) {
    detail::require_positive("leaves", leaves);
    return leaves;
  }

  detail::Matrix<Scalar> queries_;
  detail::Vector<Scalar> s_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_UPDATE_PER_LEAF_HPP
