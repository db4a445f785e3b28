// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP
#define LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP

// The steps of a transition (transitions/steps.hpp) as a chunk has them: decays of value columns,
// and updates D - u p^T one after the other. A decay E before a look-up goes into its update,
// (D - u p^T) E = D E - u (E p)^T, and one after the last update too, F (D - u p^T) = F D - (F u)
// p^T.

#include <algorithm>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear::detail {

/// How tokens with these steps look in a chunk.
[[nodiscard]] inline SequenceShape shape_of(const StepCounts& steps, Index d_k, Index d_v,
                                            Index leaves, ReadOrder order) {
  return {.d_k = d_k,
          .d_v = d_v,
          .leaves = leaves,
          .steps = steps.updates,
          .decays = !steps.decays         ? 0
                    : steps.decays_by_row ? d_k
                                          : 1,
          .decays_values = steps.decays_values,
          .is_delta = false,
          .order = order};
}

/// A product of decays of key rows: no number, one for all of them, or one for each.
template <class Scalar>
class RowDecays {
 public:
  explicit RowDecays(Index decays) : decays_(decays) {}

  void reset() { std::fill_n(decays_.data(), decays_.size(), Scalar(1)); }
  void decay(const Scalar& a) { scale_by(a, decays_.data(), decays_.size()); }
  void decay_rows(const Scalar* w) { multiply(decays_.data(), w, decays_.size(), decays_.data()); }

  /// row *= decays, which may be one number for all of it.
  void apply(Scalar* row, Index size) const {
    if (decays_.size() == 1) scale_by(decays_[0], row, size);
    if (decays_.size() > 1) multiply(row, decays_.data(), size, row);
  }
  void write_to(Scalar* to) const { copy(decays_.data(), decays_.size(), to); }

 private:
  Vector<Scalar> decays_;
};

/// Writes the steps of token t into a chunk: call `start`, `visit_steps` of its transition,
/// `finish`.
template <class Scalar>
class StepWriter {
 public:
  explicit StepWriter(const SequenceShape& shape) : shape_(shape), before_(shape.decays) {}
  StepWriter(const StepWriter&) = default;
  StepWriter& operator=(const StepWriter&) = default;

  void start(Chunk<Scalar>& chunk, Index t) {
    chunk_ = &chunk;
    token_ = t;
    moment_ = t * shape_.moments();
    before_.reset();
    if (shape_.decays_values) std::fill_n(value_decay(), shape_.d_v, Scalar(1));
  }

  void decay(const Scalar& a) { before_.decay(a); }
  void decay_rows(const Scalar* w) { before_.decay_rows(w); }
  void decay_values(const Scalar* r) { multiply(value_decay(), r, shape_.d_v, value_decay()); }
  void look_up(const Scalar* p) {
    Scalar* const row = row_of(chunk_->p, moment_);
    copy(p, shape_.d_k, row);
    before_.apply(row, shape_.d_k);
  }
  void write_back(const Scalar* u) {
    copy(u, shape_.d_k, row_of(chunk_->u, moment_));
    if (shape_.decays > 0) before_.write_to(row_of(chunk_->decay, moment_));
    before_.reset();
    ++moment_;
  }

  void finish() {
    if (shape_.decays == 0) return;
    if (shape_.steps == 0) return before_.write_to(row_of(chunk_->decay, moment_));
    before_.apply(row_of(chunk_->decay, moment_ - 1), shape_.decays);
    before_.apply(row_of(chunk_->u, moment_ - 1), shape_.d_k);
  }

 private:
  [[nodiscard]] static Scalar* row_of(RowMajorMatrix<Scalar>& m, Index i) {
    return m.data() + i * m.cols();
  }
  [[nodiscard]] Scalar* value_decay() { return row_of(chunk_->value_decay, token_); }

  SequenceShape shape_;
  RowDecays<Scalar> before_;  // since the last update
  Chunk<Scalar>* chunk_ = nullptr;
  Index token_ = 0, moment_ = 0;
};

/// The decays after the last update of a transition.
template <class Scalar>
struct LastDecays {
  RowDecays<Scalar>& decays;

  void decay(const Scalar& a) { decays.decay(a); }
  void decay_rows(const Scalar* w) { decays.decay_rows(w); }
  void decay_values(const Scalar*) {}
  void look_up(const Scalar*) {}
  void write_back(const Scalar*) { decays.reset(); }
};

/// The gradients of the steps of token t, from those of a chunk's log decays and rows u and p: call
/// `start`, then `visit_steps(steps, gradient)` of the token's transition.
template <class Scalar>
class StepGradients {
 public:
  explicit StepGradients(const SequenceShape& shape)
      : shape_(shape), before_(shape.decays), after_(shape.decays), d_log_(shape.decays) {}
  StepGradients(const StepGradients&) = default;
  StepGradients& operator=(const StepGradients&) = default;

  template <class Kind>
  void start(const Kind& kind, const Chunk<Scalar>& chunk, const Chunk<Scalar>& gradient, Index t) {
    chunk_ = &chunk;
    gradient_ = &gradient;
    token_ = t;
    moment_ = t * shape_.moments();
    is_open_ = false;
    before_.reset();
    after_.reset();
    if (shape_.steps == 0) return;
    LastDecays<Scalar> last{after_};
    kind.visit_steps(last);
  }

  void decay(const Scalar& a, Scalar& d_a) {
    note_decay();
    if (!is_open_) before_.decay(a);
    divide(sum(d_log_.data(), d_log_.size()), a, d_a);
  }
  void decay_rows(const Scalar* w, Scalar* d_w) {
    note_decay();
    if (!is_open_) before_.decay_rows(w);
    for (Index i = 0; i < shape_.d_k; ++i) divide(d_log_[i], w[i], d_w[i]);
  }
  void decay_values(const Scalar* r, Scalar* d_r) {
    const Scalar* const d_log = row_of(gradient_->value_decay, token_);
    for (Index j = 0; j < shape_.d_v; ++j) divide(d_log[j], r[j], d_r[j]);
  }
  void look_up(const Scalar*, Scalar* d_p) {
    copy(row_of(gradient_->p, moment_), shape_.d_k, d_p);
    before_.apply(d_p, shape_.d_k);
    is_open_ = true;
  }
  void write_back(const Scalar*, Scalar* d_u) {
    copy(row_of(gradient_->u, moment_), shape_.d_k, d_u);
    ++moment_;
    if (is_after_last()) after_.apply(d_u, shape_.d_k);
    before_.reset();
    is_open_ = false;
  }

 private:
  [[nodiscard]] static const Scalar* row_of(const RowMajorMatrix<Scalar>& m, Index i) {
    return m.data() + i * m.cols();
  }
  [[nodiscard]] bool is_after_last() const {
    return shape_.steps > 0 && moment_ == (token_ + 1) * shape_.moments();
  }

  /// The gradient of the logarithm of a decay: it is part of its moment's D and, unless it stands
  /// within an update, of p where an update follows, of u where none does.
  void note_decay() {
    const bool is_last = !is_open_ && is_after_last();
    const Index m = is_last ? moment_ - 1 : moment_;
    copy(row_of(gradient_->decay, m), shape_.decays, d_log_.data());
    if (is_open_ || shape_.steps == 0) return;
    is_last ? add_products(row_of(chunk_->u, m), row_of(gradient_->u, m))
            : add_products(row_of(chunk_->p, m), row_of(gradient_->p, m));
  }
  /// d_log += x . d_x, for all rows together or each for itself.
  void add_products(const Scalar* x, const Scalar* d_x) {
    if (d_log_.size() == 1) {
      d_log_[0] += dot(x, d_x, shape_.d_k);
    } else {
      for (Index i = 0; i < shape_.d_k; ++i) d_log_[i] += x[i] * d_x[i];
    }
  }
  /// A decay of 0 gets gradient 0: its logarithm has none.
  static void divide(const Scalar& d_log, const Scalar& decay, Scalar& d_decay) {
    d_decay = decay == Scalar(0) ? Scalar(0) : d_log / decay;
  }

  SequenceShape shape_;
  RowDecays<Scalar> before_, after_;  // since the last update, and after the last of all
  Vector<Scalar> d_log_;
  const Chunk<Scalar>* chunk_ = nullptr;
  const Chunk<Scalar>* gradient_ = nullptr;
  Index token_ = 0, moment_ = 0;
  bool is_open_ = false;  // between a look-up and its write-back
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP
