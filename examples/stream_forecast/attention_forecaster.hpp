// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_ATTENTION_FORECASTER_HPP
#define STREAM_FORECAST_ATTENTION_FORECASTER_HPP

#include <algorithm>
#include <cmath>
#include <loglinear/random.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "forecaster.hpp"
#include "memory.hpp"

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
/// The raw read of a mixture of levels is multiplied by their number: with equal level weights 1/M
/// it is then exactly what one state of the same rule would read. `recency` r gives level l the
/// weight softplus(1/M - r l), normalised: the older a bucket, the less it counts.
///
/// Rules differ in what they make of keys and values; see `set_weights` for those with projections
/// of their own. Gates and write strengths keep their drawn weights, which are small: their biases
/// decide.
///
/// With a learning rate above 0 the layer is trained, at every token, to answer it with the tanh of
/// its outcome. On the shipped data that does not pay; the default is 0.
template <class Scalar>
class AttentionForecaster final : public Forecaster<Scalar> {
 public:
  AttentionForecaster(const Options& options, States states, const InputBuilder<Scalar>& builder)
      : AttentionForecaster(options, states, builder.size(), builder.key_inputs()) {}

  double forecast(const Now<Scalar>& now) override {
    const Eigen::Index inputs = now.inputs.size(), d_v = target_.size();
    token_.head(inputs) = now.inputs;
    token_.tail(d_v).setZero();
    features_.head(inputs) = now.inputs;
    features_.tail(d_v) = read_scale_ * memory_->ask(token_);
    return now.history.scaling.restored(readout_.predict(features_, now.ticket));
  }

  void learn(const Lesson<Scalar>& lesson) override {
    readout_.learn(lesson);
    const Eigen::Index d_v = target_.size(), inputs = features_.size() - d_v;
    token_.head(inputs) = readout_.learnt().head(inputs);
    token_.tail(d_v) = lesson.outcome;
    if (is_trained_) {
      target_ = lesson.outcome.array().tanh();
      memory_->take(token_, target_);
    } else {
      memory_->take(token_);
    }
  }

  void save(loglinear::Checkpoint& to, const std::string& name) const override {
    memory_->save(to, name + ".layer");
    to.put(name + ".readout", readout_);
  }
  void load(loglinear::Checkpoint& from, const std::string& name) override {
    memory_->load(from, name + ".layer");
    from.get(name + ".readout", readout_);
  }
  [[nodiscard]] std::optional<std::size_t> tickets() const override { return readout_.tickets(); }

 private:
  using Matrix = typename Memory<Scalar>::Matrix;

  AttentionForecaster(const Options& options, States states, Eigen::Index inputs,
                      const std::vector<Eigen::Index>& key_inputs)
      : memory_(make_memory<Scalar>(options.mode, states, shape(options, inputs, key_inputs))),
        readout_(options, inputs + options.d_v),
        token_(inputs + options.d_v),
        features_(inputs + options.d_v),
        target_(options.d_v),
        read_scale_(is_mixture(options.mode) ? static_cast<Scalar>(memory_->levels()) : Scalar(1)),
        is_trained_(options.learning_rate > 0) {
    set_weights(options, shape(options, inputs, key_inputs), key_inputs);
  }

  /// Whether the weights of all levels sum to 1.
  static bool is_mixture(const loglinear::LogLinear& mode) {
    return std::holds_alternative<loglinear::NormalizedMixture>(mode.level_weights) ||
           std::holds_alternative<loglinear::MeanMixture>(mode.level_weights);
  }

  static MemoryShape shape(const Options& options, Eigen::Index inputs,
                           const std::vector<Eigen::Index>& key_inputs) {
    return {.d_model = inputs + options.d_v,
            .d_k = options.d_k > 0 ? options.d_k : static_cast<Eigen::Index>(key_inputs.size()),
            .d_v = options.d_v,
            .learning_rate = options.learning_rate,
            .seed = options.seed};
  }

  /// Key and value, wherever the rule looks for them.
  void set_weights(const Options& options, const MemoryShape& shape,
                   const std::vector<Eigen::Index>& key_inputs) {
    const Matrix key = key_projection(options, shape, key_inputs);
    Matrix value = Matrix::Zero(shape.d_v, shape.d_model);
    value.rightCols(shape.d_v).setIdentity();
    for (const std::string& name : memory_->weight_names()) {
      const Eigen::Index rows = memory_->weight_rows(name);
      if (name == "w_key" || name == "w_query") {
        memory_->set_weight(name, key);
      } else if (name == "w_value") {
        memory_->set_weight(name, value);
      } else if (name == "w_comp_keys") {  // DeltaProduct: all its steps take the same pair
        memory_->set_weight(name, key.replicate(rows / shape.d_k, 1));
      } else if (name == "w_comp_values") {
        memory_->set_weight(name, value.replicate(rows / shape.d_v, 1));
      } else if (name == "w_xi" || name == "w_alpha_rk") {  // RWKV7: removes what it replaces
        memory_->set_weight(name, Matrix::Ones(1, shape.d_k));
      } else if (name == "w_lambda") {
        Matrix lambda = Matrix::Zero(rows, shape.d_model);
        for (Eigen::Index l = 0; l < rows; ++l) {  // times the input that is 1
          lambda(l, 0) = static_cast<Scalar>(-options.recency * static_cast<double>(l));
        }
        memory_->set_weight(name, lambda);
      }
    }
  }

  static Matrix key_projection(const Options& options, const MemoryShape& shape,
                               const std::vector<Eigen::Index>& key_inputs) {
    Matrix key = Matrix::Zero(shape.d_k, shape.d_model);
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

  std::unique_ptr<Memory<Scalar>> memory_;
  Readout<Scalar> readout_;
  Vector<Scalar> token_, features_, target_;
  Scalar read_scale_;
  bool is_trained_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_ATTENTION_FORECASTER_HPP
