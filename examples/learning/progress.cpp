// SPDX-License-Identifier: MIT
#include "progress.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "../../bench/keep_memory.hpp"
#include "loglinear/parallel.hpp"

namespace learning {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A line of progress now and then: means since the last line, the rate since this process began.
class Progress {
 public:
  Progress(const Trail& trail, const Training& training)
      : trail_(trail), first_(training.steps_done()) {}

  void after(const Training& training, const Training::Outcome& outcome) {
    loss_ += outcome.loss;
    accuracy_ += outcome.accuracy;
    ++count_;
    const TrainingOptions& o = training.options();
    const std::int64_t done = training.steps_done();
    if (seconds_since(last_) < trail_.report_every && done < o.steps) return;
    last_ = Clock::now();
    const double a_second = static_cast<double>(done - first_) / seconds_since(start_);
    std::printf("%s  step %lld/%lld  loss %.4f  accuracy %.4f  %.0f tokens/s  %.1f min left\n",
                trail_.name.c_str(), static_cast<long long>(done), static_cast<long long>(o.steps),
                loss_ / static_cast<double>(count_), accuracy_ / static_cast<double>(count_),
                a_second * static_cast<double>(o.batch * o.length),
                static_cast<double>(o.steps - done) / a_second / 60);
    std::fflush(stdout);
    loss_ = accuracy_ = 0;
    count_ = 0;
  }

 private:
  const Trail& trail_;
  std::int64_t first_, count_ = 0;
  double loss_ = 0, accuracy_ = 0;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

}  // namespace

void prepare_process(int threads) {
  // A step's large tensors stay with the process instead of going back to the system and coming as
  // fresh pages each time: that makes a step up to three times faster.
  bench::keep_memory();
  at::set_num_threads(threads);
  loglinear::set_thread_count(threads);
  at::globalContext().setFlushDenormal(true);
}

void complete(Training& training, const Trail& trail) {
  training.load(trail.checkpoint);
  Progress progress(trail, training);
  const Clock::time_point start = Clock::now();
  const double before = training.seconds;
  while (training.steps_done() < training.options().steps) {
    const Training::Outcome outcome = training.step();
    if (training.workers().is_first()) progress.after(training, outcome);
    training.seconds = before + seconds_since(start);
    if (trail.save_every > 0 && training.steps_done() % trail.save_every == 0) {
      training.save(trail.checkpoint);
    }
  }
}

}  // namespace learning
