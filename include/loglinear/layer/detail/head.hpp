// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_HEAD_HPP
#define LOGLINEAR_LAYER_DETAIL_HEAD_HPP

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/layer/detail/preparation.hpp"
#include "loglinear/layer/detail/span.hpp"
#include "loglinear/layer/detail/workspace.hpp"
#include "loglinear/stream/detail/reading.hpp"
#include "loglinear/stream/detail/stream_parts.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "loglinear/stream/snapshot.hpp"

namespace loglinear::detail {

/// One head, the engine under every layer: what it makes of a token (`Preparation`), the stream's
/// state, and the memory of the token in hand. Its output is the raw read, without tanh.
///
/// A token comes in stages: `stage`, then `stage_gradient` to learn, then `commit`. Only the last
/// one changes the head, and it does not throw after `stage`: many heads can take a token together
/// or not at all. Whatever else changes the stream, the weights or the learning rate, or uses the
/// same memory, drops what was staged. Out of turn they throw and change nothing.
///
/// Whoever owns a head calls it in the mode in which denormal numbers are zero (`FlushToZero`).
template <class Inner_, class Scalar_, class Weights_, class Stored, LastLevel Overflow>
class Head {
  static_assert(std::is_same_v<Scalar_, Accumulator<Stored>>,
                "levels can be stored as the layer's scalar, or, where that is float, as "
                "Eigen::bfloat16 or Eigen::half");

 public:
  using Inner = Inner_;
  using Scalar = Scalar_;
  using Weights = Weights_;
  using Kind = typename Inner::template Transition<Scalar>;
  using Preparation = detail::Preparation<Inner, Scalar, Weights>;
  using Stream = StreamState<Kind, Eigen::Dynamic, Stored, Overflow>;
  using State = LogLinearState<Stored, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, Overflow>;
  using Workspace = detail::Workspace<Kind>;
  using Snapshot = StreamSnapshot<Kind, Stored>;

  /// Allocates the head and draws its weights. \param options  of a layer, see
  /// `LogLinearAttention::Options`. \throws std::invalid_argument for one out of its range
  template <class Options>
  explicit Head(const Options& options)
      : read_order_(options.read_order),
        preparation_(options),
        stream_(options.max_levels, layout().key_rows, options.d_v, Preparation::leaves),
        workspace_(make_workspace()),
        training_(layout(), Preparation::leaves, preparation_.weight_count(),
                  stream_.read_shape()) {
    Xorshift64 random(options.seed);
    draw_weights(random);
    set_learning_rate(options.learning_rate);
  }

  /// \name A token
  /// \{

  /// Prepares a token, sees that it may be written, and reads; nothing changes yet. \return the raw
  /// read, length d_v. \throws std::invalid_argument also for the order `current_apart` of a head
  /// that was not made for it: it has no weight for that
  template <class In>
  const Vector<Scalar>& stage(const In& x, ReadOrder order) {
    require_order(order);
    drop_staged();
    copy_vector(x, "x", workspace_.x);
    preparation_.project(workspace_, 0);
    preparation_.prepare_leaf(workspace_);
    staged_write_ = stream_.admit(workspace_.token);
    preparation_.prepare_read(workspace_);
    static_cast<void>(read_token(stream_, workspace_.token, workspace_.lambda, order,
                                 workspace_.stream, workspace_.read));
    staged_order_ = order;
    staged_ = Staged::token;
    return workspace_.read;
  }

  /// From the gradient with respect to the staged raw read, length d_v, to that of every weight.
  /// \throws std::invalid_argument for another length, where no token is staged, or where it is in
  /// the order `before_push`, which does not read what the token writes
  template <class Derived>
  void stage_gradient(const Eigen::MatrixBase<Derived>& d_read) {
    require_staged();
    if (!info_of(staged_order_).reads_written) {
      fail("the order of the staged token", name_of(staged_order_),
           "after_push or current_apart, to learn from it");
    }
    staged_ = Staged::token;
    copy_vector(d_read.derived(), "the gradient of the read", training_.d_read);
    pull_back_token(stream_, workspace_.token, workspace_.lambda, staged_order_, workspace_.stream,
                    training_.d_read, training_.stream, training_.d_token, training_.d_lambda);
    preparation_.pull_back(workspace_, training_);
    preparation_.parameters().require_descendable(learning_rate_, training_.d_raw, workspace_.x,
                                                  training_.d_free);
    staged_ = Staged::token_and_gradient;
  }

  /// Steps the weights if a gradient was staged, and writes the staged token to the stream.
  /// \throws std::invalid_argument where no token is staged
  void commit() {
    require_staged();
    if (staged_ == Staged::token_and_gradient) {
      preparation_.parameters().descend(learning_rate_, training_.d_raw, workspace_.x,
                                        training_.d_free);
      ++train_step_count_;
    }
    drop_staged();
    stream_.write(workspace_.token, staged_write_, workspace_.stream.looked_up);
  }

  /// Reads the stream as it stands into `workspace.read`: nothing changes. With `current_apart`
  /// weights, level l counts lambda_{l+1}. \throws std::invalid_argument also for a workspace of
  /// another shape
  template <class In>
  void query(const In& x, Workspace& workspace) const {
    require_shape_of(workspace_, workspace);
    copy_vector(x, "x", workspace.x);
    preparation_.project(workspace, layout().q);
    preparation_.prepare_read(workspace);
    const bool apart = info_of(read_order_).is_leaf_apart;
    read_standing(stream_, workspace.token.query, workspace.lambda,
                  apart ? read_order_ : ReadOrder::before_push, workspace.stream, workspace.read);
  }
  /// The same in the head's own memory, where what was staged is dropped.
  template <class In>
  void query(const In& x) {
    drop_staged();
    std::as_const(*this).query(x, workspace_);
  }
  /// Memory for it; allocates.
  [[nodiscard]] Workspace make_workspace() const {
    return Workspace(layout(), preparation_.parameters().d_model(), Preparation::leaves,
                     preparation_.weight_count(), stream_.read_shape());
  }
  /// \}

  /// \name A span of tokens, see span.hpp
  /// \{

  /// Reads in the given order and writes the whole span. \param x T x d_model \return the raw
  /// reads, T x d_v. \throws std::invalid_argument as `stage`; nothing is changed then
  template <class In>
  RowMajorMatrix<Scalar> read_span(const Eigen::MatrixBase<In>& x, ReadOrder order) {
    require_order(order);
    const RowMajorMatrix<Scalar> rows =
        checked_span<Scalar>(x, workspace_.x.size(), stream_.size());
    drop_staged();
    RowMajorMatrix<Scalar> reads(rows.rows(), layout().d_v);
    Rollback rollback(stream_);
    const auto one_token = [&](Index t) {
      stage(ConstVectorView<Scalar>(rows.data() + t * rows.cols(), rows.cols()), order);
      std::copy_n(workspace_.read.data(), reads.cols(), reads.data() + t * reads.cols());
      commit();
    };
    detail::read_span(preparation_, workspace_, stream_, rows, order, reads, one_token);
    rollback.keep();
    return reads;
  }

  /// From the gradient of the raw reads of a span, read in the given order from the state `before`
  /// it, to that of x and every weight. \throws std::invalid_argument as `read_span`, or for a
  /// state or a gradient of another shape
  template <class In, class DReads>
  [[nodiscard]] SpanGradient<Scalar> pull_back_span(const State& before,
                                                    const Eigen::MatrixBase<In>& x, ReadOrder order,
                                                    const DReads& d_reads) const {
    require_order(order);
    return detail::pull_back_span(preparation_, workspace_, training_, before,
                                  checked_span<Scalar>(x, workspace_.x.size(), before.size()),
                                  order, d_reads);
  }

  /// One step of gradient descent. \throws std::invalid_argument for the gradient of a head with
  /// other weights, or where a weight would not be finite; nothing is changed then
  void descend(const SpanGradient<Scalar>& gradient) {
    preparation_.parameters().descend(learning_rate_, gradient.weights);
    drop_staged();
    ++train_step_count_;
  }
  /// \}

  /// \name The stream, weights and learning, see `LogLinearAttention`
  /// \{
  void reset() noexcept {
    drop_staged();
    stream_.reset();
  }
  void advance_to(std::uint64_t count) {
    drop_staged();
    StreamParts::advance(stream_, count);
  }
  void restore(const Snapshot& moment) {
    moment.restore(stream_);
    drop_staged();
  }
  /// Appends the stream of another head that began at this one's count, after `product` of its
  /// transitions; see `StreamPart`.
  template <class Product>
  void append(const Head& later, const Product& product) {
    drop_staged();
    StreamParts::append(stream_, later.stream_, product);
  }
  [[nodiscard]] const Stream& stream() const noexcept { return stream_; }
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    preparation_.parameters().set(name, value);
    drop_staged();
  }
  void draw_weights(Xorshift64& random) {
    drop_staged();
    preparation_.parameters().draw(random);
  }
  void set_learning_rate(double learning_rate) {
    if (!is_finite(learning_rate) || learning_rate < 0) {
      fail("learning_rate", learning_rate, "finite and at least 0");
    }
    learning_rate_ = learning_rate;
    drop_staged();
  }
  [[nodiscard]] double learning_rate() const noexcept { return learning_rate_; }
  void reset_train_step_count() noexcept { train_step_count_ = 0; }
  [[nodiscard]] std::uint64_t train_step_count() const noexcept { return train_step_count_; }
  /// \}

  /// The rule, the policy of the level weights, the weights.
  [[nodiscard]] const Preparation& preparation() const noexcept { return preparation_; }
  [[nodiscard]] ReadOrder read_order() const noexcept { return read_order_; }
  /// What training reads: `after_push`, or the head's order if that keeps the own leaf apart.
  [[nodiscard]] ReadOrder training_order() const noexcept {
    return info_of(read_order_).is_leaf_apart ? read_order_ : ReadOrder::after_push;
  }
  /// What became of the last token: its raw read, its level weights, its transition.
  [[nodiscard]] const Workspace& workspace() const noexcept { return workspace_; }
  [[nodiscard]] Workspace& workspace() noexcept { return workspace_; }

  /// Takes over the weights, the stream and the counter of a head in another scalar.
  template <class Other>
  void assign(const Other& other) {
    preparation_.parameters() = other.preparation().parameters().template cast<Scalar>();
    stream_ = other.stream().template cast<Kind, Stored>();
    train_step_count_ = other.train_step_count();
  }

 private:
  friend struct Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("", self.preparation_.parameters());
    part("state", self.stream_);
    part("learning_rate", self.learning_rate_);
    part("train_step_count", self.train_step_count_);
    if constexpr (is_written<Self>) {
      self.drop_staged();
      self.set_learning_rate(self.learning_rate_);
    }
  }

  /// There is one more weight in the order `current_apart`.
  void require_order(ReadOrder order) const {
    if (info_of(order).is_leaf_apart && !info_of(read_order_).is_leaf_apart) {
      fail("the read order", name_of(order),
           "before_push or after_push, unless it is the layer's own");
    }
  }
  void require_staged() const {
    if (staged_ == Staged::nothing) {
      fail("the staged token", "absent", "there: `stage` comes first, once a token");
    }
  }
  void drop_staged() noexcept { staged_ = Staged::nothing; }
  [[nodiscard]] const Layout& layout() const { return preparation_.layout(); }

  ReadOrder read_order_;
  Preparation preparation_;
  Stream stream_;
  Workspace workspace_;
  TrainingWorkspace<Kind> training_;
  double learning_rate_ = 0;
  std::uint64_t train_step_count_ = 0;
  ReadOrder staged_order_ = ReadOrder::before_push;
  Admitted staged_write_{};
  enum class Staged { nothing, token, token_and_gradient } staged_ = Staged::nothing;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_HEAD_HPP
