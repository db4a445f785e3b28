// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_ATTENTION_FORECASTER_HPP
#define STREAM_FORECAST_ATTENTION_FORECASTER_HPP

#include <cmath>
#include <loglinear/attention.hpp>
#include <loglinear/linear_attention.hpp>
#include <loglinear/random.hpp>
#include <string>
#include <vector>

#include "forecaster.hpp"

namespace stream_forecast {

/// Attention as an associative memory of (situation, outcome) pairs, read by least squares.
///
/// A token is the pair of what was known when a forecast was made and of what came of it, so it is
/// pushed when the label arrives:
///
///     x = [inputs at row t - horizon; outcome at row t]
///     key = K inputs    value = outcome = [y_t - y_{t-horizon}, y_t, y_{t-1}, ...], d_v of them
///
/// The forecast at row t then asks with query = K inputs, the outcome left 0, what came of such
/// situations before. K picks the bias and the harmonics of one season, scaled so that keys have
/// a length of about 1: a query recalls outcomes at the same time of that season. With another d_k
/// than there are such inputs, K is a random projection of them. Least squares on [inputs; raw
/// read] makes the forecast, so that with attention switched off `LeastSquares` remains.
///
/// The raw read is multiplied by the number of levels: with equal level weights 1/M it is then
/// exactly what one state of the same rule would read. `recency` r gives level l the weight
/// softplus(1/M - r l), normalised: the older a bucket, the less it counts.
///
/// With a learning rate above 0 the layer is trained, at every token, to answer it with the tanh of
/// its outcome. On the shipped data that does not pay; the default is 0.
template <class Layer>
class AttentionForecaster final : public Forecaster<typename Layer::Scalar> {
 public:
  using Scalar = typename Layer::Scalar;

  AttentionForecaster(const Options& options, const typename Layer::InnerRuleOfLayer& inner,
                      const InputBuilder<Scalar>& builder)
      : AttentionForecaster(options, inner, builder.size(), builder.key_inputs()) {}

  double forecast(const Now<Scalar>& now) override {
    const Eigen::Index inputs = now.inputs.size();
    token_.head(inputs) = now.inputs;
    token_.tail(layer_.output_dim()).setZero();
    layer_.query_readonly(token_);
    features_.head(inputs) = now.inputs;
    features_.tail(layer_.output_dim()) = read_scale_ * layer_.raw_read();
    return now.history.scaling.restored(readout_.predict(features_));
  }

  void learn(const Lesson<Scalar>& lesson) override {
    readout_.learn(lesson.label);
    const Eigen::Index d_v = layer_.output_dim();
    token_.head(token_.size() - d_v) = readout_.oldest().head(token_.size() - d_v);
    token_.tail(d_v) = lesson.outcome;
    if (layer_.learning_rate() > 0) {
      target_ = lesson.outcome.array().tanh();
      layer_.train_one(token_, target_);
    } else {
      layer_.forward(token_);
    }
  }

 private:
  static constexpr bool has_level_weights =
      std::is_same_v<std::decay_t<decltype(std::declval<Layer>().level_weights())>,
                     loglinear::NormalizedMixture>;

  AttentionForecaster(const Options& options, const typename Layer::InnerRuleOfLayer& inner,
                      Eigen::Index inputs, const std::vector<Eigen::Index>& key_inputs)
      : layer_(layer_options(options, inner, inputs, key_inputs)),
        readout_(options, inputs + options.d_v),
        token_(inputs + options.d_v),
        features_(inputs + options.d_v),
        target_(options.d_v),
        read_scale_(static_cast<Scalar>(layer_.log_linear_state().max_levels())) {
    const Matrix key = key_projection(options, key_inputs);
    Matrix value = Matrix::Zero(options.d_v, layer_.d_model());
    value.rightCols(options.d_v).setIdentity();
    layer_.set_weight("w_key", key);
    layer_.set_weight("w_query", key);
    layer_.set_weight("w_value", value);
    if constexpr (has_level_weights) {
      Matrix lambda = Matrix::Zero(options.max_levels, layer_.d_model());
      for (int l = 0; l < options.max_levels; ++l) {
        lambda(l, 0) = static_cast<Scalar>(-options.recency * l);  // times the input that is 1
      }
      layer_.set_weight("w_lambda", lambda);
    }
  }

  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;

  static typename Layer::Options layer_options(const Options& options,
                                               const typename Layer::InnerRuleOfLayer& inner,
                                               Eigen::Index inputs,
                                               const std::vector<Eigen::Index>& key_inputs) {
    typename Layer::Options layer;
    layer.inner = inner;
    layer.d_model = inputs + options.d_v;
    layer.d_k = options.d_k > 0 ? options.d_k : static_cast<Eigen::Index>(key_inputs.size());
    layer.d_v = options.d_v;
    if constexpr (has_level_weights) layer.max_levels = options.max_levels;
    layer.learning_rate = options.learning_rate;
    layer.seed = options.seed;
    return layer;
  }

  [[nodiscard]] Matrix key_projection(const Options& options,
                                      const std::vector<Eigen::Index>& key_inputs) const {
    Matrix key = Matrix::Zero(layer_.d_k(), layer_.d_model());
    const auto count = static_cast<Eigen::Index>(key_inputs.size());
    // A cosine or sine has a mean square of 1/2. The bias tells no two moments apart: keep it low.
    const double scale = 1 / std::sqrt(0.5 * static_cast<double>(count));
    const auto weight = [&](Eigen::Index j) { return scale * (j == 0 && count > 1 ? 0.3 : 1.0); };
    loglinear::Xorshift64 random(options.seed);
    for (Eigen::Index i = 0; i < key.rows(); ++i) {
      for (Eigen::Index j = 0; j < count; ++j) {
        const Eigen::Index column = key_inputs[static_cast<std::size_t>(j)];
        if (key.rows() == count) {
          key(i, column) = static_cast<Scalar>(i == j ? weight(j) : 0);
        } else {
          const double draw = random.normal() / std::sqrt(static_cast<double>(key.rows()));
          key(i, column) = static_cast<Scalar>(weight(j) * draw);
        }
      }
    }
    return key;
  }

  Layer layer_;
  Readout<Scalar> readout_;
  Vector<Scalar> token_, features_, target_;
  Scalar read_scale_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_ATTENTION_FORECASTER_HPP
