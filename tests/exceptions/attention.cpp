// SPDX-License-Identifier: MIT
// Layers chosen at run time, and their snapshots.

#include <memory>
#include <string>
#include <utility>

#include "exceptions/refusing_allocator.hpp"
#include "loglinear/mode/attention.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;

/// A layer as a value.
class Layer {
 public:
  explicit Layer(const AttentionConfig& config) : layer_(make_attention<double>(config)) {}
  Layer(const Layer& other) : layer_(other->clone()) {}
  Layer(Layer&&) = default;
  Layer& operator=(const Layer&) = delete;
  Layer& operator=(Layer&&) = delete;
  ~Layer() = default;
  Attention<double>* operator->() const { return layer_.get(); }

 private:
  std::unique_ptr<Attention<double>> layer_;
};

constexpr Eigen::Index d_model = 5;
AttentionConfig config_of(const AttentionMode& mode) {
  return {.d_model = d_model, .n_heads = 2, .d_k = 4, .d_v = 3, .mode = mode};
}

Layer used_layer(const AttentionConfig& config, int tokens) {
  Layer layer(config);
  test::Random random(44);
  for (int t = 0; t < tokens; ++t) {
    const auto x = random.vector<double>(config.d_model);
    if (t % 4 == 3) {
      layer->train_one(x, x);
    } else {
      layer->forward(x);
    }
  }
  return layer;
}

/// The weights, the state, and what becomes of them: a checkpoint would take minutes to compile.
std::string bytes_of(Layer layer) {
  std::string all = std::to_string(layer->size());
  const auto append = [&](const Eigen::MatrixXd& part) {
    all.append(reinterpret_cast<const char*>(part.data()),
               static_cast<std::size_t>(part.size()) * sizeof(double));
  };
  for (const std::string& name : layer->weight_names()) append(layer->weight(name));
  append(layer->state());
  test::Random random(46);
  for (int t = 0; t < 9; ++t) {
    const auto x = random.vector<double>(d_model);
    append(t % 2 == 0 ? layer->forward(x) : layer->train_one(x, x));
  }
  return all;
}

/// What a layer becomes when it is restored to a moment.
std::string bytes_of(Layer layer, const AttentionSnapshot& moment) {
  const std::string error = test::error_of([&] { layer->restore(moment); });
  return error.empty() ? bytes_of(std::move(layer)) : error;
}

const AttentionMode modes[] = {LogLinear{.inner = GatedDeltaNet{}, .max_levels = 4},
                               LogLinear{.inner = Mamba2{}}, GLAVector{}};

}  // namespace

TEST_CASE("Without memory a layer chosen at run time stays as it was") {
  for (const AttentionMode& mode : modes) {
    const Layer layer = used_layer(config_of(mode), 13);
    const auto moment = used_layer(config_of(mode), 30)->snapshot();
    test::Random random(45);
    const auto x = random.vector<double>(d_model);
    const auto rows = random.matrix<double>(6, d_model);
    const auto check = [&](const char* name, auto operation) {
      test::check_without_memory(
          name, layer, [](const Layer& any) { return bytes_of(any); }, operation);
    };
    check("forward", [&](Layer& any) { any->forward(x); });
    check("forward of a row", [&](Layer& any) { any->forward(rows.row(3)); });
    check("query_readonly", [&](Layer& any) { any->query_readonly(x); });
    check("train_one", [&](Layer& any) { any->train_one(x, rows.row(4)); });
    check("advance_to", [](Layer& any) { any->advance_to(100); });
    check("state", [](Layer& any) { static_cast<void>(any->state()); });
    check("clone", [](Layer& any) { static_cast<void>(any->clone()); });
    check("set_weight",
          [](Layer& any) { any->set_weight("head1.w_key", 2 * any->weight("head1.w_key")); });
    check("snapshot", [](Layer& any) { static_cast<void>(any->snapshot()); });
    check("restore", [&](Layer& any) { any->restore(moment); });
    test::check_not_made("construction", [&] { return make_attention<double>(config_of(mode)); });
  }
}

TEST_CASE("Without memory the snapshot of a layer chosen at run time stays as it was") {
  for (const AttentionMode& mode : modes) {
    const Layer layer = used_layer(config_of(mode), 13), later = used_layer(config_of(mode), 30);
    AttentionConfig wider = config_of(mode);
    wider.d_v = 9;
    const auto check = [&](const char* name, const AttentionSnapshot& moment, auto operation) {
      test::check_without_memory(
          name, moment, [&](const AttentionSnapshot& any) { return bytes_of(layer, any); },
          operation);
    };
    const auto take = [&](AttentionSnapshot& any) { later->snapshot(any); };
    check("snapshot into nothing", {}, take);
    check("snapshot into a smaller one", layer->snapshot(), take);
    check("snapshot into another shape", used_layer(wider, 9)->snapshot(), take);
    check("snapshot into another mode", used_layer(config_of(Hawk{}), 9)->snapshot(), take);
    check("snapshot = snapshot", layer->snapshot(), [&](AttentionSnapshot& any) {
      const AttentionSnapshot another = later->snapshot();
      any = another;
    });
  }
}
