// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP
#define LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP

// What a layer makes of an input, apart from its state: projections, level weights, and the rule's
// leaf, query and transition; and the way back from their gradients to that of every weight. One
// token or a span of tokens, it is the same.

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/layer/detail/parameters.hpp"
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

/// Checks the sizes among the options of a layer, and returns the options.
template <class Weights, class Options>
[[nodiscard]] const Options& checked_options(const Options& options) {
  require_length("d_model", options.d_model);
  require_length("d_k", options.d_k);
  require_length("d_v", options.d_v);
  require_between("max_levels", options.max_levels, 1, max_level_limit);
  constexpr int fixed = fixed_levels<Weights>();
  if (fixed != 0 && options.max_levels != fixed) fail("max_levels", options.max_levels, fixed);
  return options;
}

template <class Inner, class Scalar, class Weights>
class Preparation {
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
      : inner_(checked_options<Weights>(options).inner),
        weights_(options.level_weights),
        parameters_(options.d_model),
        weight_count_(level_weight_count(options.read_order, options.max_levels)) {
    const Index d_k = options.d_k, d_v = options.d_v;
    layout_.d_k = d_k;
    layout_.d_v = d_v;
    layout_.key_rows = key_rows_of(inner_, d_k);
    require_length("key_rows(d_k) of the rule", layout_.key_rows);
    layout_.leaves = leaves_of(inner_);
    require_length("leaves of the rule", layout_.leaves);
    parameters_.append(projection("w_key", d_k));
    layout_.v = parameters_.append(projection("w_value", d_v));
    layout_.q = parameters_.append(projection("w_query", d_k));
    layout_.lambda = parameters_.projected_size();
    for (const Parameter& shape : weights_.parameters(weight_count_)) parameters_.append(shape);
    layout_.own = parameters_.projected_size();
    layout_.free_own = parameters_.free_size();
    for (const Parameter& shape : inner_.parameters(d_k, d_v)) parameters_.append(shape);
    layout_.end = parameters_.projected_size();
    layout_.free_end = parameters_.free_size();
    if (Learning(options).bias) parameters_.append_biases();
    layout_.free_size = parameters_.free_size();
    validate_rule(inner_);
    weights_.template resolve<Scalar>(options.max_levels);
  }

  [[nodiscard]] const Inner& inner() const { return inner_; }
  [[nodiscard]] const Weights& weights() const { return weights_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] int weight_count() const { return weight_count_; }
  [[nodiscard]] const Parameters<Scalar>& parameters() const { return parameters_; }
  [[nodiscard]] Parameters<Scalar>& parameters() { return parameters_; }

  /// w.raw = W w.x, from row `from` on. Throws where x or a projection is not finite.
  void project(Read& w, Index from) const {
    parameters_.project(w.x, w.raw, from);
    add_bias(w.raw.data(), from);
    require_finite_projections(w, from);
  }
  /// Adds the biases, if there are any, to the stacked projections from row `from` on.
  void add_bias(Scalar* raw, Index from) const {
    if (!has_bias()) return;
    const Scalar* const bias = parameters_.free().data() + layout_.free_end;
    add(raw + from, bias + from, layout_.end - from, raw + from);
  }
  [[nodiscard]] bool has_bias() const { return layout_.free_size > layout_.free_end; }
  /// Where drawn weights have biases, those of key and query begin at one constant each, so that a
  /// token reads its own leaf with a weight of about 2, whatever the rule makes of its keys. Reads
  /// are then the recent values from the first token on, and the values learn first. If biases
  /// began at 0, products of keys and queries could learn a part of the task in their place and
  /// never let go.
  /// \param w  scratch memory
  void start_biases(Read& w) {
    if (!has_bias()) return;
    constexpr double start = 1.5, aim = start * start, most = 16;
    const double each = start / std::sqrt(static_cast<double>(layout_.d_k));
    set_starts(each, each);
    double own = own_read(w);
    if (own > 0 && own < aim) {
      set_starts(each * (std::min)(std::sqrt(aim / own), most), each);
      own = own_read(w);
    }
    if (own > 0) set_starts(to_double(start_key_), each * (std::min)(aim / own, most));
  }
  /// Replaces one array. Once keys, values or queries have other weights than the drawn ones, a
  /// bias of keys or queries that has neither been set nor learnt becomes 0. Nothing throws after
  /// the array has changed.
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const bool is_shared = name == "w_key" || name == "w_value" || name == "w_query";
    parameters_.set(name, value);
    if (name == "w_key.bias") start_key_ = Scalar(0);
    if (name == "w_query.bias") start_query_ = Scalar(0);
    if (!is_shared || !has_bias()) return;
    Scalar* const biases = parameters_.free_data() + layout_.free_end;
    clear_start(biases, start_key_);
    clear_start(biases + layout_.q, start_query_);
  }
  /// Looks at x only if a projection is not finite: every projection contains every x[j].
  void require_finite_projections(const Read& w, Index from) const {
    const ConstView projections(w.raw.data() + from, layout_.end - from);
    if (all_finite(projections)) return;
    require_finite("x", w.x);
    require_finite("projection # of x", projections);
  }

  /// Computes from w.raw what a read needs: the query, and the level weights, which are not yet
  /// checked.
  void prepare_read(Read& w) const {
    prepare_query(inner_, rule_input(w), w.token.query);
    weights_.weigh(layout_.template lambda_part<ConstView>(std::as_const(w.raw).data()),
                   layout_.template lambda_free_part<ConstView>(parameters_.free().data()),
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
    auto d_in = layout_.template rule_part<View>(t.d_raw.data(), t.d_free.data());
    if constexpr (requires { inner_.prepare_query(d_in, d_in.q); }) {
      std::fill_n(d_in.q.data(), layout_.d_k, Scalar(0));
    } else {
      copy(t.d_token.query.data(), layout_.d_k, d_in.q.data());
    }
    inner_.pullback(rule_input(w), w.token, t.d_token, d_in);
    auto d_lambda_raw = layout_.template lambda_part<View>(t.d_raw.data());
    auto d_lambda_free = layout_.template lambda_free_part<View>(t.d_free.data());
    weights_.pullback(layout_.template lambda_part<ConstView>(w.raw.data()),
                      layout_.template lambda_free_part<ConstView>(parameters_.free().data()),
                      w.lambda, t.d_lambda, d_lambda_raw, d_lambda_free);
    if (has_bias()) copy(t.d_raw.data(), layout_.end, t.d_free.data() + layout_.free_end);
  }

 private:
  using ConstView = ConstVectorView<Scalar>;
  using View = VectorView<Scalar>;

  void set_starts(double key, double query) {
    start_key_ = Scalar(key);
    start_query_ = Scalar(query);
    parameters_.admit_growth(1, (std::max)(key, query));
    Scalar* const biases = parameters_.free_data() + layout_.free_end;
    std::fill_n(biases, layout_.d_k, start_key_);
    std::fill_n(biases + layout_.q, layout_.d_k, start_query_);
  }
  /// Sets a bias to 0 that stands where it began, at `start`, or has begun at 0.
  void clear_start(Scalar* bias, Scalar& start) {
    const bool stands = std::all_of(bias, bias + layout_.d_k,
                                    [&](const Scalar& each) { return is_exactly(each, start); });
    if (stands) std::fill_n(bias, layout_.d_k, Scalar(0));
    start = Scalar(0);
  }
  /// How much of a token's first leaf its query reads, at an input of 0.
  [[nodiscard]] double own_read(Read& w) const {
    std::fill_n(w.raw.data(), w.raw.size(), Scalar(0));
    add_bias(w.raw.data(), 0);
    prepare_query(inner_, rule_input(w), w.token.query);
    inner_.prepare(rule_input(w), w.token);
    return to_double(dot(w.token.keys.data(), w.token.query.data(), layout_.key_rows));
  }

  [[nodiscard]] Projections<ConstView> rule_input(const Read& w) const {
    return layout_.template rule_part<ConstView>(w.raw.data(), parameters_.free().data());
  }

  Inner inner_;
  Weights weights_;
  Layout layout_{};
  Parameters<Scalar> parameters_;
  int weight_count_;
  // Where the biases of keys and queries began; 0 once that one has been set.
  Scalar start_key_{0}, start_query_{0};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP
