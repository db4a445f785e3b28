// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_MANY_HEADS_HPP
#define LOGLINEAR_LAYER_MANY_HEADS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/detail/base/alive.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/layer/detail/head.hpp"
#include "loglinear/layer/detail/output_projection.hpp"
#include "loglinear/layer/span_gradient.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"

namespace loglinear {

/// What a layer of several heads offers beside its tokens: the heads' streams, and the weights of
/// the heads and of W_out. `MultiHeadAttention` derives from it.
///
/// \tparam Layer_  the layer of one head
template <class Layer_>
class ManyHeads {
 public:
  using Layer = Layer_;
  using Scalar = typename Layer::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;               ///< a copy of a weight array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< a weight array where it lies
  using Rows = detail::RowMajorMatrix<Scalar>;         ///< a span, a row a token
  /// A moment of the stream, one of each head.
  using Snapshot = std::vector<typename Layer::Snapshot>;

  /// \name The stream
  /// \{

  /// Empties all states; weights stay.
  void reset() noexcept {
    for (Layer& head : heads_) head.reset();
  }

  /// Jumps to a later count, as `LogLinearAttention::advance_to`. \throws std::invalid_argument
  /// unless count >= size(); nothing is changed then
  void advance_to(std::uint64_t count) {
    require_alive();
    for (Layer& head : heads_) head.advance_to(count);
  }

  /// This moment of the stream, as `LogLinearAttention::snapshot`; allocates.
  [[nodiscard]] Snapshot snapshot() const {
    Snapshot moment;
    snapshot(moment);
    return moment;
  }
  /// The same into a snapshot that exists. Does not allocate once that has grown to size; where
  /// it does and throws std::bad_alloc, the snapshot is what it was.
  void snapshot(Snapshot& moment) const {
    require_alive();
    bool fits = moment.size() == heads_.size();
    for (std::size_t h = 0; fits && h < heads_.size(); ++h) {
      fits = moment[h].reserve(heads_[h].as_head().stream());
    }
    Snapshot fresh(fits ? 0 : heads_.size());
    Snapshot& into = fits ? moment : fresh;
    for (std::size_t h = 0; h < heads_.size(); ++h) heads_[h].snapshot(into[h]);
    if (!fits) moment.swap(fresh);
  }
  /// Goes to another moment of this stream, or of another layer's, as
  /// `LogLinearAttention::restore`. Does not allocate.
  /// \throws std::invalid_argument for a snapshot of another shape, or one that holds nothing;
  /// nothing is changed then
  void restore(const Snapshot& moment) {
    if (moment.empty()) detail::fail("the snapshot", "empty", "one that a layer has taken");
    detail::require_size("the heads of the snapshot", static_cast<Index>(moment.size()), n_heads());
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      moment[h].require_shape_of(heads_[h].as_head().stream());
    }
    for (std::size_t h = 0; h < heads_.size(); ++h) heads_[h].restore(moment[h]);
  }

  /// Appends a part of each head, see `StreamPart`. Copies the heads; allocates.
  /// \throws std::invalid_argument for another number of heads and as `StreamPart::append_to`;
  /// nothing is changed then
  template <class Part>
  void append(const std::vector<Part>& parts) {
    detail::require_size("the heads of the part to append", static_cast<Index>(parts.size()),
                         n_heads());
    std::vector<Layer> whole(heads_);
    for (std::size_t h = 0; h < whole.size(); ++h) parts[h].append_to(whole[h]);
    heads_.swap(whole);
  }
  /// \}

  /// \name Shape, state and weights
  /// \{
  [[nodiscard]] Index d_model() const noexcept { return out_.output_dim(); }     ///< length of x
  [[nodiscard]] Index output_dim() const noexcept { return out_.output_dim(); }  ///< d_model
  [[nodiscard]] std::uint64_t size() const noexcept {
    return heads_.empty() ? 0 : first().size();
  }  ///< tokens so far
  [[nodiscard]] int n_heads() const noexcept { return static_cast<int>(heads_.size()); }  ///< heads
  /// Threads that the heads of a token run on: the smallest of the options' `threads`, the number
  /// of heads and `loglinear::thread_count()`.
  [[nodiscard]] int threads_used() const noexcept {
    return (std::min)({threads_, n_heads(), thread_count()});
  }
  /// One head, read-only. \throws std::invalid_argument unless 0 <= index < n_heads
  [[nodiscard]] const Layer& head(int index) const {
    detail::require_between("head", index, 0, n_heads() - 1);
    return heads_[static_cast<std::size_t>(index)];
  }
  /// The states of all heads one after the other, of constant length; allocates.
  [[nodiscard]] Vector state() const {
    const Index size = first().max_levels() * first().key_rows() * d_v();
    Vector all(size * n_heads());
    for (int h = 0; h < n_heads(); ++h) all.segment(h * size, size) = head(h).state();
    return all;
  }
  /// `head0.w_key`, ..., `w_out`: every weight array in the order in which they are drawn.
  [[nodiscard]] std::vector<std::string> weight_names() const {
    return detail::names_in_heads(first().weight_names(), heads_.size());
  }
  /// One weight array; a read-only view, valid as long as the layer is neither moved nor destroyed.
  /// \throws std::invalid_argument for an unknown name
  [[nodiscard]] MatrixView weight(std::string_view name) const& {
    const auto [index, rest] = detail::head_of(name, heads_.size());
    return index ? heads_[*index].weight(rest) : out_.weights().get(rest);
  }
  /// The same of a temporary: a copy.
  [[nodiscard]] Matrix weight(std::string_view name) const&& { return weight(name); }
  /// Replaces one weight array; allocates. \throws std::invalid_argument as
  /// `LogLinearAttention::set_weight`
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    Flush flush;
    const auto [index, rest] = detail::head_of(name, heads_.size());
    if (index) {
      heads_[*index].set_weight(rest, value);
    } else {
      out_.weights().set(rest, value);
    }
  }
  [[nodiscard]] double learning_rate() const noexcept {
    return heads_.empty() ? 0 : first().learning_rate();
  }  ///< of all heads and W_out
  /// Sets the learning rate of all heads and of W_out.
  /// \throws std::invalid_argument unless finite and >= 0
  void set_learning_rate(double learning_rate) {
    for (Layer& head : heads_) head.set_learning_rate(learning_rate);
    out_.stepper().set_rate(learning_rate);
  }
  /// \}

 protected:
  using Flush = detail::FlushToZero<Scalar>;

  /// `count` heads like the first, and W_out, all with weights drawn from one seed.
  ManyHeads(const Layer& first, int count, int threads, Index d_model, OutputBound bound,
            std::uint64_t seed)
      : ManyHeads(first, count, threads, d_model, bound, Xorshift64(seed)) {}

  /// \throws std::invalid_argument for a layer that has been moved from
  void require_alive() const {
    if (heads_.empty()) detail::fail_moved_from("the layer");
  }
  /// The first head. \throws std::invalid_argument where this layer has been moved from
  [[nodiscard]] const Layer& first() const {
    require_alive();
    return heads_.front();
  }
  /// The length of one head's read.
  [[nodiscard]] Index d_v() const { return first().output_dim(); }
  /// The length of all heads' reads.
  [[nodiscard]] Index width() const { return n_heads() * d_v(); }

  /// Calls `work(head, where its read begins)` for all heads, in parallel if asked to, then throws
  /// what the first failing head threw.
  template <class Work>
  void for_each_head(Work work) {
    const Index columns = d_v();
    detail::parallel_for<Scalar>(n_heads(), threads_, [&](Index h) {
      work(heads_[static_cast<std::size_t>(h)].as_head(), h * columns);
    });
  }

  /// The raw reads of all heads side by side, T x n_heads d_v.
  template <class In>
  [[nodiscard]] Rows read_span(const Eigen::MatrixBase<In>& x, ReadOrder order) {
    Rows reads(x.rows(), width());
    for_each_head([&](typename Layer::Head& head, Index begin) {
      reads.middleCols(begin, d_v()) = head.read_span(x, order);
    });
    return reads;
  }

  /// The gradients with respect to x and all weights, from that with respect to the outputs.
  /// `before` holds the heads before the span.
  template <class In>
  [[nodiscard]] MultiHeadSpanGradient<Scalar> pull_back_span(const std::vector<Layer>& before,
                                                             const Eigen::MatrixBase<In>& x,
                                                             ReadOrder order, const Rows& reads,
                                                             const Rows& out, Rows d_out) {
    out_.pull_back_bound(out.data(), out.size(), d_out.data());
    Rows d_reads(reads.rows(), reads.cols());
    out_.weights().project_rows_back(d_out, d_reads);
    MultiHeadSpanGradient<Scalar> gradient{
        Rows::Zero(x.rows(), x.cols()), {}, d_out.transpose() * reads};
    std::vector<SpanGradient<Scalar>>& heads = gradient.heads;
    for (const Layer& head : before) {
      heads.push_back({{}, head.as_head().preparation().parameters().zeros()});
    }
    for_each_head([&](typename Layer::Head&, Index begin) {
      const auto h = static_cast<std::size_t>(begin / d_v());
      const Rows d_head = d_reads.middleCols(begin, d_v());
      heads[h] = before[h].as_head().pull_back_span(before[h].log_linear_state(), x, order, d_head);
    });
    for (SpanGradient<Scalar>& head : heads) {
      gradient.x += head.x;
      head.x.resize(0, 0);
    }
    detail::require_finite("coefficient # of the gradient of x", gradient.x);
    detail::require_finite("coefficient # of the gradient of w_out", gradient.w_out);
    return gradient;
  }

  std::vector<Layer> heads_;              ///< all of one shape
  detail::OutputProjection<Scalar> out_;  ///< W_out and its steps

 private:
  friend struct detail::Parts;

  ManyHeads(const Layer& first, int count, int threads, Index d_model, OutputBound bound,
            Xorshift64 random)
      : heads_(drawn(first, count, random)),
        out_(count * first.output_dim(), d_model, bound, first.step(), first.learning_rate(),
             random),
        threads_(threads) {}
  static std::vector<Layer> drawn(const Layer& first, int count, Xorshift64& random) {
    std::vector<Layer> heads(static_cast<std::size_t>(count), first);
    for (Layer& head : heads) head.as_head().draw_weights(random);
    return heads;
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    std::conditional_t<std::is_const_v<Self>, const ManyHeads, ManyHeads>& own = self;
    own.require_alive();
    for (int h = 0; h < own.n_heads(); ++h) {
      auto& head = own.heads_[static_cast<std::size_t>(h)];
      part("head" + std::to_string(h), head);
      detail::require_between("learning_rate of head " + std::to_string(h), head.learning_rate(),
                              own.learning_rate(), own.learning_rate());
    }
    part("", own.out_.weights());
    part("w_out", own.out_.stepper());
    if constexpr (detail::is_written<Self>) own.out_.stepper().set_rate(own.learning_rate());
  }

  int threads_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_MANY_HEADS_HPP
