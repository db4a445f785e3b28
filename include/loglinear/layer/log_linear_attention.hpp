// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP
#define LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP

#include <cstdint>
#include <optional>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/layer/detail/head.hpp"
#include "loglinear/layer/one_head.hpp"
#include "loglinear/layer/span_gradient.hpp"
#include "loglinear/layer/step.hpp"
#include "loglinear/rules/level_weights.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Log-linear attention, streaming: one token at a time through a hierarchy of O(log T) states
/// (Guo et al., *Log-Linear Attention*, ICLR 2026, arXiv:2506.04761), with any inner rule applied
/// in full: at every token its transition acts on every active level, then its leaf is pushed.
///
///     k = W_k x    v = W_v x    q = W_q x    lambda = level weights of W_lambda x
///     S_l <- L_t S_l diag(r_t) for every level l, then push the leaf        (what `inner` says)
///     raw read = sum_l lambda_l S_l^T q        output = tanh(raw read)
///
/// With biases each projection is `W x + b`. `x` has length d_model, outputs have length d_v, and
/// states are `key_rows x d_v` (key_rows is d_k unless the rule says otherwise). An input or target
/// is any Eigen vector expression, row or column, or a std::vector, std::array or std::span of the
/// layer's scalar, and is copied once. The constructor allocates all memory: `forward`,
/// `query_readonly` and `train_one` never allocate. They return a reference to the layer's own
/// output, which the next call overwrites; copy it (`Eigen::VectorXd o = ...`) to keep it.
///
/// Errors: std::invalid_argument with the argument's name, value and legal range, before anything
/// has changed. It is thrown for wrong sizes, input that is not finite, and finite input whose
/// projections, gates, leaf, read or weights would overflow; a NaN never enters a state or a
/// weight. Numbers below std::numeric_limits<Scalar>::min() count as zero, in rules of your own
/// too, see docs/numerics.md.
///
/// A token costs one product with the stacked weights, `(2 d_k + d_v + M + own) d_model`, one read
/// of the active levels and O(1) amortised merges. A training step reads the levels once more.
/// Concurrent const calls are safe; use `query_readonly(x, workspace)` from several threads.
///
/// \tparam Inner      the inner rule, see rule.hpp and the folder rules/
/// \tparam Scalar_    float, double, long double
/// \tparam Weights    the level weights, see level_weights.hpp
/// \tparam Stored     what levels are stored as: Scalar, or with float Eigen::bfloat16 or
///                    Eigen::half, which halve the memory of the levels. docs/numerics.md says what
///                    both cost in accuracy, docs/real_time.md what they cost in time. bfloat16 has
///                    the range of float. Half numbers end at 65504, and ordinary streams reach
///                    that: a token that would take the norm of the state above a quarter of it
///                    throws, in mid-stream
/// \tparam Overflow   what the last level does when it is full, see `LastLevel`; spans of tokens
///                    need `LastLevel::fold`
template <class Inner, class Scalar_ = double, class Weights = NormalizedMixture,
          class Stored = Scalar_, LastLevel Overflow = LastLevel::fold>
class LogLinearAttention : public OneHead<detail::Head<Inner, Scalar_, Weights, Stored, Overflow>> {
  using Base = OneHead<detail::Head<Inner, Scalar_, Weights, Stored, Overflow>>;
  using Base::head_;
  using typename Base::Flush;
  static constexpr int fixed_levels = detail::fixed_levels<Weights>();

 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using typename Base::Rows;
  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
  using Workspace = typename Base::Head::Workspace;

  /// How to build a layer; d_model, d_k and d_v must be given.
  struct Options {
    Inner inner{};      ///< the rule with its hyperparameters
    Index d_model = 0;  ///< length of x, 1 to 2^26
    Index d_k = 0;      ///< length of keys and queries, 1 to 2^26
    Index d_v = 0;      ///< length of values and outputs, 1 to 2^26
    int max_levels = fixed_levels == 0 ? 32 : fixed_levels;  ///< 1 to 64, or what Weights says
    Weights level_weights{};                        ///< lambda_init, tau, ... of the policy
    ReadOrder read_order = ReadOrder::before_push;  ///< what `forward` reads
    std::optional<double> learning_rate{};  ///< finite, >= 0; the step rule's own unless given
    std::optional<Step> step{};  ///< `normalized`, or `sgd` where a learning rate is given
    std::optional<bool> bias{};  ///< whether projections are W x + b; default: if `normalized`
    double weight_scale = 0.01;  ///< standard deviation of the drawn weights, >= 0
    std::uint64_t seed = 42;     ///< of the weights, at least 1
  };

  /// Allocates the layer and draws its weights from the seed: weight_scale times standard normals
  /// by Xorshift64 and Box-Muller, in the order of `weight_names()`.
  /// \throws std::invalid_argument for an option out of its range
  explicit LogLinearAttention(const Options& options)
      : Base(options), target_(detail::zeros<Scalar>(options.d_v)) {}

  /// \name Copies and moves
  /// A copy that throws (the allocator, or a rule's own copy) changes nothing. A layer that has
  /// been moved from, also to itself, refuses every token and whatever else needs its state, with
  /// std::invalid_argument, until it is assigned to.
  /// \{
  LogLinearAttention(const LogLinearAttention&) = default;  ///< allocates
  LogLinearAttention(LogLinearAttention&&) = default;       ///< does not allocate
  LogLinearAttention& operator=(const LogLinearAttention& other) {
    return *this = LogLinearAttention(other);
  }                                                               ///< a copy; allocates
  LogLinearAttention& operator=(LogLinearAttention&&) = default;  ///< does not allocate
  /// \}

  /// \name A token
  /// Only `make_workspace` allocates. All throw std::invalid_argument as the class comment says,
  /// before anything has changed.
  /// \{

  /// Reads the state in the layer's read order, then writes the token: the state undergoes the
  /// token's transition and takes its leaf. In the default order `before_push` the output is that
  /// of `query_readonly(x)`.
  /// \param x  length d_model, finite
  /// \return the output, length d_v
  template <class In>
  const Vector& forward(const In& x) {
    const Flush flush;
    head_.stage(x, head_.read_order());
    head_.commit();
    return bound(head_.workspace());
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = forward(x);
  }

  /// Reads the state as it stands, in the order `before_push`, and changes nothing: x has neither
  /// transition nor leaf here. In the order `current_apart` lambda_{l+1} weighs level l.
  /// \return the output
  template <class In>
  const Vector& query_readonly(const In& x) {
    const Flush flush;
    head_.query(x);
    return bound(head_.workspace());
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each. Refuses a
  /// workspace that is made for a layer of another shape.
  /// \return the output, which lies in the workspace
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    const Flush flush;
    head_.query(x, workspace);
    return bound(workspace);
  }

  /// Learns from one token, then writes it. Reads after the push (or in `current_apart`, if that is
  /// the layer's order), takes one step of the layer's step rule against the gradient of `1/2 |o -
  /// y|^2`, then writes the token as the old weights made it. The gradient goes through the token's
  /// leaf and transition; the state before the token counts as constant.
  /// \param y  target, length d_v, finite; outputs lie in [-1, 1]
  /// \return the output o from before the step
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    const Flush flush;
    head_.require_alive();
    detail::copy_vector(y, "y", target_);
    detail::require_finite("y", target_);
    head_.stage(x, head_.training_order(), Base::Head::For::learning);
    const Vector& o = bound(head_.workspace());
    detail::subtract(o.data(), target_.data(), o.size(), target_.data());
    detail::tanh_pullback(o.data(), o.size(), target_.data());  // the gradient of the read now
    head_.stage_gradient(target_);
    head_.learn();
    head_.commit();
    return o;
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = train_one(x, y);
  }

  /// Memory for the const `query_readonly` and `level_reads`; allocates.
  [[nodiscard]] Workspace make_workspace() const { return head_.make_workspace(); }

  /// Empties the state; weights and the step counter stay. Does not allocate.
  void reset() noexcept { head_.reset(); }
  /// \}

  /// \name A span of T tokens at once
  /// These functions compute what T calls compute, to rounding, chunk by chunk with matrix products
  /// (see sequence/chunkwise.hpp), in every read order. Gradients go back through the whole span.
  ///
  /// Spans and single tokens can follow each other in any order. Inputs are matrices of T rows, of
  /// either storage order. For chunks of C = 64 tokens a token costs its projections, `C (d_k +
  /// d_v)` and `log(T / C) d_k d_v` operations. All these functions allocate and copy the state.
  /// Errors are those of single tokens, before anything has changed. Rules whose kind of transition
  /// has no `visit_steps` (transitions/steps.hpp) are read token by token and have no gradient
  /// here.
  /// \{

  /// Reads and writes as T calls of `forward` do.
  /// \param x  T x d_model
  /// \return the outputs, T x d_v
  template <class In>
  Rows forward_span(const Eigen::MatrixBase<In>& x) {
    const Flush flush;
    Rows out = head_.read_span(x, head_.read_order());
    detail::tanh_of(out.data(), out.size(), out.data());  // in place: nothing may throw any more
    return out;
  }

  /// The gradient of `sum(d_out * forward_span(x))` with respect to x and every weight. It goes
  /// through all reads and all states within the span; the state before the span counts as
  /// constant. The layer does not change.
  /// \param d_out  T x d_v, finite
  template <class In, class DOut>
  [[nodiscard]] SpanGradient<Scalar> span_gradient(const Eigen::MatrixBase<In>& x,
                                                   const Eigen::MatrixBase<DOut>& d_out) const {
    const Flush flush;
    LogLinearAttention copy(*this);
    const Rows out = copy.forward_span(x);
    detail::require_matrix("d_out", d_out, out.rows(), out.cols());
    Rows d_reads = d_out;
    detail::tanh_pullback(out.data(), out.size(), d_reads.data());
    return head_.pull_back_span(this->log_linear_state(), x, head_.read_order(), d_reads);
  }

  /// Takes one step against the gradient of `1/2 sum |o - y|^2` over the whole span, and writes its
  /// T tokens. Reads in the order of `train_one`. Unlike in T calls of `train_one`, the weights
  /// stay the same within the span, and the gradient goes through the states that its tokens write.
  /// \param y  T x d_v, finite
  /// \return the outputs o from before the step, T x d_v
  template <class In, class Target>
  Rows train_span(const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<Target>& y) {
    const Flush flush;
    detail::require_matrix("y", y, x.rows(), this->output_dim());
    const typename Base::State before = this->log_linear_state();
    const ReadOrder order = head_.training_order();
    detail::Rollback rollback(head_);
    head_.look_at_span(x);
    Rows out = head_.read_span(x, order);
    detail::tanh_of(out.data(), out.size(), out.data());
    Rows d_reads = out - y;
    detail::tanh_pullback(out.data(), out.size(), d_reads.data());
    head_.descend(head_.pull_back_span(before, x, order, d_reads));
    rollback.keep();
    return out;
  }
  /// \}

  /// The same layer in another scalar, or with levels stored as `OtherStored`: weights, state and
  /// counters. Allocates.
  /// \throws std::invalid_argument if a number is out of the other scalar's range; levels may use a
  /// quarter of that, 16376 in half
  template <class Other, class OtherStored = Other>
  [[nodiscard]] LogLinearAttention<Inner, Other, Weights, OtherStored, Overflow> cast() const {
    const detail::FlushToZero<Other> flush;
    LogLinearAttention<Inner, Other, Weights, OtherStored, Overflow> other(
        {.inner = this->inner(),
         .d_model = this->d_model(),
         .d_k = this->d_k(),
         .d_v = this->output_dim(),
         .max_levels = this->max_levels(),
         .level_weights = this->level_weights(),
         .read_order = this->read_order(),
         .learning_rate = this->learning_rate(),
         .step = this->step(),
         .bias = this->has_bias()});
    other.as_head().assign(head_);
    return other;
  }

 private:
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("", self.head_);
  }

  static const Vector& bound(Workspace& w) {
    detail::tanh_of(w.read.data(), w.read.size(), w.output.data());
    return w.output;
  }

  Vector target_;  // of `train_one`
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP
