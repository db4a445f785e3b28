// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_CHECKPOINT_FILE_HPP
#define STREAM_FORECAST_CHECKPOINT_FILE_HPP

#include <loglinear/checkpoint/checkpoint.hpp>
#include <string>

#include "csv_reader.hpp"
#include "options.hpp"

namespace stream_forecast {

/// Where the program stands, beside its pipeline.
struct Position {
  std::uint64_t rows = 0, bad_rows = 0;
  CsvPosition input;
  std::uint64_t predictions = 0;  ///< bytes of the predictions file

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("rows", self.rows);
    part("bad_rows", self.bad_rows);
    part("input_bytes", self.input.bytes);
    part("input_rows", self.input.rows);
    part("predictions_bytes", self.predictions);
  }
};

/// The options that forecasts depend on, for a checkpoint to compare; it has no parts.
struct Task {
  Options options;

  template <class Self, class Visit>
  static void visit(Self&, Visit&&) {}
};
[[nodiscard]] loglinear::Configuration configuration_of(const Task& task);

/// Replaces the file in one step. \throws std::system_error, the old file being untouched
void write_checkpoint(const std::string& path, const loglinear::Checkpoint& checkpoint);
/// \throws std::system_error, loglinear::CheckpointError
[[nodiscard]] loglinear::Checkpoint read_checkpoint(const std::string& path);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_CHECKPOINT_FILE_HPP
