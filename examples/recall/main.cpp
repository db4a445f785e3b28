// SPDX-License-Identifier: MIT
// Trains small models to recall: one configuration, one or several seeds. See README.md.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>

#include "options.hpp"
#include "progress.hpp"
#include "results.hpp"
#include "run.hpp"
#include "workers.hpp"

namespace recall {
namespace {

/// Trains one seed to the end, unless it is there already.
void complete(const learning::Task& task, const Options& options, std::int64_t seed,
              const learning::Workers& workers) {
  const Configuration& c = options.configuration;
  const RunFiles files(options, seed);
  std::string is_complete;
  if (workers.is_first() && std::filesystem::exists(files.results)) is_complete = "yes";
  workers.broadcast(is_complete);
  if (!is_complete.empty()) {
    if (workers.is_first()) std::printf("%s  is complete\n", files.name.c_str());
    return;
  }
  learning::Training training(task, c.shape, c.training, seed, c.line(), workers);
  learning::complete(training, {.name = files.name,
                                .checkpoint = files.checkpoint,
                                .save_every = options.run.save_every,
                                .report_every = options.run.report_every});
  if (!workers.is_first()) return;
  const auto scores = training.scores(c.evaluations, c.test_instances);
  write_results(files.results, c, seed, {training.model()->parameter_count(), training.seconds},
                scores);
  std::filesystem::remove(files.checkpoint);
  for (const learning::Score& score : scores) {
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
  learning::prepare_process(options.run.threads);
  std::unique_ptr<learning::Workers> shared;
  const learning::Workers* workers = &learning::alone();
  try {
    if (options.mpi) workers = (shared = learning::ranks_of_mpi(argc, argv)).get();
    std::filesystem::create_directories(options.out);
    const std::unique_ptr<learning::Task> task = recall::make_task(options.configuration);
    for (std::int64_t i = 0; i < options.seeds; ++i) {
      recall::complete(*task, options, options.first_seed + i, *workers);
    }
  } catch (const std::exception& error) {
    learning::end_all(*workers, (std::string("recall: ") + error.what()).c_str());
  }
}
