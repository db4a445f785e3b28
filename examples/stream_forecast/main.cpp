// SPDX-License-Identifier: MIT
// stream_forecast: forecasts a CSV stream by log-linear attention into least squares.
#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <optional>

#include "checkpoint_file.hpp"
#include "csv_reader.hpp"
#include "options.hpp"
#include "output_files.hpp"
#include "pipeline.hpp"
#include "plot.hpp"
#include "predictions.hpp"
#include "progress.hpp"
#include "source.hpp"

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

/// What the program says must not end in a file that was opened in the place of a closed standard
/// stream; writing to that fails.
void occupy_closed_streams() {
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) >= 0) continue;
    const int null = open("/dev/null", O_RDONLY);
    if (null < 0 || null == stream) continue;
    dup2(null, stream);
    close(null);
  }
}

int fail(int status, const std::string& message) {
  std::cerr << "stream_forecast: " << message << '\n';
  return status;
}

/// The columns of all terms of the categories, in their order.
std::vector<std::string> category_columns(const std::vector<Category>& categories) {
  std::vector<std::string> columns;
  for (const Category& category : categories) {
    for (const KeyTerm& term : category.terms) {
      if (!term.column.empty()) columns.push_back(term.column);
    }
  }
  return columns;
}

/// The clock and the time of the label, the last two numbers of a row. \throws InputError
void set_times(const CsvReader& reader, const Options& options, std::uint64_t before,
               const CsvRow& cells, Row& row) {
  const auto time = [&](std::size_t from_last, const std::string& column, std::uint64_t least,
                        const char* of_least) {
    const double value = cells.values[cells.values.size() - from_last];
    char shown[32];
    std::snprintf(shown, sizeof shown, "%.17g", value);
    const auto refuse = [&](const std::string& problem) {
      throw InputError(reader.file(), cells.line, "column '" + column + "': " + shown + problem);
    };
    if (!(value >= 0 && value <= 0x1p52) || value != std::floor(value))
      refuse(" is not a whole number from 0 to 2^52");
    if (value < static_cast<double>(least))
      refuse(" is before " + std::to_string(least) + ", " + of_least);
    return static_cast<std::uint64_t>(value);
  };
  const std::uint64_t clock = time(2, options.time, before, "the time of the row before");
  row.label_time = time(1, options.label_time, clock, "the time of its row");
  row.clock = clock;
}

int run(const Options& options) {
  stop_on_interrupt();
  Source source(options.file, interrupted);
  if (!source.good()) return fail(input_wrong, source.name() + ": cannot be opened for reading");
  require_distinct_files(options, source.descriptor());
  const bool can_plot = options.plot.empty() || in_path("gnuplot");
  if (!can_plot) {
    fail(0, "gnuplot is not installed, so there will be no " + options.plot +
                " (Debian: apt install gnuplot-nox)");
  }

  Position position;
  Task task{options};
  std::optional<loglinear::Checkpoint> checkpoint;
  if (!options.load.empty()) {
    checkpoint = read_checkpoint(options.load);
    checkpoint->get("task", task);
    checkpoint->get("position", position);
  }
  CsvReader reader(source.stream(), source.name(),
                   {.delimiter = options.delimiter,
                    .has_header = options.has_header,
                    .columns = static_cast<std::size_t>(position.columns),
                    .skip_bad_rows = options.skip_bad_rows});
  const std::string target = options.target.empty() ? reader.columns().back() : options.target;
  const bool by_time = !options.label_time.empty();
  std::vector<std::string> columns{options.target};
  columns.insert(columns.end(), options.features.begin(), options.features.end());
  if (by_time) columns.insert(columns.end(), {options.time, options.label_time});
  reader.select(columns, category_columns(options.categories));

  ProgressBar bar(source.bytes());
  DoublingLines lines;
  PlotPoints points(static_cast<std::size_t>(options.plot_rows));
  std::optional<PredictionsFile> predictions;
  std::size_t least_squares = 0;
  std::unique_ptr<Pipeline> pipeline = make_pipeline(options, [&](const Outcome& outcome) {
    if (predictions) {
      predictions->write(outcome.row + 1, outcome.label, outcome.forecasts,
                         outcome.scored && outcome.label);
    }
    if (!outcome.label || !outcome.scored) return;
    if (lines.due()) bar.clear();
    const double forecast = outcome.forecasts.front();
    lines.scored(*outcome.label, forecast);
    points.push({outcome.row + 1, *outcome.label, forecast, outcome.forecasts[least_squares]});
  });
  least_squares = index_of(pipeline->standings(), "least_squares");
  if (checkpoint) {
    checkpoint->get("lines", lines);
    checkpoint->get("plot", points);
    pipeline->load(*checkpoint);
    checkpoint->require_all_read();
    checkpoint.reset();
    if (options.file == "-") {
      reader.continue_from(position.input, position.unfinished.text);
    } else {
      reader.skip_to(position.input);
      position.unfinished.text.clear();
    }
  } else {
    position.input = reader.position();
  }
  if (!options.predictions.empty()) {
    predictions.emplace(options.predictions, pipeline->standings(), position.predictions);
    if (!predictions->good()) return fail(input_wrong, options.predictions + ": cannot be written");
  }
  int status = 0;
  bool saved_at_end = false;
  // A run that cannot save goes on, and says in the end that it failed.
  const auto save = [&] {
    try {
      position.predictions = predictions ? predictions->sync() : 0;
      position.columns = position.rows > 0 ? reader.columns().size() : 0;
      loglinear::Checkpoint all;
      all.put("task", task);
      all.put("position", position);
      all.put("lines", lines);
      all.put("plot", points);
      pipeline->save(all);
      write_checkpoint(options.save, all);
    } catch (const std::exception& error) {
      bar.clear();
      status = fail(output_failed, error.what());
    }
  };
  // A last row without its end may be half a row. What is saved is from before it.
  const auto save_before_unfinished = [&] {
    if (options.save.empty() || reader.row_is_whole()) return;
    position.unfinished.text = reader.row_text();
    save();
    saved_at_end = true;
  };

  CsvRow cells;
  Row row;
  std::string first_problem;
  for (;;) {
    try {
      if (!reader.read(cells) || interrupted) break;  // the last line may be half a line
      if (by_time) set_times(reader, options, position.time, cells, row);
    } catch (const InputError& error) {
      if (interrupted) break;
      if (!reader.can_go_on()) throw;
      if (position.rows > 0) save_before_unfinished();
      if (saved_at_end) {
        bar.clear();
        fail(0, std::string(error.what()) + "; it is left to the run that goes on");
        break;
      }
      if (!options.skip_bad_rows) throw;
      if (first_problem.empty()) first_problem = error.what();
      ++position.bad_rows;
      position.input = reader.position();
      position.unfinished.text.clear();
      continue;
    }
    save_before_unfinished();
    row.target = cells.values[0];
    row.features.assign(cells.values.begin() + 1, cells.values.end() - (by_time ? 2 : 0));
    row.texts = cells.texts;
    row.number = cells.index;
    if (by_time) {
      position.time = row.clock;
    } else {
      row.clock = cells.index;
    }
    try {
      pipeline->add(row);
    } catch (const std::invalid_argument& error) {
      throw InputError(reader.file(), cells.line,
                       std::string("too large to calculate with (") + error.what() + ")");
    }
    bar.update(++position.rows, reader.bytes_read());
    position.input = reader.position();
    position.unfinished.text.clear();
    if (options.save_every > 0 && position.rows % options.save_every == 0 && !saved_at_end) save();
  }
  if (position.rows == 0) {
    std::string problem = "there is no row of data";
    if (position.bad_rows > 0) problem += " that is not malformed";
    if (!first_problem.empty()) problem += "; the first is " + first_problem;
    throw InputError(reader.file(), reader.line(), problem);
  }
  if (!options.save.empty() && !saved_at_end) save();
  pipeline->finish();
  bar.clear();

  const std::vector<Standing>& standings = pipeline->standings();
  const std::string ahead = by_time ? "by the time of the label"
                                    : std::to_string(options.horizon) +
                                          (options.horizon == 1 ? " row ahead" : " rows ahead");
  if (position.bad_rows > 0)
    std::printf("\nMalformed rows skipped: %llu\n",
                static_cast<unsigned long long>(position.bad_rows));
  if (standings.front().metrics.count() > 0) {
    print_report(standings, position.rows, ahead);
  } else {
    status = fail(input_wrong, source.name() + ": " + std::to_string(position.rows) +
                                   (position.rows == 1 ? " row is" : " rows are") +
                                   " too few to score a forecast: the warm-up takes " +
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
    occupy_closed_streams();
    const Parsed parsed = parse_options(argc, argv);
    return parsed.options ? run(*parsed.options) : parsed.exit_status;
  } catch (const std::exception& error) {
    return fail(input_wrong, error.what());
  }
}
