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

#include "checkpoint_file.hpp"
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
  PlotPoints points(static_cast<std::size_t>(options.plot_rows));
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
  for (const std::string& output : {options.predictions, options.save}) {
    std::error_code none;  // neither need exist
    if (!output.empty() && std::filesystem::equivalent(options.file, output, none)) {
      return fail(input_wrong, output + ": is the input itself");
    }
  }
  if (!options.save.empty() && options.save == options.predictions) {
    return fail(input_wrong, options.save + ": cannot take both predictions and checkpoints");
  }
  Position position;
  Task task{options};
  if (!options.load.empty()) {
    loglinear::Checkpoint checkpoint = read_checkpoint(options.load);
    checkpoint.get("task", task);
    checkpoint.get("position", position);
    checkpoint.get("lines", lines);
    checkpoint.get("plot", points);
    pipeline->load(checkpoint);
    checkpoint.require_all_read();
    if (options.file == "-") {
      reader.continue_from(position.input);
    } else {
      reader.skip_to(position.input);
    }
  }
  if (!options.predictions.empty()) {
    predictions.emplace(options.predictions, pipeline->standings(), position.predictions);
    if (!predictions->good()) return fail(input_wrong, options.predictions + ": cannot be written");
  }
  int status = 0;
  // A run that cannot save goes on, and says in the end that it failed.
  const auto save = [&] {
    try {
      position.predictions = predictions ? predictions->sync() : 0;
      loglinear::Checkpoint checkpoint;
      checkpoint.put("task", task);
      checkpoint.put("position", position);
      checkpoint.put("lines", lines);
      checkpoint.put("plot", points);
      pipeline->save(checkpoint);
      write_checkpoint(options.save, checkpoint);
    } catch (const std::exception& error) {
      bar.clear();
      status = fail(output_failed, error.what());
    }
  };

  CsvRow cells;
  Row row;
  for (;;) {
    try {
      if (!reader.read(cells) || interrupted) break;  // the last line may be half a line
    } catch (const InputError& error) {
      if (interrupted) break;
      if (!options.skip_bad_rows || !reader.can_go_on()) throw;
      ++position.bad_rows;
      position.input = reader.position();
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
    bar.update(++position.rows, reader.bytes_read());
    position.input = reader.position();
    if (options.save_every > 0 && position.rows % options.save_every == 0) save();
  }
  if (position.rows == 0)
    throw InputError(reader.file(), reader.line(),
                     "there is no row of data" +
                         std::string(position.bad_rows > 0 ? " that is not malformed" : ""));
  if (!options.save.empty()) save();
  pipeline->finish();
  bar.clear();

  const std::vector<Standing>& standings = pipeline->standings();
  if (position.bad_rows > 0)
    std::printf("\nMalformed rows skipped: %llu\n",
                static_cast<unsigned long long>(position.bad_rows));
  if (standings[log_linear].metrics.count() > 0) {
    print_report(standings, position.rows, options.horizon);
  } else {
    status = fail(input_wrong, source.name() + ": " + std::to_string(position.rows) +
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
