// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_LAYERS_HPP
#define LOGLINEAR_TESTS_LAYERS_HPP

// Layers for the tests, of any type, one head or several, made in one place.

#include <random>
#include <string>

#include "loglinear/loglinear.hpp"
#include "support.hpp"

namespace loglinear::test {

/// Seeded normal numbers in any scalar.
class Normal {
 public:
  explicit Normal(unsigned seed) : engine_(seed) {}
  template <class Scalar>
  [[nodiscard]] Matrix<Scalar> matrix(Index rows, Index columns, double scale) {
    return Matrix<Scalar>::NullaryExpr(
        rows, columns, [&] { return static_cast<Scalar>(scale * normal_(engine_)); });
  }
  template <class Scalar>
  [[nodiscard]] Vector<Scalar> vector(Index size, double scale) {
    return matrix<Scalar>(size, 1, scale);
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

/// Replaces the seed-size weights by weights of order 1, so that gates, keys and level weights
/// move.
template <class Layer>
void set_order_one_weights(Layer& layer, Normal& normal) {
  for (const std::string& name : layer.weight_names()) {
    const auto old = layer.weight(name);
    layer.set_weight(name, normal.matrix<typename Layer::Scalar>(old.rows(), old.cols(), 0.6));
  }
}

/// Copies every weight of one layer that the other has too.
template <class From, class To>
void copy_weights(const From& from, To& to) {
  for (const std::string& name : to.weight_names()) {
    to.set_weight(name, from.weight(name).template cast<typename To::Scalar>());
  }
}

struct Sizes {
  Index d_model, d_k, d_v;
};

/// What tests vary in a layer, whatever its type.
struct Shape {
  /// Levels of 8 x 9 buffer four leaves where a rule's transitions can be deferred.
  Sizes sizes = {5, 8, 9};
  int max_levels = 10;
  ReadOrder read_order = ReadOrder::before_push;
  int tokens = 0;       ///< that it has taken
  bool learns = false;  ///< from every fourth of them
  bool bias = false;    ///< W x + b for each projection
  int heads = 2;        ///< where it has several
  unsigned seed = 3;    ///< of its weights, of order 1, and of those tokens
};

/// A layer of this shape with weights of order 1 that has taken some tokens. It learns by plain
/// steps, of 0.05.
template <class Layer>
[[nodiscard]] Layer make_layer(const Shape& shape = {},
                               const decltype(Layer::Options::inner)& inner = {},
                               const decltype(Layer::Options::level_weights)& level_weights = {}) {
  typename Layer::Options options{.inner = inner,
                                  .d_model = shape.sizes.d_model,
                                  .d_k = shape.sizes.d_k,
                                  .d_v = shape.sizes.d_v,
                                  .level_weights = level_weights,
                                  .read_order = shape.read_order,
                                  .learning_rate = 0.05,
                                  .bias = shape.bias};
  if (options.max_levels != 1) options.max_levels = shape.max_levels;
  if constexpr (requires { options.n_heads; }) options.n_heads = shape.heads;
  Layer layer(options);
  Normal normal(shape.seed);
  set_order_one_weights(layer, normal);
  using Scalar = typename Layer::Scalar;
  for (int t = 0; t < shape.tokens; ++t) {
    const auto x = normal.vector<Scalar>(shape.sizes.d_model, 1);
    if (shape.learns && t % 4 == 3) {
      layer.train_one(x, normal.vector<Scalar>(layer.output_dim(), 0.5));
    } else {
      layer.forward(x);
    }
  }
  return layer;
}

/// The outputs of a layer for the rows of x, one by one.
template <class Layer, class Rows>
[[nodiscard]] detail::RowMajorMatrix<typename Layer::Scalar> one_by_one(Layer& layer,
                                                                        const Rows& x) {
  detail::RowMajorMatrix<typename Layer::Scalar> out(x.rows(), layer.output_dim());
  for (Index t = 0; t < x.rows(); ++t) out.row(t) = layer.forward(x.row(t)).transpose();
  return out;
}

/// Whether two layers have the same weights, streams and counters, to the bit.
template <class Layer>
[[nodiscard]] bool same_layer(const Layer& a, const Layer& b) {
  bool same = same_bits(a.state(), b.state()) && a.log_linear_state() == b.log_linear_state() &&
              a.train_step_count() == b.train_step_count();
  for (const std::string& name : a.weight_names()) {
    same = same && same_bits(a.weight(name), b.weight(name));
  }
  return same;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_LAYERS_HPP
