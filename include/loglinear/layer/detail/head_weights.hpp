// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_HEAD_WEIGHTS_HPP
#define LOGLINEAR_LAYER_DETAIL_HEAD_WEIGHTS_HPP

#include <algorithm>
#include <cmath>
#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/layer/detail/parameters.hpp"
#include "loglinear/layer/detail/workspace.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear::detail {

/// The weights of a head and what they make of an input, whatever its rule: the projections to
/// keys, values and queries, then those of the level weights, then the rule's own, and their
/// biases. The rule is not part of the type, so that programs of many rules compile this once.
template <class Scalar>
class HeadWeights {
 public:
  /// Checks the sizes of a layer; `fixed` is the only number of levels that is legal, or 0.
  static void check_sizes(Index d_model, Index d_k, Index d_v, int max_levels, int fixed);

  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] const Parameters<Scalar>& parameters() const { return parameters_; }
  [[nodiscard]] Parameters<Scalar>& parameters() { return parameters_; }

  /// raw = W x, from row `from` on. Throws where x or a projection is not finite.
  void project(const Vector<Scalar>& x, Vector<Scalar>& raw, Index from) const;
  /// Adds the biases, if there are any, to the stacked projections from row `from` on.
  void add_bias(Scalar* raw, Index from) const;
  [[nodiscard]] bool has_bias() const { return layout_.free_size > layout_.free_end; }
  /// Looks at x only if a projection is not finite: every projection contains every x[j].
  void require_finite_projections(const Vector<Scalar>& x, const Vector<Scalar>& raw,
                                  Index from) const;
  /// Replaces one array. Once keys, values or queries have other weights than the drawn ones, a
  /// bias of keys or queries that has neither been set nor learnt becomes 0. Nothing throws after
  /// the array has changed.
  void set_weight(std::string_view name, const Matrix<Scalar>& value);

 protected:
  /// With keys, values and queries. `append` is called for each array of the level weights next,
  /// then `begin_rule`, `append` for each array of the rule, and `end_rule`.
  /// \param sizes  of which d_k, d_v, key_rows and leaves are known
  HeadWeights(Index d_model, const Layout& sizes);
  void append(const Parameter& shape) { parameters_.append(shape); }
  void begin_rule();
  void end_rule(bool has_biases);

  /// Where drawn weights have biases, those of key and query begin at one constant each, so that a
  /// token reads its own leaf with a weight of about 2, whatever the rule makes of its keys. Reads
  /// are then the recent values from the first token on, and the values learn first. If biases
  /// began at 0, products of keys and queries could learn a part of the task in their place and
  /// never let go.
  ///
  /// Both begin at the same constant, which keys and then queries are raised from. `own_read` is
  /// how much of a token's first leaf its query reads, at an input of 0.
  void begin_biases();
  /// Returns whether it has raised them: the read is another one then.
  [[nodiscard]] bool raise_keys(double own_read);
  void raise_queries(double own_read);

 private:
  static constexpr double begins_at = 1.5, aim = begins_at * begins_at, most = 16;

  [[nodiscard]] double each_start() const {
    return begins_at / std::sqrt(static_cast<double>(layout_.d_k));
  }
  void set_starts(double key, double query);
  /// Sets a bias to 0 that stands where it began, at `start`, or has begun at 0.
  void clear_start(Scalar* bias, Scalar& start);

  Layout layout_{};
  Parameters<Scalar> parameters_;
  // Where the biases of keys and queries began; 0 once that one has been set.
  Scalar start_key_{0}, start_query_{0};
};

template <class Scalar>
void HeadWeights<Scalar>::check_sizes(Index d_model, Index d_k, Index d_v, int max_levels,
                                      int fixed) {
  require_length("d_model", d_model);
  require_length("d_k", d_k);
  require_length("d_v", d_v);
  require_between("max_levels", max_levels, 1, max_level_limit);
  if (fixed != 0 && max_levels != fixed) fail("max_levels", max_levels, fixed);
}

template <class Scalar>
HeadWeights<Scalar>::HeadWeights(Index d_model, const Layout& sizes)
    : layout_(sizes), parameters_(d_model) {
  require_length("key_rows(d_k) of the rule", layout_.key_rows);
  require_length("leaves of the rule", layout_.leaves);
  append(projection("w_key", layout_.d_k));
  layout_.v = parameters_.append(projection("w_value", layout_.d_v));
  layout_.q = parameters_.append(projection("w_query", layout_.d_k));
  layout_.lambda = parameters_.projected_size();
}

template <class Scalar>
void HeadWeights<Scalar>::begin_rule() {
  layout_.own = parameters_.projected_size();
  layout_.free_own = parameters_.free_size();
}

template <class Scalar>
void HeadWeights<Scalar>::end_rule(bool has_biases) {
  layout_.end = parameters_.projected_size();
  layout_.free_end = parameters_.free_size();
  if (has_biases) parameters_.append_biases();
  layout_.free_size = parameters_.free_size();
}

template <class Scalar>
void HeadWeights<Scalar>::project(const Vector<Scalar>& x, Vector<Scalar>& raw, Index from) const {
  parameters_.project(x, raw, from);
  add_bias(raw.data(), from);
  require_finite_projections(x, raw, from);
}

template <class Scalar>
void HeadWeights<Scalar>::add_bias(Scalar* raw, Index from) const {
  if (!has_bias()) return;
  const Scalar* const bias = parameters_.free().data() + layout_.free_end;
  add(raw + from, bias + from, layout_.end - from, raw + from);
}

template <class Scalar>
void HeadWeights<Scalar>::require_finite_projections(const Vector<Scalar>& x,
                                                     const Vector<Scalar>& raw, Index from) const {
  const ConstVectorView<Scalar> projections(raw.data() + from, layout_.end - from);
  if (all_finite(projections)) return;
  require_finite("x", x);
  require_finite("projection # of x", projections);
}

template <class Scalar>
void HeadWeights<Scalar>::begin_biases() {
  set_starts(each_start(), each_start());
}

template <class Scalar>
bool HeadWeights<Scalar>::raise_keys(double own_read) {
  const bool raises = own_read > 0 && own_read < aim;
  if (raises) set_starts(each_start() * (std::min)(std::sqrt(aim / own_read), most), each_start());
  return raises;
}

template <class Scalar>
void HeadWeights<Scalar>::raise_queries(double own_read) {
  if (!(own_read > 0)) return;
  set_starts(to_double(start_key_), each_start() * (std::min)(aim / own_read, most));
}

template <class Scalar>
void HeadWeights<Scalar>::set_weight(std::string_view name, const Matrix<Scalar>& value) {
  const bool is_shared = name == "w_key" || name == "w_value" || name == "w_query";
  parameters_.set(name, value);
  if (name == "w_key.bias") start_key_ = Scalar(0);
  if (name == "w_query.bias") start_query_ = Scalar(0);
  if (!is_shared || !has_bias()) return;
  Scalar* const biases = parameters_.free_data() + layout_.free_end;
  clear_start(biases, start_key_);
  clear_start(biases + layout_.q, start_query_);
}

template <class Scalar>
void HeadWeights<Scalar>::set_starts(double key, double query) {
  start_key_ = Scalar(key);
  start_query_ = Scalar(query);
  parameters_.admit_growth(1, (std::max)(key, query));
  Scalar* const biases = parameters_.free_data() + layout_.free_end;
  std::fill_n(biases, layout_.d_k, start_key_);
  std::fill_n(biases + layout_.q, layout_.d_k, start_query_);
}

template <class Scalar>
void HeadWeights<Scalar>::clear_start(Scalar* bias, Scalar& start) {
  const bool stands = std::all_of(bias, bias + layout_.d_k,
                                  [&](const Scalar& each) { return is_exactly(each, start); });
  if (stands) std::fill_n(bias, layout_.d_k, Scalar(0));
  start = Scalar(0);
}

}  // namespace loglinear::detail

#define LOGLINEAR_HEAD_WEIGHTS(EXTERN, SCALAR) EXTERN template class detail::HeadWeights<SCALAR>;
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_HEAD_WEIGHTS)

#endif  // LOGLINEAR_LAYER_DETAIL_HEAD_WEIGHTS_HPP
