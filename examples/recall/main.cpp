// SPDX-License-Identifier: MIT
// Trains small models to recall: one configuration, one or several seeds. See README.md.
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>

#include "../../bench/keep_memory.hpp"
#include "loglinear/parallel.hpp"
#include "options.hpp"
#include "results.hpp"
#include "run.hpp"

namespace recall {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A line of progress now and then: means since the last line, the rate since this process began.
class Progress {
 public:
  Progress(const Options& options, const Run& run, std::string name)
      : options_(options), name_(std::move(name)), first_(run.steps_done()) {}

  void after(const Run& run, const Run::Outcome& outcome) {
    loss_ += outcome.loss;
    accuracy_ += outcome.accuracy;
    ++count_;
    const std::int64_t done = run.steps_done(), steps = options_.configuration.steps;
    if (seconds_since(last_) < options_.report_every && done < steps) return;
    last_ = Clock::now();
    const double a_second = static_cast<double>(done - first_) / seconds_since(start_);
    const Configuration& c = options_.configuration;
    std::printf("%s  step %lld/%lld  loss %.4f  accuracy %.4f  %.0f tokens/s  %.1f min left\n",
                name_.c_str(), static_cast<long long>(done), static_cast<long long>(steps),
                loss_ / static_cast<double>(count_), accuracy_ / static_cast<double>(count_),
                a_second * static_cast<double>(c.batch * c.length),
                static_cast<double>(steps - done) / a_second / 60);
    std::fflush(stdout);
    loss_ = accuracy_ = 0;
    count_ = 0;
  }

 private:
  const Options& options_;
  std::string name_;
  std::int64_t first_, count_ = 0;
  double loss_ = 0, accuracy_ = 0;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

/// Trains one seed to the end, unless it is there already.
void complete(const Task& task, const Options& options, std::int64_t seed) {
  const RunFiles files(options, seed);
  if (std::filesystem::exists(files.results)) {
    std::printf("%s  is complete\n", files.name.c_str());
    return;
  }
  Run run(task, options.configuration, seed);
  if (std::filesystem::exists(files.checkpoint)) run.load(files.checkpoint);
  Progress progress(options, run, files.name);
  const Clock::time_point start = Clock::now();
  const double before = run.seconds;
  while (run.steps_done() < options.configuration.steps) {
    progress.after(run, run.step());
    run.seconds = before + seconds_since(start);
    if (options.save_every > 0 && run.steps_done() % options.save_every == 0) {
      run.save(files.checkpoint);
    }
  }
  const std::vector<Score> scores = run.scores();
  write_results(files.results, options.configuration, seed, {run.parameter_count(), run.seconds},
                scores);
  std::filesystem::remove(files.checkpoint);
  for (const Score& score : scores) {
    if (score.group != "all") continue;
    std::printf("%s  length %lld  items %lld  loss %.4f  accuracy %.4f\n", files.name.c_str(),
                static_cast<long long>(score.setting.length),
                static_cast<long long>(score.setting.items), score.loss, score.accuracy);
  }
}

}  // namespace
}  // namespace recall

int main(int argc, char** argv) {
  recall::Options options;
  int status = 0;
  if (!recall::parse(argc, argv, options, status)) return status;
  if (options.print_results) {
    for (std::int64_t i = 0; i < options.seeds; ++i) {
      std::puts(recall::RunFiles(options, options.first_seed + i).results.c_str());
    }
    return 0;
  }
  // A step's large tensors stay with the process instead of going back to the system and coming as
  // fresh pages each time: that makes a step up to three times faster.
  bench::keep_memory();
  at::set_num_threads(options.threads);
  loglinear::set_thread_count(options.threads);
  at::globalContext().setFlushDenormal(true);
  try {
    std::filesystem::create_directories(options.out);
    const std::unique_ptr<recall::Task> task = recall::make_task(options.configuration);
    for (std::int64_t i = 0; i < options.seeds; ++i) {
      recall::complete(*task, options, options.first_seed + i);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "recall: %s\n", error.what());
    return 1;
  }
}
