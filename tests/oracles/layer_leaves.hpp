// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_LAYER_LEAVES_HPP
#define LOGLINEAR_TESTS_ORACLES_LAYER_LEAVES_HPP

// The oracle of the layer: no hierarchy at all. It keeps the leaf of every token apart, multiplies
// each by every later transition as a dense matrix, and reads each under the level weight of its
// token, from the definition of levels alone.

#include <string>
#include <vector>

#include "rules.hpp"

namespace loglinear::test {

template <class Inner, class Scalar, class Weights>
class LayerLeaves {
 public:
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;

  /// Takes hyperparameters and weights from a layer, nothing else.
  template <class Layer>
  explicit LayerLeaves(const Layer& layer)
      : rule_(layer.inner()),
        level_weights_(layer.level_weights()),
        levels_(layer.log_linear_state().max_levels()),
        d_k_(layer.d_k()),
        d_v_(layer.output_dim()) {
    for (const std::string& name : layer.weight_names()) {
      names_.push_back(name);
      weights_.push_back(layer.weight(name).template cast<Scalar>());
    }
  }

  /// One token: the raw read in the given order. With `writes` the token then becomes the past.
  Vector step(const Vector& x, ReadOrder order, bool writes = true) {
    using Kind = typename Inner::template Transition<Scalar>;
    const Vector k = project("w_key", x), v = project("w_value", x), q = project("w_query", x);
    const int n = level_weight_count(order, levels_);
    Vector level_raw(0), level_free(0), own(0), free(0), lambda(n);
    collect(level_weights_.parameters(n), x, level_raw, level_free);
    collect(rule_.parameters(d_k_, d_v_), x, own, free);
    level_weights_.weigh(view(level_raw), view(level_free), lambda);

    const auto rows = detail::key_rows_of(rule_, d_k_);
    Token<Kind> token(rows, d_v_, detail::leaves_of(rule_));
    const Projections<detail::ConstVectorView<Scalar>> in{view(k), view(v), view(q), view(own),
                                                          view(free)};
    rule_.prepare(in, token);
    detail::prepare_query(rule_, in, token.query);
    Matrix left = Matrix::Identity(rows, rows), right = Matrix::Identity(d_v_, d_v_);
    token.transition.left(left);
    token.transition.right(right);
    const Matrix leaf = token.keys * token.values.transpose();

    const std::uint64_t t = leaves_.size();
    Vector read = Vector::Zero(d_v_);
    for (std::uint64_t s = 0; s < t; ++s) {
      const Scalar weight = lambda[level_of(s, t, order, levels_)];
      const Matrix seen = order == ReadOrder::before_push ? leaves_[s] : left * leaves_[s] * right;
      read += weight * seen.transpose() * token.query;
    }
    if (order != ReadOrder::before_push) {
      read += lambda[level_of(t, t, order, levels_)] * leaf.transpose() * token.query;
    }
    if (writes) {
      for (Matrix& older : leaves_) older = left * older * right;
      leaves_.push_back(leaf);
    }
    return read;
  }

  /// The sum of everything written, as it is now.
  [[nodiscard]] Matrix sum() const {
    Matrix all = leaves_.at(0);
    for (std::size_t s = 1; s < leaves_.size(); ++s) all += leaves_[s];
    return all;
  }

 private:
  [[nodiscard]] const Matrix& weight(std::string_view name) const {
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (names_[i] == name) return weights_[i];
    }
    throw std::logic_error("no such weight");
  }
  /// W x, or W x + b where the layer has biases.
  [[nodiscard]] Vector project(std::string_view name, const Vector& x) const {
    Vector y = weight(name) * x;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (names_[i] == std::string(name) + ".bias") y += weights_[i].transpose();
    }
    return y;
  }
  static detail::ConstVectorView<Scalar> view(const Vector& vector) {
    return detail::ConstVectorView<Scalar>(vector.data(), vector.size());
  }
  void collect(const auto& shapes, const Vector& x, Vector& projected, Vector& free) const {
    for (const Parameter& shape : shapes) {
      if (shape.rows == 0) continue;
      Vector& end = shape.is_projection ? projected : free;
      const Vector next =
          shape.is_projection ? project(shape.name, x) : Vector(weight(shape.name).transpose());
      Vector joined(end.size() + next.size());
      joined << end, next;
      end = joined;
    }
  }

  Inner rule_;
  Weights level_weights_;
  int levels_;
  Eigen::Index d_k_, d_v_;
  std::vector<std::string> names_;
  std::vector<Matrix> weights_, leaves_;
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_LAYER_LEAVES_HPP
