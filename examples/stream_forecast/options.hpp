// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_OPTIONS_HPP
#define STREAM_FORECAST_OPTIONS_HPP

#include <cstdint>
#include <loglinear/mode/mode.hpp>
#include <optional>
#include <string>
#include <vector>

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

  int horizon = 1;
  std::vector<Period> periods{{48, 24}, {336, 60}};
  int lags = 3;
  int season = 0;      ///< of the rival "same time last season"; 0: none
  long warm_up = 672;  ///< rows before the first scored forecast

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
