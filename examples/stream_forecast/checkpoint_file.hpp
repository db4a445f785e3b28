// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_CHECKPOINT_FILE_HPP
#define STREAM_FORECAST_CHECKPOINT_FILE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <loglinear/checkpoint/checkpoint.hpp>
#include <loglinear/detail/base/checks.hpp>
#include <loglinear/detail/base/parts.hpp>
#include <string>

#include "csv_reader.hpp"
#include "options.hpp"

namespace stream_forecast {

/// The last row of an input that ended within it. It is not learnt by what is saved: whoever goes
/// on may get the whole row.
struct UnfinishedRow {
  std::string text;

  /// For checkpoints: a number a byte, because it may be no text at all.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    Eigen::VectorXd bytes;
    if constexpr (loglinear::detail::is_written<Self>) {
      part("bytes", bytes);
      self.text.clear();
      for (const double byte : bytes) {
        loglinear::detail::require_between("a byte", byte, 0.0, 255.0);
        self.text += static_cast<char>(static_cast<unsigned char>(byte));
      }
    } else {
      bytes.resize(static_cast<Eigen::Index>(self.text.size()));
      std::transform(self.text.begin(), self.text.end(), bytes.begin(),
                     [](char c) { return static_cast<unsigned char>(c); });
      part("bytes", bytes);
    }
  }
};

/// Where the program stands, beside its pipeline.
struct Position {
  std::uint64_t rows = 0, bad_rows = 0;
  CsvPosition input;
  std::uint64_t columns = 0;  ///< of the input; 0 while nothing but an unfinished row tells them
  std::uint64_t time = 0;     ///< of the last row, if it has a column for it
  UnfinishedRow unfinished;
  std::uint64_t predictions = 0;  ///< bytes of the predictions file

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("rows", self.rows);
    part("bad_rows", self.bad_rows);
    part("input_bytes", self.input.bytes);
    part("input_rows", self.input.rows);
    part("input_columns", self.columns);
    if constexpr (loglinear::detail::is_written<Self>) {
      loglinear::detail::require_between("the number of input columns", self.columns,
                                         std::uint64_t{0},
                                         std::uint64_t{CsvReader::longest_line} + 1);
    }
    part("time", self.time);
    part("unfinished", self.unfinished);
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
