// SPDX-License-Identifier: MIT
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <limits>
#include <loglinear/version.hpp>
#include <sstream>

namespace recall {

using namespace learning;

namespace {

/// "1024:32" or "1024"; the number of items is then that of training.
std::string wrong_setting(const std::string& text) {
  Setting s;
  char rest = 0;
  long long length = 0, items = 0;
  const int read = std::sscanf(text.c_str(), "%lld:%lld%c", &length, &items, &rest);
  const bool good =
      (read == 2 && items > 0) || (read == 1 && text.find(':') == std::string::npos && length > 0);
  return good && length > 0 ? "" : "'" + text + "' is neither LENGTH nor LENGTH:ITEMS";
}

Setting parse_setting(const std::string& text, std::int64_t items) {
  const std::size_t colon = text.find(':');
  return {std::stoll(text.substr(0, colon)),
          colon == std::string::npos ? items : std::stoll(text.substr(colon + 1))};
}

/// Fowler, Noll and Vo's hash.
std::uint32_t hash_of(const std::string& text) {
  std::uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace

std::string Configuration::line() const {
  std::ostringstream s;
  s.precision(17);
  s << "task=" << task << " vocabulary=" << vocabulary << " filler=" << random_filler
    << " text=" << text << '/' << text_ending << " length=" << length
    << " first_length=" << first_length << " items=";
  for (const std::int64_t n : items) s << n << ',';
  s << " evaluations=";
  for (const Setting& e : evaluations) s << e.length << ':' << e.items << ',';
  s << " mixer=" << mixer << " weighting=" << weighting << " d_model=" << d_model
    << " heads=" << heads << " key_size=" << key_size << " expand=" << expand
    << " blocks=" << blocks << " levels=" << levels << " random_count=" << random_count
    << " tied=" << tied << " batch=" << batch << " steps=" << steps << " warm_up=" << warm_up
    << " learning_rate=" << learning_rate << " weight_decay=" << weight_decay
    << " gradient_norm=" << gradient_norm << " test_instances=" << test_instances;
  return s.str();
}

std::string Configuration::name() const {
  char hash[9];
  std::snprintf(hash, sizeof hash, "%08x", hash_of(line()));
  return task + "-" + mixer + "-" + weighting + "-d" + std::to_string(d_model) + "-" + hash;
}

bool parse(int argc, char** argv, Options& options, int& status) {
  Configuration& c = options.configuration;
  CLI::App app{
      "Trains a small language model to recall, on a CPU.\n"
      "Runs that are complete in the --out folder are skipped, interrupted ones go on."};
  app.set_version_flag("--version", LOGLINEAR_VERSION_STRING);
  app.option_defaults()->always_capture_default();
  const CLI::Range whole(std::int64_t{1}, std::numeric_limits<std::int64_t>::max() / 1000);
  const CLI::Range count(std::int64_t{0}, std::numeric_limits<std::int64_t>::max() / 1000);
  const CLI::Range real(0.0, 1e6);
  std::string filler = "zero";
  std::vector<std::string> evaluations;

  app.add_option("--task", c.task, "What is learnt")
      ->check(CLI::IsMember({"mqar", "needle", "selective_copying", "text"}))
      ->group("Task");
  app.add_option("--vocabulary", c.vocabulary, "Tokens; text has 256")->check(whole)->group("Task");
  app.add_option("--length", c.length, "Tokens of a training sequence")
      ->check(whole)
      ->group("Task");
  app.add_option("--first-length", c.first_length,
                 "Tokens of the first sequences, which double in the course of training; 0 for "
                 "--length at once")
      ->check(count)
      ->group("Task");
  app.add_option("--items", c.items,
                 "Pairs of mqar, words of selective_copying; with several each batch takes one")
      ->delimiter(',')
      ->check(whole)
      ->group("Task");
  app.add_option("--filler", filler, "Between the queries of mqar")
      ->check(CLI::IsMember({"zero", "random"}))
      ->group("Task");
  app.add_option("--text", c.text, "Folder of the text")->group("Task");
  app.add_option("--text-ending", c.text_ending, "Of the names of its files")->group("Task");
  app.add_option("--evaluate", evaluations,
                 "LENGTH:ITEMS,... or LENGTH,... to test after training; as trained unless given")
      ->delimiter(',')
      ->check(CLI::Validator(wrong_setting, "", "setting"))
      ->group("Task");
  app.add_option("--test-instances", c.test_instances, "Of each test")->check(whole)->group("Task");

  app.add_option("--mixer", c.mixer, "Where tokens meet")
      ->check(CLI::IsMember({"softmax", "rotary", "mamba2", "gated_delta_net"}))
      ->group("Model");
  app.add_option("--weighting", c.weighting, "Of the levels; softmax has none")
      ->check(CLI::IsMember({"one_state", "softplus", "mixture", "mlp"}))
      ->group("Model");
  app.add_option("--d-model", c.d_model, "Channels")->check(whole)->group("Model");
  app.add_option("--heads", c.heads, "Heads of the mixer")->check(whole)->group("Model");
  app.add_option("--key-size", c.key_size, "Keys of a head; 0 for d_model / heads")
      ->check(count)
      ->group("Model");
  app.add_option("--expand", c.expand, "Values of all heads / d_model")
      ->check(whole)
      ->group("Model");
  app.add_option("--blocks", c.blocks, "Residual blocks")->check(whole)->group("Model");
  app.add_option("--levels", c.levels,
                 "Level weights of a head, the last for all older tokens; 0 for the longest test")
      ->check(CLI::Range(0, 64))
      ->group("Model");
  app.add_flag("--tied", c.tied, "The embedding is the head, too")->group("Model");

  app.add_option("--batch", c.batch, "Sequences of a step")->check(whole)->group("Training");
  app.add_option("--steps", c.steps, "Steps")->check(whole)->group("Training");
  app.add_option("--warm-up", c.warm_up, "Steps in which the learning rate rises")
      ->check(count)
      ->group("Training");
  app.add_option("--learning-rate", c.learning_rate, "Its peak, before it falls by a cosine")
      ->check(real)
      ->group("Training");
  app.add_option("--weight-decay", c.weight_decay, "Of matrices")->check(real)->group("Training");
  app.add_flag("--random-count", c.random_count,
               "Each batch begins at a random count of tokens, so that levels meet elsewhere")
      ->group("Training");
  app.add_option("--gradient-norm", c.gradient_norm, "Longer gradients are shortened to it")
      ->check(real)
      ->group("Training");

  app.add_option("--seed", options.first_seed, "The first seed")->check(count)->group("Run");
  app.add_option("--seeds", options.seeds, "How many, one after the other")
      ->check(whole)
      ->group("Run");
  app.add_option("--threads", options.threads, "Of one run")
      ->check(CLI::Range(1, 1024))
      ->group("Run");
  app.add_flag("--mpi", options.mpi,
               "Share the sequences of a step out to the ranks of MPI (mpirun)")
      ->group("Run");
  app.add_option("--out", options.out, "Folder for results and checkpoints")->group("Run");
  app.add_option("--save-every", options.save_every, "Steps between checkpoints; 0 for none")
      ->check(count)
      ->group("Run");
  app.add_option("--report-every", options.report_every, "Seconds between lines of progress")
      ->check(real)
      ->group("Run");
  app.add_flag("--print-results", options.print_results,
               "Print the names of the files that results are in, or will be, and do nothing else")
      ->group("Run");

  try {
    app.parse(argc, argv);
    if (c.mixer == "softmax" || c.mixer == "rotary") c.weighting = "one_state";
    if (c.task == "text") {
      c.vocabulary = 256;
      if (c.text.empty()) throw CLI::RequiredError("--text");
    }
    if (c.key_size == 0 && c.d_model % c.heads != 0) {
      throw CLI::ValidationError("--heads", "does not divide --d-model; give --key-size");
    }
    if (c.expand * c.d_model % c.heads != 0) {
      throw CLI::ValidationError("--heads", "does not divide --expand times --d-model");
    }
  } catch (const CLI::ParseError& error) {
    status = app.exit(error);
    return false;
  }
  c.random_filler = filler == "random";
  if (c.key_size == 0) c.key_size = c.d_model / c.heads;
  if (evaluations.empty()) {
    for (const std::int64_t items : c.items) c.evaluations.push_back({c.length, items});
  }
  for (const std::string& text : evaluations) {
    c.evaluations.push_back(parse_setting(text, c.items.front()));
  }
  return true;
}

}  // namespace recall
