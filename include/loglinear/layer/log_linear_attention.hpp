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
/// `x` is a vector of length d_model, outputs have length d_v, states are `key_rows x d_v`
/// (key_rows is d_k unless the rule says otherwise). Inputs and targets are any Eigen vector
/// expression, row or column, or a std::vector, std::array or std::span of the layer's scalar; they
/// are copied once. All memory is allocated by the constructor: `forward`,
/// `query_readonly` and `train_one` never allocate. What they return is a reference to the layer's
/// own output, overwritten by the next call; copy it (`Eigen::VectorXd o = ...`) to keep it.
///
/// Errors: std::invalid_argument with the argument's name, value and legal range, before anything
/// has changed. It is thrown for wrong sizes, input that is not finite, and finite input whose
/// projections, gates, leaf, read or weights would overflow; a NaN never enters a state or a
/// weight. Numbers below std::numeric_limits<Scalar>::min() count as zero, in rules of your own
/// too, see docs/numerics.md.
///
/// A token costs one product with the stacked weights, `(2 d_k + d_v + M + own) d_model`, one read
/// of the active levels and O(1) amortised merges; a training step reads the levels once more.
/// Concurrent const calls are safe; use `query_readonly(x, workspace)` from several threads.
///
/// \tparam Inner      the inner rule, see rule.hpp and the folder rules/
/// \tparam Scalar_    float, double, long double
/// \tparam Weights    the level weights, see level_weights.hpp
/// \tparam Stored     what levels are stored as: Scalar, or with float Eigen::bfloat16 or
///                    Eigen::half, which halve the memory of the levels. On an AMD Zen 4 a read
///                    takes 0.6 to 1.0 times as long from bfloat16 levels as from float ones, and
///                    0.8 to 1.2 times with a delta rule; from half levels 0.7 to 0.9 times with
///                    -march=x86-64-v3, 1.0 to 1.2 times with v4, but 3 to 4 times without F16C.
///                    Half levels overflow on ordinary streams: a token that takes the norm of the
///                    state above 65504 / 4 is refused, in mid-stream, as the 256th of equal tokens
///                    is whose keys and values are 64 coefficients of size 1. bfloat16 has the
///                    range of float. See docs/numerics.md, also for what both cost in accuracy
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
    std::optional<double> learning_rate{};          ///< finite, >= 0; that of `step` unless given
    std::optional<Step> step{};  ///< `normalized` unless a learning rate is given, `sgd` then
    std::optional<bool> bias{};  ///< W x + b for each projection; where the step is `normalized`
    double weight_scale = 0.01;  ///< deviation of the drawn weights, >= 0
    std::uint64_t seed = 42;     ///< of the weights, at least 1
  };

  /// Allocates the layer and draws its weights from the seed: weight_scale times standard normals
  /// by Xorshift64 and Box-Muller, in the order of `weight_names()`. \throws std::invalid_argument
  /// for an option out of its range
  explicit LogLinearAttention(const Options& options)
      : Base(options), target_(detail::zeros<Scalar>(options.d_v)) {}

  /// \name Copies and moves
  /// What throws, the allocator or a rule's own copy, changes nothing. A layer that has been moved
  /// from, by self-assignment too, is to be assigned to or destroyed, nothing else.
  /// \{
  LogLinearAttention(const LogLinearAttention&) = default;  ///< allocates
  LogLinearAttention(LogLinearAttention&&) = default;       ///< does not allocate
  LogLinearAttention& operator=(const LogLinearAttention& other) {
    return *this = LogLinearAttention(other);
  }                                                               ///< a copy; allocates
  LogLinearAttention& operator=(LogLinearAttention&&) = default;  ///< does not allocate
  /// \}

  /// \name A token
  /// \{

  /// Reads in the layer's read order, then lets the state undergo the token's transition and pushes
  /// its leaf. In the order `before_push`, the default, it returns what `query_readonly(x)` would.
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

  /// Reads the state as it stands, in the order `before_push`: no transition, no leaf of x, nothing
  /// changes. With `current_apart` weights, level l counts lambda_{l+1}. \return the output
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
  /// The same with the caller's memory; safe from several threads, a workspace each.
  /// \return the output, which lies in the workspace
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    const Flush flush;
    head_.query(x, workspace);
    return bound(workspace);
  }

  /// One step of stochastic gradient descent on `1/2 |o - y|^2` and one token of the stream: reads
  /// after the push (or `current_apart`, if that is the layer's order), steps every weight, then
  /// writes the state with the old weights. The gradient is that of this step's loss with the state
  /// before the step held constant: through the leaf and through the token's own transition.
  /// \param y  target, length d_v, finite; outputs lie in [-1, 1]
  /// \return the output o from before the step
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    const Flush flush;
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

  /// Empties the state; weights and the step counter stay.
  void reset() noexcept { head_.reset(); }
  /// \}

  /// \name A span of T tokens at once
  /// The numbers of T calls, to rounding, computed chunk by chunk with matrix products (see
  /// sequence/chunkwise.hpp), in every read order; and backpropagation through the whole span.
  ///
  /// Spans and single tokens can follow each other in any order. Inputs are matrices of T rows, of
  /// either storage order. A token costs its projections, `C (d_k + d_v)` and `log(T / C) d_k d_v`
  /// operations for chunks of C = 64 tokens; all these functions allocate and copy the state.
  /// Errors as for single tokens, before anything has changed. Rules whose kind of transition has
  /// no `visit_steps` (transitions/steps.hpp) are read token by token and have no gradient here.
  /// \{

  /// T calls of `forward`. \param x T x d_model \return the outputs, T x d_v
  template <class In>
  Rows forward_span(const Eigen::MatrixBase<In>& x) {
    const Flush flush;
    Rows out = head_.read_span(x, head_.read_order());
    detail::tanh_of(out.data(), out.size(), out.data());  // in place: nothing may throw any more
    return out;
  }

  /// The gradient of `sum(d_out * forward_span(x))` with respect to x and every weight, the state
  /// before the span held constant; through all reads and all states within the span. Nothing
  /// changes. \param d_out T x d_v
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

  /// One step of gradient descent on `1/2 sum |o - y|^2` over the whole span and T tokens of the
  /// stream. Reads in the order of `train_one`. Unlike T calls of `train_one` the weights stay the
  /// same within the span, and the gradient goes through the states that its tokens write.
  /// \param y T x d_v, finite \return the outputs o from before the step, T x d_v
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

  /// The same layer, weights, state and counters in another scalar, or in one that is computed with
  /// and another that is stored; allocates. \throws std::invalid_argument if a number is out of the
  /// other scalar's range, of which levels may fill a quarter: 16376 in half
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
