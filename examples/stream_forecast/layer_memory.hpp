// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_LAYER_MEMORY_HPP
#define STREAM_FORECAST_LAYER_MEMORY_HPP

// What pipeline_float.cpp and pipeline_double.cpp compile: one layer for each kind of transition.

#include <loglinear/checkpoint/checkpoint.hpp>
#include <loglinear/layer/log_linear_attention.hpp>
#include <loglinear/mode/any_level_weights.hpp>
#include <loglinear/mode/any_rule.hpp>

#include "memory.hpp"

namespace stream_forecast {

template <class Layer>
class LayerMemory final : public Memory<typename Layer::Scalar> {
 public:
  using Base = Memory<typename Layer::Scalar>;
  using typename Base::Matrix;
  using typename Base::Vector;

  explicit LayerMemory(const typename Layer::Options& options) : layer_(options) {}

  const Vector& ask(const Vector& token) override {
    layer_.query_readonly(token);
    return layer_.raw_read();
  }
  const Vector& take(const Vector& token) override { return layer_.forward(token); }
  void take(const Vector& token, const Vector& target) override { layer_.train_one(token, target); }
  void reset() override { layer_.reset(); }

  [[nodiscard]] std::vector<std::string> weight_names() const override {
    return layer_.weight_names();
  }
  [[nodiscard]] Eigen::Index weight_rows(std::string_view name) const override {
    return layer_.weight(name).rows();
  }
  void set_weight(std::string_view name, const Matrix& value) override {
    layer_.set_weight(name, value);
  }

  void save(loglinear::Checkpoint& to, const std::string& name) const override {
    to.put(name, layer_);
  }
  void load(loglinear::Checkpoint& from, const std::string& name) override {
    from.get(name, layer_);
  }

  [[nodiscard]] Eigen::Index key_rows() const override { return layer_.key_rows(); }
  [[nodiscard]] int levels() const override { return layer_.max_levels(); }

 private:
  Layer layer_;
};

template <class Scalar>
std::unique_ptr<Memory<Scalar>> make_memory(const loglinear::LogLinear& mode, States states,
                                            const MemoryShape& shape) {
  using namespace loglinear;
  mode.validate();
  const bool one = states == States::one;
  const auto make = [&]<class Rule>(const Rule& rule) -> std::unique_ptr<Memory<Scalar>> {
    using Layer = LogLinearAttention<RuntimeRule<Rule>, Scalar, AnyLevelWeights>;
    return std::make_unique<LayerMemory<Layer>>(typename Layer::Options{
        .inner = rule,
        .d_model = shape.d_model,
        .d_k = shape.d_k,
        .d_v = shape.d_v,
        .max_levels = one ? 1 : mode.max_levels,
        .level_weights = one ? LevelWeighting(UnitWeights{}) : mode.level_weights,
        .learning_rate = shape.learning_rate,
        .seed = shape.seed});
  };
  return mode.key_only ? visit_key_only(mode.inner, make) : visit_rule(mode.inner, make);
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_LAYER_MEMORY_HPP
