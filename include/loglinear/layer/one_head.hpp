// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_ONE_HEAD_HPP
#define LOGLINEAR_LAYER_ONE_HEAD_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/layer/detail/head.hpp"
#include "loglinear/layer/step.hpp"
#include "loglinear/stream/detail/streaming.hpp"

namespace loglinear {

/// What a layer of one head offers beside its tokens: the stream's state, weights and learning.
/// `LogLinearAttention` derives from it. Each member delegates to the head.
///
/// \tparam Head_  the engine, see layer/detail/head.hpp
template <class Head_>
class OneHead {
 public:
  using Head = Head_;
  using Scalar = typename Head::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;               ///< a copy of a weight array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< a weight array where it lies
  using Rows = detail::RowMajorMatrix<Scalar>;         ///< a span, a row a token
  using State = typename Head::State;
  /// A moment of the stream, from `snapshot`.
  using Snapshot = typename Head::Snapshot;

  /// \name What the last `forward`, `query_readonly(x)` or `train_one` saw
  /// \{
  [[nodiscard]] const Vector& raw_read() const noexcept {
    return head_.workspace().read;
  }  ///< before the tanh
  [[nodiscard]] const Vector& lambda() const noexcept {
    return head_.workspace().lambda;
  }  ///< level weights
  /// \}

  /// \name A token, each level read apart
  /// These functions read each level by itself, without level weights and tanh. A matrix from
  /// `make_level_reads()`, of `lambda().size()` rows and d_v columns, receives them: row w becomes
  ///
  ///     reads_w = sum of S_l^T q over the levels l that the read order sees under weight w,
  ///
  /// which is zero where there are none. So `lambda^T reads` is the raw read, to rounding. In the
  /// order `before_push` row l is level l; in `current_apart` row 0 is the token's own leaf. A
  /// readout of your own can thus take the place of the mixture and the tanh, see `Cascade`. Costs
  /// one read; only `make_level_reads` allocates.
  /// \throws std::invalid_argument also for reads of another shape
  /// \{

  /// Reads in the layer's read order and writes the token, as `forward`.
  template <class In>
  void forward_levels(const In& x, Rows& reads) {
    const Flush flush;
    head_.stage_levels(x, head_.read_order(), reads);
    head_.commit();
  }
  /// Reads as `query_readonly`: nothing changes.
  template <class In>
  void level_reads(const In& x, Rows& reads) {
    const Flush flush;
    head_.query_levels(x, reads);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each.
  template <class In>
  void level_reads(const In& x, typename Head::Workspace& workspace, Rows& reads) const {
    const Flush flush;
    head_.query_levels(x, workspace, reads);
  }
  /// As `train_one`, for a loss of your own on the level reads. Calls `differentiate(reads)` with
  /// the reads in the order of `train_one`; it must replace them by the gradient of the loss with
  /// respect to them. The gradient of the level weights is 0, since the loss does not depend on
  /// them.
  /// \throws std::invalid_argument also for a gradient that is not finite
  template <class In, class Differentiate>
  void train_levels(const In& x, Rows& reads, Differentiate differentiate) {
    const Flush flush;
    head_.stage_levels(x, head_.training_order(), reads, Head::For::learning);
    differentiate(reads);
    head_.stage_levels_gradient(reads);
    head_.learn();
    head_.commit();
  }
  /// A matrix for them, all zero; allocates.
  [[nodiscard]] Rows make_level_reads() const {
    return detail::zeros<Rows>(head_.preparation().weight_count(), output_dim());
  }
  /// \}

  /// \name The stream's state
  /// \{

  /// The hierarchy in its plain form, with everything that the layer keeps apart or defers written
  /// out. By value: allocates and copies all levels.
  [[nodiscard]] State log_linear_state() const {
    const Flush flush;
    State out(stream().max_levels(), stream().key_rows(), stream().d_v());
    detail::copy_plain(stream(), detail::levels_of(out));
    return out;
  }
  /// The same into a state of the same shape, without allocating. \throws std::invalid_argument for
  /// another shape
  void log_linear_state(State& out) const {
    const Flush flush;
    detail::require_size("max_levels of out", out.max_levels(), stream().max_levels());
    detail::require_size("d_k of out", out.d_k(), stream().key_rows());
    detail::require_size("d_v of out", out.d_v(), stream().d_v());
    detail::copy_plain(stream(), detail::levels_of(out));
  }
  /// All levels as one constant-length vector, `max_levels * key_rows * d_v`, row-major; a copy of
  /// `log_linear_state().flat_state()`.
  [[nodiscard]] Vector state() const {
    const Flush flush;
    const State plain = log_linear_state();
    return plain.flat_state().template cast<Scalar>();
  }
  /// Jumps to a later count, as if tokens had come that write nothing and have no transition:
  /// buckets age and merge as they would have. Costs one pass over the active levels whatever the
  /// count; does not allocate.
  /// \throws std::invalid_argument unless count >= size(); nothing is changed then
  void advance_to(std::uint64_t count) {
    const Flush flush;
    head_.advance_to(count);
  }

  /// This moment of the stream, for `restore`: continuations can be tried and taken back. Copies
  /// the active levels, the newest leaves and the pending transitions; allocates.
  [[nodiscard]] Snapshot snapshot() const {
    Snapshot moment;
    moment.take(stream());
    return moment;
  }
  /// Writes this moment to a snapshot that exists, whatever it held. Does not allocate if that once
  /// held a moment of the same shape with as many active levels and leaves. Where it throws
  /// std::bad_alloc, the snapshot is what it was.
  void snapshot(Snapshot& moment) const { moment.take(stream()); }
  /// Goes to an earlier or later moment of this stream, or to one of another layer's stream (a
  /// fork). With the same weights and hyperparameters the stream then goes on as it did from there,
  /// bit for bit. A snapshot holds only what a stream remembers: this layer keeps its weights,
  /// hyperparameters and step counter, and takes any snapshot of states of the same shape whose
  /// tokens have as many leaves. Drops a staged token. Does not allocate.
  /// \throws std::invalid_argument for a snapshot of another shape, or one that holds nothing;
  /// nothing is changed then
  void restore(const Snapshot& moment) { head_.restore(moment); }
  [[nodiscard]] std::uint64_t size() const noexcept { return head_.size(); }    ///< tokens so far
  [[nodiscard]] int max_levels() const noexcept { return head_.max_levels(); }  ///< M
  /// Number of levels that hold a bucket.
  [[nodiscard]] int active_level_count() const noexcept {
    return loglinear::active_level_count(size(), max_levels());
  }
  [[nodiscard]] Index d_model() const noexcept { return parameters().d_model(); }  ///< length of x
  [[nodiscard]] Index d_k() const noexcept { return layout().d_k; }            ///< length of a key
  [[nodiscard]] Index key_rows() const noexcept { return layout().key_rows; }  ///< rows of a level
  [[nodiscard]] Index output_dim() const noexcept { return layout().d_v; }     ///< d_v
  [[nodiscard]] ReadOrder read_order() const noexcept {
    return head_.read_order();
  }  ///< of `forward`
  [[nodiscard]] const typename Head::Inner& inner() const noexcept {
    return head_.preparation().inner();
  }  ///< the rule
  [[nodiscard]] const typename Head::Weights& level_weights() const noexcept {
    return head_.preparation().weights();
  }  ///< the policy
  /// \}

  /// \name Weights and learning
  /// \{

  /// The weight arrays in the order in which the seed draws them: w_key, w_value, w_query, those of
  /// the level weights, the rule's own.
  [[nodiscard]] std::vector<std::string> weight_names() const { return parameters().names(); }
  /// One weight array, `outputs x d_model`, or `1 x n` for a free vector; a read-only view, valid
  /// as long as the layer is neither moved nor destroyed. \throws std::invalid_argument for a name
  /// that is not in `weight_names()`
  [[nodiscard]] MatrixView weight(std::string_view name) const& { return parameters().get(name); }
  /// The same of a temporary: a copy.
  [[nodiscard]] Matrix weight(std::string_view name) const&& { return parameters().get(name); }
  /// Replaces one weight array by a matrix of the same shape, which may be made of the layer's own.
  /// The biases of keys and queries begin at constants that suit drawn weights; the first call for
  /// w_key, w_value or w_query sets to 0 each of them that still stands there. Allocates a copy.
  /// \throws std::invalid_argument for an unknown name, another shape or coefficients that are not
  /// finite; nothing is changed then
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const Flush flush;
    head_.set_weight(name, value);
  }
  [[nodiscard]] double learning_rate() const noexcept {
    return head_.learning_rate();
  }                                                                         ///< of train_one
  [[nodiscard]] const Step& step() const noexcept { return head_.step(); }  ///< the step rule
  /// Whether each projection has a bias, named after it: `w_key.bias`, ...
  [[nodiscard]] bool has_bias() const noexcept { return head_.preparation().has_bias(); }
  /// Sets the learning rate. With 0 neither the weights nor what an adaptive step remembers change.
  /// \throws std::invalid_argument unless finite and >= 0
  void set_learning_rate(double learning_rate) { head_.set_learning_rate(learning_rate); }
  /// Calls of `train_one`, `train_levels` and `train_span` since construction or
  /// `reset_train_step_count`.
  [[nodiscard]] std::uint64_t train_step_count() const noexcept { return head_.train_step_count(); }
  void reset_train_step_count() noexcept { head_.reset_train_step_count(); }  ///< back to 0
  /// \}

  /// The engine, for layers made of layers and for parts of streams. Use it only while a
  /// `detail::FlushToZero` lives.
  [[nodiscard]] Head& as_head() noexcept { return head_; }
  [[nodiscard]] const Head& as_head() const noexcept { return head_; }  ///< the same, read-only

 protected:
  using Flush = detail::FlushToZero<Scalar>;

  /// Allocates the head and draws its weights.
  template <class Options>
  explicit OneHead(const Options& options) : head_(options) {}

  Head head_;  ///< weights, stream and steps

 private:
  [[nodiscard]] const typename Head::Stream& stream() const { return head_.stream(); }
  [[nodiscard]] const detail::Layout& layout() const { return head_.preparation().layout(); }
  [[nodiscard]] const detail::Parameters<Scalar>& parameters() const {
    return head_.preparation().parameters();
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_ONE_HEAD_HPP
