// SPDX-License-Identifier: MIT
// The only file of the program that knows JSON.
#include "checkpoint_file.hpp"

#include <loglinear/checkpoint/safetensors.hpp>
#include <loglinear/mode/mode_text.hpp>

namespace stream_forecast {

loglinear::Configuration configuration_of(const Task& task) {
  const Options& o = task.options;
  const auto text = [](auto value) { return loglinear::detail::value_to_text(value); };
  std::string periods, features;
  for (const Period& period : o.periods) {
    periods += (periods.empty() ? "" : " ") + text(period.length) + ':' + text(period.harmonics);
  }
  std::string seasonal_lags, categories, decays;
  for (const int lag : o.seasonal_lags)
    seasonal_lags += (seasonal_lags.empty() ? "" : " ") + text(lag);
  for (const Category& category : o.categories)
    categories += (categories.empty() ? "" : " ") + category.text;
  for (const double decay : o.decays) decays += (decays.empty() ? "" : " ") + text(decay);
  for (const std::string& feature : o.features) features += (features.empty() ? "" : ",") + feature;
  return {{"target", o.target},
          {"features", features},
          {"time", o.time},
          {"label_time", o.label_time},
          {"horizon", text(o.horizon)},
          {"periods", periods},
          {"lags", text(o.lags)},
          {"seasonal_lags", seasonal_lags},
          {"season", text(o.season)},
          {"warm_up", std::to_string(o.warm_up)},
          {"categories", categories},
          {"keys_are_columns", text(int{o.keys_are_columns})},
          {"slots", text(o.slots)},
          {"levels", text(o.levels)},
          {"state_decay", text(o.state_decay)},
          {"kappa", text(o.kappa)},
          {"decays", decays},
          {"inner", to_text(o.mode)},
          {"key_period", text(o.key_period)},
          {"d_k", text(o.d_k)},
          {"d_v", text(o.d_v)},
          {"recency", text(o.recency)},
          {"learning_rate", text(o.learning_rate)},
          {"seed", std::to_string(o.seed)},
          {"scalar", o.single_precision ? "float" : "double"},
          {"forgetting", text(o.forgetting)},
          {"initial_covariance", text(o.initial_covariance)}};
}

void write_checkpoint(const std::string& path, const loglinear::Checkpoint& checkpoint) {
  loglinear::write_safetensors(path, checkpoint.tensors());
}

loglinear::Checkpoint read_checkpoint(const std::string& path) {
  return loglinear::Checkpoint(loglinear::read_safetensors(path));
}

}  // namespace stream_forecast
