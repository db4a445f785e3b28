// SPDX-License-Identifier: MIT
// Trains a language model on bytes and writes it as the library reads it. See README.md.
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <loglinear/checkpoint/detail/files.hpp>
#include <numbers>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "model_folder.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "text.hpp"

namespace language_model {
namespace {

/// Fowler, Noll and Vo's hash.
std::uint64_t hash_of(const std::string& text) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

/// What a checkpoint must share with the training that goes on from it.
std::string identity_of(const Options& options, const learning::Text& text) {
  return options.line() + " text=" + std::to_string(hash_of(text.part(learning::Part::training)));
}

/// Everything that the files of a complete training depend on, a line for each kind of thing.
std::string record_of(const Options& options, const learning::Text& text) {
  const std::string test_text = std::to_string(hash_of(text.part(learning::Part::evaluation)));
  std::string record = identity_of(options, text) + "\ntest_text=" + test_text +
                       "\nseed=" + std::to_string(options.seed) +
                       "\ndtype=" + std::string(name_of(options.matrices)) +
                       "\ntest_bytes=" + std::to_string(options.test_bytes) + "\nevaluate=";
  for (const learning::Setting& test : options.tests) record += std::to_string(test.length) + ' ';
  return record + '\n';
}

/// \throws std::runtime_error where a complete training was of other options than these
void require_same(const std::filesystem::path& recorded, const std::string& record) {
  std::ifstream file(recorded, std::ios::binary);
  const std::string before{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (before == record) return;
  throw std::runtime_error(recorded.parent_path().string() +
                           " holds a complete training of other options or another text; give "
                           "another --out. It was of\n" +
                           (before.empty() ? "options that it does not record" : before) +
                           "\nand is now to be of\n" + record);
}

void write(const std::filesystem::path& path, const std::string& text) {
  loglinear::detail::Replacement(path.string()).write({std::as_bytes(std::span(text))});
}

/// The losses on the part of the text that was not trained on, in bits a byte. The margin is that
/// of a 95 % interval over the drawn test sequences, 1.96 deviations / sqrt(sequences).
struct Table {
  std::ostringstream csv{};

  explicit Table(const Options& o, const learning::Training& training) {
    const learning::MixerShape& s = o.shape.sizes;
    csv.precision(6);
    csv << "mixer,weighting,levels,random_count,d_model,heads,key_size,blocks,mlp_width,tied,"
           "parameters,length,batch,steps,learning_rate,seed,test_length,test_bytes,"
           "bits_per_byte,margin,accuracy,seconds\n";
    std::ostringstream first;
    first.precision(6);
    first << o.shape.mixer << ',' << o.shape.weighting << ',' << s.levels << ','
          << o.training.random_count << ',' << s.d_model << ',' << s.heads << ',' << s.d_k << ','
          << o.shape.blocks << ',' << o.shape.mlp_width << ',' << o.shape.tied << ','
          << training.model()->parameter_count() << ',' << o.training.length << ','
          << o.training.batch << ',' << o.training.steps << ',' << o.training.learning_rate << ','
          << o.seed << ',';
    beginning_ = first.str();
  }
  void add(const learning::Score& score, double seconds) {
    const double bits = score.loss / std::numbers::ln2;
    const auto sequences = static_cast<double>(score.labels / score.setting.length);
    const double margin = 1.96 * score.deviation / std::sqrt(sequences) / std::numbers::ln2;
    csv << beginning_ << score.setting.length << ',' << score.labels << ',' << bits << ',' << margin
        << ',' << score.accuracy << ',' << seconds << '\n';
    std::printf("length %lld  %.4f +- %.4f bits a byte  accuracy %.4f\n",
                static_cast<long long>(score.setting.length), bits, margin, score.accuracy);
  }

 private:
  std::string beginning_{};
};

void run(const Options& options) {
  const std::filesystem::path out = options.out;
  const learning::Text text = learning::Text::of_folder(options.text, options.text_ending);
  const std::string record = record_of(options, text);
  if (std::filesystem::exists(out / "scores.csv")) {
    require_same(out / "options.txt", record);
    std::printf("%s is complete\n", options.out.c_str());
    return;
  }
  std::filesystem::create_directories(out);
  text.require_legal({options.training.length, 1});
  for (const learning::Setting& test : options.tests) text.require_legal(test);
  // Throws before the training instead of after it.
  static_cast<void>(configuration_of(options.shape));

  learning::Training training(text, options.shape, options.training, options.seed,
                              identity_of(options, text));
  std::printf("%s: %lld weights, %.1f MB to train on, %.1f MB to test on\n", options.out.c_str(),
              static_cast<long long>(training.model()->parameter_count()),
              static_cast<double>(text.part(learning::Part::training).size()) / 1e6,
              static_cast<double>(text.part(learning::Part::evaluation).size()) / 1e6);
  const std::string checkpoint = (out / "training.pt").string();
  complete(training, {.name = options.out,
                      .checkpoint = checkpoint,
                      .save_every = options.run.save_every,
                      .report_every = options.run.report_every});
  round_weights(training.model(), options.matrices);
  write_model(out, training.model(), options.shape, options.matrices);

  Table table(options, training);
  for (const learning::Setting& test : options.tests) {
    const std::int64_t sequences = std::max<std::int64_t>(1, options.test_bytes / test.length);
    for (const learning::Score& score : training.scores({test}, sequences)) {
      if (score.group == "all") table.add(score, training.seconds);
    }
  }
  write(out / "options.txt", record);
  write(out / "scores.csv", table.csv.str());
  std::filesystem::remove(checkpoint);
}

}  // namespace
}  // namespace language_model

int main(int argc, char** argv) {
  language_model::Options options;
  int status = 0;
  if (!language_model::parse(argc, argv, options, status)) return status;
  learning::prepare_process(options.run.threads);
  try {
    language_model::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "train: %s\n", error.what());
    return 1;
  }
}
