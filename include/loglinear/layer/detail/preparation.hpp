// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP
#define LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP

// What a layer makes of an input, apart from its state: projections, level weights, and the rule's
// leaf, query and transition; and the way back from their gradients to that of every weight. One
// token or a span of tokens, it is the same.

#include <algorithm>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/layer/detail/head_weights.hpp"
#include "loglinear/layer/detail/workspace.hpp"
#include "loglinear/layer/step.hpp"
#include "loglinear/rules/level_weights.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear::detail {

/// A layer that is a head, or has one under it.
template <class Type>
concept HasHead = requires {
  typename Type::Head;
};

template <class Inner, class Scalar, class Weights>
class Preparation : public HeadWeights<Scalar> {
  using Base = HeadWeights<Scalar>;
  static_assert(!HasHead<Inner>,
                "log-linear attention cannot be the inner rule of log-linear attention: pass the "
                "rule inside it, such as LogLinearAttention<GatedDeltaNet>");
  static_assert(!Eigen::NumTraits<Scalar>::IsInteger,
                "LogLinearAttention needs a floating-point scalar: use float or double");
  static_assert(InnerRule<Inner, Scalar>,
                "Inner must satisfy InnerRule: see loglinear/rules/rule.hpp");
  static_assert(LevelWeights<Weights, Scalar>,
                "Weights must satisfy LevelWeights: see loglinear/rules/level_weights.hpp");

 public:
  using Kind = typename Inner::template Transition<Scalar>;
  using Read = Workspace<Kind>;
  using Gradient = TrainingWorkspace<Kind>;

  /// \param options  of a layer. \throws std::invalid_argument for one out of its range
  template <class Options>
  explicit Preparation(const Options& options)
      : Base(options.d_model, layout_of(options)),
        inner_(options.inner),
        weights_(options.level_weights),
        weight_count_(level_weight_count(options.read_order, options.max_levels)) {
    for (const Parameter& shape : weights_.parameters(weight_count_)) this->append(shape);
    this->begin_rule();
    for (const Parameter& shape : inner_.parameters(options.d_k, options.d_v)) this->append(shape);
    this->end_rule(learning_of(options).bias);
    validate_rule(inner_);
    weights_.template resolve<Scalar>(options.max_levels);
  }

  [[nodiscard]] const Inner& inner() const { return inner_; }
  [[nodiscard]] const Weights& weights() const { return weights_; }
  [[nodiscard]] int weight_count() const { return weight_count_; }

  using Base::layout, Base::parameters, Base::has_bias;
  /// w.raw = W w.x, from row `from` on. Throws where x or a projection is not finite.
  void project(Read& w, Index from) const { Base::project(w.x, w.raw, from); }
  /// Where drawn weights have biases, those of key and query begin as `HeadWeights` says.
  /// \param w  scratch memory
  void start_biases(Read& w) {
    if (!has_bias()) return;
    this->begin_biases();
    double own = own_read(w);
    if (this->raise_keys(own)) own = own_read(w);
    this->raise_queries(own);
  }

  /// Computes from w.raw what a read needs: the query, and the level weights, which are not yet
  /// checked.
  void prepare_read(Read& w) const {
    prepare_query(inner_, rule_input(w), w.token.query);
    weights_.weigh(layout().template lambda_part<ConstView>(std::as_const(w.raw).data()),
                   layout().template lambda_free_part<ConstView>(parameters().free().data()),
                   w.lambda);
  }

  /// Computes from w.raw the transition, and the leaf, which is checked when it is about to be
  /// written.
  void prepare_leaf(Read& w) const {
    inner_.prepare(rule_input(w), w.token);
    if (!w.token.transition.all_finite()) fail("the transition", "not finite", "finite");
  }

  /// Computes t.d_raw and t.d_free from t.d_token and t.d_lambda.
  void pull_back(const Read& w, Gradient& t) const {
    auto d_in = layout().template rule_part<View>(t.d_raw.data(), t.d_free.data());
    if constexpr (requires { inner_.prepare_query(d_in, d_in.q); }) {
      std::fill_n(d_in.q.data(), layout().d_k, Scalar(0));
    } else {
      copy(t.d_token.query.data(), layout().d_k, d_in.q.data());
    }
    inner_.pullback(rule_input(w), w.token, t.d_token, d_in);
    auto d_lambda_raw = layout().template lambda_part<View>(t.d_raw.data());
    auto d_lambda_free = layout().template lambda_free_part<View>(t.d_free.data());
    weights_.pullback(layout().template lambda_part<ConstView>(w.raw.data()),
                      layout().template lambda_free_part<ConstView>(parameters().free().data()),
                      w.lambda, t.d_lambda, d_lambda_raw, d_lambda_free);
    if (has_bias()) copy(t.d_raw.data(), layout().end, t.d_free.data() + layout().free_end);
  }

 private:
  using ConstView = ConstVectorView<Scalar>;
  using View = VectorView<Scalar>;

  /// The sizes among the options of a layer, which are checked before the rule sees them.
  template <class Options>
  [[nodiscard]] static Layout layout_of(const Options& options) {
    Base::check_sizes(options.d_model, options.d_k, options.d_v, options.max_levels,
                      fixed_levels<Weights>());
    Layout layout;
    layout.d_k = options.d_k;
    layout.d_v = options.d_v;
    layout.key_rows = key_rows_of(options.inner, options.d_k);
    layout.leaves = leaves_of(options.inner);
    return layout;
  }
  /// How much of a token's first leaf its query reads, at an input of 0.
  [[nodiscard]] double own_read(Read& w) const {
    std::fill_n(w.raw.data(), w.raw.size(), Scalar(0));
    this->add_bias(w.raw.data(), 0);
    prepare_query(inner_, rule_input(w), w.token.query);
    inner_.prepare(rule_input(w), w.token);
    return to_double(dot(w.token.keys.data(), w.token.query.data(), layout().key_rows));
  }

  [[nodiscard]] Projections<ConstView> rule_input(const Read& w) const {
    return layout().template rule_part<ConstView>(w.raw.data(), parameters().free().data());
  }

  Inner inner_;
  Weights weights_;
  int weight_count_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP
