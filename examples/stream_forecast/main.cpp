// SPDX-License-Identifier: MIT
// stream_forecast: forecasts a CSV stream by log-linear attention into least squares.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "csv_reader.hpp"
#include "descriptor_buffer.hpp"
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
      static_cast<int>(SA_RESETHAND);  // a second one ends the program; no read is restarted
  sigaction(SIGINT, &action, nullptr);
}

int fail(int status, const std::string& message) {
  std::cerr << "stream_forecast: " << message << '\n';
  return status;
}

/// Where the input comes from: a file, or standard input as "-".
class Source {
 public:
  explicit Source(const std::string& path)
      : name_(path == "-" ? "standard input" : path),
        descriptor_(path == "-" ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC)),
        buffer_(descriptor_, interrupted),
        stream_(&buffer_) {
    struct stat about {};
    if (descriptor_ < 0 || fstat(descriptor_, &about) != 0 || S_ISDIR(about.st_mode)) return;
    good_ = true;
    if (S_ISREG(about.st_mode)) bytes_ = static_cast<std::uint64_t>(about.st_size);
  }
  ~Source() {
    if (descriptor_ > STDIN_FILENO) close(descriptor_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }  // 0: unknown
  [[nodiscard]] std::istream& stream() { return stream_; }

 private:
  std::string name_;
  int descriptor_;
  DescriptorBuffer buffer_;
  std::istream stream_;
  std::uint64_t bytes_ = 0;
  bool good_ = false;
};

int run(const Options& options) {
  stop_on_interrupt();
  Source source(options.file);
  if (!source.good()) return fail(input_wrong, source.name() + ": cannot be opened for reading");
  const bool can_plot = options.plot.empty() || in_path("gnuplot");
  if (!can_plot) {
    fail(0, "gnuplot is not installed, so there will be no " + options.plot +
                " (Debian: apt install gnuplot-nox)");
  }

  CsvReader reader(source.stream(), source.name(), {options.delimiter, options.has_header});
  const std::string target = options.target.empty() ? reader.columns().back() : options.target;
  std::vector<std::string> columns{options.target};
  columns.insert(columns.end(), options.features.begin(), options.features.end());
  reader.select(columns);

  ProgressBar bar(source.bytes());
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
    std::error_code none;  // neither need exist
    if (std::filesystem::equivalent(options.file, options.predictions, none)) {
      return fail(input_wrong, options.predictions + ": is the input itself");
    }
    predictions.emplace(options.predictions, pipeline->standings());
    if (!predictions->good()) return fail(input_wrong, options.predictions + ": cannot be written");
  }

  std::uint64_t rows = 0, bad_rows = 0;
  CsvRow cells;
  Row row;
  for (;;) {
    try {
      if (!reader.read(cells) || interrupted) break;  // the last line may be half a line
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
    status = fail(input_wrong, source.name() + ": " + std::to_string(rows) +
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
  using namespace stream_forecast;
  try {
    const Parsed parsed = parse_options(argc, argv);
    return parsed.options ? run(*parsed.options) : parsed.exit_status;
  } catch (const std::exception& error) {
    return fail(input_wrong, error.what());
  }
}
