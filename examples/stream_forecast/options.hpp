// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_OPTIONS_HPP
#define STREAM_FORECAST_OPTIONS_HPP

#include <cstdint>
#include <loglinear/mode/mode.hpp>
#include <optional>
#include <string>
#include <vector>

#include "keys.hpp"

namespace stream_forecast {

/// A season of `length` rows, described by sines and cosines of `harmonics` frequencies.
struct Period {
  int length = 0;
  int harmonics = 0;
};

/// Levels of the hierarchy where the rule alone is given: enough for half a million rows.
inline constexpr int default_levels = 20;

/// Everything the command line can say, checked. The defaults are the settings for half-hourly
/// data with a day and a week, one step ahead.
struct Options {
  std::string file;  ///< "-" is standard input
  char delimiter = ',';
  bool has_header = true;
  bool skip_bad_rows = false;
  std::string target;                 ///< empty: the last column
  std::vector<std::string> features;  ///< further columns, known when the forecast is made
  /// The clock, and when the label of a row is known; both empty: the clock counts rows, and a
  /// forecast is for the row `horizon` further on. Else it is for the row itself.
  std::string time, label_time;

  int horizon = 1;
  std::vector<Period> periods{{48, 24}, {336, 60}};
  int lags = 3;
  std::vector<int> seasonal_lags;  ///< rows before the row forecast whose change is an input
  int season = 0;                  ///< of the rival "same time last season"; 0: none
  long warm_up = 672;              ///< rows before the first scored forecast

  std::vector<Category> categories;  ///< one-hot keys of the cascade, the bank and the tables
  bool keys_are_columns = false;     ///< they were asked for: then no layer of the rule is a rival
  int slots = 1024;                  ///< the most that a category has
  int levels = default_levels;       ///< of the cascade
  double kappa = 10;                 ///< by how much an estimate leans on the older one
  std::vector<double> decays{0.5, 0.8, 0.9, 0.95, 0.99};  ///< of the rivals; empty: none of them

  double state_decay = 0.995;  ///< a row, of the one state beside categories that were asked for

  /// The rule; levels and their weights of the hierarchy, which is shown beside one state.
  loglinear::LogLinear mode{
      .inner = loglinear::GatedDeltaNet{.beta_scale = 0.5, .gate_bias = 8},
      .max_levels = default_levels,
  };
  int key_period = 0;  ///< whose harmonics make the key; 0: all inputs
  int d_k = 0;         ///< 0: one for each input the key is made of
  int d_v = 4;
  double recency = 0;
  double learning_rate = 0;
  std::uint64_t seed = 42;
  bool single_precision = false;

  double forgetting = 0.999;
  double initial_covariance = 10;

  std::string predictions;  ///< empty: none
  std::string plot;         ///< empty: none
  int plot_rows = 672;

  std::string save, load;        ///< checkpoints; empty: none
  std::uint64_t save_every = 0;  ///< rows; 0: at the end of the input alone
};

/// The options, or the exit status with which to leave at once: 0 after --help and --version, 2
/// after a message about a wrong option.
struct Parsed {
  std::optional<Options> options;
  int exit_status = 0;
};
[[nodiscard]] Parsed parse_options(int argc, const char* const* argv);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_OPTIONS_HPP
