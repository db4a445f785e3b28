// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_LAYER_MEMORY_HPP
#define STREAM_FORECAST_LAYER_MEMORY_HPP

// What memory_*.cpp compile, each for a few rules, so that several cores can share the work. Rules
// with the same kind of transition stand in one file: they have code in common.

#include <loglinear/checkpoint/checkpoint.hpp>
#include <loglinear/layer/linear_attention.hpp>
#include <loglinear/layer/log_linear_attention.hpp>

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

template <class Scalar, class Rule>
std::unique_ptr<Memory<Scalar>> make_memory_of(const Rule& rule, const loglinear::LogLinear& mode,
                                               States states, const MemoryShape& shape) {
  const auto make = [&]<class Layer>(std::type_identity<Layer>, typename Layer::Options options) {
    options.inner = rule;
    options.d_model = shape.d_model;
    options.d_k = shape.d_k;
    options.d_v = shape.d_v;
    options.learning_rate = shape.learning_rate;
    options.seed = shape.seed;
    return std::make_unique<LayerMemory<Layer>>(options);
  };
  using OneState = loglinear::LinearAttention<Rule, Scalar>;
  using Hierarchy = loglinear::LogLinearAttention<Rule, Scalar>;
  if (states == States::one) return make(std::type_identity<OneState>{}, {});
  return make(std::type_identity<Hierarchy>{},
              {.max_levels = mode.max_levels, .level_weights = {.lambda_init = mode.lambda_init}});
}

}  // namespace stream_forecast

/// Compiles both layers of a rule, in both precisions.
#define STREAM_FORECAST_COMPILE(...)                                                               \
  template std::unique_ptr<stream_forecast::Memory<float>> stream_forecast::make_memory_of<float>( \
      const __VA_ARGS__&, const loglinear::LogLinear&, States, const MemoryShape&);                \
  template std::unique_ptr<stream_forecast::Memory<double>>                                        \
  stream_forecast::make_memory_of<double>(const __VA_ARGS__&, const loglinear::LogLinear&, States, \
                                          const MemoryShape&)

#endif  // STREAM_FORECAST_LAYER_MEMORY_HPP
