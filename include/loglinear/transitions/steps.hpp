// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_STEPS_HPP
#define LOGLINEAR_TRANSITIONS_STEPS_HPP

/// \file
/// How a kind of transition says what it is made of: a list of steps, in the order in which older
/// states undergo them.
///
/// | step                     | what a state S of key_rows x d_v undergoes                    |
/// |--------------------------|---------------------------------------------------------------|
/// | `steps.decay(a)`         | `S <- a S`, a number                                          |
/// | `steps.decay_rows(w)`    | `S <- diag(w) S`, key_rows numbers                            |
/// | `steps.decay_values(r)`  | `S <- S diag(r)`, d_v numbers                                 |
/// | `steps.look_up(p)`       | nothing yet: `f = S^T p` of the state as it is now            |
/// | `steps.write_back(u)`    | `S <- S - u f^T` with the f looked up last; key_rows numbers  |
///
/// Vectors are pointers to that many numbers. Every `look_up` has its `write_back`, with nothing
/// but decays in between. A kind has the member
///
///     void visit_steps(auto& steps, auto&... gradient) const {
///       steps.look_up(p.data(), gradient.p.data()...);
///       steps.decay(a, gradient.a...);
///       steps.write_back(u.data(), gradient.u.data()...);
///     }
///
/// which is `S <- a S - u p^T S`. It is called without a gradient or with one, a transition of the
/// same type. With a gradient each step writes to it the derivative with respect to the step's
/// argument; a kind whose members are not the arguments computes the members' derivatives after the
/// step. The derivative with respect to a decay of 0 counts as 0. Which steps there are must depend
/// on the constructor's arguments alone.
///
/// From the steps follow whole spans of tokens by the chunkwise algorithm and their gradients
/// (`forward_span`, `span_gradient`), and products of few transitions as a diagonal minus a
/// matrix of low rank.

#include <concepts>

#include "loglinear/detail/base/types.hpp"

namespace loglinear {

/// How many steps of which sort a transition has.
struct StepCounts {
  Eigen::Index updates = 0;    ///< look-ups and write-backs
  bool decays = false;         ///< whether key rows decay
  bool decays_by_row = false;  ///< each at its own rate
  bool decays_values = false;  ///< whether value columns decay

  /// \name The steps, which are counted
  /// \{
  void decay(const auto& /*a*/, auto&... /*gradient*/) { decays = true; }
  void decay_rows(const auto* /*w*/, auto*... /*gradient*/) { decays = decays_by_row = true; }
  void decay_values(const auto* /*r*/, auto*... /*gradient*/) { decays_values = true; }
  void look_up(const auto* /*p*/, auto*... /*gradient*/) {}
  void write_back(const auto* /*u*/, auto*... /*gradient*/) { ++updates; }
  /// \}
};

/// Whether a kind of transition says what it is made of; see the top of transitions/steps.hpp.
template <class Kind>
concept HasSteps = requires(const Kind& kind, Kind& gradient, StepCounts& steps) {
  kind.visit_steps(steps);
  kind.visit_steps(steps, gradient);
};

namespace detail {

/// A transition that leaves everything as it is, for tokens of so many leaves.
template <class Kind>
[[nodiscard]] Kind new_transition(Index key_rows, Index d_v, [[maybe_unused]] Index leaves) {
  if constexpr (std::constructible_from<Kind, Index, Index, Index>) {
    return Kind(key_rows, d_v, leaves);
  } else {
    return Kind(key_rows, d_v);
  }
}

}  // namespace detail

/// The steps of a kind for states of key_rows x d_v, at tokens of so many leaves. Makes a
/// transition, which may allocate.
template <HasSteps Kind>
[[nodiscard]] StepCounts step_counts(Eigen::Index key_rows, Eigen::Index d_v,
                                     Eigen::Index leaves = 1) {
  StepCounts counts;
  detail::new_transition<Kind>(key_rows, d_v, leaves).visit_steps(counts);
  return counts;
}

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_STEPS_HPP
