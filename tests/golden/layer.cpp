// SPDX-License-Identifier: MIT
// The families of the streaming layer with key-only inner rules: layer, layer_init, recall.

#include <array>
#include <set>
#include <stdexcept>
#include <string>

#include "families.hpp"
#include "loglinear/loglinear.hpp"

namespace loglinear::test {
namespace {

constexpr std::array<const char*, 4> projections = {"w_key", "w_value", "w_query", "w_lambda"};

/// Calls `use` with an empty layer of the case's configuration and seed. A key-only rule depends on
/// its mode only by whether the key is normalised.
template <class Use>
void with_layer(const Case& golden, Use use) {
  const auto make = [&]<class Rule>(Rule) {
    use(loglinear::LogLinearAttention<loglinear::KeyOnly<Rule>>(
        {.d_model = golden.get<Eigen::Index>("d_model"),
         .d_k = golden.get<Eigen::Index>("d_key"),
         .d_v = golden.get<Eigen::Index>("d_value"),
         .max_levels = golden.get<int>("max_levels"),
         .level_weights = {.lambda_init = golden.get<double>("lambda_init"),
                           .tau = golden.get<double>("tau")},
         .learning_rate = golden.get<double>("learning_rate"),
         .seed = golden.seed()}));
  };
  if (has_normalised_key(golden.get<std::string>("inner_mode"))) {
    make(loglinear::DeltaNet{});
  } else {
    make(loglinear::RetNet{});
  }
}

void compare_weights(const Case& golden, const auto& layer, const std::string& when,
                     Comparison& compare) {
  for (const std::string name : projections) {
    if (golden.has(name + when)) compare.array(golden, name + when, layer.weight(name));
  }
}

}  // namespace

bool has_normalised_key(const std::string& mode) {
  const std::set<std::string> normalised = {"DeltaNet", "GatedDeltaNet", "DeltaProduct", "RWKV7"};
  const std::set<std::string> plain = {"RetNet", "Hawk",  "GLA",  "GLAVector",
                                       "RWKV",   "MLSTM", "HGRN2"};
  if (normalised.contains(mode)) return true;
  if (plain.contains(mode)) return false;
  throw std::runtime_error("unknown inner mode " + mode);
}

void replay_layer(const Case& golden, Comparison& compare) {
  with_layer(golden, [&](auto layer) {
    if (golden.get<std::string>("init") == "given") {
      for (const std::string name : projections) {
        layer.set_weight(name, golden.matrix(name + "_initial"));
      }
    }
    compare_weights(golden, layer, "_initial", compare);

    const RowMajor ops = golden.matrix("op"), x = golden.matrix("x");
    const RowMajor y = golden.has("y") ? golden.matrix("y") : RowMajor();
    const int levels = layer.log_linear_state().max_levels();
    RowMajor outputs = RowMajor::Zero(ops.size(), layer.output_dim());
    RowMajor lambdas = RowMajor::Zero(ops.size(), levels);
    for (Eigen::Index i = 0; i < ops.size(); ++i) {
      switch (static_cast<int>(ops(i))) {
        case 0:
          layer.forward(x.row(i), outputs.row(i));
          break;
        case 1:
          layer.query_readonly(x.row(i), outputs.row(i));
          break;
        case 2:
          layer.train_one(x.row(i), y.row(i), outputs.row(i));
          break;
        case 3:
          layer.reset();
          continue;
        default:
          throw std::runtime_error("unknown op");
      }
      lambdas.row(i) = layer.lambda().transpose();
    }

    compare.array(golden, "output", outputs);
    compare.array(golden, "lambda", lambdas);
    compare_weights(golden, layer, "_final", compare);
    compare.array(golden, "flat_state_final", layer.state());
    RowMajor active(1, levels);
    for (int l = 0; l < levels; ++l) active(l) = layer.log_linear_state().is_active(l);
    compare.array(golden, "active_final", active);
    compare.exact("size_final", golden.get<std::uint64_t>("size_final"),
                  layer.log_linear_state().size());
    compare.exact("train_steps_final", golden.get<std::uint64_t>("train_steps_final"),
                  layer.train_step_count());
  });
}

void replay_layer_init(const Case& golden, Comparison& compare) {
  with_layer(golden,
             [&](const auto& layer) { compare_weights(golden, layer, "_initial", compare); });
}

void replay_recall(const Case& golden, Comparison& compare) {
  with_layer(golden, [&](auto layer) {
    const RowMajor x = golden.matrix("x"), y = golden.matrix("y");
    const auto rounds = golden.get<Eigen::Index>("epochs") + 1;
    RowMajor loss(1, rounds);
    for (Eigen::Index e = 0; e < rounds; ++e) {
      layer.reset();
      for (Eigen::Index i = 0; i < x.rows(); ++i) layer.train_one(x.row(i), y.row(i));
      loss(e) = 0;
      for (Eigen::Index i = 0; i < x.rows(); ++i) {
        loss(e) += (layer.query_readonly(x.row(i)).transpose() - y.row(i)).squaredNorm();
      }
      loss(e) /= static_cast<double>(y.size());
    }
    compare.array(golden, "loss", loss);
    compare_weights(golden, layer, "_final", compare);
  });
}

}  // namespace loglinear::test
