// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_WORKSPACE_HPP
#define LOGLINEAR_LAYER_DETAIL_WORKSPACE_HPP

// The memory in which a layer works on one token, sized once so that no call allocates.

#include <algorithm>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/rules/rule.hpp"
#include "loglinear/stream/detail/read_memory.hpp"

namespace loglinear::detail {

/// Where each part of a token's stacked projections, and of the free vectors, begins.
struct Layout {
  Index d_k = 0, d_v = 0, key_rows = 0;
  Index leaves = 1;                                  // of a token
  Index v = 0, q = 0, lambda = 0, own = 0, end = 0;  // k begins at 0
  Index free_own = 0, free_end = 0;                  // the level weights' free vector at 0
  Index free_size = 0;                               // with a bias for each projection, or none

  /// The rule's share of stacked projections and free vectors, as a rule sees it.
  template <class Vec, class Raw>
  [[nodiscard]] Projections<Vec> rule_part(Raw* raw, Raw* free) const {
    return {Vec(raw, d_k), Vec(raw + v, d_v), Vec(raw + q, d_k), Vec(raw + own, end - own),
            Vec(free + free_own, free_end - free_own)};
  }
  /// The level weights' share.
  template <class Vec, class Raw>
  [[nodiscard]] Vec lambda_part(Raw* raw) const {
    return Vec(raw + lambda, own - lambda);
  }
  template <class Vec, class Raw>
  [[nodiscard]] Vec lambda_free_part(Raw* free) const {
    return Vec(free, free_own);
  }
};

/// Everything a read needs; the forward half of a token.
template <class Kind>
struct Workspace {
  using Scalar = typename Kind::Scalar;

  Workspace(const Layout& layout, Index d_model, Index weights, const ReadShape& shape)
      : max_levels(shape.max_levels),
        x(zeros<Scalar>(d_model)),
        raw(zeros<Scalar>(layout.end)),
        token(layout.key_rows, layout.d_v, layout.leaves),
        lambda(zeros<Scalar>(weights)),
        stream(shape),
        read(zeros<Scalar>(layout.d_v)),
        output(zeros<Scalar>(layout.d_v)) {}

  Index max_levels;         // of the layer that it is for
  Vector<Scalar> x;         // the input
  Vector<Scalar> raw;       // all projections of x, stacked
  Token<Kind> token;        // what the rule made of them
  Vector<Scalar> lambda;    // level weights
  ReadMemory<Kind> stream;  // what the stream is read in
  Vector<Scalar> read;      // the raw read
  Vector<Scalar> output;    // tanh of it
};

template <class Kind>
[[nodiscard]] Workspace<Kind> make_workspace(const Layout& layout, Index d_model, Index weights,
                                             const ReadShape& shape) {
  return Workspace<Kind>(layout, d_model, weights, shape);
}

/// Throws unless the given workspace was made for a layer of the same shape as `own`.
template <class Kind>
void require_shape_of(const Workspace<Kind>& own, const Workspace<Kind>& given) {
  require_size("the workspace's x", given.x.size(), own.x.size());
  require_size("the workspace's projections", given.raw.size(), own.raw.size());
  require_size("the workspace's query", given.token.query.size(), own.token.query.size());
  require_size("the workspace's output", given.output.size(), own.output.size());
  require_size("the workspace's lambda", given.lambda.size(), own.lambda.size());
  require_size("the workspace's levels", given.max_levels, own.max_levels);
  require_size("the leaves of the workspace's token", given.token.keys.cols(),
               own.token.keys.cols());
  require_size("the workspace's tiers", given.stream.tier_queries.cols(),
               own.stream.tier_queries.cols());
}

/// The backward half: gradients of the loss with respect to what its name says after `d_`.
template <class Kind>
struct TrainingWorkspace {
  using Scalar = typename Kind::Scalar;

  TrainingWorkspace(const Layout& layout, Index weights, const ReadShape& shape)
      : d_read(zeros<Scalar>(layout.d_v)),
        d_lambda(zeros<Scalar>(weights)),
        stream(shape),
        d_token(layout.key_rows, layout.d_v, layout.leaves),
        d_raw(zeros<Scalar>(layout.end)),
        d_free(zeros<Scalar>(layout.free_size)) {}

  Vector<Scalar> d_read, d_lambda;
  PullbackMemory<Kind> stream;
  Token<Kind> d_token;
  Vector<Scalar> d_raw, d_free;
};

template <class Kind>
[[nodiscard]] TrainingWorkspace<Kind> make_training_workspace(const Layout& layout, Index weights,
                                                              const ReadShape& shape) {
  return TrainingWorkspace<Kind>(layout, weights, shape);
}

/// A read that is being computed. If it is refused because it is not finite, it becomes 0, so that
/// a refused call shows no infinity.
template <class Scalar>
class ReadInMaking {
 public:
  explicit ReadInMaking(Vector<Scalar>& read) : read_(read) {}
  ~ReadInMaking() {
    if (!done_ && !all_finite(read_)) std::fill_n(read_.data(), read_.size(), Scalar(0));
  }
  ReadInMaking(const ReadInMaking&) = delete;
  ReadInMaking& operator=(const ReadInMaking&) = delete;
  void done() { done_ = true; }

 private:
  Vector<Scalar>& read_;
  bool done_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_WORKSPACE_HPP
