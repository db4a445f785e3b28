// SPDX-License-Identifier: MIT
#include "options.hpp"

#include <algorithm>
#include <cstdio>
#include <loglinear/version.hpp>
#include <sstream>

#include "hierarchy.hpp"

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
  const MixerShape& m = shape.sizes;
  const TrainingOptions& t = training;
  s << "task=" << task << " vocabulary=" << shape.vocabulary << " filler=" << random_filler
    << " text=" << text << '/' << text_ending << " length=" << t.length
    << " first_length=" << t.first_length << " items=";
  for (const std::int64_t n : t.items) s << n << ',';
  s << " evaluations=";
  for (const Setting& e : evaluations) s << e.length << ':' << e.items << ',';
  s << " mixer=" << shape.mixer << " weighting=" << shape.weighting << " d_model=" << m.d_model
    << " heads=" << m.heads << " d_k=" << m.d_k << " d_v=" << m.d_v << " blocks=" << shape.blocks
    << " levels=" << m.levels << " random_count=" << t.random_count << " tied=" << shape.tied
    << " memory=" << m.memory << " batch=" << t.batch << " steps=" << t.steps
    << " warm_up=" << t.warm_up << " learning_rate=" << t.learning_rate
    << " weight_decay=" << t.weight_decay << " gradient_norm=" << t.gradient_norm
    << " test_instances=" << test_instances;
  return s.str();
}

std::string Configuration::name() const {
  char hash[9];
  std::snprintf(hash, sizeof hash, "%08x", hash_of(line()));
  return task + "-" + shape.mixer + "-" + shape.weighting + "-d" +
         std::to_string(shape.sizes.d_model) + "-" + hash;
}

bool parse(int argc, char** argv, Options& options, int& status) {
  Configuration& c = options.configuration;
  ModelShape& shape = c.shape;
  TrainingOptions& t = c.training;
  shape.sizes.d_k = shape.sizes.levels = 0;
  std::int64_t expand = 1;
  CLI::App app{
      "Trains a small language model to recall, on a CPU.\n"
      "Runs that are complete in the --out folder are skipped, interrupted ones go on."};
  app.set_version_flag("--version", LOGLINEAR_VERSION_STRING);
  app.option_defaults()->always_capture_default();
  std::string filler = "zero";
  std::vector<std::string> evaluations;

  app.add_option("--task", c.task, "What is learnt")
      ->check(CLI::IsMember({"mqar", "needle", "selective_copying", "text"}))
      ->group("Task");
  app.add_option("--vocabulary", shape.vocabulary, "Tokens; text has 256")
      ->check(whole())
      ->group("Task");
  app.add_option("--length", t.length, "Tokens of a training sequence")
      ->check(whole())
      ->group("Task");
  app.add_option("--first-length", t.first_length,
                 "Tokens of the first sequences, which double in the course of training; 0 for "
                 "--length at once")
      ->check(count())
      ->group("Task");
  app.add_option("--items", t.items,
                 "Pairs of mqar, words of selective_copying; with several each batch takes one")
      ->delimiter(',')
      ->check(whole())
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
  app.add_option("--test-instances", c.test_instances, "Of each test")
      ->check(whole())
      ->group("Task");

  app.add_option("--mixer", shape.mixer, "Where tokens meet")
      ->check(CLI::IsMember({"softmax", "rotary", "mamba2", "gated_delta_net"}))
      ->group("Model");
  app.add_option("--weighting", shape.weighting, "Of the levels; softmax has none")
      ->check(CLI::IsMember({"one_state", "softplus", "mixture", "mlp"}))
      ->group("Model");
  add_sizes(app, shape, expand);
  app.add_option("--levels", shape.sizes.levels,
                 "Level weights of a head, the last for all older tokens; 0 for the longest test")
      ->check(CLI::Range(0, 64))
      ->group("Model");
  add_training(app, t);

  app.add_option("--seed", options.first_seed, "The first seed")->check(count())->group("Run");
  app.add_option("--seeds", options.seeds, "How many, one after the other")
      ->check(whole())
      ->group("Run");
  app.add_flag("--mpi", options.mpi,
               "Share the sequences of a step out to the ranks of MPI (mpirun)")
      ->group("Run");
  app.add_option("--out", options.out, "Folder for results and checkpoints")->group("Run");
  add_run(app, options.run);
  app.add_flag("--print-results", options.print_results,
               "Print the names of the files that results are in, or will be, and do nothing else")
      ->group("Run");

  try {
    app.parse(argc, argv);
    if (c.task == "text") {
      shape.vocabulary = 256;
      if (c.text.empty()) throw CLI::RequiredError("--text");
    }
    complete_sizes(shape, expand);
  } catch (const CLI::ParseError& error) {
    status = app.exit(error);
    return false;
  }
  c.random_filler = filler == "random";
  if (evaluations.empty()) {
    for (const std::int64_t items : t.items) c.evaluations.push_back({t.length, items});
  }
  for (const std::string& text : evaluations) {
    c.evaluations.push_back(parse_setting(text, t.items.front()));
  }
  if (shape.sizes.levels == 0) {
    std::int64_t longest = t.length;
    for (const Setting& setting : c.evaluations) longest = std::max(longest, setting.length);
    shape.sizes.levels = levels_of(longest);
  }
  return true;
}

}  // namespace recall
