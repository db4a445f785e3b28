// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_MULTI_HEAD_BLOCK_HPP
#define LOGLINEAR_LAYER_MULTI_HEAD_BLOCK_HPP

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/layer/block_form.hpp"

namespace loglinear {

/// The gradient of a loss over a block with respect to what a multi-head layer was given.
template <class Scalar>
struct MultiHeadBlockGradient {
  detail::RowMajorMatrix<Scalar> x;          ///< with respect to the inputs, T x d_model
  std::vector<BlockGradient<Scalar>> heads;  ///< with respect to each head's weights; no x in them
  detail::RowMajorMatrix<Scalar> w_out;      ///< with respect to W_out, d_model x n_heads d_v
};

/// `forward_block`, `block_gradient` and `train_block` of `MultiHeadAttention`, as `BlockForm` has
/// them for one head: inputs T x d_model, outputs and targets T x d_model.
///
/// \tparam Layer  the multi-head layer, which derives from this
template <class Layer, class Scalar>
class MultiHeadBlockForm {
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Flush = detail::FlushToZero<Scalar>;

 public:
  /// T calls of `forward`. \param x T x d_model \return the outputs, T x d_model
  template <class In>
  Matrix forward_block(const Eigen::MatrixBase<In>& x) {
    Flush flush;
    detail::Rollback rollback(layer().heads_);
    const Matrix reads = read_block(x, order(), flush);
    Matrix out = combine(reads);
    rollback.keep();
    return out;
  }

  /// The gradient of `sum(d_out * forward_block(x))`; nothing changes. \param d_out T x d_model
  template <class In, class DOut>
  [[nodiscard]] MultiHeadBlockGradient<Scalar> block_gradient(
      const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<DOut>& d_out) const {
    Flush flush;
    detail::require_size("d_out (rows)", d_out.rows(), x.rows());
    detail::require_size("d_out (columns)", d_out.cols(), layer().output_dim());
    detail::require_finite("d_out", d_out);
    Layer copied(layer());
    MultiHeadBlockForm& copy = copied;
    const Matrix reads = copy.read_block(x, order(), flush);
    return copy.pull_back(layer().heads_, x, order(), reads, copy.combine(reads), Matrix(d_out),
                          flush);
  }

  /// One step of gradient descent on `1/2 sum |o - y|^2` through W_out into every head, and T
  /// tokens of the stream; see `BlockForm::train_block`. \param y T x d_model
  template <class In, class Target>
  Matrix train_block(const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<Target>& y) {
    Flush flush;
    detail::require_size("y (rows)", y.rows(), x.rows());
    detail::require_size("y (columns)", y.cols(), layer().output_dim());
    detail::require_finite("y", y);
    const ReadOrder training = layer().heads_.front().training_order();
    detail::Rollback rollback(layer().heads_);
    const Matrix reads = read_block(x, training, flush);
    const Matrix out = combine(reads);
    const auto gradient =
        pull_back(rollback.before(), x, training, reads, out, Matrix(out - y), flush);
    auto d_out = layer().out_.zeros();
    d_out.set("w_out", gradient.w_out);
    for (std::size_t h = 0; h < gradient.heads.size(); ++h) {
      layer().heads_[h].descend(gradient.heads[h]);
    }
    layer().out_.descend(layer().learning_rate(), d_out);
    rollback.keep();
    return out;
  }

 private:
  [[nodiscard]] Layer& layer() { return static_cast<Layer&>(*this); }
  [[nodiscard]] const Layer& layer() const { return static_cast<const Layer&>(*this); }
  [[nodiscard]] ReadOrder order() const { return layer().heads_.front().read_order(); }

  /// The raw reads of all heads side by side, T x n_heads d_v.
  template <class In>
  [[nodiscard]] Matrix read_block(const Eigen::MatrixBase<In>& x, ReadOrder order, Flush& flush) {
    Matrix reads(x.rows(), layer().reads_.size());
    const Eigen::Index d_v = layer().d_v();
    layer().for_each_head(flush, [&](auto& head, Eigen::Index begin) {
      reads.middleCols(begin, d_v) = head.read_block(x, order);
    });
    return reads;
  }

  [[nodiscard]] Matrix combine(const Matrix& reads) const {
    Matrix out(reads.rows(), layer().output_dim());
    layer().out_.project_rows(reads, out);
    detail::require_finite("the output", out);
    if (layer().is_bounded()) out = out.array().tanh().matrix().eval();
    return out;
  }

  /// From the gradient of the outputs to that of everything; `before` are the heads before the
  /// block.
  template <class Heads, class In>
  [[nodiscard]] MultiHeadBlockGradient<Scalar> pull_back(const Heads& before,
                                                         const Eigen::MatrixBase<In>& x,
                                                         ReadOrder order, const Matrix& reads,
                                                         const Matrix& out, Matrix d_out,
                                                         Flush& flush) {
    if (layer().is_bounded()) d_out.array() *= 1 - out.array().square();
    Matrix d_reads(reads.rows(), reads.cols());
    layer().out_.project_rows_back(d_out, d_reads);
    MultiHeadBlockGradient<Scalar> gradient{
        Matrix::Zero(x.rows(), x.cols()), {}, d_out.transpose() * reads};
    std::vector<BlockGradient<Scalar>> heads;
    for (const auto& head : before) heads.push_back({{}, head.weights_like_zero()});
    const Eigen::Index d_v = layer().d_v();
    layer().for_each_head(flush, [&](auto&, Eigen::Index begin) {
      const auto h = static_cast<std::size_t>(begin / d_v);
      const Matrix d_head = d_reads.middleCols(begin, d_v);
      heads[h] = before[h].pull_back_block(before[h].log_linear_state(), x, order, d_head);
    });
    for (auto& head : heads) {
      gradient.x += head.x;
      head.x.resize(0, 0);
    }
    gradient.heads = std::move(heads);
    detail::require_finite("the gradient of x", gradient.x);
    detail::require_finite("the gradient of w_out", gradient.w_out);
    return gradient;
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_MULTI_HEAD_BLOCK_HPP
