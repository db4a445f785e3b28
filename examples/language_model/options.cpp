// SPDX-License-Identifier: MIT
#include "options.hpp"

#include <loglinear/version.hpp>
#include <sstream>

#include "hierarchy.hpp"

namespace language_model {

using namespace learning;

std::string Options::line() const {
  const MixerShape& s = shape.sizes;
  const TrainingOptions& t = training;
  std::ostringstream line;
  line.precision(17);
  line << "mixer=" << shape.mixer << " weighting=" << shape.weighting << " levels=" << s.levels
       << " d_model=" << s.d_model << " heads=" << s.heads << " d_k=" << s.d_k << " d_v=" << s.d_v
       << " blocks=" << shape.blocks << " mlp_width=" << shape.mlp_width << " tied=" << shape.tied
       << " memory=" << s.memory << " length=" << t.length << " batch=" << t.batch
       << " steps=" << t.steps << " warm_up=" << t.warm_up << " learning_rate=" << t.learning_rate
       << " weight_decay=" << t.weight_decay << " gradient_norm=" << t.gradient_norm
       << " random_count=" << t.random_count;
  return line.str();
}

bool parse(int argc, char** argv, Options& options, int& status) {
  ModelShape& shape = options.shape;
  MixerShape& s = shape.sizes;
  TrainingOptions& t = options.training;
  shape = {.vocabulary = 256, .blocks = 3, .mixer = "mamba2", .weighting = "softplus"};
  s = {.d_model = 128, .heads = 2, .d_k = 0, .d_v = 0, .levels = 0};
  t = {.length = 256, .items = {1}, .batch = 16, .steps = 1000, .warm_up = 100};
  std::string dtype = "bf16";
  std::int64_t expand = 1;
  std::vector<std::int64_t> lengths;

  CLI::App app{
      "Trains a language model on the bytes of a folder's files and writes it in the layout of\n"
      "flash-linear-attention. An interrupted training goes on from its checkpoint."};
  app.set_version_flag("--version", LOGLINEAR_VERSION_STRING);
  app.option_defaults()->always_capture_default();

  app.add_option("--text", options.text, "Folder of the text")->required()->group("Text");
  app.add_option("--text-ending", options.text_ending, "Of the names of its files; empty for all")
      ->group("Text");
  app.add_option("--evaluate", lengths, "Lengths to test after training; as trained unless given")
      ->delimiter(',')
      ->check(whole())
      ->group("Text");
  app.add_option("--test-bytes", options.test_bytes,
                 "Bytes of each test, at least one sequence; 0 for a quarter of a million")
      ->check(count())
      ->group("Text");

  app.add_option("--mixer", shape.mixer, "Where tokens meet")
      ->check(CLI::IsMember({"mamba2", "gated_delta_net", "rotary"}))
      ->group("Model");
  app.add_option("--weighting", shape.weighting, "Of the levels; rotary attention has none")
      ->check(CLI::IsMember({"one_state", "softplus", "mlp"}))
      ->group("Model");
  add_sizes(app, shape, expand);
  app.add_option("--mlp-width", shape.mlp_width,
                 "Hidden channels of the MLP; 0 for flash-linear-attention's 8/3 d_model, rounded "
                 "up to a multiple of 256")
      ->check(count())
      ->group("Model");
  app.add_option("--levels", s.levels,
                 "Level weights of a head, the last for all older tokens; 0 for the trained length")
      ->check(CLI::Range(0, 64))
      ->group("Model");

  app.add_option("--length", t.length, "Bytes of a training sequence")
      ->check(whole())
      ->group("Training");
  add_training(app, t);

  app.add_option("--out", options.out, "Folder for the model, its scores and the checkpoint")
      ->group("Run");
  app.add_option("--dtype", dtype, "Of the matrices that are written")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->group("Run");
  app.add_option("--seed", options.seed, "Of weights and batches")->check(count())->group("Run");
  add_run(app, options.run);

  try {
    app.parse(argc, argv);
    complete_sizes(shape, expand);
  } catch (const CLI::ParseError& error) {
    status = app.exit(error);
    return false;
  }
  if (s.levels == 0) {
    // A random count moves the beginning by up to a length: one level more is met.
    s.levels = levels_of(t.random_count ? 2 * t.length : t.length);
  }
  if (shape.mlp_width == 0) shape.mlp_width = (s.d_model * 8 / 3 + 255) / 256 * 256;
  options.matrices = dtype == "bf16" ? loglinear::DType::bf16 : loglinear::DType::f32;
  if (options.test_bytes == 0) options.test_bytes = 1 << 18;
  if (lengths.empty()) lengths.push_back(t.length);
  for (const std::int64_t length : lengths) options.tests.push_back({length, 1});
  return true;
}

}  // namespace language_model
