// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP
#define LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/layer/block_form.hpp"
#include "loglinear/layer/detail/preparation.hpp"
#include "loglinear/layer/detail/workspace.hpp"
#include "loglinear/rules/level_weights.hpp"
#include "loglinear/rules/rule.hpp"
#include "loglinear/stream/detail/reading.hpp"
#include "loglinear/stream/detail/stream_parts.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "loglinear/stream/snapshot.hpp"

namespace loglinear {

namespace detail {

template <class Type>
concept StreamingLayer = requires {
  typename Type::InnerRuleOfLayer;
};

}  // namespace detail

/// Log-linear attention, streaming: one token at a time through a hierarchy of O(log T) states
/// (Guo et al., *Log-Linear Attention*, ICLR 2026, arXiv:2506.04761), with any inner rule applied
/// in full: at every token its transition acts on every active level, then its leaf is pushed.
///
///     k = W_k x    v = W_v x    q = W_q x    lambda = level weights of W_lambda x
///     S_l <- L_t S_l diag(r_t) for every level l, then push the leaf        (what `inner` says)
///     raw read = sum_l lambda_l S_l^T q        output = tanh(raw read)
///
/// `x` is a vector of length d_model, outputs have length d_v, states are `key_rows x d_v`
/// (key_rows is d_k unless the rule says otherwise). Any Eigen vector expression is accepted, row
/// or column; it is copied once. All memory is allocated by the constructor: `forward`,
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
/// \tparam MaxLevels  the number of levels at compile time, or Eigen::Dynamic
/// \tparam Stored     what levels are stored as: Scalar, or with float Eigen::bfloat16 or
///                    Eigen::half, which halve the memory of the levels. On an AMD Zen 4 a read
///                    takes 0.6 to 1.0 times as long from bfloat16 levels as from float ones, and
///                    0.8 to 1.2 times with a delta rule; from half levels 0.7 to 0.9 times with
///                    -march=x86-64-v3, 1.0 to 1.2 times with v4, but 3 to 4 times without F16C.
///                    Half levels overflow on ordinary streams: a token that takes the norm of the
///                    state above 65504 / 4 is refused, in mid-stream, as the 256th of equal tokens
///                    is whose keys and values are 64 coefficients of size 1. bfloat16 has the
///                    range of float. See docs/numerics.md, also for what both cost in accuracy
/// \tparam Overflow   what the last level does when it is full, see `LastLevel`; blocks of tokens
///                    need `LastLevel::fold`
template <class Inner, class Scalar_ = double, class Weights = NormalizedMixture,
          int MaxLevels = Eigen::Dynamic, class Stored = Scalar_,
          LastLevel Overflow = LastLevel::fold>
class LogLinearAttention
    : public BlockForm<LogLinearAttention<Inner, Scalar_, Weights, MaxLevels, Stored, Overflow>> {
  static_assert(!detail::StreamingLayer<Inner>,
                "log-linear attention cannot be the inner rule of log-linear attention: pass the "
                "rule inside it, such as LogLinearAttention<GatedDeltaNet>");
  static_assert(!Eigen::NumTraits<Scalar_>::IsInteger,
                "LogLinearAttention needs a floating-point scalar: use float or double");
  static_assert(std::is_same_v<Scalar_, detail::Accumulator<Stored>>,
                "levels can be stored as the layer's scalar, or, where that is float, as "
                "Eigen::bfloat16 or Eigen::half");
  static_assert(InnerRule<Inner, Scalar_>,
                "Inner must satisfy InnerRule: see loglinear/rules/rule.hpp");
  static_assert(LevelWeights<Weights, Scalar_>,
                "Weights must satisfy LevelWeights: see loglinear/rules/level_weights.hpp");

  using Kind = typename Inner::template Transition<Scalar_>;
  using Preparation = detail::Preparation<Inner, Scalar_, Weights>;
  using Flush = detail::FlushToZero<Scalar_>;

 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using State = LogLinearState<Stored, Eigen::Dynamic, Eigen::Dynamic, MaxLevels, Overflow>;
  /// \name What the layer is made of, for layers made of layers
  /// \{
  using InnerRuleOfLayer = Inner;       ///< the rule
  using LevelWeightsOfLayer = Weights;  ///< the policy of the level weights
  using TransitionOfLayer = Kind;       ///< the kind of transition
  /// \}
  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
  using Workspace = detail::Workspace<Kind>;
  /// A moment of the stream, from `snapshot`.
  using Snapshot = StreamSnapshot<Kind, Stored>;

  /// How to build a layer; d_model, d_k and d_v must be given.
  struct Options {
    Inner inner{};      ///< the rule with its hyperparameters
    Index d_model = 0;  ///< length of x, 1 to 2^26
    Index d_k = 0;      ///< length of keys and queries, 1 to 2^26
    Index d_v = 0;      ///< length of values and outputs, 1 to 2^26
    int max_levels = MaxLevels == Eigen::Dynamic ? 32 : MaxLevels;  ///< 1 to 64
    Weights level_weights{};                        ///< lambda_init, tau, ... of the policy
    ReadOrder read_order = ReadOrder::before_push;  ///< what `forward` reads
    double learning_rate = 0.05;                    ///< of `train_one`, finite and >= 0
    std::uint64_t seed = 42;                        ///< of the weights, at least 1
  };

  /// Allocates the layer and draws its weights from the seed: 0.01 times standard normals by
  /// Xorshift64 and Box-Muller, in the order of `weight_names()`. \throws std::invalid_argument for
  /// an option out of its range
  explicit LogLinearAttention(const Options& options)
      : read_order_(options.read_order),
        preparation_(options.inner, options.level_weights, checked(options).d_model, options.d_k,
                     options.d_v, options.max_levels, options.read_order),
        state_(options.max_levels, layout().key_rows, options.d_v, Preparation::leaves),
        workspace_(make_workspace()),
        training_(layout(), Preparation::leaves, preparation_.weight_count(), state_.read_shape()) {
    Xorshift64 random(options.seed);
    draw_weights(random);
    set_learning_rate(options.learning_rate);
  }

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
    prepare(x, read_order_);
    write();
    return bound(workspace_);
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = forward(x);
  }

  /// Reads the state as it stands, in the order `before_push`: no transition, no leaf of x, nothing
  /// changes. With `current_apart` weights, level l counts lambda_{l+1}. \return the output
  template <class In>
  const Vector& query_readonly(const In& x) {
    drop_staged();  // its place is used
    return std::as_const(*this).query_readonly(x, workspace_);
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each.
  /// \return the output, which lies in the workspace
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    const Flush flush;
    detail::require_size("the workspace's x", workspace.x.size(), d_model());
    detail::require_size("the workspace's projections", workspace.raw.size(), layout().end);
    detail::require_size("the workspace's query", workspace.token.query.size(), layout().key_rows);
    detail::require_size("the workspace's output", workspace.output.size(), output_dim());
    detail::require_size("the workspace's lambda", workspace.lambda.size(),
                         preparation_.weight_count());
    detail::require_size("the workspace's levels", workspace.max_levels, state_.max_levels());
    detail::require_size("the workspace's tiers", workspace.stream.tier_queries.cols(),
                         state_.read_shape().tiers);
    detail::copy_vector(x, "x", workspace.x);
    preparation_.project(workspace, layout().q);
    preparation_.prepare_read(workspace);
    const bool apart = read_order_ == ReadOrder::current_apart;
    detail::read_standing(state_, workspace.token.query, workspace.lambda,
                          apart ? ReadOrder::current_apart : ReadOrder::before_push,
                          workspace.stream, workspace.read);
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
    detail::copy_vector(y, "y", training_.target);
    detail::require_finite("y", training_.target);
    prepare(x, training_order());
    const Vector& o = bound(workspace_);
    training_.d_read = (o - training_.target).array() * (1 - o.array().square());
    pull_back();
    descend();
    write();
    return o;
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = train_one(x, y);
  }

  /// Empties the state; weights and the step counter stay.
  void reset() noexcept {
    drop_staged();
    state_.reset();
  }
  /// \}

  /// \name A token in stages, for layers made of layers
  /// `stage`, then `stage_gradient` to learn, then `commit`: only the last one changes the layer,
  /// and after `stage` it does not throw, so that many layers can take a token together or not at
  /// all. Whatever else changes the stream, the weights or the learning rate, or uses the same
  /// memory (`query_readonly(x)`), drops what was staged. Out of turn they throw
  /// std::invalid_argument; nothing is changed then.
  /// \{

  /// Prepares a token and reads; nothing changes yet. \return the raw read, length d_v, without
  /// tanh. \throws std::invalid_argument as `forward`, or for the order `current_apart` of a layer
  /// that was not made for it
  template <class In>
  const Vector& stage(const In& x, ReadOrder order) {
    const Flush flush;
    require_order(order);
    prepare(x, order);
    staged_ = Staged::token;
    return workspace_.read;
  }

  /// From the gradient with respect to the staged raw read, length d_v, to that of every weight.
  /// \throws std::invalid_argument for another length, where no token is staged, or where it is in
  /// the order `before_push`, which does not read what the token writes
  template <class Derived>
  void stage_gradient(const Eigen::MatrixBase<Derived>& d_read) {
    const Flush flush;
    require_staged();
    if (staged_order_ == ReadOrder::before_push) {
      detail::fail("the order of the staged token", "before_push",
                   "after_push or current_apart, to learn from it");
    }
    staged_ = Staged::token;
    detail::copy_vector(d_read.derived(), "the gradient of the read", training_.d_read);
    pull_back();
    staged_ = Staged::token_and_gradient;
  }

  /// Steps the weights if a gradient was staged, and writes the staged token to the state.
  /// \throws std::invalid_argument where no token is staged
  void commit() {
    const Flush flush;
    require_staged();
    if (staged_ == Staged::token_and_gradient) descend();
    write();
  }

  /// The order in which training reads: `after_push`, or `current_apart` if that is the layer's.
  [[nodiscard]] ReadOrder training_order() const noexcept {
    return read_order_ == ReadOrder::current_apart ? read_order_ : ReadOrder::after_push;
  }

  /// One step of gradient descent. \throws std::invalid_argument for the gradient of a layer with
  /// other weights, or where a weight would not be finite; nothing is changed then
  void descend(const BlockGradient<Scalar>& gradient) {
    const Flush flush;
    preparation_.parameters().descend(learning_rate_, gradient.weights);
    drop_staged();
    ++train_step_count_;
  }

  /// Makes room in a snapshot, so that taking it does not allocate; what it holds stays. \return
  /// false for a snapshot of another shape, which cannot be done
  [[nodiscard]] bool reserve(Snapshot& moment) const { return moment.reserve(state_); }
  /// \throws std::invalid_argument where `restore` would
  void require_shape_of(const Snapshot& moment) const { moment.require_shape_of(state_); }

  /// The transition of the last token that was committed.
  [[nodiscard]] const Kind& last_transition() const noexcept { return workspace_.token.transition; }
  /// Appends the stream of another layer that began at this one's count, after `product` of its
  /// transitions; see `StreamPart`.
  template <class Product>
  void append(const LogLinearAttention& later, const Product& product) {
    const Flush flush;
    drop_staged();
    detail::StreamParts::append(state_, later.state_, product);
  }

  /// A gradient of all weights, zero.
  [[nodiscard]] detail::Parameters<Scalar> weights_like_zero() const {
    return preparation_.parameters().zeros();
  }

  /// Draws all weights anew, in the order of `weight_names()`.
  void draw_weights(Xorshift64& random) {
    drop_staged();
    preparation_.parameters().draw(random);
  }
  /// \}

  /// \name What the last `forward`, `query_readonly(x)` or `train_one` saw
  /// \{
  [[nodiscard]] const Vector& raw_read() const noexcept { return workspace_.read; }  ///< no tanh
  [[nodiscard]] const Vector& lambda() const noexcept { return workspace_.lambda; }  ///< weights
  /// \}

  /// \name The stream's state
  /// \{

  /// The hierarchy in its plain form, with everything that the layer keeps apart or defers written
  /// out. By value: allocates and copies all levels.
  [[nodiscard]] State log_linear_state() const {
    const Flush flush;
    State out(state_.max_levels(), state_.key_rows(), state_.d_v());
    state_.copy_to(detail::levels_of(out));
    return out;
  }
  /// The same into a state of the same shape, without allocating. \throws std::invalid_argument for
  /// another shape
  void log_linear_state(State& out) const {
    const Flush flush;
    detail::require_size("max_levels of out", out.max_levels(), state_.max_levels());
    detail::require_size("d_k of out", out.d_k(), state_.key_rows());
    detail::require_size("d_v of out", out.d_v(), state_.d_v());
    state_.copy_to(detail::levels_of(out));
  }
  /// All levels as one constant-length vector, `max_levels * key_rows * d_v`, row-major; a copy of
  /// `log_linear_state().flat_state()`.
  [[nodiscard]] Vector state() const {
    const Flush flush;
    const State plain = log_linear_state();
    return plain.flat_state().template cast<Scalar>();
  }
  /// Jumps to a later count, as if the tokens up to it had written nothing and had no transition:
  /// what is remembered ages and merges as it would have, in no time. Costs a pass over the active
  /// levels, does not allocate. \throws std::invalid_argument unless count >= size(); nothing is
  /// changed then
  void advance_to(std::uint64_t count) {
    const Flush flush;
    drop_staged();
    detail::StreamParts::advance(state_, count);
  }

  /// This moment of the stream, to come back to: continuations can be tried and taken back. Costs a
  /// copy of the active levels, the newest leaves and what is pending; allocates.
  [[nodiscard]] Snapshot snapshot() const {
    Snapshot moment;
    moment.take(state_);
    return moment;
  }
  /// The same into a snapshot that exists, whatever it held. Does not allocate where it once held a
  /// moment of the same shape with as many active levels and leaves; where it does and throws
  /// std::bad_alloc, the snapshot is what it was.
  void snapshot(Snapshot& moment) const { moment.take(state_); }
  /// Goes back, or on, to a moment of this stream or of that of another layer (a fork): what
  /// follows is what followed then, bit for bit, where weights and hyperparameters are what they
  /// were. Those of this layer stay, as does the step counter: a snapshot holds what a stream
  /// remembers, and any layer takes it whose states have the same shape. A staged token is dropped.
  /// Does not allocate. \throws std::invalid_argument for a snapshot of another shape, or one that
  /// holds nothing; nothing is changed then
  void restore(const Snapshot& moment) {
    moment.restore(state_);
    drop_staged();
  }
  [[nodiscard]] std::uint64_t size() const noexcept { return state_.size(); }    ///< tokens so far
  [[nodiscard]] int max_levels() const noexcept { return state_.max_levels(); }  ///< M
  /// Number of levels that hold a bucket.
  [[nodiscard]] int active_level_count() const noexcept {
    return loglinear::active_level_count(size(), max_levels());
  }
  [[nodiscard]] Index d_model() const noexcept { return workspace_.x.size(); }  ///< length of x
  [[nodiscard]] Index d_k() const noexcept { return layout().d_k; }             ///< length of a key
  [[nodiscard]] Index key_rows() const noexcept { return layout().key_rows; }   ///< rows of a level
  [[nodiscard]] Index output_dim() const noexcept { return layout().d_v; }      ///< d_v
  [[nodiscard]] ReadOrder read_order() const noexcept { return read_order_; }   ///< of `forward`
  [[nodiscard]] const Inner& inner() const noexcept { return preparation_.inner(); }  ///< the rule
  [[nodiscard]] const Weights& level_weights() const noexcept {
    return preparation_.weights();
  }  ///< the policy
  /// \}

  /// \name Weights and learning
  /// \{

  /// The weight arrays in the order in which the seed draws them: w_key, w_value, w_query, those of
  /// the level weights, the rule's own.
  [[nodiscard]] std::vector<std::string> weight_names() const {
    return preparation_.parameters().names();
  }
  /// One weight array, `outputs x d_model`, or `1 x n` for a free vector; a read-only view, valid
  /// as long as the layer is neither moved nor destroyed. \throws std::invalid_argument for a name
  /// that is not in `weight_names()`
  [[nodiscard]] detail::ConstMatrixView<Scalar> weight(std::string_view name) const& {
    return preparation_.parameters().get(name);
  }
  /// The same of a temporary: a copy.
  [[nodiscard]] detail::Matrix<Scalar> weight(std::string_view name) const&& {
    return preparation_.parameters().get(name);
  }
  /// Replaces one weight array by a matrix of the same shape, which may be made of the layer's own.
  /// Allocates a copy of it. \throws std::invalid_argument for an unknown name, another shape or
  /// coefficients that are not finite; nothing is changed then
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const Flush flush;
    preparation_.parameters().set(name, value);
    drop_staged();
  }
  [[nodiscard]] double learning_rate() const noexcept { return learning_rate_; }  ///< of train_one
  /// \throws std::invalid_argument unless finite and >= 0; 0 leaves the weights as they are
  void set_learning_rate(double learning_rate) {
    if (!detail::is_finite(learning_rate) || learning_rate < 0) {
      detail::fail("learning_rate", learning_rate, "finite and at least 0");
    }
    learning_rate_ = learning_rate;
    drop_staged();
  }
  /// Calls of `train_one` since construction or `reset_train_step_count`.
  [[nodiscard]] std::uint64_t train_step_count() const noexcept { return train_step_count_; }
  void reset_train_step_count() noexcept { train_step_count_ = 0; }  ///< back to 0
  /// \}

  /// Memory for the const `query_readonly`; allocates.
  [[nodiscard]] Workspace make_workspace() const {
    return Workspace(layout(), preparation_.parameters().d_model(), Preparation::leaves,
                     preparation_.weight_count(), state_.read_shape());
  }

  /// The same layer, weights, state and counters in another scalar, or in one that is computed with
  /// and another that is stored; allocates. \throws std::invalid_argument if a number is out of the
  /// other scalar's range, of which levels may fill a quarter: 16376 in half
  template <class Other, class OtherStored = Other>
  [[nodiscard]] LogLinearAttention<Inner, Other, Weights, MaxLevels, OtherStored, Overflow> cast()
      const {
    const detail::FlushToZero<Other> flush;
    LogLinearAttention<Inner, Other, Weights, MaxLevels, OtherStored, Overflow> other(
        {.inner = inner(),
         .d_model = d_model(),
         .d_k = d_k(),
         .d_v = output_dim(),
         .max_levels = state_.max_levels(),
         .level_weights = level_weights(),
         .read_order = read_order_,
         .learning_rate = learning_rate_});
    other.preparation_.parameters() = preparation_.parameters().template cast<Other>();
    other.state_ = state_.template cast<typename Inner::template Transition<Other>, OtherStored>();
    other.train_step_count_ = train_step_count_;
    return other;
  }

 private:
  template <class, class, class, int, class, LastLevel>
  friend class LogLinearAttention;
  friend class BlockForm<LogLinearAttention>;
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("", self.preparation_.parameters());
    part("state", self.state_);
    part("learning_rate", self.learning_rate_);
    part("train_step_count", self.train_step_count_);
    if constexpr (detail::is_written<Self>) {
      self.drop_staged();
      self.set_learning_rate(self.learning_rate_);
    }
  }

  static const Options& checked(const Options& options) {
    detail::require_length("d_model", options.d_model);
    detail::require_length("d_k", options.d_k);
    detail::require_length("d_v", options.d_v);
    detail::require_between("max_levels", options.max_levels, 1, max_level_limit);
    return options;
  }

  [[nodiscard]] const detail::Layout& layout() const { return preparation_.layout(); }

  void drop_staged() noexcept { staged_ = Staged::nothing; }
  /// There is one more weight in the order `current_apart`.
  void require_order(ReadOrder order) const {
    if (order == ReadOrder::current_apart && read_order_ != order) {
      detail::fail("the read order", "current_apart",
                   "before_push or after_push, unless it is the layer's own");
    }
  }
  void require_staged() const {
    if (staged_ == Staged::nothing) {
      detail::fail("the staged token", "absent", "there: `stage` comes first, once a token");
    }
  }

  template <class Out>
  void require_output(const Eigen::MatrixBase<Out>& out) const {
    detail::require_vector_type<Scalar, Out>();
    detail::require_size("out", out.size(), output_dim());
  }

  /// What `stage`, `stage_gradient` and `commit` do, for those who see to denormal numbers.
  template <class In>
  void prepare(const In& x, ReadOrder order) {
    drop_staged();
    detail::copy_vector(x, "x", workspace_.x);
    preparation_.project(workspace_, 0);
    preparation_.prepare_leaf(workspace_);
    admitted_ = state_.admit(workspace_.token);
    preparation_.prepare_read(workspace_);
    static_cast<void>(detail::read_token(state_, workspace_.token, workspace_.lambda, order,
                                         workspace_.stream, workspace_.read));
    staged_order_ = order;
  }
  void pull_back() {
    detail::pull_back_token(state_, workspace_.token, workspace_.lambda, staged_order_,
                            workspace_.stream, training_.d_read, training_.stream,
                            training_.d_token, training_.d_lambda);
    preparation_.pull_back(workspace_, training_);
    preparation_.parameters().require_descendable(learning_rate_, training_.d_raw, workspace_.x,
                                                  training_.d_free);
  }
  void descend() {
    preparation_.parameters().descend(learning_rate_, training_.d_raw, workspace_.x,
                                      training_.d_free);
    ++train_step_count_;
  }
  void write() {
    drop_staged();
    state_.write(workspace_.token, admitted_, workspace_.stream.looked_up);
  }

  static const Vector& bound(Workspace& w) {
    w.output = w.read.array().tanh();
    return w.output;
  }

  ReadOrder read_order_;
  Preparation preparation_;
  detail::StreamState<Kind, MaxLevels, Stored, Overflow> state_;
  Workspace workspace_;
  detail::TrainingWorkspace<Kind> training_;
  double learning_rate_ = 0;
  std::uint64_t train_step_count_ = 0;
  ReadOrder staged_order_ = ReadOrder::before_push;
  detail::Admitted admitted_{};  // the staged token
  enum class Staged { nothing, token, token_and_gradient } staged_ = Staged::nothing;
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP
