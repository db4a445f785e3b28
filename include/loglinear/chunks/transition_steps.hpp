// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP
#define LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP

// The kinds of transition as the chunkwise form takes them apart: decays of value columns, and
// updates D - u p^T one after the other. A decay E before an update goes into it,
// (D - u p^T) E = D E - u (E p)^T, and one after the last update too, F (D - u p^T) = F D - (F u)
// p^T.

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/transitions/detail/steps_of.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear::detail {

template <class Kind>
[[nodiscard]] SequenceShape shape_of(Index d_k, Index d_v, Index leaves, ReadOrder order) {
  using Steps = StepsOf<Kind>;
  return {.d_k = d_k,
          .d_v = d_v,
          .leaves = leaves,
          .steps = Steps::updates,
          .decays = !Steps::decays  ? 0
                    : Steps::by_row ? d_k
                                    : 1,
          .decays_values = Steps::by_column,
          .is_delta = false,
          .order = order};
}

/// Writes the transition of token t into a chunk, and reads its gradient back.
template <class Kind>
class TransitionSteps {
 public:
  using Scalar = typename Kind::Scalar;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  using Steps = StepsOf<Kind>;

  explicit TransitionSteps(const SequenceShape& shape)
      : moments_(shape.moments()), before_(shape.decays), after_(shape.decays) {}

  void write(const Kind& kind, Chunk<Scalar>& chunk, Index t) {
    moment_ = t * moments_;
    if constexpr (Steps::by_column) chunk.value_decay.row(t).setOnes();
    before_.setOnes();
    for_each_factor(kind, [&](const auto& factor) { append(factor, chunk, t); });
    if constexpr (Steps::updates == 0) {
      if (Steps::decays) chunk.decay.row(moment_) = before_;
    } else if constexpr (Steps::decays) {
      chunk.decay.row(moment_ - 1).array() *= before_.array();
      scale(before_, chunk.u.row(moment_ - 1));
    }
  }

  /// From the gradient of the chunk, log decays and the rows u and p as they stand in it, to that
  /// of the kind's own members. A decay of 0 gets gradient 0: its logarithm has none.
  void pull_back(const Kind& kind, const Chunk<Scalar>& chunk, const Chunk<Scalar>& gradient,
                 Index t, Kind& d_kind) {
    // `after_` is the decay after the last update.
    after_.setOnes();
    before_.setOnes();
    Index updates = 0;
    for_each_factor(kind, [&](const auto& factor) {
      updates += StepsOf<std::remove_cvref_t<decltype(factor)>>::updates;
      if (updates == Steps::updates && Steps::updates > 0) decay_of(factor, after_);
    });
    moment_ = t * moments_;
    for_each_factor_pair(kind, d_kind, [&](const auto& factor, auto& d_factor) {
      pull_back_factor(factor, chunk, gradient, t, d_factor);
    });
  }

 private:
  template <class Visit>
  static void for_each_factor(const Kind& kind, Visit visit) {
    if constexpr (requires { kind.factors; }) {
      std::apply([&](const auto&... factor) { (visit(factor), ...); }, kind.factors);
    } else {
      visit(kind);
    }
  }
  template <class Visit>
  static void for_each_factor_pair(const Kind& kind, Kind& d_kind, Visit visit) {
    if constexpr (requires { kind.factors; }) {
      [&]<std::size_t... J>(std::index_sequence<J...>) {
        (visit(std::get<J>(kind.factors), std::get<J>(d_kind.factors)), ...);
      }
      (std::make_index_sequence<Kind::count>{});
    } else {
      visit(kind, d_kind);
    }
  }

  /// decay *= the diagonal of a pure decay; those of updates are not.
  static void decay_of(const Identity<Scalar>&, Row&) {}
  static void decay_of(const ValueDecay<Scalar>&, Row&) {}
  static void decay_of(const ScalarDecay<Scalar>& d, Row& decay) { decay *= d.decay; }
  static void decay_of(const KeyDecay<Scalar>& d, Row& decay) {
    decay.array() *= d.decay.transpose().array();
  }
  template <class Diagonal>
  static void decay_of(const RankOneUpdate<Diagonal>&, Row&) {}

  /// row *= decay, which may be one number for all of it.
  template <class Target>
  static void scale(const Row& decay, Target&& row) {
    if (decay.size() == 1) {
      row *= decay[0];
    } else if (decay.size() > 1) {
      row.array() *= decay.array();
    }
  }

  template <class Factor>
  void append(const Factor& factor, Chunk<Scalar>&, Index) {
    decay_of(factor, before_);
  }
  void append(const ValueDecay<Scalar>& factor, Chunk<Scalar>& chunk, Index t) {
    chunk.value_decay.row(t).array() *= factor.decay.transpose().array();
  }
  template <class Diagonal>
  void append(const RankOneUpdate<Diagonal>& factor, Chunk<Scalar>& chunk, Index) {
    chunk.u.row(moment_) = factor.u.transpose();
    chunk.p.row(moment_) = factor.p.transpose();
    scale(before_, chunk.p.row(moment_));
    decay_of(factor.diagonal, before_);
    if (Steps::decays) chunk.decay.row(moment_) = before_;
    before_.setOnes();
    ++moment_;
  }

  static void divide(const Scalar& d_log, const Scalar& decay, Scalar& d_decay) {
    d_decay = decay == Scalar(0) ? Scalar(0) : d_log / decay;
  }
  static void take(const Row&, const Identity<Scalar>&, Identity<Scalar>&) {}
  static void take(const Row& d_log, const ScalarDecay<Scalar>& d, ScalarDecay<Scalar>& gradient) {
    divide(d_log.sum(), d.decay, gradient.decay);
  }
  static void take(const Row& d_log, const KeyDecay<Scalar>& d, KeyDecay<Scalar>& gradient) {
    for (Index i = 0; i < d.decay.size(); ++i) divide(d_log[i], d.decay[i], gradient.decay[i]);
  }

  /// x . dx, for all rows together or each for itself.
  template <class A, class B>
  [[nodiscard]] Row dots(const A& x, const B& d_x) const {
    if (before_.size() == 1) return Row::Constant(1, x.dot(d_x));
    return x.cwiseProduct(d_x);
  }

  /// A pure decay: part of its moment's D, and of p if an update follows, else of u.
  template <class Factor>
  void pull_back_factor(const Factor& factor, const Chunk<Scalar>& chunk,
                        const Chunk<Scalar>& gradient, Index t, Factor& d_factor) {
    if constexpr (StepsOf<Factor>::decays) {
      const bool is_last = Steps::updates > 0 && moment_ == (t + 1) * moments_;
      const Index m = is_last ? moment_ - 1 : moment_;
      Row d_log = gradient.decay.row(m);
      if (is_last) {
        d_log += dots(chunk.u.row(m), gradient.u.row(m));
      } else if (Steps::updates > 0) {
        d_log += dots(chunk.p.row(m), gradient.p.row(m));
        decay_of(factor, before_);
      }
      take(d_log, factor, d_factor);
    }
  }
  void pull_back_factor(const ValueDecay<Scalar>& factor, const Chunk<Scalar>&,
                        const Chunk<Scalar>& gradient, Index t, ValueDecay<Scalar>& d_factor) {
    for (Index j = 0; j < factor.decay.size(); ++j) {
      divide(gradient.value_decay(t, j), factor.decay[j], d_factor.decay[j]);
    }
  }
  template <class Diagonal>
  void pull_back_factor(const RankOneUpdate<Diagonal>& factor, const Chunk<Scalar>&,
                        const Chunk<Scalar>& gradient, Index t, RankOneUpdate<Diagonal>& d_factor) {
    const Index m = moment_++;
    if constexpr (StepsOf<Diagonal>::decays) {
      take(gradient.decay.row(m), factor.diagonal, d_factor.diagonal);
    }
    d_factor.u = gradient.u.row(m).transpose();
    d_factor.p = gradient.p.row(m).transpose();
    scale(before_, d_factor.p.transpose());
    if (moment_ == (t + 1) * moments_) scale(after_, d_factor.u.transpose());
    before_.setOnes();
  }

  Index moments_, moment_ = 0;
  Row before_, after_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP
