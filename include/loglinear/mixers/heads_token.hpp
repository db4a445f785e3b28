// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_HEADS_TOKEN_HPP
#define LOGLINEAR_MIXERS_HEADS_TOKEN_HPP

// One token through all heads, the decoding step. It reads before it writes: with the transition
// `A = e^g (I - beta k k^T)` it reads the old levels by A^T q, so that whatever can throw does so
// before a state changes.

#include <cmath>
#include <utility>
#include <variant>
#include <vector>

#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/mixers/heads.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "loglinear/transitions/decays.hpp"
#include "loglinear/transitions/rank_one_update.hpp"

namespace loglinear::detail {

template <class Scalar>
class HeadsToken {
 public:
  using State = LogLinearState<Scalar>;

  /// \param in  inputs of which one row is this token \param states  those of the token's stream
  /// \throws std::invalid_argument where a head's inputs are not finite or its state would overflow
  HeadsToken(const HeadInputs<Scalar>& in, Index row, std::vector<State>& states)
      : row_(row), states_(&states) {
    heads_.reserve(states.size());
    for (Index h = 0; h < in.heads; ++h) {
      in.head(h).slice(row, 1).validate(state(h).size(), state(h).max_levels());
      Head& written = heads_.emplace_back(prepared(in, h));
      with_transition(h, [&](const auto& transition) {
        written.admitted =
            levels_of(state(h)).admit(transition.norm_bound(), written.key, written.value);
      });
    }
  }

  /// Writes heads d_v reads. \param in  what the constructor was given
  void read(const HeadInputs<Scalar>& in, Scalar* out) const {
    for (Index h = 0; h < in.heads; ++h) read_head(in, h, out + h * in.d_v());
  }
  /// Every state undergoes its transition and takes its leaf. Neither allocates nor throws, so that
  /// all heads take the token or none.
  void write() {
    for (Index h = 0; h < static_cast<Index>(heads_.size()); ++h) {
      with_transition(h, [&](const auto& transition) {
        levels_of(state(h)).write(transition, head(h).key, head(h).value, head(h).admitted);
      });
    }
  }

 private:
  [[nodiscard]] State& state(Index h) const { return (*states_)[static_cast<std::size_t>(h)]; }
  /// What a head writes.
  struct Head {
    Vector<Scalar> key, value;  // beta k or k, and v
    std::variant<ScalarDecay<Scalar>, RankOneUpdate<ScalarDecay<Scalar>>> transition;
    Admitted admitted{};
  };
  [[nodiscard]] const Head& head(Index h) const { return heads_[static_cast<std::size_t>(h)]; }

  [[nodiscard]] Head prepared(const HeadInputs<Scalar>& in, Index h) const {
    const Vector<Scalar> k =
        in.k.row(row_).segment(in.group_of(h) * in.d_k(), in.d_k()).transpose();
    const Vector<Scalar> v = in.v.row(row_).segment(h * in.d_v(), in.d_v()).transpose();
    const Scalar decay = std::exp(in.g(row_, h));
    if (in.beta.size() == 0) {
      ScalarDecay<Scalar> transition(in.d_k(), in.d_v());
      transition.decay = decay;
      return {k, v, std::move(transition)};
    }
    const Scalar strength = in.beta(row_, h);
    RankOneUpdate<ScalarDecay<Scalar>> transition(in.d_k(), in.d_v());
    transition.diagonal.decay = decay;
    transition.u = decay * (strength * k);  // the written key, decayed
    transition.p = k;
    return {strength * k, v, std::move(transition)};
  }

  template <class Use>
  void with_transition(Index h, Use use) const {
    std::visit(use, head(h).transition);
  }

  /// out = sum_l lambda_l S_l^T A^T q + lambda_0 (q . key) value
  void read_head(const HeadInputs<Scalar>& in, Index h, Scalar* out) const {
    const Index levels = in.lambda.cols() / in.heads;
    const auto lambda = in.lambda.row(row_).segment(h * levels, levels);
    Vector<Scalar> q = in.q.row(row_).segment(in.group_of(h) * in.d_k(), in.d_k()).transpose();
    Eigen::Map<Vector<Scalar>>(out, in.d_v()) = (lambda[0] * q.dot(head(h).key)) * head(h).value;
    with_transition(h, [&](const auto& transition) { transition.left_transposed(q); });
    Vector<Scalar> weighted(q.size());
    for (const int l : state(h).active_levels()) {
      weighted = lambda[l + 1] * q;
      weighted_rows<true>(state(h).level(l).data(), in.d_k(), in.d_v(), in.d_v(), weighted.data(),
                          out);
    }
  }

  Index row_;
  std::vector<State>* states_;
  std::vector<Head> heads_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_HEADS_TOKEN_HPP
