// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_LAYER_SOURCE_HPP
#define LOGLINEAR_LAYER_DETAIL_LAYER_SOURCE_HPP

#include <optional>
#include <utility>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/chunks/transition_steps.hpp"
#include "loglinear/layer/detail/preparation.hpp"
#include "loglinear/layer/span_gradient.hpp"

namespace loglinear::detail {

/// A span of inputs, T x d_model, as the tokens that a layer makes of them.
template <class Inner, class Scalar, class Weights>
class LayerSource final : public TokenSource<Scalar> {
 public:
  using Layer = Preparation<Inner, Scalar, Weights>;
  using Kind = typename Layer::Kind;

  /// `layer` and the rows of `x` must outlive it.
  LayerSource(const Layer& layer, const RowsView<Scalar>& x, ReadOrder order,
              typename Layer::Read workspace)
      : layer_(layer),
        x_(x),
        shape_(shape_of(
            step_counts<Kind>(layer.layout().key_rows, layer.layout().d_v, layer.layout().leaves),
            layer.layout().key_rows, layer.layout().d_v, layer.layout().leaves, order)),
        writer_(shape_),
        step_gradients_(shape_),
        workspace_(std::move(workspace)) {}
  LayerSource(const LayerSource&) = delete;
  LayerSource& operator=(const LayerSource&) = delete;

  /// Where reads go, the first of them to row `first`.
  void read_into(RowMajorMatrix<Scalar>& reads, Index first) {
    reads_ = &reads;
    first_read_ = first;
  }
  /// Where gradients of the reads come from, and those of everything else go.
  void differentiate(const RowsView<Scalar>& d_reads, typename Layer::Gradient gradient,
                     SpanGradient<Scalar>& to) {
    d_reads_.emplace(d_reads);
    training_.emplace(std::move(gradient));
    to_ = &to;
  }

  [[nodiscard]] SequenceShape shape() const override { return shape_; }
  [[nodiscard]] Index length() const override { return x_.rows(); }

  typename Chunk<Scalar>::Views load(Index first, Chunk<Scalar>& chunk) override {
    project(first, chunk.tokens);
    for (Index t = 0; t < chunk.tokens; ++t) {
      prepare(t);
      const Token<Kind>& token = workspace_.token;
      put(token.query, t, chunk.q);
      put(token.keys, t, chunk.k);
      put(token.values, t, chunk.v);
      put(workspace_.lambda, t, chunk.lambda);
      writer_.start(chunk, t);
      token.transition.visit_steps(writer_);
      writer_.finish();
    }
    return chunk.own_views();
  }

  void take_out(Index first, const Chunk<Scalar>& chunk) override {
    if (reads_ == nullptr) return;
    const ConstRowBlock<Scalar> reads = block_of(chunk.out).topRows(chunk.tokens);
    if (!all_finite(reads)) require_finite("coefficient # of the raw reads", view_of(reads));
    copy_rows(reads, writable_block_of(*reads_).middleRows(first_read_ + first, chunk.tokens));
  }

  typename Chunk<Scalar>::Targets open_gradient(Index first, const Chunk<Scalar>& chunk,
                                                Chunk<Scalar>& gradient) override {
    return gradient.own_targets(block_of(*d_reads_).middleRows(first, chunk.tokens));
  }

  void take_gradient(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) override {
    const Index tokens = chunk.tokens;
    project(first, tokens);
    resize(d_raw_, tokens, raw_.cols());
    auto& t = *training_;
    for (Index i = 0; i < tokens; ++i) {
      prepare(i);
      take(gradient.q, i, t.d_token.query);
      take(gradient.k, i, t.d_token.keys);
      take(gradient.v, i, t.d_token.values);
      take(gradient.lambda, i, t.d_lambda);
      const Kind& transition = workspace_.token.transition;
      step_gradients_.start(transition, chunk, gradient, i);
      transition.visit_steps(step_gradients_, t.d_token.transition);
      layer_.pull_back(workspace_, t);
      put(t.d_raw, i, d_raw_);
      to_->weights.add_free(t.d_free);
    }
    to_->weights.add_outer_rows(block_of(x_).middleRows(first, tokens), d_raw_);
    layer_.parameters().project_rows_back(d_raw_,
                                          writable_block_of(to_->x).middleRows(first, tokens));
  }

 private:
  /// `put` copies the columns of a token's matrix to the rows of token t, and `take` copies them
  /// back.
  template <class OfToken>
  static void put(const OfToken& from, Index t, RowMajorMatrix<Scalar>& rows) {
    copy(from.data(), from.size(), rows.data() + t * from.size());
  }
  template <class OfToken>
  static void take(const RowMajorMatrix<Scalar>& rows, Index t, OfToken& to) {
    copy(rows.data() + t * to.size(), to.size(), to.data());
  }

  void project(Index first, Index tokens) {
    resize(raw_, tokens, layer_.layout().end);
    layer_.parameters().project_rows(block_of(x_).middleRows(first, tokens), raw_);
    for (Index t = 0; t < tokens; ++t) layer_.add_bias(raw_.data() + t * raw_.cols(), 0);
  }
  void prepare(Index t) {
    take(raw_, t, workspace_.raw);
    layer_.require_finite_projections(workspace_.x, workspace_.raw, 0);
    layer_.prepare_read(workspace_);
    require_finite("level weight #", workspace_.lambda);
    layer_.prepare_leaf(workspace_);
    require_finite_leaf(workspace_.token.keys, workspace_.token.values);
  }

  const Layer& layer_;
  RowsView<Scalar> x_;
  SequenceShape shape_;
  StepWriter<Scalar> writer_;
  StepGradients<Scalar> step_gradients_;
  typename Layer::Read workspace_;
  std::optional<typename Layer::Gradient> training_{};
  RowMajorMatrix<Scalar> raw_{}, d_raw_{};
  RowMajorMatrix<Scalar>* reads_ = nullptr;
  Index first_read_ = 0;
  std::optional<RowsView<Scalar>> d_reads_{};
  SpanGradient<Scalar>* to_ = nullptr;
};

template <class Inner, class Scalar, class Weights, class... Rest>
LayerSource(const Preparation<Inner, Scalar, Weights>&, Rest...)
    -> LayerSource<Inner, Scalar, Weights>;

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_LAYER_SOURCE_HPP
