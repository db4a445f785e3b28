// SPDX-License-Identifier: MIT
// stream_forecast: forecasts a CSV stream by log-linear attention into least squares.
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>

#include "csv_reader.hpp"
#include "options.hpp"
#include "pipeline.hpp"
#include "plot.hpp"
#include "predictions.hpp"
#include "progress.hpp"

namespace stream_forecast {

namespace {

constexpr int output_failed = 1, input_wrong = 2;

volatile std::sig_atomic_t interrupted = 0;

/// Ctrl-C ends the input, not the program: an endless stream gets its table too.
void stop_on_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags =
      static_cast<int>(SA_RESETHAND);  // a second one ends the program; reads are not restarted
  sigaction(SIGINT, &action, nullptr);
}

int fail(int status, const std::string& message) {
  std::cerr << "stream_forecast: " << message << '\n';
  return status;
}

/// Where the input comes from.
struct Source {
  std::string name;
  std::ifstream file;
  std::uint64_t bytes = 0;  // 0: unknown
  bool good = true;

  explicit Source(const std::string& path) : name(path == "-" ? "standard input" : path) {
    if (path == "-") return;
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
      good = false;
      return;
    }
    file.open(path, std::ios::binary);
    good = file.is_open();
    const auto size = std::filesystem::file_size(path, error);
    if (!error) bytes = size;
  }
  std::istream& stream() { return file.is_open() ? file : std::cin; }
};

int run(const Options& options) {
  Source source(options.file);
  if (!source.good) return fail(input_wrong, source.name + ": cannot be opened for reading");
  const bool can_plot = options.plot.empty() || in_path("gnuplot");
  if (!can_plot) {
    fail(0, "gnuplot is not installed, so there will be no " + options.plot +
                " (Debian: apt install gnuplot-nox)");
  }

  CsvReader reader(source.stream(), source.name, {options.delimiter, options.has_header});
  const std::string target = options.target.empty() ? reader.columns().back() : options.target;
  std::vector<std::string> columns{target};
  columns.insert(columns.end(), options.features.begin(), options.features.end());
  if (options.target.empty()) columns[0] = std::to_string(reader.columns().size());
  reader.select(columns);

  ProgressBar bar(source.bytes);
  DoublingLines lines;
  Ring<PlotPoint> points(static_cast<std::size_t>(options.plot_rows));
  std::optional<PredictionsFile> predictions;
  std::unique_ptr<Pipeline> pipeline = make_pipeline(options, [&](const Outcome& outcome) {
    if (predictions) {
      predictions->write(outcome.time + 1, outcome.label, outcome.forecasts,
                         outcome.scored && outcome.label);
    }
    if (!outcome.label || !outcome.scored) return;
    if (lines.due()) bar.clear();
    lines.scored(*outcome.label, outcome.forecasts[log_linear]);
    points.push({outcome.time + 1, *outcome.label, outcome.forecasts[log_linear],
                 outcome.forecasts[least_squares]});
  });
  if (!options.predictions.empty()) {
    predictions.emplace(options.predictions, pipeline->standings());
    if (!predictions->good()) return fail(input_wrong, options.predictions + ": cannot be written");
  }

  stop_on_interrupt();
  std::uint64_t rows = 0, bad_rows = 0;
  CsvRow cells;
  Row row;
  while (!interrupted) {
    try {
      if (!reader.read(cells)) break;
    } catch (const InputError& error) {
      if (interrupted) break;
      if (!options.skip_bad_rows || !reader.can_go_on()) throw;
      ++bad_rows;
      continue;
    }
    row.target = cells.values[0];
    row.features.assign(cells.values.begin() + 1, cells.values.end());
    row.time = cells.index;
    try {
      pipeline->add(row);
    } catch (const std::invalid_argument& error) {
      throw InputError(reader.file(), cells.line,
                       std::string("too large to calculate with (") + error.what() + ")");
    }
    bar.update(++rows, reader.bytes_read());
  }
  if (rows == 0)
    throw InputError(
        reader.file(), reader.line(),
        "there is no row of data" + std::string(bad_rows > 0 ? " that is not malformed" : ""));
  pipeline->finish();
  bar.clear();

  const std::vector<Standing>& standings = pipeline->standings();
  if (bad_rows > 0)
    std::printf("\nMalformed rows skipped: %llu\n", static_cast<unsigned long long>(bad_rows));
  int status = 0;
  if (standings[log_linear].metrics.count() > 0) {
    print_report(standings, rows, options.horizon);
  } else {
    status = fail(input_wrong, source.name + ": " + std::to_string(rows) +
                                   " rows are too few to score a forecast: the warm-up takes " +
                                   std::to_string(options.warm_up) + " and the horizon " +
                                   std::to_string(options.horizon) + "; see --warm-up");
  }
  if (predictions && !predictions->good())
    status = fail(output_failed, options.predictions + ": not everything could be written");
  if (!options.plot.empty() && can_plot && points.size() > 1 && !draw(options, target, points)) {
    status = fail(output_failed, options.plot + ": gnuplot could not draw it");
  }
  if (!can_plot && status == 0) status = output_failed;
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    status = fail(output_failed, "standard output could not be written");
  return status;
}

}  // namespace

}  // namespace stream_forecast

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  using namespace stream_forecast;
  try {
    const Parsed parsed = parse_options(argc, argv);
    return parsed.options ? run(*parsed.options) : parsed.exit_status;
  } catch (const std::exception& error) {
    return fail(input_wrong, error.what());
  }
}
