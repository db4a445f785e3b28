// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_PREDICTIONS_HPP
#define STREAM_FORECAST_PREDICTIONS_HPP

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "report.hpp"

namespace stream_forecast {

/// A CSV of every forecast: the number of the row it is for (data rows count from 1), the label,
/// every competitor's forecast, and whether it is scored. The forecasts beyond the last row have no
/// label yet.
class PredictionsFile {
 public:
  /// \param bytes  those of an earlier run to keep; what it wrote after its checkpoint is cut off
  /// \throws std::runtime_error if the file has less
  PredictionsFile(const std::string& path, const std::vector<Standing>& competitors,
                  std::uint64_t bytes = 0)
      : path_(path) {
    const bool goes_on = bytes > 0 && is_regular();
    if (goes_on) {
      if (std::filesystem::file_size(path) < bytes) {
        throw std::runtime_error(path + ": is shorter than when the checkpoint was made: it had " +
                                 std::to_string(bytes) + " bytes");
      }
      std::filesystem::resize_file(path, bytes);
    }
    out_.open(path, goes_on ? std::ios::app : std::ios::trunc);
    out_.precision(std::numeric_limits<double>::max_digits10);
    if (goes_on) return;
    out_ << "row,label";
    for (const Standing& competitor : competitors) out_ << ',' << competitor.column;
    out_ << ",scored\n";
  }

  void write(std::uint64_t row, std::optional<double> label, const std::vector<double>& forecasts,
             bool scored) {
    out_ << row << ',';
    if (label) out_ << *label;
    for (const double forecast : forecasts) out_ << ',' << forecast;
    out_ << ',' << (scored ? 1 : 0) << '\n';
  }

  /// Whether everything so far could be written.
  bool good() { return static_cast<bool>(out_.flush()); }

  /// Brings everything so far to the disk, before a checkpoint refers to it. \return its bytes; 0
  /// if it is no file that could be continued. \throws std::runtime_error if not all of it could be
  /// written: a checkpoint that forgets what had been written would make the next run begin anew
  std::uint64_t sync() {
    if (!good()) throw std::runtime_error(path_ + ": cannot be written, so nothing is saved");
    if (!is_regular()) return 0;
    const int descriptor = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor >= 0) {
      fsync(descriptor);
      close(descriptor);
    }
    return std::filesystem::file_size(path_);
  }

 private:
  [[nodiscard]] bool is_regular() const {
    std::error_code none;
    return std::filesystem::is_regular_file(path_, none);
  }

  std::string path_;
  std::ofstream out_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_PREDICTIONS_HPP
