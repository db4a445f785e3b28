// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_HEAD_HPP
#define LOGLINEAR_LAYER_DETAIL_HEAD_HPP

#include <algorithm>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/vector_argument.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/layer/detail/head_parts.hpp"
#include "loglinear/layer/detail/span.hpp"
#include "loglinear/stream/detail/reading.hpp"
#include "loglinear/stream/detail/reading_apart.hpp"
#include "loglinear/stream/detail/streaming.hpp"

namespace loglinear::detail {

/// One head, the engine under every layer: what it makes of a token (`Preparation`), the stream's
/// state, and the memory of the token in hand. Its output is the raw read, without tanh.
///
/// A token comes in stages: `stage`, then `stage_gradient` and `learn` to learn from it, then
/// `commit`. Only `learn` and `commit` change the head, and neither throws after the stage before
/// it: many heads can take a token together or not at all. Whatever else changes the stream, the
/// weights or the learning rate, or uses the same memory, drops what was staged. Called out of
/// turn, the later stages throw and change nothing.
///
/// The owner of a head calls it only while a `FlushToZero` lives.
template <class Inner, class Scalar_, class Weights, class Stored, LastLevel Overflow>
class Head : public HeadParts<Inner, Scalar_, Weights, Stored, Overflow> {
  using Base = HeadParts<Inner, Scalar_, Weights, Stored, Overflow>;
  using Base::drop_staged, Base::layout;
  using Base::read_order_, Base::preparation_, Base::stream_, Base::workspace_, Base::training_;
  using Base::staged_order_, Base::staged_write_, Base::staged_, Base::has_gradient_,
      Base::is_looked_at_;
  using Base::stepper_, Base::train_step_count_;
  using typename Base::Staged;

 public:
  using Base::Base;

  /// What a token is staged for: the weights may follow the scale of what is learnt from.
  enum class For { reading, learning };
  using typename Base::Scalar, typename Base::State, typename Base::Workspace;

  /// \name A token
  /// \{

  /// Prepares a token, sees that it may be written, and reads; nothing changes yet. \return the raw
  /// read, length d_v. \throws std::invalid_argument also for the order `current_apart` of a head
  /// that was not made for it: it has no weight for that
  template <class In>
  const Vector<Scalar>& stage(const In& x, ReadOrder order, For purpose = For::reading) {
    prepare(x, order, purpose);
    ReadInMaking<Scalar> read(workspace_.read);
    static_cast<void>(read_token(stream_, workspace_.token, workspace_.lambda, order,
                                 workspace_.stream, workspace_.read));
    read.done();
    staged_ = Staged::read;
    return workspace_.read;
  }
  /// The same with each level read apart: row w of `reads` is what lambda[w] would weigh.
  template <class In>
  void stage_levels(const In& x, ReadOrder order, RowMajorMatrix<Scalar>& reads,
                    For purpose = For::reading) {
    const ReadRows<Scalar> rows = rows_of(reads, order);
    prepare(x, order, purpose);
    read_token_apart(stream_, workspace_.token, order, workspace_.stream, rows);
    staged_ = Staged::levels;
  }

  /// Computes the gradient of every weight from that with respect to the staged raw read, length
  /// d_v.
  /// \throws std::invalid_argument for another length, where no token is staged, or where it is in
  /// the order `before_push`, which does not read what the token writes
  template <class Derived>
  void stage_gradient(const Eigen::MatrixBase<Derived>& d_read) {
    require_staged(Staged::read);
    copy_vector(d_read.derived(), "the gradient of the read", training_.d_read);
    pull_back_token(stream_, workspace_.token, workspace_.lambda, staged_order_, workspace_.stream,
                    training_.d_read, training_.stream, training_.d_token, training_.d_lambda);
    admit_gradient();
  }
  /// The same from the gradient with respect to levels read apart, which it overwrites.
  void stage_levels_gradient(RowMajorMatrix<Scalar>& d_reads) {
    require_staged(Staged::levels);
    const ReadRows<Scalar> rows = rows_of(d_reads, staged_order_);
    require_finite("the gradient of the reads", d_reads);
    pull_back_token_apart(stream_, workspace_.token, staged_order_, workspace_.stream, rows,
                          training_.stream, training_.d_token, training_.d_lambda);
    std::fill_n(training_.d_lambda.data(), training_.d_lambda.size(), Scalar(0));
    admit_gradient();
  }

  /// Steps the weights by the staged gradient; `commit` follows, and writes the token as the old
  /// weights made it. \throws std::invalid_argument where no gradient is staged
  void learn() {
    this->require_alive();
    if (!has_gradient_) fail("the staged gradient", "absent", "there: it is staged before");
    stepper_.take(preparation_.parameters(), training_.d_raw, workspace_.x, training_.d_free);
    ++train_step_count_;
    has_gradient_ = false;
  }
  /// Writes the staged token to the stream. \throws std::invalid_argument where none is staged
  void commit() {
    this->require_alive();
    if (staged_ == Staged::nothing) fail_unstaged();
    drop_staged();
    write_token(stream_, workspace_.token, staged_write_, workspace_.stream.looked_up);
  }

  /// Reads the stream as it stands into `workspace.read`: nothing changes. In the order
  /// `current_apart` lambda_{l+1} weighs level l. \throws std::invalid_argument also for a
  /// workspace of another shape
  template <class In>
  void query(const In& x, Workspace& workspace) const {
    this->require_alive();
    require_shape_of(workspace_, workspace);
    copy_vector(x, "x", workspace.x);
    preparation_.project(workspace, layout().q);
    preparation_.prepare_read(workspace);
    ReadInMaking<Scalar> read(workspace.read);
    read_standing(stream_, workspace.token.query, workspace.lambda, standing_order(),
                  workspace.stream, workspace.read);
    read.done();
  }
  /// The same with each level read apart.
  template <class In>
  void query_levels(const In& x, Workspace& workspace, RowMajorMatrix<Scalar>& reads) const {
    this->require_alive();
    require_shape_of(workspace_, workspace);
    const ReadRows<Scalar> rows = rows_of(reads, read_order_);
    copy_vector(x, "x", workspace.x);
    preparation_.project(workspace, layout().q);
    preparation_.prepare_read(workspace);
    read_standing_apart(stream_, workspace.token.query, standing_order(), workspace.stream, rows);
  }
  /// `query` and `query_levels` in the head's own memory; they drop what was staged.
  template <class In>
  void query(const In& x) {
    drop_staged();
    std::as_const(*this).query(x, workspace_);
  }
  template <class In>
  void query_levels(const In& x, RowMajorMatrix<Scalar>& reads) {
    drop_staged();
    std::as_const(*this).query_levels(x, workspace_, reads);
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

  /// The gradient of x and every weight, from that of the raw reads of a span, read in the given
  /// order from the state `before` it. \throws std::invalid_argument as `read_span`, or for a state
  /// or a gradient of another shape
  template <class In, class DReads>
  [[nodiscard]] SpanGradient<Scalar> pull_back_span(const State& before,
                                                    const Eigen::MatrixBase<In>& x, ReadOrder order,
                                                    const DReads& d_reads) const {
    require_order(order);
    return detail::pull_back_span(preparation_, workspace_, training_, before,
                                  checked_span<Scalar>(x, workspace_.x.size(), before.size()),
                                  order, d_reads);
  }

  /// Looks at the inputs of a span to learn from, before it is read.
  template <class In>
  void look_at_span(const Eigen::MatrixBase<In>& x) {
    this->require_alive();
    stepper_.look_at_rows(preparation_.parameters(),
                          checked_span<Scalar>(x, workspace_.x.size(), stream_.size()));
    drop_staged();
  }
  /// One step against the gradient. \throws std::invalid_argument for the gradient of a head with
  /// other weights, or where a weight would not be finite; nothing is changed then
  void descend(const SpanGradient<Scalar>& gradient) {
    this->require_alive();
    stepper_.take(preparation_.parameters(), gradient.weights);
    drop_staged();
    ++train_step_count_;
  }
  /// \}

 private:
  /// Throws for the order `current_apart` of a head that was made for another: it lacks one weight.
  void require_order(ReadOrder order) const {
    this->require_alive();
    if (info_of(order).is_leaf_apart && !info_of(read_order_).is_leaf_apart) {
      fail("the read order", name_of(order),
           "before_push or after_push, unless it is the layer's own");
    }
  }
  /// What every stage begins with.
  template <class In>
  void prepare(const In& x, ReadOrder order, For purpose) {
    require_order(order);
    drop_staged();
    copy_vector(x, "x", workspace_.x);
    is_looked_at_ = purpose == For::learning;
    if (is_looked_at_) stepper_.look(workspace_.x);
    preparation_.project(workspace_, 0);
    preparation_.prepare_leaf(workspace_);
    staged_write_ = admit_token(stream_, workspace_.token);
    preparation_.prepare_read(workspace_);
    staged_order_ = order;
  }
  /// What every gradient ends with.
  void admit_gradient() {
    preparation_.pull_back(workspace_, training_);
    if (!is_looked_at_) stepper_.see(workspace_.x);
    stepper_.admit(preparation_.parameters(), training_.d_raw, workspace_.x, training_.d_free);
    has_gradient_ = true;
  }
  void require_staged(Staged expected) {
    this->require_alive();
    if (staged_ != expected) fail_unstaged();
    if (!info_of(staged_order_).reads_written) {
      fail("the order of the staged token", name_of(staged_order_),
           "after_push or current_apart, to learn from it");
    }
    has_gradient_ = false;
  }
  [[noreturn]] static void fail_unstaged() {
    fail("the staged token", "absent", "there: `stage` comes first, once a token");
  }
  /// A row for each level weight of an order.
  [[nodiscard]] ReadRows<Scalar> rows_of(RowMajorMatrix<Scalar>& reads, ReadOrder order) const {
    const Index rows = level_weight_count(order, stream_.max_levels());
    require_size("the reads (rows, one a level weight)", reads.rows(), rows);
    require_size("the reads (columns, d_v)", reads.cols(), layout().d_v);
    return {reads.data(), rows, reads.cols()};
  }
  /// The order in which the state is read as it stands.
  [[nodiscard]] ReadOrder standing_order() const {
    return info_of(read_order_).is_leaf_apart ? read_order_ : ReadOrder::before_push;
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_HEAD_HPP
