// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_BLOCK_FORM_HPP
#define LOGLINEAR_LAYER_BLOCK_FORM_HPP

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/layer/block_gradient.hpp"
#include "loglinear/layer/detail/layer_source.hpp"
#include "loglinear/sequence/array.hpp"
#include "loglinear/sequence/chunkwise.hpp"

namespace loglinear {

namespace detail {

/// Puts `value` back as it was, unless told to keep what has become of it.
template <class Type>
class Rollback {
 public:
  explicit Rollback(Type& value) : value_(value), before_(value) {}
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    if (!keeps_) value_ = std::move(before_);
  }
  void keep() noexcept { keeps_ = true; }
  [[nodiscard]] const Type& before() const noexcept { return before_; }

 private:
  Type& value_;
  Type before_;
  bool keeps_ = false;
};

}  // namespace detail

/// What a streaming layer does with a block of T tokens at once: the numbers of T calls, to
/// rounding, computed chunk by chunk with matrix products (see sequence/chunkwise.hpp), in every
/// read order; and backpropagation through the whole block.
///
/// Blocks and single tokens can follow each other in any order. Inputs are matrices of T rows, of
/// either storage order. A token costs its projections, `C (d_k + d_v)` and `log(T / C) d_k d_v`
/// operations for chunks of C = 64 tokens; all these functions allocate and copy the state. Errors
/// as for single tokens, before anything has changed. Rules whose kind of transition
/// has no `visit_steps` (transitions/steps.hpp) are read token by token and have no gradient here.
///
/// \tparam Layer  the layer, which derives from this
template <class Layer>
class BlockForm {
 public:
  /// T calls of `forward`. \param x T x d_model \return the outputs, T x d_v
  template <class In>
  auto forward_block(const Eigen::MatrixBase<In>& x) {
    const detail::FlushToZero<typename Layer::Scalar> flush;
    auto out = read_block(x, layer().read_order());
    out.array() = out.array().tanh();  // in place: nothing may throw any more
    return out;
  }

  /// The gradient of `sum(d_out * forward_block(x))` with respect to x and every weight, the state
  /// before the block held constant; through all reads and all states within the block. Nothing
  /// changes. \param d_out T x d_v
  template <class In, class DOut>
  [[nodiscard]] auto block_gradient(const Eigen::MatrixBase<In>& x,
                                    const Eigen::MatrixBase<DOut>& d_out) const {
    using Scalar = typename Layer::Scalar;
    const detail::FlushToZero<Scalar> flush;
    Layer copy(layer());
    const detail::RowMajorMatrix<Scalar> out = copy.forward_block(x);
    detail::require_size("d_out (rows)", d_out.rows(), out.rows());
    detail::require_size("d_out (columns)", d_out.cols(), out.cols());
    detail::require_finite("d_out", d_out);
    const detail::RowMajorMatrix<Scalar> d_reads =
        (d_out.array() * (1 - out.array().square())).matrix();
    return pull_back_block(layer().log_linear_state(), x, layer().read_order(), d_reads);
  }

  /// One step of gradient descent on `1/2 sum |o - y|^2` over the whole block and T tokens of the
  /// stream. Reads in the order of `train_one`. Unlike T calls of `train_one` the weights stay the
  /// same within the block, and the gradient goes through the states that its tokens write.
  /// \param y T x d_v, finite \return the outputs o from before the step, T x d_v
  template <class In, class Target>
  auto train_block(const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<Target>& y) {
    const detail::FlushToZero<typename Layer::Scalar> flush;
    detail::require_size("y (rows)", y.rows(), x.rows());
    detail::require_size("y (columns)", y.cols(), layer().output_dim());
    detail::require_finite("y", y);
    using Matrix = detail::RowMajorMatrix<typename Layer::Scalar>;
    detail::Rollback rollback(layer().state_);
    const auto before = layer().log_linear_state();
    const ReadOrder order = layer().training_order();
    Matrix out = read_block(x, order);
    out = out.array().tanh().matrix().eval();
    const Matrix d_reads = ((out - y).array() * (1 - out.array().square())).matrix();
    layer().descend(pull_back_block(before, x, order, d_reads));
    rollback.keep();
    return out;
  }

  /// \name For layers made of layers
  /// \{

  /// Reads in the given order and writes the whole block. \return the raw reads, T x d_v. \throws
  /// std::invalid_argument as `stage` of a token; nothing is changed then
  template <class In>
  auto read_block(const Eigen::MatrixBase<In>& x, ReadOrder order) {
    require_fold();
    using Scalar = typename Layer::Scalar;
    const detail::FlushToZero<Scalar> flush;
    layer().require_order(order);
    const typename detail::RowMajorMatrix<Scalar> rows = checked(x, layer().size());
    layer().drop_staged();
    const Eigen::Index length = rows.rows();
    detail::RowMajorMatrix<Scalar> reads(length, layer().output_dim());
    const auto one_by_one = [&](Eigen::Index first, Eigen::Index count) {
      for (Eigen::Index t = first; t < first + count; ++t) {
        layer().prepare(rows.row(t), order);
        reads.row(t) = layer().raw_read().transpose();
        layer().write();
      }
    };
    auto& state = layer().state_;
    detail::Rollback rollback(state);
    if constexpr (HasSteps<typename Layer::TransitionOfLayer>) {
      // The chunkwise form takes over where the layer has nothing buffered, and leaves it so.
      const Eigen::Index head = (std::min)(state.until_flushed(), length),
                         tail = (length - head) % state.capacity();
      one_by_one(0, head);
      read_chunkwise(rows.middleRows(head, length - head - tail), order, reads, head);
      one_by_one(length - tail, tail);
    } else {
      one_by_one(0, length);
    }
    rollback.keep();
    return reads;
  }

  /// From the gradient of the raw reads of a block, read in the given order from the state
  /// `before` it, to that of x and every weight. \throws std::invalid_argument as `read_block`, or
  /// for a state or a gradient of another shape
  template <class State, class In, class DReads>
  [[nodiscard]] auto pull_back_block(const State& before, const Eigen::MatrixBase<In>& x,
                                     ReadOrder order, const DReads& d_reads) const {
    using Scalar = typename Layer::Scalar;
    using Kind = typename Layer::TransitionOfLayer;
    static_assert(HasSteps<Kind>,
                  "gradients of a block need the steps of the rule's kind of transition: give it "
                  "the member visit_steps of loglinear/transitions/steps.hpp, or build it from the "
                  "kinds of the library");
    const detail::FlushToZero<Scalar> flush;
    layer().require_order(order);
    const detail::RowMajorMatrix<Scalar> rows = checked(x, before.size());
    detail::require_size("max_levels of the state before the block", before.max_levels(),
                         layer().max_levels());
    detail::require_size("d_k of the state before the block", before.d_k(), layer().key_rows());
    detail::require_size("d_v of the state before the block", before.d_v(), layer().output_dim());
    detail::require_size("the gradient of the reads (rows)", d_reads.rows(), rows.rows());
    detail::require_size("the gradient of the reads (columns)", d_reads.cols(),
                         layer().output_dim());
    const SequenceArray<Scalar> d_rows(d_reads);  // a copy, unless they lie row by row
    BlockGradient<Scalar> gradient{detail::RowMajorMatrix<Scalar>::Zero(rows.rows(), rows.cols()),
                                   layer().preparation_.parameters().zeros()};
    if (rows.rows() == 0) return gradient;
    auto source = source_of(detail::view_of(rows), order);
    source.differentiate(detail::view_of(d_rows), layer().training_, gradient);
    detail::Hierarchy<Scalar> states = detail::hierarchy_of(before),
                              d_states(before.max_levels(), before.d_k(), before.d_v(),
                                       before.size() + static_cast<std::uint64_t>(rows.rows()));
    for (int l : d_states.active()) d_states.set_zero(l);
    detail::ChunkwiseRun<Scalar> run(source, block_chunk_size, weights());
    detail::ChunkwiseTape<Scalar> tape;
    run.forward(states, &tape, false);
    run.gradient(tape, d_states);
    detail::require_finite("the gradient of x", gradient.x);
    gradient.weights.require_finite_gradient();
    return gradient;
  }
  /// \}

 private:
  static constexpr Eigen::Index block_chunk_size = 64;

  static constexpr void require_fold() {
    static_assert(Layer::State::overflow == LastLevel::fold,
                  "blocks of tokens need a layer whose last level folds: LastLevel::fold; give the "
                  "tokens one by one to a layer whose last level forgets or halves");
  }

  [[nodiscard]] Layer& layer() { return static_cast<Layer&>(*this); }
  [[nodiscard]] const Layer& layer() const { return static_cast<const Layer&>(*this); }
  [[nodiscard]] Eigen::Index weights() const { return layer().preparation_.weight_count(); }

  /// The block after `before` tokens.
  template <class In>
  [[nodiscard]] auto checked(const Eigen::MatrixBase<In>& x, std::uint64_t before) const {
    using Scalar = typename Layer::Scalar;
    static_assert(std::is_same_v<typename In::Scalar, Scalar>,
                  "the block must have the layer's scalar: convert it with .cast<Scalar>()");
    detail::require_size("x (columns)", x.cols(), layer().d_model());
    detail::require_finite("x", x);
    if (static_cast<std::uint64_t>(x.rows()) > UINT64_MAX - before) {
      detail::fail("the number of tokens", x.rows(), "at most 2^64 - 1 together with those before");
    }
    return detail::RowMajorMatrix<Scalar>(x);
  }

  template <class View>
  [[nodiscard]] auto source_of(const View& x, ReadOrder order) const {
    using Source = detail::LayerSource<typename Layer::InnerRuleOfLayer, typename Layer::Scalar,
                                       typename Layer::LevelWeightsOfLayer>;
    return Source(layer().preparation_, x, order, layer().workspace_);
  }

  template <class Rows, class Reads>
  void read_chunkwise(const Rows& rows, ReadOrder order, Reads& reads, Eigen::Index first) {
    using Scalar = typename Layer::Scalar;
    if (rows.rows() == 0) return;
    auto& levels = layer().state_.settled_levels();
    auto source = source_of(detail::view_of(rows), order);
    source.read_into(reads, first);
    detail::Hierarchy<Scalar> states = detail::hierarchy_of(levels);
    detail::ChunkwiseRun<Scalar>(source, block_chunk_size, weights()).forward(states);
    levels.replace(
        states.count(), [&](int l) -> const auto& { return states.level(l); });
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_BLOCK_FORM_HPP
