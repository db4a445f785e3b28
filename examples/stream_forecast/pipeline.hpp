// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_PIPELINE_HPP
#define STREAM_FORECAST_PIPELINE_HPP

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "options.hpp"
#include "report.hpp"

namespace loglinear {
class Checkpoint;
}

namespace stream_forecast {

/// One row of the stream.
struct Row {
  double target = 0;
  std::vector<double> features;
  std::vector<std::string> texts;  ///< of the categories' columns
  std::uint64_t number = 0;        ///< from 0: skipped rows count too
  std::uint64_t clock = 0;         ///< of periods: the row's number, or the time that it says
  std::uint64_t label_time = 0;    ///< when its target is known, if a column says it
};

/// All competitors' forecasts of one row, and the label once it has arrived.
struct Outcome {
  std::uint64_t row = 0;  ///< the number of the row forecast
  std::optional<double> label;
  std::vector<double> forecasts;
  bool scored = false;
};

/// The prequential pass: a row arrives, the forecasts whose label is known now are scored, every
/// model learns from them, every model forecasts the row `horizon` further on, or this very row if
/// a column says when its label is known.
class Pipeline {
 public:
  virtual ~Pipeline() = default;
  virtual void add(const Row& row) = 0;
  /// At the end of the stream: reports the forecasts whose labels never came, and scores those
  /// whose labels are later than the last row.
  virtual void finish() = 0;
  [[nodiscard]] virtual const std::vector<Standing>& standings() const = 0;

  /// All that later forecasts and the table depend on.
  virtual void save(loglinear::Checkpoint& to) const = 0;
  /// The same back. \throws loglinear::CheckpointError, after which the pipeline is of no use
  virtual void load(loglinear::Checkpoint& from) = 0;

  using Sink = std::function<void(const Outcome&)>;
};

/// The pipeline in the precision that the options ask for. `sink` sees every forecast once, with
/// its label, or at the end without.
[[nodiscard]] std::unique_ptr<Pipeline> make_pipeline(const Options& options, Pipeline::Sink sink);
[[nodiscard]] std::unique_ptr<Pipeline> make_float_pipeline(const Options&, Pipeline::Sink);
[[nodiscard]] std::unique_ptr<Pipeline> make_double_pipeline(const Options&, Pipeline::Sink);

inline std::unique_ptr<Pipeline> make_pipeline(const Options& options, Pipeline::Sink sink) {
  return options.single_precision ? make_float_pipeline(options, std::move(sink))
                                  : make_double_pipeline(options, std::move(sink));
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_PIPELINE_HPP
